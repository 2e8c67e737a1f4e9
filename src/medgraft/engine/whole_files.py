"""Files and folders that are whole or absent: written under another name on the same disk, then renamed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medgraft.errors import RunError, cannot_write


def temporary_beside(path: Path) -> Path:
    """The name under which something is written before it is renamed; what a killed writer left there is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            "The run folder", "to be a folder that can be written to", f"{path.parent} is not ({error.strerror})",
            "Choose another folder with --out.",
        ) from error  # fmt: skip
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        _remove(leftover)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


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
        _remove(temporary)


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` once all of them are written; none do where one fails.

    Raises:
        RunError: no room or no permission.
    """
    parent_is_new = not folder.parent.exists()
    place = temporary_beside(folder)
    try:
        place.mkdir()
        yield place
        folder.mkdir(exist_ok=True)
        for file in sorted(place.iterdir()):
            _reach_the_disk(file)
            file.replace(folder / file.name)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        _remove(place)
        if parent_is_new and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never a part."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _reach_the_disk(file: Path) -> None:
    """Some disks say only now that they are full."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
