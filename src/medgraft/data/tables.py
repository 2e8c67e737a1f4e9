"""A manifest's table as text cells, however it was saved: separators, marks, blank lines and spellings of splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from medgraft.errors import DataError

SPELLINGS = {
    "training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"
}  # fmt: skip
"""Other words in use for the three splits."""


def read_table(path: Path) -> pd.DataFrame:
    """Read CSV, TSV or Parquet; every cell is text without blanks around it.

    Returns: the index counts rows below the header from 1; blank lines are left out and counted, so that row n is
        line n + 1 of a text file.

    Raises:
        DataError: not a table, a column twice, no column `image`, no rows.
    """
    try:
        table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataError(
            f"The manifest {path}", "a CSV, TSV or Parquet table", f"it cannot be read: {reason}",
            "Save it as CSV in UTF-8 with one header line.",
        ) from error  # fmt: skip
    table = table.loc[:, [column != "" for column in table.columns]]  # an index that pandas or Excel wrote
    _refuse_columns(table, path)
    table = table.map(str.strip)
    table.index = pd.RangeIndex(1, len(table) + 1)
    table = table[(table != "").any(axis=1)]
    if len(table) == 0:
        raise DataError(f"The manifest {path}", "at least one row", "it has none", "Add rows.")
    if "split" in table.columns:
        table["split"] = [split_name(cell) for cell in table["split"]]
    return table.astype(object)


def split_name(word: str) -> str:
    """The name we use for a split, or the word as it is.

    >>> split_name("Val"), split_name("holdout")
    ('validation', 'holdout')
    """
    lowered = word.lower()
    return SPELLINGS.get(lowered, lowered if lowered in ("train", "validation", "test") else word)


def _read_text(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else max(",;\t", key=header.count)
    # without a header for pandas, which renames doubled columns and takes a surplus field for an index, silently
    cells = pd.read_csv(
        path,
        sep=separator,
        header=None,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,
        encoding="utf-8-sig",
    ).fillna("")
    table = cells.iloc[1:]
    table.columns = pd.Index([name.strip() for name in cells.iloc[0]])
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    return pd.DataFrame(
        {column: [_text(cell) for cell in table[column]] for column in table.columns}, dtype=object
    )


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():  # whole numbers beside empty cells
        return str(int(cell))
    if hasattr(cell, "__len__") and not isinstance(cell, str):
        raise ValueError("a cell holds a list, and cells must hold text or numbers")
    return "" if pd.isna(cell) else str(cell)


def _refuse_columns(table: pd.DataFrame, path: Path) -> None:
    names = [str(column) for column in table.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(
            f"The manifest {path}",
            "every column once",
            f"it has {', '.join(doubled)} twice",
            "Remove one of the two.",
        )
    if "image" not in names:
        raise DataError(
            f"The manifest {path}", "a column 'image'", f"it has: {', '.join(names)}",
            "Rename the column that holds the image files to 'image'.",
        )  # fmt: skip
