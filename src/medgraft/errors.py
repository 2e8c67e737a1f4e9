"""Errors that tell the user what to do: one sentence of fact, one of remedy."""

from __future__ import annotations

import os
from pathlib import Path


class MedgraftError(Exception):
    """Something the user can mend.

    Args:
        who: who needs something, e.g. ``"The manifest"`` or ``"FineTune"``.
        needs: what it needs, e.g. ``"a column 'image'"``.
        got: what it got instead, with file and row where there are any.
        do: exactly what to do.

    >>> print(DataError("The manifest lungs.csv", "a column 'image'", "it has: path, label", "Rename 'path'."))
    The manifest lungs.csv needs a column 'image', but it has: path, label. Rename 'path'.
    """

    def __init__(self, who: str, needs: str, got: str, do: str) -> None:
        self.who, self.needs, self.got, self.do = who, needs, got, do
        super().__init__(who, needs, got, do)

    def __str__(self) -> str:
        text = f"{self.who} needs {self.needs}, but {self.got}. {self.do}"
        return "".join(
            letter if letter.isprintable() else " " for letter in text
        )  # damaged files hold anything


class DataError(MedgraftError):
    """A file, a manifest or a cohort is not as needed."""


class LeakError(DataError):
    """The same patient or the same pixels stand on both sides of a split."""


class ShapeError(MedgraftError):
    """Arrays, tensors or channels do not fit together."""


class ModelError(MedgraftError):
    """A model cannot be found, loaded, saved or regrafted."""


class SettingsError(MedgraftError):
    """A setting is unknown, out of range, or does not go with another."""


class NeedError(MedgraftError):
    """A method needs a field that the task does not offer."""


class RunError(MedgraftError):
    """A run folder cannot be started, continued or read."""


def cannot_write(path: str | Path, error: Exception) -> RunError:
    """The error for a file or folder that could not be written: which one, what the system said, what to do.

    >>> print(cannot_write("runs/porto/log.csv", OSError(28, "No space left on device")))
    Writing needs room and permission for runs/porto/log.csv, but the system said: No space left on device.
    Free some space or mend the rights, then repeat the same command; what was finished before is kept.
    """
    number = getattr(error, "errno", None)
    said = os.strerror(number) if number else (str(error) or type(error).__name__)
    return RunError(
        "Writing", f"room and permission for {path}", f"the system said: {said.rstrip('.')}",
        "Free some space or mend the rights, then repeat the same command; what was finished before is kept.",
    )  # fmt: skip
