"""What happens between sites: every source at every target, and what a model forgets of its source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from medgraft.reports.comparison import Cell, Scale, Strip, Strips, make_cell
from medgraft.reports.grids.grid import ALL, UPPER_BOUND, Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, number, signed


class SiteCell(NamedTuple):
    """A score of one source at one target; share: 0 for the worst of all maps, 1 for the best; NaN undefined."""

    target: str
    subject: str
    value: float
    share: float

    @property
    def shown(self) -> str:
        """The score as text; empty where there is none."""
        return number(self.value) if math.isfinite(self.value) else ""


class SiteMap(NamedTuple):
    """A method at one label budget: rows are sources, columns targets."""

    method: str
    budget: str
    targets: list[str]
    rows: list[tuple[str, list[SiteCell]]]


class Forgotten(NamedTuple):
    """The score on the cohort of the source, before and after adaptation to a target.

    change: after minus before, as text with its sign.
    worse: the score after adaptation is worse, intervals not looked at.
    """

    subject: str
    before: Cell
    after: Cell
    change: str
    worse: bool


class Forgetting(NamedTuple):
    """All subjects on one source cohort, on one scale; the split says after which target, where there are several."""

    cohort: str
    split: str
    metric: str
    rows: list[Forgotten]
    strips: Strips


def target_panel(grid: Grid, panel: Panel) -> Panel:
    """The panel without subjects that were adapted elsewhere and are measured here only for what they forgot."""
    own = set(grid.at(panel.cohort)["subject"])
    return replace(
        panel,
        facts=panel.facts[panel.facts["subject"].isin(own)],
        subjects=tuple(subject for subject in panel.subjects if subject in own),
        predictions={name: tables for name, tables in panel.predictions.items() if name in own},
        scores={name: tables for name, tables in panel.scores.items() if name in own},
    )


def headline_panel(grid: Grid, panel: Panel) -> Panel:
    """What a headline speaks of: no upper bounds, which win by design, and comparisons with no adaptation only."""
    cells = grid.at(panel.cohort)
    bounds = set(cells.loc[cells["role"] == UPPER_BOUND, "subject"])
    unadapted = {grid.no_adaptation(panel.cohort, source) for source in grid.sources}
    comparisons = panel.comparisons
    if len(comparisons):
        known = comparisons["reference"].isin(unadapted) & ~comparisons["subject"].isin(bounds)
        comparisons = comparisons[known]
    subjects = tuple(subject for subject in panel.subjects if subject not in bounds)
    return replace(panel, subjects=subjects or panel.subjects, comparisons=comparisons)


def site_maps(grid: Grid, panels: Sequence[Panel], every_budget: bool = False) -> list[SiteMap]:
    """One map per method; none where there is only one source and one target.

    Args:
        grid: names methods, sources and budgets.
        panels: of the targets.
        every_budget: one map per method and budget; otherwise the budget with most labelled images.
    """
    cells = grid.cells
    if len(grid.targets) < 2 and not grid.several_sources:
        return []
    scored = {panel.cohort: panel for panel in panels}
    maps = []
    for method, own in cells.groupby("method", sort=False):
        budgets = sorted(set(own["budget"]), key=lambda budget: math.inf if budget == ALL else budget)
        for budget in budgets if every_budget else budgets[-1:]:
            at = own[own["budget"] == budget]
            rows = [
                (str(source), [_site_cell(scored.get(name), name, of_source) for name in grid.targets])
                for source, of_source in at.groupby("source", sort=False)
            ]
            maps.append(SiteMap(str(method), budget_text(at), grid.targets, rows))
    return _shaded(maps, scored)


def by_method(maps: Sequence[SiteMap], source: str) -> SiteMap:
    """Maps of one source alone as one map, with a row per method."""
    rows = [(f"{one.method}, {one.budget}", one.rows[0][1]) for one in maps]
    return SiteMap(source, "", maps[0].targets, rows)


def _site_cell(panel: Panel | None, target: str, cells: pd.DataFrame) -> SiteCell:
    subjects = cells.loc[cells["cohort"] == target, "subject"]
    if panel is None or subjects.empty:
        return SiteCell(target, "", math.nan, math.nan)
    cell = make_cell(panel, str(subjects.iloc[0]), panel.main)
    value = cell.value if cell is not None and cell.seeds else math.nan
    return SiteCell(target, str(subjects.iloc[0]), value, math.nan)


def _shaded(maps: list[SiteMap], panels: Mapping[str, Panel]) -> list[SiteMap]:
    """The same maps with shares on one scale, darker for better."""
    values = [cell.value for site_map in maps for _, row in site_map.rows for cell in row]
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return []
    low, width = min(known), max(max(known) - min(known), 1e-12)
    mains = {panel.main for panel in panels.values()}
    lower = all(describe_score(main).higher_is_better is False for main in mains)

    def shade(cell: SiteCell) -> SiteCell:
        share = (cell.value - low) / width
        return cell._replace(share=1 - share if lower else share)

    return [
        site_map._replace(rows=[(name, [shade(cell) for cell in row]) for name, row in site_map.rows])
        for site_map in maps
    ]


def budget_text(cells: pd.DataFrame) -> str:
    """A budget in words, with the number of images that it was.

    >>> budget_text(pd.DataFrame({"budget": [4], "budget_by": ["patient"], "labelled_images": [24]}))
    '4 patients, 24 labelled images'
    """
    budget, by = int(cells["budget"].iloc[0]), str(cells["budget_by"].iloc[0])
    if budget == 0:
        return "no labels"
    counts = sorted(set(cells["labelled_images"]))
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    told = f"{images} labelled images"
    if budget == ALL:
        return f"all labels, {told}"
    return told if by == "image" else f"{budget:,} {by}{'' if budget == 1 else 's'}, {told}"


def forgetting(grid: Grid, panels: Sequence[Panel]) -> list[Forgetting]:
    """For every cohort that a source was trained on: scores before and after, where both were measured."""
    found = []
    for panel in panels:
        cells = grid.cells[grid.cells["source_cohort"] == panel.cohort]
        rows = _forgotten(grid, panel, cells)
        if rows:
            found.append(Forgetting(panel.cohort, panel.split, panel.main, rows, _strips(rows)))
    return found


def _forgotten(grid: Grid, panel: Panel, cells: pd.DataFrame) -> list[Forgotten]:
    rows = []
    higher = describe_score(panel.main).higher_is_better is not False
    for subject, own in cells.groupby("subject", sort=False):
        before = grid.no_adaptation(str(own["cohort"].iloc[0]), str(own["source"].iloc[0]))
        first, after = (make_cell(panel, name, panel.main) for name in (before, str(subject)))
        if subject == before or first is None or after is None or not (first.seeds and after.seeds):
            continue
        change = after.value - first.value
        worse = change < 0 if higher else change > 0
        rows.append(Forgotten(str(subject), first, after, signed(change, after.digits), worse))
    return rows


def _strips(rows: Sequence[Forgotten]) -> Strips:
    cells = [cell for row in rows for cell in (row.before, row.after)]
    ends = [end for cell in cells for end in (cell.value, cell.low, cell.high) if math.isfinite(end)]
    scale = Scale(min(ends), max(ends))
    strips = [
        Strip(
            row.subject,
            row.after,
            scale.place(row.after.value),
            scale.place(row.after.low) if row.after.interval else None,
            scale.place(row.after.high) if row.after.interval else None,
            [],
        )
        for row in rows
    ]
    first = {row.before.value for row in rows}
    return Strips(strips, scale.ticks, scale.place(first.pop()) if len(first) == 1 else None)
