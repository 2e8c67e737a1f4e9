"""What differs between two audits is what naive loops over the same resampled patients find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.errors import DataError
from medgraft.statistics.bootstrap import bootstrap_interval

CLASSES = ("benign", "malignant")
TONES = np.array(["light", "medium", "dark"])
PATIENTS = np.repeat(np.arange(90), 2)
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, len(PATIENTS))
TONE = RNG.integers(0, 3, 90)[PATIENTS]


def chances(shortcut: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(TRUTH))
    return 1 / (1 + np.exp(-(noise + 2 * TRUTH - shortcut * (TONE == 2))))


PLAIN, FAIR = chances(2.5, 1), chances(0.0, 2)


def trained_on(counts) -> Cohort:
    truth, tone = (np.repeat(each.ravel(), np.ravel(counts)) for each in np.indices(np.shape(counts)))
    return Cohort.from_arrays(
        np.zeros((len(truth), 1, 1, 2), np.float32), truth, kind="classify", classes=CLASSES,
        patients=[str(n) for n in range(len(truth))], attributes=pd.DataFrame({"tone": TONES[tone]}), name="training",
    )  # fmt: skip


BIASED = trained_on([[10, 50, 90], [90, 50, 10]])


@pytest.fixture
def audit(written):
    def measure(subject: str, malignant, reference=BIASED, seed: int = 0, truth=TRUTH, rows=slice(None)):
        model, cohort = written.labels(
            np.stack([1 - malignant, malignant], axis=1)[rows], truth[rows], CLASSES,
            patients=[f"Anna {n}" for n in PATIENTS[rows]], attributes=pd.DataFrame({"tone": TONES[TONE][rows]}),
        )  # fmt: skip
        asked = mg.BiasAudit(["tone"], reference)
        return mg.evaluate(model, cohort, subject=subject, seed=seed, bias=asked, repeats=50, examples=0)

    return measure


def lines(evidence, metric: str = "auroc") -> pd.DataFrame:
    table = evidence.tables["bias_comparisons"]
    return table[table["metric"] == metric].set_index("part")


@pytest.mark.parametrize("metric", ["auroc", "balanced_accuracy"])
def test_a_model_does_not_differ_from_itself(audit, metric):
    found = lines(mg.compare_audits(audit("one", PLAIN) + audit("other", PLAIN), repeats=100), metric)
    assert list(found.index) == ["all", "conflicting", "aligned", "worst", "gap"]
    assert (found[["difference", "low", "high"]] == 0).all(axis=None)
    assert (found["n"] > 0).all() and set(found["reference"]) == {"one"}


def test_differences_are_those_of_a_naive_loop_over_the_same_patients(audit):
    found = lines(mg.compare_audits(audit("plain", PLAIN) + audit("fair", FAIR), repeats=100))

    def by_tone(rows, said) -> list[float]:
        return [
            roc_auc_score(TRUTH[own], said[own]) for own in (rows[TONE[rows] == tone] for tone in range(3))
        ]

    def auroc(rows, said) -> float:
        return float(roc_auc_score(TRUTH[rows], said[rows]))

    ways = {
        "all": auroc,
        "conflicting": auroc,
        "worst": lambda rows, said: min(by_tone(rows, said)),
        "gap": lambda rows, said: np.ptp(by_tone(rows, said)),
    }
    # malignant went with light and benign with dark; medium skin with neither
    against = np.flatnonzero((TONE == 0) & (TRUTH == 0) | (TONE == 2) & (TRUTH == 1))
    for part, naive in ways.items():
        own = against if part == "conflicting" else np.arange(len(TRUTH))
        expected = bootstrap_interval(
            lambda at, own=own, naive=naive: naive(own[at], FAIR) - naive(own[at], PLAIN),
            PATIENTS[own],
            repeats=100,
        )
        assert found.loc[part, ["difference", "low", "high"]].to_numpy(float) == pytest.approx(
            expected[:3], abs=1e-6
        )
        assert found.loc[part, "n"] == expected.units
    # within one tone, a model that goes by tone ranks as well as any
    assert found.loc["conflicting", "low"] > 0 > found.loc["gap", "low"]


def test_seeds_are_averaged_before_models_are_compared(audit):
    noisy = chances(0.0, 3)
    both = audit("plain", PLAIN) + audit("fair", FAIR) + audit("fair", noisy, seed=1)
    found = lines(mg.compare_audits(both, repeats=50)).loc["all"]
    mean = (roc_auc_score(TRUTH, FAIR) + roc_auc_score(TRUTH, noisy)) / 2
    assert found["difference"] == pytest.approx(mean - roc_auc_score(TRUTH, PLAIN), abs=1e-6)
    assert found["seeds"] == 1


def test_other_training_data_make_other_cases_that_are_not_compared(audit):
    upside_down = trained_on([[90, 50, 10], [10, 50, 90]])
    both = audit("plain", PLAIN) + audit("fair", FAIR, upside_down)
    found = lines(mg.compare_audits(both, repeats=50))
    assert found.loc["conflicting", "reason"] == "their training data make other cases go against them"
    assert np.isnan(found.loc["conflicting", "difference"]) and np.isfinite(found.loc["gap", "difference"])
    unnamed = audit("plain", PLAIN, None) + audit("fair", FAIR)
    assert set(lines(mg.compare_audits(unnamed, repeats=50)).index) == {"all", "worst", "gap"}


def test_any_model_may_be_the_one_that_others_are_compared_with(audit):
    three = audit("plain", PLAIN) + audit("fair", FAIR) + audit("other", chances(1.0, 4))
    table = mg.compare_audits(three, "fair", repeats=20).tables["bias_comparisons"]
    assert set(table["reference"]) == {"fair"} and list(dict.fromkeys(table["subject"])) == ["plain", "other"]
    assert (three + mg.compare_audits(three, repeats=20)).tables["bias_comparisons"]["reference"].iloc[
        0
    ] == "plain"


def test_what_cannot_be_compared_is_refused(audit):
    plain = audit("plain", PLAIN)
    with pytest.raises(DataError, match="two models"):
        mg.compare_audits(plain)
    with pytest.raises(DataError, match="two models, nobody one of them"):
        mg.compare_audits(plain + audit("fair", FAIR), "nobody")
    with pytest.raises(DataError, match="audits of none"):
        mg.compare_audits(mg.Evidence.empty())
    with pytest.raises(DataError, match="rows, units or truth differ"):
        mg.compare_audits(plain + audit("fair", FAIR, rows=slice(0, 170)))
    with pytest.raises(DataError, match="more than once, and differently"):
        mg.compare_audits(
            plain + audit("fair", FAIR) + audit("fair", FAIR, trained_on([[9, 1, 1], [1, 9, 9]]))
        )
    older = plain + audit("fair", FAIR)
    nameless = older.tables["bias_groups"].drop(columns="subject")
    with pytest.raises(DataError, match="older version"):
        mg.compare_audits(replace(older, tables=older.tables | {"bias_groups": nameless}))
