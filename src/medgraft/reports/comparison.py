"""Subjects side by side: means over seeds, intervals and seed spread, as a table and as strips."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, in_order, number, span


class Cell(NamedTuple):
    """One score of one subject: mean over seeds of the value and of the interval's ends.

    spread: standard deviation over seeds; NaN with one seed.
    stands_out: better than every other subject, intervals not overlapping.
    undefined: how often a distance does not exist, as text; empty where it always does.
    """

    value: float
    low: float
    high: float
    spread: float
    seeds: tuple[float, ...]
    stands_out: bool = False
    undefined: str = ""
    digits: int = 3

    @property
    def shown(self) -> str:
        """The mean, as text."""
        return number(self.value, self.digits)

    @property
    def interval(self) -> str:
        """The interval, as text; empty where there is none."""
        return span(self.low, self.high, self.digits)

    @property
    def spread_shown(self) -> str:
        """The spread over seeds, as text; empty with one seed."""
        return f"±{number(self.spread, self.digits)}" if math.isfinite(self.spread) else ""


class Table(NamedTuple):
    """Rows are subjects; None where a subject lacks the score."""

    headings: list[str]
    rows: list[tuple[str, list[Cell | None]]]


class Strip(NamedTuple):
    """One subject in the chart of intervals; places in percent of the width; one dot per seed or unit."""

    subject: str
    cell: Cell
    value: float
    low: float | None
    high: float | None
    dots: list[float]


class Strips(NamedTuple):
    """A chart of strips on one scale, its labelled ticks, and where the reference stands."""

    strips: list[Strip]
    ticks: list[tuple[float, str]]
    reference: float | None


def make_cell(panel: Panel, subject: str, metric: str, part: str = "") -> Cell | None:
    """Summarise a score of a subject over its seeds; undefined seeds are left out."""
    numbers = panel.values(subject, metric, part)
    if not len(numbers):
        return None
    numbers = numbers[~np.isnan(numbers[:, 0])]
    values, ends = numbers[:, 0], numbers[:, 1:]
    is_distance = describe_score(metric).is_distance
    undefined = _count_undefined(panel, subject, part) if is_distance else ""
    if not len(values):
        return Cell(math.nan, math.nan, math.nan, math.nan, (), undefined=undefined)
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    low, high = ends.mean(axis=0)
    return Cell(
        float(values.mean()),
        float(low),
        float(high),
        spread,
        tuple(values.tolist()),
        undefined=undefined,
        digits=2 if is_distance else 3,
    )


def _count_undefined(panel: Panel, subject: str, part: str) -> str:
    """Images without a distance among all, each counted once per class and seed; empty where there are none."""
    wanted = {"part", "images", "undefined"}
    tables = [table for table in panel.scores.get(subject, {}).values() if wanted <= set(table.columns)]
    if not tables:
        return ""
    lines = pd.concat(tables)
    lines = lines[lines["part"] == part] if part else lines
    count, images = int(lines["undefined"].sum()), int(lines["images"].sum())
    return f"undefined for {count:,} of {images:,}" if count else ""


def score_table(panel: Panel) -> Table:
    """Every score over all classes, the main one first."""
    whole = set(panel.facts.loc[panel.facts["part"] == "", "metric"])
    names = sorted(in_order(whole), key=lambda name: name != panel.main)
    columns = [_column(panel, name, "") for name in names]
    return _table([describe_score(name).label for name in names], panel, columns)


def part_tables(panel: Panel) -> list[tuple[str, Table]]:
    """For every score that is known by class, the classes side by side; a single class repeats the whole."""
    tables = []
    whole = set(panel.facts.loc[panel.facts["part"] == "", "metric"])
    for name in in_order(set(panel.facts.loc[panel.facts["part"] != "", "metric"])):
        of_score = panel.facts[(panel.facts["metric"] == name) & (panel.facts["part"] != "")]
        parts = list(dict.fromkeys(of_score["part"]))
        if len(parts) == 1 and name in whole:
            continue
        tables.append(
            (describe_score(name).label, _table(parts, panel, [_column(panel, name, part) for part in parts]))
        )
    return tables


def interval_strips(panel: Panel) -> Strips | None:
    """The main score of every subject with its interval, on one scale; None where nothing is defined."""
    cells = {subject: make_cell(panel, subject, panel.main) for subject in panel.subjects}
    shown = {subject: cell for subject, cell in cells.items() if cell is not None and cell.seeds}
    if not shown:
        return None
    ends = [end for c in shown.values() for end in (c.low, c.high, *c.seeds) if math.isfinite(end)]
    scale = Scale(min(ends), max(ends))
    strips = [
        Strip(
            subject=subject,
            cell=cell,
            value=scale.place(cell.value),
            low=scale.place(cell.low) if cell.interval else None,
            high=scale.place(cell.high) if cell.interval else None,
            dots=[scale.place(value) for value in cell.seeds] if len(cell.seeds) > 1 else [],
        )
        for subject, cell in shown.items()
    ]
    reference = _reference(panel)
    line = scale.place(shown[reference].value) if reference in shown else None
    return Strips(strips, scale.ticks, line)


def unit_strips(panel: Panel) -> Strips | None:
    """The main score of every single unit, averaged over parts and seeds; None without tables of scores."""
    values: dict[str, list[float]] = {}
    for subject in panel.subjects:
        tables = [t for t in panel.scores.get(subject, {}).values() if {"unit", panel.main} <= set(t.columns)]
        if tables:
            means = pd.concat(tables).groupby("unit")[panel.main].mean().dropna()
            values[subject] = [float(value) for value in means]
    ends = [value for of_subject in values.values() for value in of_subject]
    if not ends:
        return None
    scale = Scale(min(ends), max(ends))
    strips = []
    for subject, dots in values.items():
        cell = make_cell(panel, subject, panel.main)
        if cell is not None and dots:
            middle = float(np.median(dots))
            shown = cell._replace(value=middle, low=min(dots), high=max(dots))
            strips.append(
                Strip(subject, shown, scale.place(middle), None, None, [scale.place(dot) for dot in dots])
            )
    return Strips(strips, scale.ticks, None)


class Scale:
    """A horizontal axis that spans some values, with round ticks; places are percent of its width."""

    def __init__(self, low: float, high: float) -> None:
        values = _ticks(low, high)
        self.left, self.width = values[0], values[-1] - values[0]
        digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
        self.ticks = [(self.place(value), number(value, digits)) for value in values]

    def place(self, value: float) -> float:
        """Where a value lies, in percent from the left."""
        return round(100 * (value - self.left) / self.width, 2)


def _reference(panel: Panel) -> str:
    return str(panel.comparisons["reference"].iloc[0]) if len(panel.comparisons) else ""


def _table(headings: list[str], panel: Panel, columns: list[dict[str, Cell | None]]) -> Table:
    return Table(headings, [(name, [column[name] for column in columns]) for name in panel.subjects])


def _column(panel: Panel, metric: str, part: str) -> dict[str, Cell | None]:
    """A score of every subject; one over all classes is marked where a subject stands out."""
    cells = {subject: make_cell(panel, subject, metric, part) for subject in panel.subjects}
    higher = describe_score(metric).higher_is_better
    defined = {subject: cell for subject, cell in cells.items() if cell is not None and cell.interval}
    if part or higher is None or len(defined) < 2 or len(defined) < len(cells):
        return cells
    best, *others = sorted(defined, key=lambda name: defined[name].value, reverse=higher)
    if higher:
        apart = defined[best].low > max(defined[name].high for name in others)
    else:
        apart = defined[best].high < min(defined[name].low for name in others)
    cells[best] = defined[best]._replace(stands_out=apart)
    return cells


def _ticks(low: float, high: float) -> list[float]:
    """Up to nine round numbers that enclose both ends."""
    room = max(high - low, 1e-3)
    step = 10 ** math.floor(math.log10(room / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if room / (step * factor) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(tick) for tick in np.arange(first, max(last, first + 1) + 1) * step]
