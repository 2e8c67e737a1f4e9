"""Files that are whole or absent: written under another name on the same disk, then renamed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medgraft.errors import RunError, cannot_write


def temporary_beside(path: Path) -> Path:
    """The name under which a file is written before it is renamed; what a killed writer left there is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            "The run folder", "to be a folder that can be written to", f"{path.parent} is not ({error.strerror})",
            "Choose another folder with --out.",
        ) from error  # fmt: skip
    for leftover in leftovers(path):
        leftover.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def leftovers(path: Path) -> list[Path]:
    """What writers of `path` left beside it that live no more; another process may be writing the same file now."""
    found = path.parent.glob(f".{glob.escape(path.name)}.*.tmp")
    return [file for file in found if not _another_writes(file)]


def _another_writes(temporary: Path) -> bool:
    process = temporary.suffixes[-2].lstrip(".")
    if not process.isdecimal() or int(process) in (0, os.getpid()):
        return False
    try:
        os.kill(int(process), 0)  # sends nothing, asks only whether it lives
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name for a file; it becomes `path` when the block ends, and nothing remains where it fails.

    Raises:
        RunError: no room or no permission; the sentence names `path`, and what was there before stays.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with written_whole(path) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('whole', 1)
    """
    from safetensors import SafetensorError  # which is no OSError even where the disk is full

    temporary = temporary_beside(path)
    try:
        yield temporary
        _reach_the_disk(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never a part."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _reach_the_disk(file: Path) -> None:
    """Some disks say only now that they are full."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
