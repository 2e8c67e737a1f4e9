"""Arrays that were costly to make, on disk: verified when read, made again when damaged, never in the way."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medgraft.data.in_memory import read_only
from medgraft.types import JSON

logger = logging.getLogger(__name__)

Make = Callable[[], Mapping[str, np.ndarray]]

FORMAT = "medgraft arrays 1"
HASH_LINE = 65
"""Bytes of a SHA-256 in hexadecimal and its line end."""
ALIGNMENT = 64
"""Bytes at whose multiples arrays begin: a cache line, which every dtype divides."""
STALE_SECONDS = 3600
"""Age from which a temporary file counts as left by a killed writer."""
KEPT_SHARE = 0.9
"""What is kept of the limit when entries are evicted, so that not every new entry evicts another."""
KEPT_FREE = 2**31
"""Bytes that stay free on the disk: checkpoints and predictions need room more than the cache does."""
LIBRARIES = ("numpy", "torch", "pillow", "tifffile", "pydicom", "nibabel", "pylibjpeg-openjpeg", "pyjpegls")
"""Whose decoding or arithmetic the arrays hold."""


class ArrayCache:
    """Keep arrays that are costly to make in a folder, for this run and for later ones.

    An entry is one file, written under a temporary name and renamed, so that processes and threads may share the
    folder: who writes the same key again writes the same bytes. Its SHA-256 is compared when a process first reads
    it; a damaged entry is deleted and made again. A folder that cannot be read or written, or is full, costs
    one warning and no more: the arrays are then made each time. Nothing in the folder is ever executed.

    Args:
        folder: made when it is first written to; holds prepared pixels of patients, as the source files do.
        limit_bytes: the entries used longest ago are deleted beyond this; None keeps all.

    >>> import tempfile
    >>> cache = ArrayCache(Path(tempfile.mkdtemp()))
    >>> key = cache_key("file-hash", {"size": [2, 2]})
    >>> cache.get(key, lambda: {"image": np.ones((2, 2))})["image"].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    >>> cache.get(key, lambda: {})["image"].flags.writeable
    False
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._reads, self._writes = True, True
        self._verified: dict[str, _Identity] = {}
        self._bytes: int | None = None  # of all entries; None until the folder was looked through

    def get(self, key: str, make: Make) -> Mapping[str, np.ndarray]:
        """The arrays of a key, made only if they are not in the folder.

        Args:
            key: from `cache_key`: it must name everything that the arrays depend on.
            make: returns the arrays by name, of any shape, of real numbers or booleans; its errors pass through.

        Returns: read-only arrays by name, mapped from the file. Each mapping holds a file open while it lives: copy
            what is kept in large numbers.
        """
        found = self._read(key)
        if found is not None:
            return found
        made = {name: np.asarray(array, order="C") for name, array in make().items()}
        if self._writes and self._write(key, made):
            found = self._read(key)
            if found is not None:
                return found
        return {name: read_only(array) for name, array in made.items()}

    # Reading

    def _read(self, key: str) -> dict[str, np.ndarray] | None:
        if not self._reads:
            return None
        path = self._path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                identity = _Identity(status.st_ino, status.st_size, status.st_mtime_ns)
                if self._verified.get(key) != identity:
                    _verify(file, key)
                    self._verified[key] = identity
                arrays = _map(file)
        except FileNotFoundError:
            return None
        except _DamagedError as damage:
            logger.warning("the cached arrays %s are damaged (%s) and are made again", path, damage)
            self._delete(path)
            return None
        except OSError as error:
            self._switch_off(error, reading=True)
            return None
        self._note_use(path, status.st_mtime_ns)
        return arrays

    def _note_use(self, path: Path, modified: int) -> None:
        """The access time orders eviction; kept by hand because file systems often do not."""
        with suppress(OSError):  # a folder that may only be read, or an entry that another process evicted
            os.utime(path, ns=(time.time_ns(), modified))

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._switch_off(error, reading=True)

    # Writing

    def _write(self, key: str, arrays: Mapping[str, np.ndarray]) -> bool:
        pieces, size = _lay_out(key, arrays)
        if self.limit_bytes is not None and size > self.limit_bytes:
            return False
        path = self._path(key)
        # another writer's temporary file is left alone: the same key may be made twice at once
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < size + KEPT_FREE:
                raise OSError(errno.ENOSPC, f"less than {KEPT_FREE / 2**30:.0f} GiB would stay free")
            with temporary.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                status = os.fstat(file.fileno())
            # not synchronised to disk: an entry that a power cut leaves in part fails its hash and is made again
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):  # the same trouble, told once below
                temporary.unlink(missing_ok=True)
            self._switch_off(error, reading=False)
            return False
        self._verified[key] = _Identity(status.st_ino, status.st_size, status.st_mtime_ns)
        self._evict(size)
        return True

    def _evict(self, added: int) -> None:
        """Delete the entries used longest ago once there are too many bytes."""
        if self.limit_bytes is None:
            return
        if self._bytes is not None and self._bytes + added <= self.limit_bytes:
            self._bytes += added
            return
        entries = sorted(self._entries(), key=lambda entry: entry.used)  # other processes write here too
        self._bytes = sum(entry.size for entry in entries)
        if self._bytes <= self.limit_bytes:
            return
        for entry in entries[:-1]:  # the last is the one just written
            if self._bytes <= KEPT_SHARE * self.limit_bytes:
                break
            self._delete(entry.path)
            self._bytes -= entry.size

    def _entries(self) -> Iterator[_Entry]:
        """All entries in the folder; what killed writers left there is removed on the way."""
        for path in self.folder.glob("*/*"):
            try:
                status = path.stat()
            except OSError:
                continue  # gone meanwhile
            if path.suffix == ".arrays":
                yield _Entry(status.st_atime_ns, status.st_size, path)
            elif path.suffix == ".tmp" and time.time() - status.st_mtime > STALE_SECONDS:
                self._delete(path)

    def _switch_off(self, error: OSError, *, reading: bool) -> None:
        was_on = self._reads if reading else self._writes
        self._writes = False
        if reading:
            self._reads = False
        if was_on:
            what = "read" if reading else "written to"
            logger.warning(
                "the cache folder %s cannot be %s (%s), so the run goes on from the source files",
                self.folder, what, error.strerror,
            )  # fmt: skip

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.arrays"


