"""A grid, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.charts import STAND_INS, Chart
from medgraft.reports.grids.cells import Costs, Failure, costs, failures
from medgraft.reports.grids.charts import Key, curve_keys, efficiency_charts, gain_charts, level_keys
from medgraft.reports.grids.efficiency import Band, cost_against_gain, label_efficiency
from medgraft.reports.grids.grid import Grid
from medgraft.reports.grids.negative_transfer import NegativeTransfer, negative_transfer
from medgraft.reports.grids.over_runs import RunTest, run_tests
from medgraft.reports.grids.ranking import (
    PairedTest,
    RankDiagram,
    Row,
    difference_tests,
    rank_diagram,
    ranked_elsewhere,
    ranking,
)
from medgraft.reports.grids.sites import Forgetting, SiteMap, by_method, forgetting, site_maps, target_panel
from medgraft.reports.grids.source_trainings import Logged, source_trainings
from medgraft.reports.grids.sweeps import sweep_charts
from medgraft.reports.grids.violins import Violins, violins
from medgraft.reports.grids.worst_units import WorstUnits, worst_units
from medgraft.reports.panels import Panel
from medgraft.reports.wording import counted, describe_score, percent

BANDS: dict[Band, str] = {
    "interval": "Bands: the {level} interval over {units}, its ends averaged over seeds.",
    "seeds": "Bands: lowest to highest seed.",
    "none": "No bands: there are neither intervals nor several seeds.",
}


class Target(NamedTuple):
    """What a report says about one target of a grid."""

    ranking: list[Row]
    has_oracle: bool
    diagram: RankDiagram | None
    tests: list[PairedTest]
    over_runs: list[RunTest]
    charts: list[Chart]
    legend: list[Key]
    levels: list[Key]
    band: str
    spread: Violins | None
    worst: WorstUnits | None
    harm: NegativeTransfer | None


class GridView(NamedTuple):
    """What a report says about a grid as a whole."""

    summary: str
    sentences: list[str]
    overall: list[tuple[str, str, RankDiagram]]
    sweeps: list[Chart]
    trainings: list[Logged]
    maps: list[SiteMap]
    forgetting: list[Forgetting]
    costs: Costs
    failures: list[Failure]
    left_out: list[str]


def make_target(evidence: Evidence, grid: Grid, panel: Panel, salt: str) -> Target:
    """Everything about one target; `panel` holds its own subjects only."""
    rows = ranking(evidence, grid, panel)
    efficiency = label_efficiency(grid, panel)
    keys = curve_keys(grid.curves)
    levels = level_keys([level.method for one in efficiency for level in one.levels])
    band = BANDS[efficiency[0].band] if efficiency else ""
    spent = cost_against_gain(grid, panel)
    return Target(
        ranking=rows,
        has_oracle=any(row.oracle_shown for row in rows),
        diagram=rank_diagram(evidence, panel.cohort, panel.main),
        tests=difference_tests(evidence, panel),
        over_runs=run_tests(evidence, panel),
        charts=[
            *efficiency_charts(efficiency, keys, levels, panel.main, salt),
            *gain_charts(spent, keys, panel.main, salt),
        ],
        legend=list(keys.values()),
        levels=[_level(grid, key) for key in levels.values()],
        band=band.format(level=percent(panel.level), units=panel.units or "rows"),
        spread=violins(panel, [row.subject for row in rows], salt),
        worst=worst_units(panel),
        harm=negative_transfer(evidence, panel),
    )


def _level(grid: Grid, key: Key) -> Key:
    """A line as the legend of the page shows it."""
    name = f"{key.name}, all labels" if key.name in grid.curves else key.name
    return key._replace(name=name, colour=STAND_INS[key.colour])


def make_grid_view(evidence: Evidence, grid: Grid, panels: Sequence[Panel]) -> GridView:
    """What is about several targets, or about cells; `panels` hold all subjects measured there."""
    own = [target_panel(grid, panel) for panel in panels if grid.is_target(panel)]
    diagrams = [
        (cohort, describe_score(metric).label, rank_diagram(evidence, cohort, metric))
        for cohort, metric in ranked_elsewhere(evidence, grid.targets)
    ]
    maps, forgotten = site_maps(grid, own), forgetting(grid, panels)
    if maps and not grid.several_sources:
        maps = [by_method(maps, str(grid.cells["source"].iloc[0]))]
    left_out = [] if maps else ["the map of sites (one source and one target)"]
    if not forgotten:
        left_out.append("forgetting (nothing was measured on the source's own cohort)")
    return GridView(
        summary=grid.summary,
        sentences=_sentences(grid),
        overall=[(cohort, label, made) for cohort, label, made in diagrams if made is not None],
        sweeps=sweep_charts(evidence, grid, panels),
        trainings=source_trainings(evidence),
        maps=maps,
        forgetting=forgotten,
        costs=costs(grid),
        failures=failures(grid),
        left_out=left_out,
    )


def _sentences(grid: Grid) -> list[str]:
    """How much of the grid there is, and whether methods had equal chances."""
    cells = grid.cells
    told = [f"{counted(len(grid.finished), 'cell')} of {len(cells):,} finished."]
    if len(grid.failed):
        told[0] = f"{told[0].removesuffix('.')}, {len(grid.failed):,} failed."
    if cells["seed"].nunique() == 1:
        told.append("There is one seed only, so nothing is known about how much another one would change.")
    tried = cells.loc[cells["role"] == "method", "tried"]
    if len(tried) and tried.min() == tried.max() > 1:
        told.append(f"For every method {int(tried.max())} settings were tried.")
    return told
