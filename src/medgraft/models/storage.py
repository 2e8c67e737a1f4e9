"""Models in folders: a JSON tree of registered classes beside their weights in safetensors; never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from medgraft.errors import ModelError, cannot_write
from medgraft.models.model import Model, model_class
from medgraft.models.optimizer_history import OptimizerHistory
from medgraft.models.pretraining_heads import PretrainingHeads
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON

FORMAT = 1
MODEL, WEIGHTS = "model.json", "model.safetensors"
HISTORY, HISTORY_TENSORS = "optimizer.json", "optimizer.safetensors"
HEADS, HEADS_TENSORS = "heads.json", "heads.safetensors"
NESTED = "__model__"
"""Marks, inside a config, the tree of an inner model."""


def save_model(model: Model, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to a folder, whole or not at all.

    The files are written under a temporary name, read back, then renamed. A model that is replaced is kept
    until then.

    Args:
        model: of a registered class; inner models are saved with it, and so are its `optimizer_history` and
            `pretraining_heads`, with the hash of these weights.
        folder: to be created.
        overwrite: replace a model that is there already.

    Returns: the folder.

    Raises:
        ModelError: the folder exists and may not be replaced, or the class is not registered.
        RunError: no room or no permission.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not (overwrite and (folder / MODEL).is_file()):
        raise ModelError(
            "save_model", "a folder that does not exist yet", f"{folder} does" + (
                "" if (folder / MODEL).is_file() else " and holds no model"),
            "Choose another folder" + (", or pass overwrite=True." if (folder / MODEL).is_file() else "."),
        )  # fmt: skip
    files = _files(model)
    temporary = _beside(folder, "partial")
    # what a killed run left; its name is fixed so that such leftovers do not pile up
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            _write(temporary / name, content)
        for name, content in files.items():
            if _sha256((temporary / name).read_bytes()) != _sha256(content):
                raise ModelError(
                    "save_model", "a disk that gives back what was written", f"{name} came back different",
                    f"Check the disk of {folder.parent}; nothing was replaced.",
                )  # fmt: skip
        _replace(temporary, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_model(folder: str | Path) -> Model:
    """Read a model that `save_model` wrote, and what was kept with its weights, on the CPU, after checking hashes.

    It is built before its weights are read, which draws from the global generator.

    Raises:
        ModelError: something is missing, damaged, or of a class nobody registered; the sentence says what to
            do.
    """
    folder = Path(folder)
    description = _description(folder)
    state = _tensors(folder, WEIGHTS, description["weights"]["sha256"])
    try:
        model = from_tree(description["tree"])
    except (KeyError, TypeError, ValidationError) as problem:
        raise _damaged(folder, f"{MODEL} does not describe a model ({_first_line(problem)})") from problem
    own = model.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [
        name for name in own if own[name].shape != state[name].shape
    ]
    if wrong:
        raise _damaged(
            folder, f"{len(wrong)} tensors of {WEIGHTS} do not fit {MODEL}, the first {wrong[0]!r}"
        )
    model.load_state_dict(state)
    model.optimizer_history = load_optimizer_history(folder)
    model.pretraining_heads = _load_heads(folder, description["weights"]["sha256"])
    return model


def load_optimizer_history(folder: str | Path) -> OptimizerHistory | None:
    """Read the optimiser history stored beside a model; None where there is none.

    Raises:
        ModelError: it is damaged, or belongs to other weights than those in the folder.
    """
    folder = Path(folder)
    description = _description(folder)
    if not (folder / HISTORY).is_file():
        return None
    stored, tensors = _kept_with(
        folder, HISTORY, HISTORY_TENSORS, description["weights"]["sha256"], "optimiser history"
    )
    state: dict[str, dict[str, Tensor | float]] = {
        name: dict(numbers) for name, numbers in stored["numbers"].items()
    }
    for key, tensor in tensors.items():
        parameter, slot = key.rsplit("/", 1)
        state.setdefault(parameter, {})[slot] = tensor
    return OptimizerHistory(stored["optimizer"], state)


def _load_heads(folder: Path, weights: str) -> PretrainingHeads | None:
    if not (folder / HEADS).is_file():
        return None
    stored, tensors = _kept_with(folder, HEADS, HEADS_TENSORS, weights, "heads of the pre-training")
    return PretrainingHeads(str(stored.get("method")), tensors)


def _kept_with(
    folder: Path, described: str, file: str, weights: str, what: str
) -> tuple[JSON, dict[str, Tensor]]:
    """What stands in two files beside a model, if it belongs to the model's weights."""
    stored = _json(folder, described)
    if stored.get("weights_sha256") != weights:
        raise ModelError(
            f"The {what} in {folder}", "to belong to the weights beside it",
            "it belongs to others",
            f"Delete {described} and {file}, or save the model again with what was kept.",
        )  # fmt: skip
    return stored, _tensors(folder, file, str(stored.get("sha256")))


