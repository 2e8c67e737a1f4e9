"""The report: a page made of evidence and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.bias import BiasView, Reader, bias_views, reader_points, readers_shown
from medgraft.reports.caveats import caveats
from medgraft.reports.charts import Chart, colour_of, dash_of, reliability_chart, roc_chart
from medgraft.reports.comparison import Strips, Table, interval_strips, part_tables, score_table, unit_strips
from medgraft.reports.feature_drift import POINTS, make_feature_drift
from medgraft.reports.files import write_whole
from medgraft.reports.grids.grid import Grid, read_grid
from medgraft.reports.grids.patients import patients_shown
from medgraft.reports.grids.sites import headline_panel, target_panel
from medgraft.reports.grids.view import Target, make_grid_view, make_target
from medgraft.reports.grids.without_labels import without_labels
from medgraft.reports.pages import open_template
from medgraft.reports.panels import Panel, make_panels
from medgraft.reports.pictures import Gallery, galleries, recorded_pictures
from medgraft.reports.policies import policy_maps
from medgraft.reports.predictions import (
    LabelCounts,
    Outcome,
    confusion_matrix,
    label_counts,
    mean_roc,
    read_outcome,
    reliability,
)
from medgraft.reports.provenance import make_account
from medgraft.reports.ranking.source_ranking import RANKING
from medgraft.reports.ranking.view import make_rankings_view
from medgraft.reports.selection.source_selection import PERFORMANCE
from medgraft.reports.selection.view import make_selections_view
from medgraft.reports.sentences import comparison_sentences, distance_note, headline
from medgraft.reports.site_clusters import LEGEND, site_clusters
from medgraft.reports.stains import SPREAD, stain_comparisons
from medgraft.reports.subgroups import subgroup_tables
from medgraft.reports.training import HISTORY, learning_curves, recorded_tables, regraft_plans
from medgraft.reports.updates import update_charts
from medgraft.reports.watched_features import feature_charts, feature_planes
from medgraft.reports.wording import describe_score, in_order


class Confusion(NamedTuple):
    """A subject's confusion: a matrix of (count, share of the true class), or counts by label."""

    subject: str
    seeds: int
    matrix: list[list[tuple[int, float]]]
    labels: list[LabelCounts]


class View(NamedTuple):
    """A panel, ready for the template."""

    anchor: str
    title: str
    panel: Panel
    headline: list[str]
    comparisons: list[tuple[str, str]]
    strips: Strips | None
    units: Strips | None
    table: Table
    distances: str
    parts: list[tuple[str, Table]]
    subgroups: list[tuple[str, Table]]
    biases: list[BiasView]
    readers: list[Reader]
    classes: list[str]
    confusions: list[Confusion]
    rocs: list[Chart]
    legend: list[tuple[str, str, int]]
    calibrations: list[Chart]
    galleries: list[Gallery]
    missing: list[str]
    target: Target | None


def report(
    evidence: Evidence | str | Path, path: str | Path, *, images: bool = True, title: str = "medgraft report"
) -> Path:
    """Write a report that opens in any browser, offline, and can be sent as one file.

    Args:
        evidence: what was measured, or the folder it was saved in.
        path: the HTML file to write; one that is there is replaced.
        images: False leaves out every picture, for where images may not leave the building; charts stay.
        title: heading of the page.

    Returns: the path.

    Raises:
        DataError: there is no evidence in the folder, it holds no facts, or `path` is a folder.
    """
    path = Path(path)
    if not isinstance(evidence, Evidence):
        evidence = Evidence.load(evidence)
    refuse_no_facts(evidence)
    return write_whole(path, make_page(evidence, images=images, title=title), "an HTML file")


def refuse_no_facts(evidence: Evidence) -> None:
    """Refuse evidence that says nothing.

    Raises:
        DataError: it holds no facts, nor a grid (of which every cell may have failed), nor a ranking of sources, nor
            features that were followed, nor stains that were compared, nor the history of a training.
    """
    trained = any(name.startswith(HISTORY) for name in evidence.tables)
    shown = trained or bool({"grid", RANKING, PERFORMANCE, POINTS, SPREAD} & set(evidence.tables))
    if evidence.facts.empty and not shown:
        raise DataError(
            "report",
            "evidence with facts",
            "this evidence has none",
            "Evaluate a model first and add its evidence.",
        )


