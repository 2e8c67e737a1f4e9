"""A new site that nobody annotated: what every method did to every source there, and what labels would have brought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart
from medgraft.reports.comparison import Cell, Scale, Strip, Strips
from medgraft.reports.grids.charts import Key, curve_keys, scatter_chart
from medgraft.reports.grids.gains import Gain, gains
from medgraft.reports.grids.grid import BASELINE, UPPER_BOUND, Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import counted, describe_score, duration, listed, number, signed

FEWEST_PAIRS = 4
"""Of source and target, for a sentence on mild and severe shifts."""


class Pair(NamedTuple):
    """A source at a target: how far its score had fallen from its own site, and a cell for every method.

    home: the cohort that the source was trained on. before: without adaptation.
    cells: of every method; None where it was not run or failed.
    """

    source: str
    home: str
    cohort: str
    drop: str
    before: PairCell
    cells: list[PairCell | None]


class PairCell(NamedTuple):
    """Score and gain as text, the verdict, and how good the score is among all: 0 the worst, 1 the best."""

    shown: str
    gain: str
    verdict: str
    share: float


class WithoutLabels(NamedTuple):
    """Everything about methods that used no label, ready for the template.

    methods: name and time of one cell.
    price: gain by labels, a strip per method and budget; dots are pairs.
    """

    metric: str
    sentences: list[str]
    methods: list[tuple[str, str]]
    pairs: list[Pair]
    charts: list[Chart]
    legend: list[Key]
    price: Strips | None


def without_labels(evidence: Evidence, grid: Grid, panels: Sequence[Panel]) -> WithoutLabels | None:
    """What methods without labels did; None where no method did without."""
    cells = grid.finished
    unlabelled = cells[(cells["labelled_images"] == 0) & (cells["role"] != BASELINE)]
    names = list(dict.fromkeys(unlabelled["method"]))
    every = gains(evidence, grid, panels)
    own = [one for one in every if one.method in names and one.labelled_images == 0]
    if not own:
        return None
    metric = next(panel.main for panel in panels if grid.is_target(panel))
    keys = curve_keys({name: index for index, name in enumerate(names)})
    return WithoutLabels(
        metric=metric,
        sentences=_sentences(every, own, names, describe_score(metric).label),
        methods=[(name, _time(own, name)) for name in names],
        pairs=_pairs(own, names, metric),
        charts=_charts(own, keys, describe_score(metric).label),
        legend=list(keys.values()),
        price=_price(every),
    )


def _time(own: Sequence[Gain], method: str) -> str:
    seconds = [one.seconds for one in own if one.method == method and math.isfinite(one.seconds)]
    return duration(sum(seconds) / len(seconds)) if seconds else ""


def _pairs(own: Sequence[Gain], names: Sequence[str], metric: str) -> list[Pair]:
    """Sources at targets, the one that fell furthest first."""
    scores = [score for one in own for score in (one.before, one.after)]
    low, width = min(scores), max(max(scores) - min(scores), 1e-12)
    less_is_better = describe_score(metric).higher_is_better is False

    def cell(value: float, gain: str = "", verdict: str = "") -> PairCell:
        share = (value - low) / width
        return PairCell(number(value), gain, verdict, 1 - share if less_is_better else share)

    places: dict[tuple[str, str, str], dict[str, Gain]] = {}
    for one in own:
        places.setdefault((one.source, one.source_cohort, one.cohort), {})[one.method] = one
    rows = []
    for (source, home, cohort), found in places.items():
        first = next(iter(found.values()))
        drop = number(first.drop) if math.isfinite(first.drop) else ""
        cells = [
            cell(found[name].after, signed(found[name].gain), found[name].verdict) if name in found else None
            for name in names
        ]
        rows.append((first.drop, Pair(source, home, cohort, drop, cell(first.before), cells)))
    return [pair for _, pair in sorted(rows, key=lambda row: -row[0] if math.isfinite(row[0]) else math.inf)]


def _charts(own: Sequence[Gain], keys: dict[str, Key], label: str) -> list[Chart]:
    """Gain against how far the score fell, and against how far batch statistics lie apart."""
    wanted = (
        ("drop", "fall from the source's own site", "Gain against severity of the shift"),
        ("distance", "divergence of batch statistics, nats", "Gain against batch statistics"),
    )
    charts = []
    for name, across, caption in wanted:
        groups = []
        for method, key in keys.items():
            of_method = [one for one in own if one.method == method]
            points = [(float(getattr(one, name)), one.gain) for one in of_method]
            groups.append((key, [point for point in points if all(map(math.isfinite, point))]))
        if len({place for _, points in groups for place, _ in points}) > 1:
            charts.append(scatter_chart(caption, groups, across, f"gain in {label}"))
    return charts


def _price(every: Sequence[Gain]) -> Strips | None:
    """Mean gain over all pairs of sites, by method and labels; those that lack a pair are left out."""
    groups: dict[tuple[str, str], list[Gain]] = {}
    for one in every:
        labels = one.labels if one.labelled_images else "no labels"
        groups.setdefault((one.method, labels.split(",")[0]), []).append(one)
    most = max(len(own) for own in groups.values())
    whole = {name: own for name, own in groups.items() if len(own) == most}
    if len(whole) < 2:
        return None
    scale = Scale(*(end([one.gain for own in whole.values() for one in own] + [0.0]) for end in (min, max)))
    strips = []
    for (method, labels), own in sorted(whole.items(), key=lambda group: group[1][0].labelled_images):
        values, mean = [one.gain for one in own], _mean(own)
        cell = Cell(mean, math.nan, math.nan, math.nan, tuple(values))
        strips.append(
            Strip(
                f"{method}, {labels}", cell, scale.place(mean), None, None, [scale.place(v) for v in values]
            )
        )
    return Strips(strips, scale.ticks, scale.place(0.0))


def _sentences(every: Sequence[Gain], own: Sequence[Gain], names: Sequence[str], label: str) -> list[str]:
    """When methods without labels helped and when they did harm, in plain words."""
    told = [_about_method(name, [one for one in own if one.method == name], label) for name in names]
    told += _about_severity(own)
    bounds = [one for one in every if one.role == UPPER_BOUND]
    if bounds:
        told.append(
            f"With all labels of the target, {bounds[0].method} changed it by {signed(_mean(bounds))}."
        )
    return told


def _about_method(name: str, own: Sequence[Gain], label: str) -> str:
    pairs = f"{counted(len(own), 'pair')} of source and target"
    if all(math.isnan(one.low) for one in own):
        return (
            f"{name} changed {label} by {signed(_mean(own))} on average over {pairs}; there are no intervals."
        )
    better, worse = ([one for one in own if one.verdict == verdict] for verdict in ("better", "worse"))
    unclear = len(own) - len(better) - len(worse)
    parts = [f"helped in {len(better)}"] if better else []
    parts += [f"did harm in {len(worse)}"] if worse else []
    parts += [f"was not told apart from no adaptation in {unclear}"] if unclear else []
    line = f"{name} {listed(parts)} of {pairs}; {label} changed by "
    line += f"{signed(_mean(own))} on average."
    if worse:
        worst = min(worse, key=lambda one: one.gain)
        home = worst.source_cohort or worst.source
        line += f" It did most harm ({signed(worst.gain)}) from {home} to {worst.cohort}."
    return line


def _about_severity(own: Sequence[Gain]) -> list[str]:
    known = [one for one in own if math.isfinite(one.drop)]
    drops = sorted({(one.source, one.source_cohort, one.cohort): one.drop for one in known}.values())
    if len(drops) < FEWEST_PAIRS:
        return []
    middle = (drops[(len(drops) - 1) // 2] + drops[len(drops) // 2]) / 2
    little, much = ([one for one in known if (one.drop > middle) == far] for far in (False, True))
    if not (little and much):
        return []
    return [
        f"Where the source had fallen by at most {number(middle)}, methods without labels changed it by "
        f"{signed(_mean(little))} on average, where it had fallen further by {signed(_mean(much))}."
    ]


def _mean(own: Sequence[Gain]) -> float:
    return sum(one.gain for one in own) / len(own)
