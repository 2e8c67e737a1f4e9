"""Would another training say the same? Tests over the runs of a grid, and the best of one group against another's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from medgraft.benchmarks.claims import subject_at
from medgraft.benchmarks.compare import pairs
from medgraft.benchmarks.grid import Budget, Grid
from medgraft.benchmarks.plan import Row
from medgraft.evaluation.outcome import ERRORS
from medgraft.evidence import Evidence

FEWEST_RUNS = 3
"""Two runs have a standard deviation, but hardly a test."""


class Pair(NamedTuple):
    """Two subjects to compare; the groups whose best they are, "" where they are of none."""

    subject: str
    reference: str
    group: str = ""
    reference_group: str = ""


def compare_runs(evidence: Evidence, rows: Sequence[Row], grid: Grid) -> Evidence:
    """Compare subjects by their scores in every run (seed): with their baselines, as claims do, and the best of groups.

    Patients are the same in every run, so this says whether another training would show the same, and nothing of
    other patients.

    Args:
        evidence: facts and the table "grid".
        rows: what its cells are called.
        grid: names claims and groups.

    Returns: evidence with the table "run_tests": cohort, metric, subject, reference, group, reference_group, runs (that
        both have), mean, sd, reference_mean, reference_sd, p_independent (Welch's t-test of two samples), p_paired
        (Student's, by seed), p_holm (the latter, corrected over all pairs of the target). Nothing of pairs with fewer
        than three runs.
    """
    if "grid" not in evidence.tables or grid.ranking is not None:
        return Evidence.empty()
    cells = evidence.tables["grid"]
    finished = cells[cells["state"] == "finished"]
    lines: list[dict[str, Any]] = []
    for cohort, metric in dict.fromkeys((row.cohort, row.metric) for row in rows):
        own = finished[finished["cohort"] == cohort]
        runs = _runs(evidence, cohort, metric)
        wanted = [
            *itertools.starmap(Pair, pairs([row for row in rows if row.cohort == cohort])),
            *_of_claims(grid, own),
            *_of_groups(grid, own, runs, metric),
        ]
        about = {"cohort": cohort, "metric": metric}
        lines += [about | line for line in _tests(runs, list(dict.fromkeys(wanted)))]
    return Evidence(tables={"run_tests": pd.DataFrame(lines)} if lines else {})


def _tests(runs: pd.DataFrame, wanted: Sequence[Pair]) -> list[dict[str, Any]]:
    from medgraft.statistics import holm, independent_t_test, paired_t_test

    lines: list[dict[str, Any]] = []
    for pair in wanted:
        if not {pair.subject, pair.reference} <= set(runs.columns):
            continue
        both = runs[[pair.subject, pair.reference]].dropna().to_numpy()
        if len(both) >= FEWEST_RUNS:
            (mean, other), (sd, other_sd) = both.mean(axis=0), both.std(axis=0, ddof=1)
            lines.append(
                {
                    **pair._asdict(), "runs": len(both),
                    "mean": mean, "sd": sd, "reference_mean": other, "reference_sd": other_sd,
                    "p_independent": independent_t_test(*both.T).p, "p_paired": paired_t_test(*both.T).p,
                }
            )  # fmt: skip
    defined = [line for line in lines if math.isfinite(line["p_paired"])]
    # the best of groups come again, and perhaps the other way round
    once = {_two(line): line["p_paired"] for line in defined}
    corrected = dict(zip(once, holm(list(once.values())))) if once else {}
    return [line | {"p_holm": float(corrected.get(_two(line), math.nan))} for line in lines]


def _two(line: Mapping[str, Any]) -> frozenset[str]:
    return frozenset((line["subject"], line["reference"]))


def _runs(evidence: Evidence, cohort: str, metric: str) -> pd.DataFrame:
    """One row per seed and one column per subject: the score on the target's test rows."""
    facts = evidence.facts
    own = facts[
        (facts["cohort"] == cohort) & (facts["split"] == "test") & (facts["metric"] == metric)
        & (facts["part"] == "") & (facts["selection"] != "oracle")
    ]  # fmt: skip
    return own.pivot_table(index="seed", columns="subject", values="value", aggfunc="first")


def _of_claims(grid: Grid, cells: pd.DataFrame) -> Iterator[Pair]:
    for claim in grid.claims:
        if claim.on == "target":
            for place, budget in _places(cells):
                names = [subject_at(place, label, budget) for label in (claim.method, claim.reference)]
                if None not in names and not (claim.budgets and budget not in claim.budgets):
                    yield Pair(str(names[0]), str(names[1]))


def _of_groups(grid: Grid, cells: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Iterator[Pair]:
    """The best members of every two groups; what another budget names again is the same pair."""
    means = runs.mean() * (-1 if metric in ERRORS else 1)
    for place, budget in _places(cells):
        best: dict[str, str] = {}
        for name, members in grid.groups.items():
            found = means[means.index.isin([subject_at(place, label, budget) for label in members])].dropna()
            if len(found):
                best[name] = str(found.idxmax())
        for (group, subject), (other, reference) in itertools.combinations(best.items(), 2):
            yield Pair(subject, reference, group, other)


def _places(cells: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, Budget]]:
    """Cells of one source, with every budget that they have."""
    for _, own in cells.groupby(["source", "source_cohort"], sort=False):
        for budget in own["budget"].unique():
            if budget:
                yield own, "all" if budget < 0 else int(budget)
