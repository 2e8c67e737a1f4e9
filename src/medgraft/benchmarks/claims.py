"""Does what a publication says hold here? A verdict for each target and budget of a grid."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import pandas as pd

from medgraft.benchmarks.grid import Budget, ClaimTable, Grid
from medgraft.errors import SettingsError
from medgraft.evaluation.compare import compare
from medgraft.evidence import Evidence
from medgraft.plugins import nearest
from medgraft.ranking.regret import mean_over_targets

Verdict = Literal["reproduced", "same direction", "not reproduced"]
ALL = -1
"""How the table "grid" writes a budget of all labels."""


class Judged(NamedTuple):
    """One comparison that a claim is about.

    labels: the budget in words, as "2 patients".
    ours, theirs: mean score over seeds of the method and of the reference.
    difference, low, high: of the means over seeds, with its 95 % interval over patients.
    patients: how many units the interval resamples.
    """

    cohort: str
    budget: Budget
    labels: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    patients: int
    seeds: int
    verdict: Verdict


def judge(claim: ClaimTable, metric: str, evidence: Evidence) -> list[Judged]:
    """Compare what a claim compares, on every target and budget that the grid measured.

    Args:
        claim: of the grid.
        metric: score that the grid goes by.
        evidence: of the grid.

    Returns: by target, then by budget; empty where the cells are not finished. "reproduced" if the 95 % interval of
        the difference over patients lies above 0; "same direction" if only the difference does.
    """
    if "grid" not in evidence.tables:
        return []
    cells = evidence.tables["grid"]
    finished = cells[cells["state"] == "finished"]
    found = []
    for cohort in finished["cohort"].unique():
        at_cohort = finished[finished["cohort"] == cohort]
        for budget in _budgets(claim, at_cohort):
            names = [_subject(at_cohort, label, budget) for label in (claim.method, claim.reference)]
            if None not in names:
                found.append(_judge(evidence, str(cohort), budget, str(names[0]), str(names[1]), metric))
    return found


class JudgedScores(NamedTuple):
    """One comparison of two transferability scores.

    ours, theirs: mean weighted tau over targets of the score and of the reference.
    difference, low, high: mean over targets, with its 95 % interval over them.
    readable: targets on which fine-tuning tells the sources apart, of `targets`.
    """

    budget: int
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    targets: int
    readable: int
    verdict: Verdict


def judge_score_claim(claim: ClaimTable, evidence: Evidence) -> list[JudgedScores]:
    """Compare two transferability scores over the targets of a grid that ranks sources.

    Args:
        claim: of the grid, about names of scores.
        evidence: of the grid.

    Returns: by budget; empty where the cells are not finished or one score has no tau on some target. "reproduced" if
        the 95 % interval of the difference over targets lies above 0; "same direction" if only the difference does.
    """
    if "selection_taus" not in evidence.tables:
        return []
    found = []
    reliability = evidence.tables["selection_reliability"]
    for budget, taus in evidence.tables["selection_taus"].groupby("budget", sort=False):
        wide = taus.pivot(index="cohort", columns="score", values="tau")[[claim.method, claim.reference]]
        if wide.isna().to_numpy().any():
            continue
        ours, theirs = (wide[name] for name in wide)
        interval = mean_over_targets(ours - theirs)
        apart = int(reliability.loc[reliability["budget"] == budget, "tells_apart"].sum())
        difference, low, high = interval.value, interval.low, interval.high
        verdict = _verdict(difference, low)
        found.append(
            JudgedScores(
                int(str(budget)), float(ours.mean()), float(theirs.mean()), difference, low, high,
                len(wide), apart, verdict,
            )
        )  # fmt: skip
    return found


def claim_problems(grid: Grid, labels: Collection[str]) -> Iterator[tuple[str, SettingsError]]:
    """Claims about what the grid does not compare: the place in the file, and what is wrong there.

    Args:
        grid: as read.
        labels: names of its methods and baselines, or of its scores where it ranks sources.
    """
    for number, claim in enumerate(grid.claims):
        for key, label in (("method", claim.method), ("reference", claim.reference)):
            if label not in labels:
                got = f"it got {label!r}{nearest(label, labels)}"
                yield (
                    f"claims[{number}].{key}",
                    SettingsError("a claim", f"one of {', '.join(labels)}", got, "Correct it."),
                )
        for budget in claim.budgets:
            if budget not in grid.budgets:
                told = ", ".join(map(str, grid.budgets))
                yield (
                    f"claims[{number}].budgets",
                    SettingsError(
                        "a claim", f"budgets of the grid ({told})", f"it got {budget}", "Add it there."
                    ),
                )


def _budgets(claim: ClaimTable, cells: pd.DataFrame) -> list[Budget]:
    measured: list[Budget] = [
        "all" if budget == ALL else int(budget)
        for budget in cells.loc[cells["method"] == claim.method, "budget"].unique()
    ]
    return [budget for budget in measured if not claim.budgets or budget in claim.budgets]


def _subject(cells: pd.DataFrame, label: str, budget: Budget) -> str | None:
    """What a method is called at a budget; those without labels are called the same at every budget."""
    own = cells[cells["method"] == label]
    fitting = own[own["budget"].isin([ALL if budget == "all" else budget, 0])]
    return None if fitting.empty else str(fitting["subject"].iloc[0])


def _judge(
    evidence: Evidence, cohort: str, budget: Budget, subject: str, reference: str, metric: str
) -> Judged:
    lines = compare(evidence, subject, reference, metric).tables["comparisons"]
    line = lines[(lines["cohort"] == cohort) & (lines["split"] == "test")].iloc[0]
    ours, theirs = (_mean(evidence, cohort, name, metric) for name in (subject, reference))
    difference, low = float(line["difference"]), float(line["low"])
    verdict = _verdict(difference, low)
    high, patients, seeds = float(line["high"]), int(line["n"]), int(line["seeds"])
    labels = subject.rpartition(", ")[2]
    return Judged(cohort, budget, labels, ours, theirs, difference, low, high, patients, seeds, verdict)


def _verdict(difference: float, low: float) -> Verdict:
    if not difference > 0:
        return "not reproduced"
    return "reproduced" if low > 0 else "same direction"


def _mean(evidence: Evidence, cohort: str, subject: str, metric: str) -> float:
    facts = evidence.facts
    chosen = (
        (facts["cohort"] == cohort) & (facts["subject"] == subject) & (facts["metric"] == metric)
        & (facts["split"] == "test") & (facts["part"] == "") & (facts["selection"] != "oracle")
    )  # fmt: skip
    return float(facts.loc[chosen, "value"].mean())
