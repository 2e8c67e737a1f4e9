"""Tables of dots: rows are sources or scores, columns targets, each with a scale; a dot is a value with its range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from medgraft.reports.comparison import Scale


class Dot(NamedTuple):
    """A value in its column; places in percent of the width, low and high None without a range.

    shown, range: as text, the range empty where there is none.
    stands_out: it is the best of its column. hollow: it is kept out of the judgement.
    """

    place: float
    low: float | None
    high: float | None
    shown: str
    range: str = ""
    stands_out: bool = False
    hollow: bool = False


class DotRow(NamedTuple):
    """A name, a remark below it, and a dot for every column; None where there is none."""

    name: str
    note: str
    dots: list[Dot | None]


class DotColumn(NamedTuple):
    """A target, ticks of its scale, where its dashed line stands, and whether its dots mean anything."""

    name: str
    ticks: list[tuple[float, str]]
    reference: float | None
    readable: bool


class DotTable(NamedTuple):
    """Columns are panels; rows are the same in all."""

    heading: str
    columns: list[DotColumn]
    rows: list[DotRow]


def few_ticks(scale: Scale) -> list[tuple[float, str]]:
    """The ends of a scale, and its middle where that is a tick: more have no room in a column.

    >>> few_ticks(Scale(0.2, 0.6))
    [(0.0, '0.2'), (50.0, '0.4'), (100.0, '0.6')]
    """
    ticks = scale.ticks
    middle = [ticks[len(ticks) // 2]] if len(ticks) % 2 and len(ticks) > 2 else []
    return [ticks[0], *middle, ticks[-1]]


def range_of(scale: Scale, low: float, high: float) -> tuple[float | None, float | None]:
    """Both ends of a range on a scale; None where they are unknown.

    >>> range_of(Scale(0.0, 1.0), 0.25, 0.5), range_of(Scale(0.0, 1.0), float("nan"), 0.5)
    ((25.0, 50.0), (None, None))
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    return scale.place(low), scale.place(high)


def scale_of(values: Sequence[float]) -> Scale:
    """A scale that spans the finite ones of some values."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    return Scale(min(known), max(known))
