"""Files that many rows share (a slide, a stack, a volume) are decoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

FILES = 8
"""Decoded files kept in memory; the rows of one file usually follow one another."""
BYTES = 2**29
"""Their bytes in all, but for the last file, which may be larger."""

Decode = Callable[[Path, str | None], np.ndarray]
_kept: OrderedDict[tuple[object, ...], np.ndarray] = OrderedDict()
_turns: dict[tuple[object, ...], Lock] = {}
_lock = Lock()


def remembered(decode: Decode, path: Path, key: str | None = None) -> np.ndarray:
    """What `decode(path, key)` returns, kept while the file's size and time stay the same; read-only."""
    status = path.stat()
    name = (decode, path, key, status.st_mtime_ns, status.st_size)
    with _lock:
        if name in _kept:
            _kept.move_to_end(name)
            return _kept[name]
        turn = _turns.setdefault(name, Lock())
    with turn:  # threads that ask for the same file wait for the first of them
        with _lock:
            if name in _kept:
                return _kept[name]
            _make_room(keep=0)  # before the next file takes its own
        try:
            array = decode(path, key)
            array.setflags(write=False)
            with _lock:
                _kept[name] = array
                _make_room(keep=1)
        finally:
            with _lock:
                _turns.pop(name, None)
    return array


def _make_room(keep: int) -> None:
    while len(_kept) > keep and (len(_kept) > FILES or sum(one.nbytes for one in _kept.values()) > BYTES):
        _kept.popitem(last=False)
