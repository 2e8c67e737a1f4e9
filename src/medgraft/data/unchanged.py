"""Files must stay as they are while something is computed from them: a result stems from one state of the data."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from medgraft.data.readers import size_and_time
from medgraft.errors import DataError


class UnchangedFiles:
    """Notes size and time of files when they are first looked at, and refuses those that changed since.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "a.png")
    >>> _ = file.write_bytes(b"one")
    >>> files = UnchangedFiles()
    >>> files.note(file)
    >>> files.refuse_changed(file, "row 1, image a.png")
    >>> _ = file.write_bytes(b"another")
    >>> files.refuse_changed(file, "row 1, image a.png")
    Traceback (most recent call last):
        ...
    medgraft.errors.DataError: A run needs files that stay as they are, but row 1, image a.png has changed since ...
    """

    def __init__(self) -> None:
        self._noted: dict[Path, tuple[int, int]] = {}

    def note(self, file: Path) -> None:
        """Remember a file as it is now, unless it is known."""
        if file not in self._noted:
            with suppress(OSError):  # whoever reads a missing file says so
                self._noted[file] = size_and_time(file)

    def refuse_changed(self, file: Path, where: str) -> None:
        """Compare a file with what was noted.

        Args:
            file: as given to `note`.
            where: row and file, for the message.

        Raises:
            DataError: its size or time differs, or it is gone.
        """
        now = None
        with suppress(OSError):
            now = size_and_time(file)
        if self._noted.get(file, now) != now:
            what = (
                "is gone although it was there before"
                if now is None
                else "has changed since it was first read"
            )
            raise DataError(
                "A run", "files that stay as they are", f"{where} {what}",
                "Put the file back and repeat the same command, or start anew in another folder.",
            )  # fmt: skip
