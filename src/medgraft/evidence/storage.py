"""Evidence as a folder that is there whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medgraft.errors import DataError, cannot_write
from medgraft.evidence.evidence import Evidence
from medgraft.whole_files import leftovers

INDEX = "evidence.json"
FORMAT = 1
PARTS = {INDEX, "facts.parquet", "provenance.json", "tables", "images"}


def save_evidence(evidence: Evidence, folder: Path) -> Path:
    """Write to a temporary neighbour, then put it in the place of `folder`."""
    _refuse_other_files(folder)
    for leftover in leftovers(folder):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _write(evidence, temporary)
        _replace(folder, temporary)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_evidence(folder: Path) -> Evidence:
    """Read a folder and check every file against its hash."""
    previous = _previous(folder)
    if not folder.exists() and previous.exists():
        previous.rename(folder)  # killed between the two renames of `_replace`
    index = _read_index(folder)
    for name, digest in index["hashes"].items():
        path = folder / name
        if not path.is_file() or _hash(path) != digest:
            state = "was changed" if path.is_file() else "is missing"
            raise DataError(
                f"The evidence in {folder}", "its files as they were written", f"{name} {state}",
                "Write the evidence again, or restore the folder from a copy.",
            )  # fmt: skip
    return Evidence(
        facts=pd.read_parquet(folder / "facts.parquet"),
        provenance=tuple(json.loads((folder / "provenance.json").read_text("utf-8"))),
        tables={name: pd.read_parquet(folder / file) for name, file in index["tables"].items()},
        images={name: _read_image(folder / file) for name, file in index["images"].items()},
        warnings=tuple(index["warnings"]),
    )


def _write(evidence: Evidence, folder: Path) -> None:
    from PIL import Image

    (folder / "tables").mkdir(parents=True)
    (folder / "images").mkdir()
    evidence.facts.to_parquet(folder / "facts.parquet")
    _write_json(folder / "provenance.json", list(evidence.provenance))
    tables = {name: f"tables/{_file_name(name, 'parquet')}" for name in evidence.tables}
    images = {name: f"images/{_file_name(name, 'png')}" for name in evidence.images}
    for name, file in tables.items():
        _write_table(name, evidence.tables[name], folder / file)
    for name, file in images.items():
        Image.fromarray(evidence.images[name]).save(folder / file, format="PNG")
    files = ["facts.parquet", "provenance.json", *tables.values(), *images.values()]
    index = {
        "format": FORMAT,
        "warnings": list(evidence.warnings),
        "tables": tables,
        "images": images,
        "hashes": {name: _hash(folder / name) for name in files},
    }
    _write_json(folder / INDEX, index)


def _write_table(name: str, table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_parquet(path)
    except (ValueError, TypeError) as error:  # pyarrow's errors are both
        reason = " ".join(str(part) for part in error.args)
        raise DataError(
            f"The table '{name}'", "one type of value per column", f"it cannot be stored: {reason}",
            "Convert the column to text or to numbers.",
        ) from error  # fmt: skip


def _replace(folder: Path, new: Path) -> None:
    previous = _previous(folder)
    if not folder.exists():
        new.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
        return
    shutil.rmtree(previous, ignore_errors=True)
    folder.rename(previous)
    try:
        new.rename(folder)
    except OSError:
        previous.rename(folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _refuse_other_files(folder: Path) -> None:
    if not folder.exists():
        return
    others = (
        ["it is a file"] if not folder.is_dir() else sorted({path.name for path in folder.iterdir()} - PARTS)
    )
    if others:
        held = others[0] if not folder.is_dir() else f"{folder} also holds {', '.join(others[:3])}"
        raise DataError("Evidence", "a folder of its own", held, "Name another folder.")


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
    except (OSError, ValueError) as error:
        got = "the folder does not exist" if not folder.exists() else f"its {INDEX} is missing or unreadable"
        raise DataError(
            f"The evidence in {folder}", f"a file {INDEX}", got,
            "Name the folder that `evaluate` or `demo` wrote as evidence.",
        ) from error  # fmt: skip
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(
            f"The evidence in {folder}", f"format {FORMAT}", f"its {INDEX} has another one",
            "Read it with the version of medgraft that wrote it.",
        )  # fmt: skip
    return index


def _file_name(name: str, suffix: str) -> str:
    """Readable, safe on every file system, and different for different names."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.{suffix}"


def _read_image(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
