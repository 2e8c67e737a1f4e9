"""Who is better than whom: comparisons with the baselines, and ranks with their tests, from a grid's evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medgraft.benchmarks.candidates import AS_IT_IS
from medgraft.benchmarks.plan import Row
from medgraft.evaluation.compare import compare
from medgraft.evaluation.outcome import is_share_of_masks
from medgraft.evidence import Evidence

ALPHA = 0.05


def compare_subjects(evidence: Evidence, rows: Sequence[Row]) -> Evidence:
    """Compare every method with the baselines of its source and budget, and rank the subjects of each target.

    Ranks and tests need a score of every patient (or block): Dice and its like, or accuracy. Of areas under curves
    there is none, so these are compared by intervals alone.

    Args:
        evidence: of the cells of a grid.
        rows: what they are called.

    Returns: evidence with the tables "comparisons", "ranks", "critical_difference" and "difference_tests", as far as
        there is something to compare.
    """
    if "grid" not in evidence.tables:
        return Evidence.empty()
    cells = evidence.tables["grid"]
    finished = cells[cells["state"] == "finished"]
    together = Evidence.empty()
    ranks, differences, tests = [], [], []
    for metric in dict.fromkeys(row.metric for row in rows):
        own = [row for row in rows if row.metric == metric]
        chosen = pairs(own)
        for subject, reference in chosen:
            places = [
                set(finished.loc[finished["subject"] == name, "cohort"]) for name in (subject, reference)
            ]
            if places[0] & places[1]:
                together += compare(evidence, subject, reference, metric)
        for cohort in dict.fromkeys(row.cohort for row in own):
            at_cohort = finished[finished["cohort"] == cohort]
            scores = scores_by_unit(evidence, at_cohort, cohort, metric)
            about = {"cohort": cohort, "metric": metric}
            ranks += [about | line for line in rank_subjects(scores)]
            differences += [about | line for line in _critical_difference(scores)]
            tests += [about | line for line in _tests(scores, chosen)]
    tables = {"ranks": ranks, "critical_difference": differences, "difference_tests": tests}
    return together + Evidence(tables={name: pd.DataFrame(lines) for name, lines in tables.items() if lines})


def pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Methods with the baselines of the same source and budget; all with the source as it is."""
    references: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.role != "method":
            references.setdefault(_place(row), []).append(row)
    found: dict[tuple[str, str], None] = {}
    for row in (row for row in rows if row.method != AS_IT_IS):
        for other in references.get(_place(row), []):
            as_it_is = other.method == AS_IT_IS
            if other.subject != row.subject and (
                as_it_is or (row.role == "method" and other.budget == row.budget)
            ):
                found[row.subject, other.subject] = None
    return list(found)


def _place(row: Row) -> tuple[str, ...]:
    return row.source, row.source_cohort, row.cohort


def scores_by_unit(evidence: Evidence, cells: pd.DataFrame, cohort: str, metric: str) -> pd.DataFrame:
    """One row per patient (or block) and one column per subject: the mean over its seeds and parts.

    Args:
        evidence: holds the tables of scores or predictions.
        cells: finished cells of one target; subjects of which a seed is missing are left out.
        cohort: name of the target.
        metric: a share of masks, or accuracy; there is nothing of any other.
    """
    seeds = cells.groupby("subject", sort=False)["seed"].apply(list)
    columns = {}
    for subject, own in seeds.items():
        if len(own) < max(map(len, seeds)):
            continue
        found = [score_of_units(evidence, str(subject), seed, cohort, metric) for seed in own]
        whole = [scores for scores in found if scores is not None]
        if len(whole) == len(own):
            columns[str(subject)] = pd.concat(whole, axis=1).mean(axis=1, skipna=False)
    return pd.DataFrame(columns).dropna()


def score_of_units(evidence: Evidence, subject: str, seed: int, cohort: str, metric: str) -> pd.Series | None:
    """The score of every patient (or block) with one seed, mean over parts; None of what has no score by patient."""
    kind = "scores" if is_share_of_masks(metric) else "predictions"
    table = evidence.tables.get(f"{kind}/{subject}/{seed}")
    if table is None:
        return None
    table = table[(table["cohort"] == cohort) & (table["split"] == "test")]
    if metric == "accuracy" and "truth" in table:
        table = table.assign(accuracy=(table["truth"] == table["predicted"]).astype(float))
    if metric not in table:
        return None
    return table.groupby("unit")[metric].mean()


def rank_subjects(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean ranks, and letters that subjects share which Nemenyi's test (of two: Wilcoxon's) cannot tell apart."""
    from medgraft.statistics import friedman, mean_ranks, nemenyi, paired_wilcoxon, significance_letters

    if scores.shape[1] < 2 or len(scores) < 2:
        return []
    ranks = mean_ranks(scores.to_numpy())
    alike = np.ones((len(ranks), len(ranks)))
    if scores.shape[1] == 2:
        alike[0, 1] = alike[1, 0] = paired_wilcoxon(scores.iloc[:, 0], scores.iloc[:, 1]).p
    elif friedman(scores.to_numpy()).p < ALPHA:  # else all are alike, and so are pairs
        alike = nemenyi(scores.to_numpy())
    letters = significance_letters(alike, ranks, ALPHA)
    return [
        {"subject": subject, "mean_rank": float(rank), "letters": letter}
        for subject, rank, letter in zip(scores.columns, ranks, letters)
    ]


def _critical_difference(scores: pd.DataFrame) -> list[dict[str, Any]]:
    from medgraft.statistics import critical_difference, friedman

    if scores.shape[1] < 3 or len(scores) < 2:
        return []
    value = critical_difference(scores.shape[1], len(scores), ALPHA)
    p = float(friedman(scores.to_numpy()).p)
    return [{"value": value, "alpha": ALPHA, "friedman_p": p, "blocks": len(scores)}]


def _tests(scores: pd.DataFrame, chosen: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Paired tests over patients; Holm's correction is over all pairs of the target."""
    from medgraft.statistics import detectable_difference, holm, paired_wilcoxon, permutation_test

    lines: list[dict[str, Any]] = []
    for subject, reference in chosen:
        if not {subject, reference} <= set(scores.columns) or len(scores) < 2:
            continue
        ours, theirs = scores[subject].to_numpy(), scores[reference].to_numpy()
        lines.append(
            {
                "subject": subject,
                "reference": reference,
                "p_wilcoxon": float(paired_wilcoxon(ours, theirs).p),
                "p_permutation": float(permutation_test(ours, theirs).p),
                "detectable": float(detectable_difference(ours - theirs)),
            }
        )
    if not lines:
        return []
    corrected = holm([line["p_wilcoxon"] for line in lines])
    return [line | {"p_holm": float(p)} for line, p in zip(lines, corrected)]
