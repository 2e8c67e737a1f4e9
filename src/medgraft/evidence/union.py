"""Put two pieces of evidence together so that nothing is lost and nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = dict[str, NDArray[np.uint8]]


def unite_rows(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Rows of both tables; a row that stands in both is kept as often as in the one that has it more often.

    Columns that only one table has are empty in the other's rows.

    >>> unite_rows(pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [2, 3]}))["a"].tolist()
    [1, 2, 3]
    """
    if first.equals(second) or second.empty:
        return first
    if first.empty:
        return second
    if set(first.columns) == set(second.columns):
        known = _counted(first)
        second = second[[key not in known for key in _keys(second[list(first.columns)])]]
        if second.empty:
            return first
    return pd.concat([first, second], ignore_index=True)


def _keys(table: pd.DataFrame) -> list[tuple[tuple[str, ...], int]]:
    """Each row as text with how often it stood before, so that repeated rows are told apart."""
    seen: dict[tuple[str, ...], int] = {}
    keys = []
    for row in table.itertuples(index=False, name=None):
        text = tuple(map(repr, row))
        seen[text] = seen.get(text, -1) + 1
        keys.append((text, seen[text]))
    return keys


def _counted(table: pd.DataFrame) -> set[tuple[tuple[str, ...], int]]:
    return set(_keys(table))


def unite_tables(
    first: Mapping[str, pd.DataFrame], second: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Tables of both by name; of the same name, their rows."""
    united = dict(first)
    for name, table in second.items():
        united[name] = unite_rows(united[name], table) if name in united else table
    return united


def unite_images(first: Images, second: Images) -> tuple[Images, dict[str, str]]:
    """Pictures of both by name, and the new names of those whose name was taken by another picture."""
    united, renamed = dict(first), {}
    for name, image in second.items():
        free, number = name, 1
        while free in united and not np.array_equal(united[free], image):
            number += 1
            free = f"{name} ({number})"
        if free != name:
            renamed[name] = free
        united[free] = image
    return united, renamed


def unique(items: Iterable[Any]) -> tuple[Any, ...]:
    """Equal items once, in order of first appearance.

    >>> unique([{"a": 1}, {"a": 2}, {"a": 1}])
    ({'a': 1}, {'a': 2})
    """
    first_seen: dict[str, Any] = {}
    for item in items:
        first_seen.setdefault(json.dumps(item, sort_keys=True), item)
    return tuple(first_seen.values())
