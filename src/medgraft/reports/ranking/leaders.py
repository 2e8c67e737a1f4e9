"""Leaders that were really fine-tuned: what the choice gave away, and whether scores foretold the performance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from medgraft.reports.comparison import Cell, make_cell
from medgraft.reports.panels import Panel
from medgraft.reports.ranking.headline import named
from medgraft.reports.ranking.regression import Line, fit_line
from medgraft.reports.ranking.source_ranking import SourceRanking
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.wording import describe_score, number, percent

TEST = "test"


class Leader(NamedTuple):
    """A fine-tuned source and its test score, the mean over seeds."""

    source: str
    cell: Cell


class Choice(NamedTuple):
    """What a score would have chosen among the fine-tuned sources, and what that gives away; several where it ties.

    regret: at least 0, in the unit of the test score.
    """

    score: str
    chosen: list[str]
    regret: float


class Fit(NamedTuple):
    """A score's values and the test scores of the leaders that have both; `line` is None below three."""

    score: str
    leaders: list[Leader]
    values: list[float]
    line: Line | None


class Realised(NamedTuple):
    """Leaders in the order of the ranking, and what each score is worth among them."""

    metric: str
    level: float
    leaders: list[Leader]
    choices: list[Choice]
    fits: list[Fit]


def realised(ranking: SourceRanking, panels: Sequence[Panel]) -> Realised | None:
    """Test scores of the ranking's own cohort and seeds, as means; None unless two of its sources have one."""
    panel = next(
        (one for one in panels if (one.cohort, one.split) == (ranking.cohort, TEST)), None
    )  # fmt: skip
    if panel is None:
        return None
    own = replace(panel, facts=panel.facts[panel.facts["seed"].isin(ranking.fine_tuning_seeds)])
    leaders = []
    for source in ranking.sources:
        cell = make_cell(own, source, panel.main)
        if cell is not None and cell.seeds:
            leaders.append(Leader(source, cell))
    if len(leaders) < 2:
        return None
    choices = [choice for name in ranking.names if (choice := _choice(ranking, name, panel.main, leaders))]
    fits = [fit for name in ranking.names if (fit := _fit(ranking, name, leaders))]
    return Realised(panel.main, panel.level, leaders, choices, fits)


def realised_sentences(ranking: SourceRanking, found: Realised) -> list[str]:
    """Which of the fine-tuned sources was best, and what starting from the first of the ranking gives away."""
    label, sign = describe_score(found.metric).label, sign_of(found.metric)
    best = max(found.leaders, key=lambda leader: sign * leader.cell.value)
    choice = next((one for one in found.choices if one.score == ranking.decides), None)
    chosen = [leader for leader in found.leaders if choice is not None and leader.source in choice.chosen]
    if choice is not None and choice.regret == 0:
        best = chosen[0]
    seeds = max(len(leader.cell.seeds) for leader in found.leaders)
    each, did = (f" with {seeds} seeds each", "did best on average") if seeds > 1 else ("", "did best")
    scored = _scored(found, label, best)
    told = f"Of the {len(found.leaders)} sources that were fine-tuned{each}, {best.source} {did}: {scored}"
    told_apart = bool(ranking.reliability.get("tells_apart", True))
    chance = "" if told_apart else " Fine-tuning itself hardly tells them apart, so that this may be chance."
    if choice is None:
        return [f"{told}."]
    title, digits = score_title(ranking.decides), best.cell.digits
    if choice.regret == 0:
        return [f"{told}. {title} puts it first among them: no regret.{chance}"]
    reached = number(float(np.mean([leader.cell.value for leader in chosen])), digits)
    verb = "reaches" if len(chosen) == 1 else "reach on average"
    if told_apart and len(chosen) == 1 and _overlap(chosen[0].cell, best.cell):
        chance = " Their intervals overlap, so the order of the two may be chance."
    return [
        f"{told}. {named(choice.chosen)}, which {title} puts first among them, {verb} {reached}: a realised regret "
        f"of {number(choice.regret, digits)}.{chance}"
    ]


def _scored(found: Realised, label: str, leader: Leader) -> str:
    interval = f" ({percent(found.level)} interval {leader.cell.interval})" if leader.cell.interval else ""
    return f"{label} {leader.cell.shown}{interval}"


def _overlap(one: Cell, other: Cell) -> bool:
    return bool(one.interval and other.interval) and one.low <= other.high and other.low <= one.high


def sign_of(metric: str) -> float:
    """1 where higher values of a score are better, -1 where lower ones are.

    >>> sign_of("dice"), sign_of("hd95_mm")
    (1.0, -1.0)
    """
    return -1.0 if describe_score(metric).higher_is_better is False else 1.0


def _choice(ranking: SourceRanking, score: str, metric: str, leaders: Sequence[Leader]) -> Choice | None:
    """Counted fairly: a score that ties may choose any of the tied, so it gives away their mean."""
    values = _values(ranking, score, leaders)
    if len(values) < 2:
        return None
    top = max(values.values())
    chosen = [leader for leader in leaders if values.get(leader.source) == top]
    performance = np.array([sign_of(metric) * leader.cell.value for leader in leaders])
    reached = np.mean([sign_of(metric) * leader.cell.value for leader in chosen])
    return Choice(score, [leader.source for leader in chosen], float(performance.max() - reached))


def _fit(ranking: SourceRanking, score: str, leaders: Sequence[Leader]) -> Fit | None:
    values = _values(ranking, score, leaders)
    if len(values) < 2:
        return None
    both = [leader for leader in leaders if leader.source in values]
    x = np.array([values[leader.source] for leader in both])
    line = fit_line(x, np.array([leader.cell.value for leader in both]))
    return Fit(score, both, x.tolist(), line)


def _values(ranking: SourceRanking, score: str, leaders: Sequence[Leader]) -> dict[str, float]:
    own = ranking.of(score)["value"]
    return {
        leader.source: float(own[leader.source])
        for leader in leaders
        if math.isfinite(own[leader.source])
    }  # fmt: skip
