"""Data sets without a manifest: a folder per class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medgraft.data.readers import known_extensions
from medgraft.data.tables import split_name
from medgraft.errors import DataError
from medgraft.types import SPLITS


def table_of_folder(path: Path) -> pd.DataFrame:
    """One folder per class, or splits first (train/validation/test), then classes; hidden files are left out.

    Raises:
        DataError: no images in folders.
    """
    rows = []
    tops = _folders(path)
    by_split = bool(tops) and all(split_name(top.name) in SPLITS for top in tops)
    for top in tops:
        for folder in _folders(top) if by_split else [top]:
            for file in sorted(folder.rglob("*")):
                name = file.name.lower()
                if file.is_file() and name.endswith(known_extensions()) and not name.startswith("."):
                    row = {"image": file.relative_to(path).as_posix(), "label": folder.name}
                    rows.append({**row, "split": split_name(top.name)} if by_split else row)
    if not rows:
        raise DataError(
            f"The folder {path}", "one folder per class with images in it", "it has no images in folders",
            f"Put images into {path}/CLASS/, or write a manifest.",
        )  # fmt: skip
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
