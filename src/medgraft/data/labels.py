"""Cells of a manifest to numbers: one class, or several labels that may be missing or uncertain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from medgraft.errors import DataError

LABEL_PREFIX = "label:"
MISSING = ""
Uncertain = Literal["ignore", "zeros", "ones", "smooth"]
UNCERTAIN: dict[str, float] = {"ignore": float("nan"), "zeros": 0.0, "ones": 1.0, "smooth": 0.7}
"""What -1 becomes; `smooth` is the middle of the range 0.55-0.85 in use for chest X-rays."""


def without_empty_truth(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a manifest without the columns `label` and `mask` where these are empty in every row.

    So a site that nobody annotated offers no truth, although it shares a manifest with others. Empty `labels` and
    `boxes` stay: they say that there is nothing to be seen.

    >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "mask": ["", "b_mask.png"]})
    >>> list(without_empty_truth(table)), list(without_empty_truth(table[:1]))
    (['image', 'mask'], ['image'])
    """
    empty = [
        name
        for name in ("label", "mask")
        if name in table.columns and len(table) and (table[name] == MISSING).all()
    ]
    return table.drop(columns=empty) if empty else table


def encode_class(cells: pd.Series, classes: Sequence[str], name: str) -> np.ndarray:
    """Class names to (N,) int64.

    Raises:
        DataError: a name that is not a class; the row is named.
    """
    index = {label: position for position, label in enumerate(classes)}
    for row, cell in cells.items():
        if cell not in index:
            raise DataError(
                name,
                f"labels among {', '.join(classes)}",
                f"row {row} has {cell!r}",
                "Correct it or remove the row.",
            )
    return np.asarray([index[cell] for cell in cells], dtype=np.int64)


def encode_labels(table: pd.DataFrame, classes: Sequence[str], uncertain: str, name: str) -> np.ndarray:
    """Columns ``label:NAME`` (1, 0, -1 or empty) or one column ``labels`` ("a|b") to (N, K) float32, NaN where missing.

    >>> encode_labels(pd.DataFrame({"label:a": ["1", "-1", ""]}), ["a"], "zeros", "m")[:, 0].tolist()
    [1.0, 0.0, nan]
    """
    if "labels" in table.columns:
        sets = [set(split_labels(cell)) for cell in table["labels"]]
        return np.asarray([[float(label in found) for label in classes] for found in sets], dtype=np.float32)
    columns = []
    for label in classes:
        column = LABEL_PREFIX + label
        known: dict[str, float] = {}
        for row, cell in table[column].items():
            if cell not in known:  # a handful of spellings in hundreds of thousands of rows
                known[cell] = _number(cell, row, column, uncertain, name)
        columns.append([known[cell] for cell in table[column]])
    return np.asarray(columns, dtype=np.float32).T.reshape(len(table), len(classes))


def split_labels(cell: str) -> list[str]:
    """Names in a cell such as "effusion|nodule".

    >>> split_labels("effusion | nodule"), split_labels("")
    (['effusion', 'nodule'], [])
    """
    return [label.strip() for label in cell.split("|") if label.strip()]


def natural_order(names: Iterable[str]) -> list[str]:
    """Names sorted, numbers by value.

    >>> natural_order(["10", "9", "1"]), natural_order(["b", "a"])
    (['1', '9', '10'], ['a', 'b'])
    """
    names = set(names)
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _number(cell: str, row: object, column: str, uncertain: str, name: str) -> float:
    if cell == MISSING:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = 2.0
    if value == -1:
        return UNCERTAIN[uncertain]
    if value not in (0.0, 1.0):
        raise DataError(
            name, f"1, 0, -1 or an empty cell in '{column}'", f"row {row} has {cell!r}", "Correct the cell."
        )
    return value
