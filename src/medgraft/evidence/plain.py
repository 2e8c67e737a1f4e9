"""Provenance as plain data: what goes into JSON and comes back equal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from medgraft.errors import DataError


def make_plain(value: object, place: str = "provenance") -> Any:
    """Turn numpy numbers, paths, tuples and sets into what JSON knows; inf and NaN become text.

    Raises:
        DataError: something else is in there, e.g. an object of a class.

    >>> make_plain({"size": (96, 96), "clip": float("inf")})
    {'size': [96, 96], 'clip': 'inf'}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): make_plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        return [make_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise DataError(
        "Provenance", "text, numbers, lists and dictionaries", f"{place} is of class {type(value).__name__}",
        "Give its plain form, e.g. `.model_dump(mode='json')` of settings.",
    )  # fmt: skip
