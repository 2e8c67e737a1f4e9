"""What a header announces is compared with what its file can hold and this machine can take, before it is allocated."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from medgraft.errors import DataError

DEFLATE = 1032
"""Bytes that one byte of a deflated stream (gzip, zip, PNG) can become at most; zlib's documentation."""
UNKNOWN = 32 * 2**30
"""Bytes of memory assumed where the system does not tell."""
CGROUP = Path("/sys/fs/cgroup/memory.max")


@cache
def largest() -> int:
    """Bytes of an array that may be read: half of what this process may take, since arrays are turned and rescaled."""
    limits = [UNKNOWN]
    with suppress(AttributeError, ValueError, OSError):  # not told on every system
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if CGROUP.exists() and (told := CGROUP.read_text().strip()).isdigit():  # within a container
        limits.append(int(told))
    return min(limits) // 2


def refuse_size(announced: int, path: Path, holds: int | None = None) -> None:
    """Refuse an array that its file cannot hold, or that does not fit into memory.

    Args:
        announced: bytes of the array by its header.
        path: the file.
        holds: bytes that the file can hold at most; None where its compression sets no bound.

    Raises:
        DataError: it is truncated or damaged; it is too large for this machine.
    """
    if holds is not None and announced > holds:
        raise DataError(
            "Reading an image", "a whole file",
            f"{path} announces {announced} bytes of pixels and can hold {holds}",
            "It is truncated or damaged: replace it with an intact copy or remove its row.",
        )  # fmt: skip
    if announced > largest():
        raise DataError(
            "Reading an image", f"pixels of at most {largest() / 2**30:.3g} GiB on this machine",
            f"{path} announces {announced / 2**30:.3g} GiB",
            "Open it where there is more memory, or replace it if it is damaged.",
        )  # fmt: skip


class SizedFile(io.BufferedReader):
    """A file of which no more is asked than it holds: reading a damaged length would allocate it first."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)
