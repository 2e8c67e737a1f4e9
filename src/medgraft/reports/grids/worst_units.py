"""Which patients are hard for every method? By number, never by name."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.reports.grids.unit_scores import unit_scores
from medgraft.reports.panels import Panel
from medgraft.reports.wording import number

SHOWN = 10
HARD = 0.25
"""A unit is hard for a subject that scores it among the worst quarter of its units."""


class WorstUnit(NamedTuple):
    """A patient (or block) and how all subjects did on it.

    hard_for: number of subjects that have it among their worst quarter, of `subjects` measured on it.
    """

    unit: int
    mean: float
    worst: float
    worst_by: str
    best: float
    best_by: str
    hard_for: int
    subjects: int

    @property
    def shown(self) -> list[str]:
        """Mean, worst and best as text."""
        return [number(value) for value in (self.mean, self.worst, self.best)]

    @property
    def for_all(self) -> bool:
        """True where every subject has it among its worst quarter."""
        return self.hard_for == self.subjects


class WorstUnits(NamedTuple):
    """The units with the worst mean over subjects, of `among` them all; `score` says what was averaged."""

    score: str
    units: list[WorstUnit]
    among: int


def worst_units(panel: Panel) -> WorstUnits | None:
    """Units by their mean score over subjects, worst first; None where fewer than two subjects have scores by unit."""
    values, _, score, higher = unit_scores(panel)
    if values.shape[1] < 2 or len(values) < 2:
        return None
    ranks = values.rank(ascending=higher, method="max", pct=True)
    hard = (ranks <= HARD).sum(axis=1)
    means = values.mean(axis=1).sort_values(ascending=higher, kind="stable")
    units = []
    for unit in means.index[:SHOWN]:
        of_unit = values.loc[unit].dropna()
        low, high = of_unit.idxmin(), of_unit.idxmax()
        worst, best = (low, high) if higher else (high, low)
        units.append(
            WorstUnit(
                int(float(str(unit))), float(means[unit]),
                float(of_unit[worst]), str(worst), float(of_unit[best]), str(best),
                int(hard[unit]), len(of_unit),
            )
        )  # fmt: skip
    return WorstUnits(score, units, len(values))