def tree(model: Model) -> JSON:
    """What rebuilds a model untrained: class name, config and spec, with inner models as trees of their own.

    Raises:
        ModelError: the class is not registered.
    """
    name = type(model).__name__
    if model_class(name) is not type(model):
        raise ModelError(
            "tree",
            "the registered class of that name",
            f"another {name!r} is registered",
            "Rename one of the two.",
        )
    return {"class": name, "config": _to_json(model.config()), "spec": model.spec.to_json()}


def from_tree(described: JSON) -> Model:
    """Build the untrained model that `tree` described, drawing from the global generator."""
    cls = model_class(described["class"])
    spec = ModelSpec.model_validate(described["spec"])
    return cls.from_config(_from_json(described["config"]), spec)


def _to_json(value: Any) -> Any:
    if isinstance(value, Model):
        return {NESTED: tree(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {NESTED}:
            return from_tree(value[NESTED])
        return {key: _from_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    return value


def _files(model: Model) -> dict[str, bytes]:
    weights = dump_tensors(_separate(model.state_dict()))
    digest = _sha256(weights)
    description = {
        "format": FORMAT,
        "medgraft": _own_version(),
        "tree": tree(model),
        "weights": {"file": WEIGHTS, "sha256": digest},
    }
    files = {MODEL: _dump(description), WEIGHTS: weights}
    history = model.optimizer_history
    if history is not None:
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, dict[str, float]] = {}
        for name, slots in history.state.items():
            numbers[name] = {slot: value for slot, value in slots.items() if not isinstance(value, Tensor)}
            tensors |= {f"{name}/{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
        files[HISTORY_TENSORS] = dump_tensors(_separate(tensors))
        files[HISTORY] = _dump(
            {
                "optimizer": history.optimizer,
                "weights_sha256": digest,
                "sha256": _sha256(files[HISTORY_TENSORS]),
                "numbers": numbers,
            }
        )
    heads = model.pretraining_heads
    if heads is not None:
        files[HEADS_TENSORS] = dump_tensors(_separate(heads.state))
        files[HEADS] = _dump(
            {"method": heads.method, "weights_sha256": digest, "sha256": _sha256(files[HEADS_TENSORS])}
        )
    return files


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in plain memory order: safetensors refuses tensors that share memory or lie channels-last."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _replace(temporary: Path, folder: Path) -> None:
    """Put a written folder in its place; the previous one is kept until it is there."""
    previous = _beside(folder, "previous")
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    try:
        temporary.rename(folder)
    except OSError:
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _beside(folder: Path, ending: str) -> Path:
    """A hidden folder on the same disk, so that renaming it is one step."""
    whole = folder.absolute()
    return whole.with_name(f".{whole.name}.{ending}")


def _description(folder: Path) -> JSON:
    if not (folder / MODEL).is_file():
        previous = _beside(folder, "previous")
        remedy = "Give the folder that save_model wrote."
        if (previous / MODEL).is_file():
            remedy = f"Saving was interrupted: rename {previous} to {folder.absolute().name}."
        raise ModelError("load_model", f"a folder with {MODEL}", f"{folder} has none", remedy)
    description = _json(folder, MODEL)
    if description.get("format") != FORMAT:
        raise ModelError(
            f"The model in {folder}", f"to be stored in format {FORMAT}",
            f"it says {description.get('format')!r}",
            "Use the medgraft version that wrote it "
            f"({description.get('medgraft', 'unknown')}), or a newer one than this ({_own_version()}).",
        )  # fmt: skip
    if not isinstance(description.get("tree"), dict) or "sha256" not in (description.get("weights") or {}):
        raise _damaged(folder, f"{MODEL} lacks its tree or its weights' hash")
    return description


def _json(folder: Path, name: str) -> JSON:
    try:
        read = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise _damaged(folder, f"{name} cannot be read ({_first_line(problem)})") from problem
    if not isinstance(read, dict):
        raise _damaged(folder, f"{name} holds no JSON object")
    return read


def _tensors(folder: Path, name: str, sha256: str) -> dict[str, Tensor]:
    try:
        content = (folder / name).read_bytes()
    except OSError as problem:
        raise _damaged(folder, f"{name} cannot be read ({_first_line(problem)})") from problem
    if _sha256(content) != sha256:
        raise _damaged(folder, f"{name} ({len(content)} bytes) does not have the hash noted beside it")
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except SafetensorError as problem:
        raise _damaged(folder, f"{name} is no safetensors file ({_first_line(problem)})") from problem
    return tensors


def _damaged(folder: Path, got: str) -> ModelError:
    return ModelError(
        f"The model in {folder}", "whole files", got, "Copy the folder again, or save the model anew."
    )


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _dump(described: JSON) -> bytes:
    return (json.dumps(described, indent=2, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _own_version() -> str:
    try:
        return version("medgraft")
    except PackageNotFoundError:
        return "unknown"
