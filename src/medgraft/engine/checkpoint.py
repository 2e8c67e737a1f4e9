"""Checkpoints: tensors in safetensors, then the rest in JSON with their hash; whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from medgraft.errors import RunError
from medgraft.types import JSON
from medgraft.whole_files import write_text, written_whole

logger = logging.getLogger(__name__)


class Saved(NamedTuple):
    """What a computation leaves behind: tensors of any shape, and anything JSON can hold."""

    tensors: Mapping[str, Tensor]
    facts: JSON = {}  # noqa: RUF012 - never written to


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_saved(path: Path, saved: Saved) -> None:
    """Write `path`.safetensors then `path`.json, which holds its hash: without a matching JSON it does not exist."""
    from safetensors.torch import save_file

    tensors_path, facts_path = path.with_suffix(".safetensors"), path.with_suffix(".json")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in saved.tensors.items()}
    with written_whole(tensors_path) as temporary:
        save_file(_without_shared_memory(tensors), temporary)
        digest = hash_file(temporary)
    write_text(facts_path, json.dumps({"sha256": digest, "facts": saved.facts}))


def read_saved(path: Path) -> Saved | None:
    """Read what `write_saved` wrote; None when it is absent, incomplete or does not match its hash."""
    from safetensors.torch import load_file

    tensors_path, facts_path = path.with_suffix(".safetensors"), path.with_suffix(".json")
    if not (tensors_path.exists() and facts_path.exists()):
        return None
    try:
        written = json.loads(facts_path.read_text(encoding="utf-8"))
        if hash_file(tensors_path) != written["sha256"]:
            logger.warning("%s does not match its hash and is passed over", tensors_path.name)
            return None
        return Saved(load_file(tensors_path), written["facts"])
    except (OSError, ValueError, KeyError) as error:
        logger.warning("%s cannot be read (%s) and is passed over", facts_path.name, type(error).__name__)
        return None


def write_next(folder: Path, index: int, saved: Saved) -> None:
    """Write checkpoint `index`, verify it on disk, and only then delete the earlier ones."""
    path = _numbered(folder, index)
    write_saved(path, saved)
    digest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
    if hash_file(path.with_suffix(".safetensors")) != digest:
        raise RunError(
            "The run", "a disk that keeps what is written", f"{path.name} read back differently",
            "Check the disk; the previous checkpoint is untouched.",
        )  # fmt: skip
    for earlier in indices(folder):
        if earlier != index:
            for suffix in (".json", ".safetensors"):  # the JSON first: without it the rest does not exist
                _numbered(folder, earlier).with_suffix(suffix).unlink(missing_ok=True)


def read_latest(folder: Path) -> tuple[int, Saved] | None:
    """The newest checkpoint that is whole, with its index."""
    for index in sorted(indices(folder), reverse=True):
        saved = read_saved(_numbered(folder, index))
        if saved is not None:
            return index, saved
    return None


def _numbered(folder: Path, index: int) -> Path:
    return folder / f"epoch-{index:06d}.json"


def indices(folder: Path) -> list[int]:
    """The numbers of the checkpoints that stand in a folder."""
    return [int(path.stem.removeprefix("epoch-")) for path in folder.glob("epoch-*.json")]


def _without_shared_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory (tied weights): copy every one but the first."""
    seen: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return separate
