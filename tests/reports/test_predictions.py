from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from medgraft.metrics.calibration import reliability_bins
from medgraft.reports.predictions import (
    GRID,
    confusion_matrix,
    label_counts,
    mean_roc,
    read_outcome,
    reliability,
    roc_curve,
)


def table(seed: int = 0, rows: int = 60, classes: int = 3) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    chances = random.dirichlet(np.ones(classes), rows).round(2)  # rounded, so that there are ties
    return pd.DataFrame(
        {"truth": random.integers(0, classes, rows), "predicted": chances.argmax(1)}
        | {f"p_{k}": chances[:, k] for k in range(classes)}
    )


def test_confusion_adds_seeds_and_agrees_with_scikit_learn() -> None:
    tables = [table(0), table(1)]
    outcomes = [read_outcome(t) for t in tables]
    expected = sum(reference.confusion_matrix(t["truth"], t["predicted"], labels=[0, 1, 2]) for t in tables)
    np.testing.assert_array_equal(confusion_matrix(outcomes), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_roc_curve_agrees_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    present, scores = random.random(40) < 0.4, random.random(40).round(1)
    false, true, _ = reference.roc_curve(present, scores, drop_intermediate=False)
    curve = roc_curve(present, scores)
    assert curve is not None
    np.testing.assert_allclose(curve[0], false)
    np.testing.assert_allclose(curve[1], true)


def test_roc_curve_needs_both_kinds_of_cases() -> None:
    assert roc_curve(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert roc_curve(np.array([False]), np.array([0.1])) is None


def test_mean_roc_of_a_perfect_and_a_constant_score() -> None:
    perfect = read_outcome(
        pd.DataFrame({"truth": [0, 1], "predicted": [0, 1], "p_0": [0.9, 0.2], "p_1": [0.1, 0.8]})
    )
    constant = read_outcome(
        pd.DataFrame({"truth": [0, 1], "predicted": [0, 0], "p_0": [0.5] * 2, "p_1": [0.5] * 2})
    )
    assert perfect is not None and constant is not None
    np.testing.assert_allclose(mean_roc([perfect], 1), np.ones(201))
    np.testing.assert_allclose(mean_roc([constant], 1), GRID)
    np.testing.assert_allclose(mean_roc([perfect, constant], 1), (1 + GRID) / 2)


def test_reliability_agrees_with_the_bins_of_the_calibration_error() -> None:
    data = table(3, rows=200)
    outcome = read_outcome(data)
    assert outcome is not None
    bins = reliability([outcome], bins=10)
    expected = reliability_bins(data["truth"].to_numpy(), data[["p_0", "p_1", "p_2"]].to_numpy(), bins=10)
    there = expected.cases > 0
    assert bins is not None
    np.testing.assert_array_equal(bins.cases, expected.cases[there])
    np.testing.assert_allclose(bins.confidence, expected.confidence[there])
    np.testing.assert_allclose(bins.right, expected.accuracy[there])


def test_reliability_of_several_labels_agrees_too_and_skips_missing_truth() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (50, 2)).astype(float)
    truth[::7, 1] = np.nan
    chances = random.random((50, 2))
    outcome = read_outcome(
        pd.DataFrame(
            {f"truth_{k}": truth[:, k] for k in range(2)} | {f"p_{k}": chances[:, k] for k in range(2)}
        )
    )
    assert outcome is not None and not outcome.exclusive
    bins, expected = reliability([outcome]), reliability_bins(truth, chances, bins=10)
    assert bins is not None
    np.testing.assert_array_equal(bins.cases, expected.cases[expected.cases > 0])
    np.testing.assert_allclose(bins.right, expected.accuracy[expected.cases > 0])


def test_label_counts_leave_missing_truth_out() -> None:
    outcome = read_outcome(pd.DataFrame({"truth_0": [1, 1, 0, 0, np.nan], "p_0": [0.9, 0.1, 0.8, 0.2, 0.9]}))
    assert outcome is not None
    (line,) = label_counts([outcome, outcome], ["mass"])
    assert line[1:] == (2, 2, 2, 2)
    assert line.sensitivity == 0.5 and line.specificity == 0.5


@pytest.mark.parametrize(
    "odd",
    [
        pd.DataFrame({"truth": [0], "predicted": [0]}),
        pd.DataFrame({"truth": [-1], "predicted": [0], "p_0": [0.5], "p_1": [0.5]}),
        pd.DataFrame({"truth": [2], "predicted": [0], "p_0": [0.5], "p_1": [0.5]}),
        pd.DataFrame({"truth": ["a"], "predicted": ["b"], "p_0": [0.5], "p_1": [0.5]}),
        pd.DataFrame({"truth": [0], "predicted": [0], "p_0": [0.5], "p_7": [0.5]}),
        pd.DataFrame({"p_0": [0.5], "p_1": [0.5]}),
    ],
)
def test_tables_of_another_form_are_left_out(odd: pd.DataFrame) -> None:
    assert read_outcome(odd) is None
