"""Weights files written by others, turned into models of ours; whole bodies only, and never unpickled."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier, own_size
from medgraft.models.regraft import Plan, transfer
from medgraft.models.spec import ModelSpec
from medgraft.types import Kind, Preparation

SUFFIXES = (".pt", ".pth", ".safetensors")
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "net", "network_weights")
"""Keys under which training scripts put the weights."""
COUNTER = "num_batches_tracked"
logger = logging.getLogger(__name__)


def open_state_file(
    path: str | Path, architecture: str | None, *, kind: Kind | None = None, classes: Sequence[str] = ()
) -> tuple[Classifier, Plan]:
    """Turn a file of weights into a classifier, or an encoder where it holds no head.

    Wrapping dictionaries and name prefixes (``"module."``, ``"backbone."``) are seen through. Channels and
    the number of classes are read off the weights. Save the model to have it in our format from then on.

    Args:
        path: .pt or .pth (read with `weights_only`), or .safetensors.
        architecture: timm name of the network.
        kind: `multilabel` if its head scores labels; else it is taken to classify.
        classes: names of the head's outputs; ``"class 0"`` ... unless their number is right.

    Returns: the model, and the plan that says what was loaded, dropped (or new: counters of batches only).

    Raises:
        ModelError: no architecture is given, the file cannot be read safely, or it does not hold the whole
            body.
    """
    path = Path(path)
    if architecture is None:
        raise ModelError(
            f"The weights file {path}", "the name of its architecture", "none was given",
            "Give architecture='resnet50' or whichever timm network it is.",
        )  # fmt: skip
    stored = read_state(path)
    sample = Classifier(ModelSpec(classes=("0", "1")), architecture=architecture)
    prefix = find_prefix(stored, {name.removeprefix("net.") for name in sample.state_dict()})
    state = {f"net.{name.removeprefix(prefix)}": tensor for name, tensor in stored.items()
             if name.startswith(prefix)}  # fmt: skip
    spec = _spec(path, sample, state, kind, tuple(classes))
    model = Classifier(spec, architecture=architecture)
    plan = transfer(state, model)
    missing = [name for name in plan.names("new") if not name.endswith(COUNTER)]
    if missing:
        whole = len(model.state_dict())
        raise ModelError(
            f"{architecture}", f"all of its {whole} tensors",
            f"{path} fits {whole - len(plan.names('new'))} of them "
            f"(missing or of another shape: {missing[0]!r} and {len(missing) - 1} more)",
            "Give the architecture that it was trained with.",
        )  # fmt: skip
    skipped = [name for name in stored if not name.startswith(prefix)]
    note = (
        f"{plan.summary()} {len(skipped)} tensors outside {prefix!r} were left."
        if skipped
        else plan.summary()
    )
    model.spec = spec.changed(provenance=spec.provenance | {"history": [f"read from a file: {note}"]})
    logger.info("Read %s: %s", path.name, note)
    return model, plan


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name, without running any code that it might hold.

    Raises:
        ModelError: it is damaged, holds more than tensors, or no tensors by name.
    """
    path = Path(path)
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True
        )  # fmt: skip
    except Exception as problem:  # what damaged bytes make of a reader cannot be listed
        raise ModelError(
            f"The weights file {path}", "plain tensors that can be read without running code",
            f"it cannot be read so ({type(problem).__name__})",
            "Save model.state_dict() alone with safetensors or torch.save, or copy the file again.",
        ) from problem  # fmt: skip
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    tensors = loaded.items() if isinstance(loaded, Mapping) else ()
    state = {str(name): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise ModelError(
            f"The weights file {path}", "tensors by name", "it holds none", "Save model.state_dict() to it."
        )
    return state


def find_prefix(names: Mapping[str, Tensor] | Sequence[str], wanted: set[str]) -> str:
    """The prefix without which most of these names are wanted ones; the shortest of several.

    >>> find_prefix(["module.encoder.conv1.weight", "module.queue"], {"conv1.weight", "fc.weight"})
    'module.encoder.'
    """
    candidates = {""}
    for name in names:
        parts = name.split(".")
        candidates |= {".".join(parts[:depth]) + "." for depth in range(1, len(parts))}

    def matches(prefix: str) -> int:
        return sum(name.startswith(prefix) and name.removeprefix(prefix) in wanted for name in names)

    return max(sorted(candidates, key=lambda prefix: (len(prefix), prefix)), key=matches)


def _spec(
    path: Path, sample: Classifier, state: Mapping[str, Tensor], kind: Kind | None, classes: tuple[str, ...]
) -> ModelSpec:
    """Channels and classes as the weights have them."""
    stem = [state[name] for name in sample.blocks()["stem"] if name in state and state[name].ndim == 4]
    channels = int(stem[0].shape[1]) if stem else 3
    head = state.get(sample.blocks()["head"][0])
    outputs = 0 if head is None or head.ndim < 1 else int(head.shape[0])
    # one output alone is a yes-or-no score: a softmax head over it would mean nothing
    found: Kind = "encode" if outputs < 2 else "multilabel" if kind == "multilabel" else "classify"
    if found == "encode":
        classes = ()
    elif len(classes) != outputs:
        classes = tuple(f"class {index}" for index in range(outputs))
    return ModelSpec(
        kind=found,
        classes=classes,
        channels=channels,
        preparation=Preparation(size=own_size(sample.net), channels=channels),
        provenance={
            "source": path.name,
            "architecture": sample.architecture,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    )
