"""Data sets without a manifest: a folder per class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medgraft.data.readers import known_extensions
from medgraft.data.tables import split_name
from medgraft.errors import DataError
from medgraft.types import SPLITS


def table_of_folder(path: Path, labelled: bool = True) -> pd.DataFrame:
    """One folder per class, or splits first (train/validation/test), then classes; hidden files are left out.

    Args:
        path: the folder.
        labelled: False also takes images beside the folders of classes, or without any.

    Returns: a row per image. Nobody tells patients: each file counts as its own.

    Raises:
        DataError: no images.
    """
    rows = []
    tops = _folders(path)
    by_split = bool(tops) and all(split_name(top.name) in SPLITS for top in tops)
    for top in tops if by_split else [path]:
        files = [] if labelled else sorted(top.iterdir())
        for folder in _folders(top):
            files += sorted(folder.rglob("*"))
        for file in files:
            name = file.name.lower()
            if file.is_file() and name.endswith(known_extensions()) and not name.startswith("."):
                parts = file.relative_to(top).parts
                row = {"image": file.relative_to(path).as_posix(), "label": parts[0] if parts[1:] else ""}
                rows.append({**row, "split": split_name(top.name)} if by_split else row)
    if not rows:
        wanted = "one folder per class with images in it" if labelled else "images in it, at any depth"
        found = "it has no images in folders" if labelled else "it has none"
        place = f"{path}/CLASS/" if labelled else f"{path}"
        raise DataError(f"The folder {path}", wanted, found, f"Put images into {place}, or write a manifest.")
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
