"""Does what a publication says hold here? A verdict for each target and budget of a grid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from medgraft.benchmarks.grid import Budget, ClaimTable, Grid
from medgraft.errors import SettingsError
from medgraft.evaluation.compare import compare, compare_gains
from medgraft.evaluation.outcome import ERRORS
from medgraft.evidence import Evidence
from medgraft.plugins import nearest
from medgraft.ranking.regret import mean_over_targets

Verdict = Literal["reproduced", "same direction", "not reproduced"]
FEWEST_PAIRS = 5
ALL = -1
"""How the table "grid" writes a budget of all labels."""


class Judged(NamedTuple):
    """One comparison that a claim is about.

    source: what the source was trained on, or its name. cohort: the target.
    labels: the budget in words, as "2 patients"; "none" where nothing is adapted.
    ours, theirs: mean score over seeds of the method and of the reference; of a claim about two gains, these gains.
    difference, low, high: by how much the method (or its gain) is better, means over seeds, with its 95 % interval over
    patients; of an error (brier, ece) by how much its own is smaller.
    patients: how many units the interval resamples.
    """

    source: str
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


class OverPairs(NamedTuple):
    """The same comparison over all pairs of source and target of a grid.

    difference, low, high: mean over pairs, with its 95 % interval over them. better: pairs whose difference is above 0.
    """

    labels: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    pairs: int
    better: int
    verdict: Verdict


def judge(claim: ClaimTable, metric: str, evidence: Evidence) -> list[Judged]:
    """Compare what a claim compares, on every pair of source and target and at every budget that the grid measured.

    Args:
        claim: of the grid.
        metric: score that the grid goes by.
        evidence: of the grid.

    Returns: by pair, then by budget; empty where the cells are not finished. "reproduced" if the 95 % interval of
        the difference over patients lies above 0; "same direction" if only the difference does.
    """
    if "grid" not in evidence.tables:
        return []
    cells = evidence.tables["grid"]
    finished = cells[cells["state"] == "finished"]
    found = []
    for (source, trained_on, cohort), own in finished.groupby(
        ["source", "source_cohort", "cohort"], sort=False
    ):
        place = _Place(str(trained_on or source), str(cohort), claim.on)
        for budget in _budgets(claim, own):
            names = [subject_at(own, label, budget) for _, label in _compared(claim)]
            if None not in names:
                told = (budget, _labels(own, budget))
                found.append(_judge(evidence, place, told, [str(name) for name in names], metric))
    return found


def judge_over_pairs(judged: Sequence[Judged]) -> list[OverPairs]:
    """Sum up a claim's comparisons by budget, pairs of source and target being what is resampled.

    Args:
        judged: of one claim.

    Returns: by budget; empty where there are fewer than five pairs, too few for an interval. Pairs of the same few
        sites share patients, so the interval is a rough one.
    """
    by_budget: dict[Budget, list[Judged]] = {}
    for one in judged:
        by_budget.setdefault(one.budget, []).append(one)
    found = []
    for own in by_budget.values():
        if len(own) < FEWEST_PAIRS:
            continue
        mean = mean_over_targets([one.difference for one in own])
        ours, theirs = (sum(getattr(one, side) for one in own) / len(own) for side in ("ours", "theirs"))
        better = sum(one.difference > 0 for one in own)
        found.append(
            OverPairs(
                own[0].labels, ours, theirs, mean.value, mean.low, mean.high, len(own), better,
                _verdict(mean.value, mean.low),
            )
        )  # fmt: skip
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
        if claim.more_than and grid.ranking is not None:
            told = "this one ranks sources"
            yield (
                f"claims[{number}].more_than",
                SettingsError("a claim", "a grid that compares methods", told, "Leave it out."),
            )
            continue
        for key, label in _compared(claim):
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


def group_problems(grid: Grid, labels: Collection[str]) -> Iterator[tuple[str, SettingsError]]:
    """Groups of what the grid does not compare, or that share a member: the place in the file, and what is wrong.

    Args:
        grid: as read.
        labels: names of its methods and baselines.
    """
    if grid.groups and grid.ranking is not None:
        told = SettingsError(
            "groups", "a grid that compares methods", "this one ranks sources", "Leave them out."
        )
        yield "groups", told
        return
    seen: dict[str, str] = {}
    for name, members in grid.groups.items():
        for label in members:
            if label not in labels:
                got = f"it got {label!r}{nearest(label, labels)}"
                known = ", ".join(labels)
                yield f"groups.{name}", SettingsError("a group", f"some of {known}", got, "Correct it.")
            elif seen.setdefault(label, name) != name:
                got = f"{label!r} is also one of {seen[label]!r}"
                yield f"groups.{name}", SettingsError("a group", "members of its own", got, "Name it once.")
    if len(grid.groups) == 1:
        told = SettingsError("a comparison", "two groups", "there is one", "Add the other.")
        yield "groups", told


def _compared(claim: ClaimTable) -> list[tuple[str, str]]:
    """What a claim compares: the key in the file, and the label that stands there."""
    more_than = [("more_than", label) for label in claim.more_than or ()]
    return [("method", claim.method), ("reference", claim.reference), *more_than]


def _budgets(claim: ClaimTable, cells: pd.DataFrame) -> list[Budget]:
    """Those of the method; where it needs no labels, those of the reference."""
    for label in (claim.method, claim.reference):
        found = cells.loc[cells["method"] == label, "budget"].unique()
        if any(found):
            break
    measured: list[Budget] = ["all" if budget == ALL else int(budget) for budget in found]
    return [budget for budget in measured if not claim.budgets or budget in claim.budgets]


def subject_at(cells: pd.DataFrame, label: str, budget: Budget) -> str | None:
    """What a method is called at a budget; those without labels are called the same at every budget."""
    own = cells[cells["method"] == label]
    fitting = own[own["budget"].isin([ALL if budget == "all" else budget, 0])]
    return None if fitting.empty else str(fitting["subject"].iloc[0])


def _labels(cells: pd.DataFrame, budget: Budget) -> str:
    """A budget in words, as in the names of its subjects."""
    if not budget:
        return "none"
    own = cells[cells["budget"] == (ALL if budget == "all" else budget)]
    return str(own["subject"].iloc[0]).rpartition(", ")[2]


class _Place(NamedTuple):
    """A pair of source and target, and on whose test rows the two are compared."""

    source: str
    target: str
    on: Literal["target", "source"]

    def has(self, table: pd.DataFrame) -> pd.Series:
        """Which rows of a table with the columns cohort and split lie there."""
        if self.on == "target":
            return (table["cohort"] == self.target) & (table["split"] == "test")
        after = table["split"] == f"test after {self.target}"  # as a source with several targets has them
        own = table["cohort"] == self.source
        return own & (after if (own & after).any() else table["split"] == "test")


def _judge(
    evidence: Evidence, place: _Place, budget: tuple[Budget, str], subjects: Sequence[str], metric: str
) -> Judged:
    """Of two subjects; of four, the first's gain over the second beside the third's over the fourth."""
    pairs = [(b, a) if metric in ERRORS else (a, b) for a, b in zip(subjects[::2], subjects[1::2])]
    means = [_mean(evidence, place, name, metric) for name in subjects]
    if len(pairs) == 1:
        lines = compare(evidence, *pairs[0], metric).tables["comparisons"]
        ours, theirs = means
    else:
        lines = compare_gains(evidence, pairs[0], pairs[1], metric)
        sign = -1 if metric in ERRORS else 1
        ours, theirs = sign * (means[0] - means[1]), sign * (means[2] - means[3])
    line = lines[place.has(lines)].iloc[0]
    difference, low = float(line["difference"]), float(line["low"])
    verdict = _verdict(difference, low)
    high, patients, seeds = float(line["high"]), int(line["n"]), int(line["seeds"])
    return Judged(
        place.source, place.target, *budget, ours, theirs, difference, low, high, patients, seeds,
        verdict,
    )  # fmt: skip


def _verdict(difference: float, low: float) -> Verdict:
    if not difference > 0:
        return "not reproduced"
    return "reproduced" if low > 0 else "same direction"


def _mean(evidence: Evidence, place: _Place, subject: str, metric: str) -> float:
    facts = evidence.facts
    chosen = (
        (facts["subject"] == subject) & (facts["metric"] == metric) & (facts["part"] == "")
        & (facts["selection"] != "oracle") & place.has(facts)
    )  # fmt: skip
    return float(facts.loc[chosen, "value"].mean())
