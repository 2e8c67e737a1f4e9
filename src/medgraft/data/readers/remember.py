"""Files that many rows share (a slide, a stack, a volume) are decoded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

FILES = 8
"""Decoded files kept in memory; the rows of one file usually follow one another."""


def remembered(
    decode: Callable[[Path, str | None], np.ndarray], path: Path, key: str | None = None
) -> np.ndarray:
    """What `decode(path, key)` returns, kept while the file's size and time stay the same; read-only."""
    status = path.stat()
    return _decode_once(decode, path, key, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=FILES)
def _decode_once(
    decode: Callable[[Path, str | None], np.ndarray], path: Path, key: str | None, modified: int, size: int
) -> np.ndarray:
    array = decode(path, key)
    array.setflags(write=False)
    return array