def make_page(evidence: Evidence, *, images: bool, title: str) -> str:
    """The whole page as text; the same evidence gives the same page."""
    panels = make_panels(evidence)
    grid = read_grid(evidence)
    views = [_make_view(evidence, grid, panel, number, images) for number, panel in enumerate(panels, 1)]
    sources, selections = make_rankings_view(evidence, panels), make_selections_view(evidence, grid)
    shown = set(evidence.facts["metric"])
    return open_template("report.html").render(
        title=title,
        grid=make_grid_view(evidence, grid, panels) if grid is not None else None,
        unlabelled=without_labels(evidence, grid, panels) if grid is not None else None,
        several_sources=grid is not None and grid.several_sources,
        patients=patients_shown(evidence, grid.several_sources) if images and grid is not None else [],
        sources=sources,
        selections=selections,
        views=views,
        caveats=caveats(evidence),
        curves=learning_curves(evidence),
        features=feature_charts(evidence),
        planes=feature_planes(evidence),
        updates=update_charts(evidence),
        policies=policy_maps(evidence),
        drift=make_feature_drift(evidence),
        stains=stain_comparisons(evidence, images=images),
        clusters=site_clusters(evidence, images=images),
        cluster_legend=LEGEND,
        plans=regraft_plans(evidence),
        account=make_account(evidence),
        tables=recorded_tables(evidence),
        pictures=recorded_pictures(evidence) if images else [],
        images=images,
        pictures_left_out=0 if images else len(evidence.images),
        glossary=[
            *(score for score in map(describe_score, in_order(shown)) if score.meaning),
            *dict.fromkeys([*sources.glossary, *selections.glossary]),
        ],
    )


def _make_view(evidence: Evidence, grid: Grid | None, panel: Panel, number: int, images: bool) -> View:
    target, told = None, [] if grid is not None else headline(panel)
    if grid is not None and grid.is_target(panel):
        panel = target_panel(grid, panel)
        target = make_target(evidence, grid, panel, f"panel {number}")
        told = headline(headline_panel(grid, panel))
    outcomes = _outcomes(panel)
    width = max((of_subject[0].truth.shape[1] for of_subject in outcomes.values()), default=0)
    classes = [*panel.classes, *(f"class {index}" for index in range(len(panel.classes), width))][:width]
    rocs = _rocs(evidence, panel, outcomes, classes, f"panel {number}")
    calibrations = _calibrations(panel, outcomes, f"panel {number}")
    shown = galleries(evidence, panel) if images else []
    strips = interval_strips(panel)
    missing = [] if panel.facts["low"].notna().any() else ["intervals (the facts have none)"]
    if not outcomes and not panel.scores:
        missing.append("confusion, calibration and ROC curves (there are no predictions)")
    if images and not shown:
        missing.append("example images (the evidence holds none)")
    return View(
        anchor=f"panel-{number}",
        title=panel.cohort if grid is None or target is not None else f"{panel.cohort}, {panel.split}",
        panel=panel,
        headline=told,
        comparisons=comparison_sentences(panel),
        strips=strips,
        units=unit_strips(panel),
        table=score_table(panel),
        distances=distance_note(panel),
        parts=part_tables(panel),
        subgroups=subgroup_tables(evidence, panel),
        biases=bias_views(evidence, panel, f"panel {number}"),
        readers=readers_shown(evidence, panel),
        classes=classes,
        confusions=[_confusion(name, of_subject, classes) for name, of_subject in outcomes.items()],
        rocs=rocs,
        legend=[(name, colour_of(index), dash_of(index)) for index, name in enumerate(outcomes)],
        calibrations=calibrations,
        galleries=shown,
        missing=missing,
        target=target,
    )


def _outcomes(panel: Panel) -> dict[str, list[Outcome]]:
    """What every subject predicted, one outcome per seed; subjects in the panel's order."""
    found = {}
    for subject in panel.subjects:
        tables = panel.predictions.get(subject, {})
        read = [read_outcome(tables[seed]) for seed in sorted(tables)]
        fitting = [outcome for outcome in read if outcome is not None]
        if fitting:
            found[subject] = fitting
    return found


def _confusion(subject: str, outcomes: list[Outcome], classes: list[str]) -> Confusion:
    if not outcomes[0].exclusive:
        return Confusion(subject, len(outcomes), [], label_counts(outcomes, classes))
    counts = confusion_matrix(outcomes)
    totals = counts.sum(axis=1, keepdims=True).clip(1)
    matrix = [
        [(int(count), float(share)) for count, share in zip(row, shares, strict=True)]
        for row, shares in zip(counts, counts / totals, strict=True)
    ]
    return Confusion(subject, len(outcomes), matrix, [])


def _rocs(
    evidence: Evidence, panel: Panel, outcomes: dict[str, list[Outcome]], classes: list[str], salt: str
) -> list[Chart]:
    """One chart per class, against the rest, with what readers said; two exclusive classes need one."""
    if not outcomes:
        return []
    exclusive = next(iter(outcomes.values()))[0].exclusive
    chosen = [1] if exclusive and len(classes) == 2 else range(len(classes))
    charts = []
    for index in chosen:
        curves = [mean_roc(of_subject, index) for of_subject in outcomes.values()]
        if any(curve is not None for curve in curves):
            charts.append(
                roc_chart(
                    classes[index], curves, f"{salt} class {index}", reader_points(evidence, panel, index)
                )
            )
    return charts


def _calibrations(panel: Panel, outcomes: dict[str, list[Outcome]], salt: str) -> list[Chart]:
    charts = []
    for subject, of_subject in outcomes.items():
        bins = reliability(of_subject)
        if bins is not None:
            charts.append(reliability_chart(subject, bins, f"{salt} {subject}"))
    return charts