def cache_key(file_hash: str, settings: JSON) -> str:
    """Name arrays by all that decides them: a file's bytes, the settings, and the code that makes them.

    Args:
        file_hash: `hash_of_file` of the source.
        settings: what is done to it; any JSON, order irrelevant.

    Returns: 64 hexadecimal digits. Other versions of medgraft or of a decoding library have other keys, and so have
        other numbers of threads and instruction sets: sums over pixels differ between them in the last bit.

    >>> cache_key("a", {"x": 1, "y": 2}) == cache_key("a", {"y": 2, "x": 1}) != cache_key("b", {"y": 2, "x": 1})
    True
    """
    import torch  # here, so that commands that read no pixels start at once

    machine = [torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()]
    named = json.dumps([FORMAT, _code(), machine, file_hash, settings], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()


@lru_cache(maxsize=1)
def _code() -> list[str]:
    """Identifies the code that reads and prepares: our own by its text, so that nobody has to count versions."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in ("data", "images"):
        for file in sorted((package / part).rglob("*.py")):
            digest.update(file.read_bytes())
    found = [digest.hexdigest()]
    plugged = [point.dist.name for point in metadata.entry_points(group="medgraft.readers") if point.dist]
    for library in (*LIBRARIES, *sorted(set(plugged))):
        try:
            found.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            continue
    return found


class _Identity(NamedTuple):
    """A file that was verified; another writer's file has another one."""

    inode: int
    size: int
    modified: int


class _Entry(NamedTuple):
    used: int
    size: int
    path: Path


class _DamagedError(Exception):
    """An entry is not what was written."""


# An entry: the SHA-256 of all that follows as one line, a line of JSON that says what the arrays are, then the arrays.


def _lay_out(key: str, arrays: Mapping[str, np.ndarray]) -> tuple[list[bytes | memoryview], int]:
    """What is written, piece by piece, and its size in bytes."""
    listed, end = {}, 0
    for name, array in arrays.items():
        if array.dtype.kind not in "buif":
            raise TypeError(f"a cache holds real numbers and booleans, not {array.dtype} ('{name}')")
        listed[name] = [array.dtype.str, list(array.shape), end]
        end = _aligned(end + array.nbytes)
    line = json.dumps({"format": FORMAT, "key": key, "arrays": listed}).encode()
    pieces: list[bytes | memoryview] = [
        line.ljust(_aligned(HASH_LINE + len(line) + 1) - HASH_LINE - 1) + b"\n"
    ]
    for array in arrays.values():
        pieces += [array.reshape(-1).view(np.uint8).data, bytes(_aligned(array.nbytes) - array.nbytes)]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    pieces.insert(0, f"{digest.hexdigest()}\n".encode())
    return pieces, sum(len(piece) for piece in pieces)


def _aligned(number: int) -> int:
    return -(-number // ALIGNMENT) * ALIGNMENT


def _verify(file: BufferedReader, key: str) -> None:
    # read, not mapped: an unreadable sector is then an error of the system instead of the end of the process
    promised = file.readline(HASH_LINE)
    if hashlib.file_digest(file, "sha256").hexdigest().encode() != promised.strip():
        raise _DamagedError("its contents do not match their hash")
    file.seek(HASH_LINE)
    facts = json.loads(file.readline())
    if (facts["format"], facts["key"]) != (FORMAT, key):
        raise _DamagedError("it belongs to another key")


def _map(file: BufferedReader) -> dict[str, np.ndarray]:
    file.seek(HASH_LINE)
    listed = json.loads(file.readline())["arrays"]
    start = file.tell()
    buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.ndarray(tuple(shape), np.dtype(dtype), buffer=buffer, offset=start + offset)
        for name, (dtype, shape, offset) in listed.items()
    }
