"""What a test says, and when it can say nothing."""

from __future__ import annotations

from typing import NamedTuple


class TestResult(NamedTuple):
    """A statistic with its two-sided p value."""

    statistic: float
    p: float
    """How often chance alone gives a statistic at least as extreme, in [0, 1]; NaN where undefined, with a note."""
    n: int
    """Patients (or blocks) that the statistic rests on."""
    note: str = ""
    """What the reader must know of this result, in words; empty if nothing."""


TestResult.__test__ = False  # type: ignore[attr-defined]  # not a class of tests for pytest


def too_few(n: int, smallest_p: float, alpha: float) -> str:
    """Say that a test can show nothing with so few patients; empty where it can.

    Args:
        n: units that the statistic rests on.
        smallest_p: the smallest p that the test can give with them, whatever the scores.
        alpha: level of significance.

    >>> too_few(5, 2 / 2**5, 0.05)
    'With 5 units the smallest p this test can give is 0.0625: it cannot show a difference at 0.05.'
    >>> too_few(6, 2 / 2**6, 0.05)
    ''
    """
    if smallest_p <= alpha:
        return ""
    units = "1 unit" if n == 1 else f"{n} units"
    return (
        f"With {units} the smallest p this test can give is {smallest_p:.3g}: "
        f"it cannot show a difference at {alpha:g}."
    )


def join_notes(*notes: str) -> str:
    """Put the notes that are not empty into one text.

    >>> join_notes("", "One.", "Two.")
    'One. Two.'
    """
    return " ".join(note for note in notes if note)
