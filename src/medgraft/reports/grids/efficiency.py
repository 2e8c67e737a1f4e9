"""What labels and computing time bought: score against labelled images, and gain against cost."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from medgraft.reports.comparison import Cell, make_cell
from medgraft.reports.grids.grid import ALL, FINISHED, UPPER_BOUND, Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score

Band = Literal["interval", "seeds", "none"]


class Point(NamedTuple):
    """A subject on a curve; low and high are the ends of the band, NaN without one."""

    subject: str
    budget: int
    labelled_images: float
    value: float
    low: float
    high: float


class Curve(NamedTuple):
    """A method over its label budgets."""

    method: str
    points: list[Point]


class Level(NamedTuple):
    """A subject without a choice of budgets, or the upper bound, shown as a horizontal line."""

    subject: str
    method: str
    labelled_images: float
    value: float


class Efficiency(NamedTuple):
    """Score against labelled images at one target, from one source; `band` tells what bands are."""

    source: str
    curves: list[Curve]
    levels: list[Level]
    band: Band


class Spending(NamedTuple):
    """What a subject cost and gained over no adaptation; a gain is better where it is higher.

    seconds: of one cell, mean over finished seeds.
    """

    subject: str
    method: str
    source: str
    labelled_images: float
    seconds: float
    gain: float


def label_efficiency(grid: Grid, panel: Panel) -> list[Efficiency]:
    """For every source, curves of the methods that had label budgets and lines of the rest; none without curves."""
    subjects = [(about, cell) for about, cell in _subjects(grid, panel) if cell.seeds]
    band = _band([cell for _, cell in subjects])
    found = []
    for source in grid.sources:
        curves: dict[str, list[Point]] = {}
        levels = []
        for about, cell in subjects:
            subject, method = str(about["subject"]), str(about["method"])
            labelled = float(about["labelled_images"])
            if about["source"] != source:
                continue
            if method not in grid.curves or about["role"] == UPPER_BOUND:
                levels.append(Level(subject, method, labelled, cell.value))
                continue
            point = Point(subject, int(about["budget"]), labelled, cell.value, *_ends(cell, band))
            curves.setdefault(method, []).append(point)
        if curves:
            drawn = [
                Curve(name, sorted(curves[name], key=_by_budget)) for name in grid.curves if name in curves
            ]
            found.append(Efficiency(source, drawn, levels, band))
    return found


def cost_against_gain(grid: Grid, panel: Panel) -> list[Spending]:
    """Cost and gain of every subject that has a score, where the same source without adaptation has one too."""
    spent = []
    higher = describe_score(panel.main).higher_is_better is not False
    for about, cell in _subjects(grid, panel):
        subject, source = str(about["subject"]), str(about["source"])
        before = grid.no_adaptation(panel.cohort, source)
        reference = make_cell(panel, before, panel.main) if before else None
        if subject == before or reference is None or not (cell.seeds and reference.seeds):
            continue
        gain = cell.value - reference.value
        spent.append(
            Spending(
                subject,
                str(about["method"]),
                source,
                float(about["labelled_images"]),
                float(about["seconds"]),
                gain if higher else -gain,
            )
        )
    return spent


def _subjects(grid: Grid, panel: Panel) -> list[tuple[dict[str, Any], Cell]]:
    """Every subject that finished at a target, with means over its cells, and its main score."""
    cells = grid.at(panel.cohort)
    cells = cells[cells["state"] == FINISHED]
    found = []
    for subject, own in cells.groupby("subject", sort=False):
        cell = make_cell(panel, str(subject), panel.main)
        if cell is not None:
            about = {str(name): value for name, value in own.iloc[0].items()}
            means = {name: float(own[name].mean()) for name in ("labelled_images", "seconds")}
            found.append((about | means, cell))
    return found


def _by_budget(point: Point) -> tuple[float, float]:
    return point.labelled_images, math.inf if point.budget == ALL else point.budget


def _band(cells: list[Cell]) -> Band:
    """Intervals where every subject has one; otherwise the range over seeds, where there are several."""
    if cells and all(cell.interval for cell in cells):
        return "interval"
    return "seeds" if any(len(cell.seeds) > 1 for cell in cells) else "none"


def _ends(cell: Cell, band: Band) -> tuple[float, float]:
    if band == "interval":
        return cell.low, cell.high
    if band == "seeds" and len(cell.seeds) > 1:
        return min(cell.seeds), max(cell.seeds)
    return math.nan, math.nan
