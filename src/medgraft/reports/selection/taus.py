"""How far each score's order of sources is that of fine-tuning, and what the two terms of adaptability bring."""

from __future__ import annotations

import math
from typing import NamedTuple

from medgraft.reports.comparison import Scale
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.selection.dots import Dot, DotColumn, DotRow, DotTable, range_of
from medgraft.reports.selection.source_selection import Selection
from medgraft.reports.wording import number, span

TERMS = ("label_predictability", "feature_update")
PRODUCTS = ("adaptability", "adaptability_of_architectures")
MEAN = "mean"
"""Heading of the mean over targets."""


class Tau(NamedTuple):
    """Weighted Kendall tau with its interval; NaN where the score says nothing."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> str:
        """As text; empty where there is none."""
        return number(self.value, 2) if math.isfinite(self.value) else ""

    @property
    def interval(self) -> str:
        """As text; empty where there is none."""
        return span(self.low, self.high, 2)


class TauCell(NamedTuple):
    """A tau as the table shows it; share: of the darkest colour, 0 below no agreement and where nothing is to be read.

    stands_out: it is the highest of its column, and its interval lies above 0.
    """

    shown: str
    interval: str
    share: float
    stands_out: bool
    readable: bool


class TauTable(NamedTuple):
    """Rows are scores, best mean first; columns are targets, then their mean where there are several."""

    columns: list[tuple[str, bool]]
    rows: list[tuple[str, list[TauCell]]]


def tau_of(selection: Selection, score: str, target: str | None) -> Tau:
    """A score's tau on one target; None is the mean over targets."""
    if target is None:
        rows = selection.regret[selection.regret["score"] == score]
        names = ["tau", "tau_low", "tau_high"]
    else:
        rows = selection.taus[(selection.taus["score"] == score) & (selection.taus["cohort"] == target)]
        names = ["tau", "low", "high"]
    return Tau(*(float(rows[name].iloc[0]) for name in names)) if len(rows) else Tau(*[math.nan] * 3)


def tau_table(selection: Selection) -> TauTable:
    """Every score on every target."""
    columns = _columns(selection)
    taus = {name: [tau_of(selection, name, target) for target, _ in columns] for name in selection.names}
    best = [_best([row[place] for row in taus.values()]) for place in range(len(columns))]
    rows = []
    for name, row in taus.items():
        cells = [
            TauCell(
                tau.shown, tau.interval, max(0.0, tau.value) if readable and tau.shown else 0.0,
                readable and tau.value == highest and tau.low > 0, readable,
            )
            for tau, highest, (_, readable) in zip(row, best, columns, strict=True)
        ]  # fmt: skip
        rows.append((score_title(name), cells))
    return TauTable([(target or MEAN, readable) for target, readable in columns], rows)


def ablation(selection: Selection) -> DotTable | None:
    """Tau of both terms of adaptability and of their product; None unless all three were judged."""
    known = set(selection.taus["score"])
    products = [name for name in PRODUCTS if name in known]
    if not products or not set(TERMS) <= known:
        return None
    names = [*TERMS, *products]
    columns = _columns(selection)
    scale = Scale(-1.0, 1.0)
    ticks = [(0.0, number(-1, 0)), (50.0, "0"), (100.0, "1")]
    rows = []
    for name in names:
        dots: list[Dot | None] = []
        for target, _ in columns:
            tau = tau_of(selection, name, target)
            low, high = range_of(scale, tau.low, tau.high)
            dots.append(
                Dot(scale.place(tau.value), low, high, tau.shown, tau.interval) if tau.shown else None
            )
        rows.append(DotRow(score_title(name), "", dots))
    return DotTable(
        "score", [DotColumn(target or MEAN, ticks, 50.0, readable) for target, readable in columns], rows
    )


def ablation_sentence(selection: Selection) -> str:
    """On how many targets the product agrees better with fine-tuning than both its terms."""
    product = next(name for name in PRODUCTS if name in set(selection.taus["score"]))
    targets = selection.readable
    better = 0
    for target in targets:
        terms = [tau_of(selection, name, target).value for name in TERMS]
        better += all(tau_of(selection, product, target).value > value for value in terms)
    if not targets:
        return "There is no target on which this can be read."
    where = f"{better} of {len(targets)} targets" if len(targets) > 1 else targets[0]
    if len(targets) == 1:
        return (
            f"On {where} the tau of the product is {'' if better else 'not '}higher than those of both terms."
        )
    return f"The tau of the product is higher than those of both terms on {where} that can be read."


def _columns(selection: Selection) -> list[tuple[str | None, bool]]:
    """Targets, each with whether it can be read, and None for the mean over several."""
    columns: list[tuple[str | None, bool]] = [
        (target, target in selection.readable) for target in selection.targets
    ]
    several = len(columns) > 1 and bool(selection.regret["tau"].notna().any())
    return [*columns, (None, bool(selection.readable))] if several else columns


def _best(taus: list[Tau]) -> float:
    return max((tau.value for tau in taus if math.isfinite(tau.value)), default=math.nan)
