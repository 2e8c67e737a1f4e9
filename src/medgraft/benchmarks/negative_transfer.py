"""What a source costs where it should help: from scratch minus transferred, for all, by patient and by region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from medgraft.benchmarks.candidates import SCRATCH
from medgraft.benchmarks.plan import Row
from medgraft.evaluation.compare import compare
from medgraft.evaluation.outcome import ERRORS, is_share_of_masks
from medgraft.evidence import Evidence
from medgraft.statistics.bootstrap import WeightedMetric, paired_difference

OF_TRUTH = "probability of the truth"
WHOLE = ""


def negative_transfer(evidence: Evidence, rows: Sequence[Row]) -> pd.DataFrame:
    """Compare every method that starts from a source with the same network trained from scratch on the same labels.

    Args:
        evidence: of the cells of a grid.
        rows: what they are called; without "from scratch" among them there is nothing to tell.

    Returns: one line for each method, target and budget, and of masks one more for each class (region): cohort,
        subject, reference (from scratch), metric, part ("" for the whole), difference (from scratch minus transferred,
        of errors the other way round: positive where the source did harm), low, high (95 % interval over units), n
        (units), seeds, by_unit (the score by which units are told), worse (units that training from scratch serves
        better), worst (its largest gain on one unit).
        Units are compared by their mean over seeds, those of areas under curves by the probability of the truth.
    """
    cells = evidence.tables.get("grid", pd.DataFrame({"state": [], "subject": [], "cohort": []}))
    finished = cells[cells["state"] == "finished"]
    known = set(zip(finished["subject"], finished["cohort"]))
    lines: list[dict[str, object]] = []
    for subject, reference, cohort, metric in _pairs(rows):
        if (subject, cohort) in known and (reference, cohort) in known:
            about = {"cohort": cohort, "subject": subject, "reference": reference, "metric": metric}
            lines += [about | line for line in _lines(evidence, subject, reference, cohort, metric)]
    return pd.DataFrame(lines)


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Subject, reference, cohort and metric of all that share source, target and budget with "from scratch"."""
    places = {
        (row.source, row.source_cohort, row.cohort, row.budget): row.subject
        for row in rows
        if row.method == SCRATCH
    }
    found: dict[tuple[str, str, str, str], None] = {}
    for row in rows:
        reference = places.get((row.source, row.source_cohort, row.cohort, row.budget))
        if reference is not None and row.method != SCRATCH:
            found[row.subject, reference, row.cohort, row.metric] = None
    return list(found)


def _lines(
    evidence: Evidence, subject: str, reference: str, cohort: str, metric: str
) -> Iterator[dict[str, object]]:
    masks = is_share_of_masks(metric)
    ours, theirs = (_by_unit(evidence, name, cohort, metric) for name in (subject, reference))
    if ours.empty or theirs.empty:
        return
    for part in [WHOLE, *(ours["part"].unique() if masks else ())]:
        pair = [table if part == WHOLE else table[table["part"] == part] for table in (theirs, ours)]
        scratch, transferred = (table.groupby("unit")["value"].mean() for table in pair)
        gaps = (scratch - transferred).dropna()
        if gaps.empty:
            continue
        told: dict[str, object] = {"part": part}
        if masks:
            values = [one[gaps.index].to_numpy() for one in (scratch, transferred)]
            found = paired_difference(_mean(values[0]), _mean(values[1]), gaps.index.to_numpy())
            told |= {"difference": found.value, "low": found.low, "high": found.high, "n": found.units}
        else:
            first, second = (subject, reference) if metric in ERRORS else (reference, subject)
            lines = compare(evidence, first, second, metric).tables["comparisons"]
            line = lines[(lines["cohort"] == cohort) & (lines["split"] == "test")].iloc[0]
            told |= {name: line[name] for name in ("difference", "low", "high", "n")}
        yield told | {
            "seeds": min(table["seeds"].iloc[0] for table in pair),
            "by_unit": metric if masks else OF_TRUTH,
            "worse": int((gaps > 0).sum()),
            "worst": float(gaps.max()),
        }


def _mean(values: np.ndarray) -> WeightedMetric:
    return WeightedMetric(lambda weights: weights @ values / weights.sum(axis=1), len(values))


def _by_unit(evidence: Evidence, subject: str, cohort: str, metric: str) -> pd.DataFrame:
    """Columns part, unit, value (mean over seeds and rows) and seeds of one subject's test rows at one target."""
    masks = is_share_of_masks(metric)
    prefix = f"{'scores' if masks else 'predictions'}/{subject}/"
    found = []
    for name, table in evidence.tables.items():
        if not name.startswith(prefix) or "/" in name.removeprefix(prefix):
            continue
        own = table[(table["cohort"] == cohort) & (table["split"] == "test")]
        if masks and metric in own:
            found.append(own[["part", "unit"]].assign(value=own[metric]))
        elif not masks:
            found.append(own[["unit"]].assign(part=WHOLE, value=_probability_of_truth(own)))
    if not found:
        return pd.DataFrame({"part": [], "unit": [], "value": [], "seeds": []})
    means = pd.concat(found).groupby(["part", "unit"], sort=False)["value"].mean()
    return means.reset_index().assign(seeds=len(found))


def _probability_of_truth(table: pd.DataFrame) -> np.ndarray:
    """Of every row: what the true class was given, or the mean over labels of what their truth was given."""
    names = [name for name in table.columns if str(name).startswith("p_") and table[name].notna().any()]
    given = table[names].to_numpy(dtype=np.float64)
    if "truth" in table and table["truth"].notna().all():
        chosen: np.ndarray = given[np.arange(len(table)), table["truth"].to_numpy(dtype=np.int64)]
        return chosen
    truth = table[[f"truth_{name.removeprefix('p_')}" for name in names]].to_numpy(dtype=np.float64)
    known = ~np.isnan(truth)
    of_truth = np.where(known, np.where(truth > 0.5, given, 1 - given), 0).sum(axis=1)
    number = known.sum(axis=1)
    shares: np.ndarray = np.divide(of_truth, number, out=np.full(len(table), np.nan), where=number > 0)
    return shares
