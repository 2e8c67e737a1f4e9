"""Spread between seeds and between patients: by hand, against an analysis of variance, and on simulated scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.statistics import Spread, split_spread


def simulate(
    random: np.random.Generator, seeds: int, patients: int, sd: tuple[float, float, float]
) -> np.ndarray:
    return (
        0.8
        + random.normal(0, sd[0], (seeds, 1))
        + random.normal(0, sd[1], (1, patients))
        + random.normal(0, sd[2], (seeds, patients))
    )


def test_a_hand_worked_table() -> None:
    # Mean 3; rows 2, 4; columns 1.5, 4.5; every residual .5: mean squares 4, 9 and 1.
    spread = split_spread([[1, 3], [2, 6]])
    assert spread.mean == 3
    squares = [spread.seed_sd**2, spread.patient_sd**2, spread.residual_sd**2]
    assert squares == pytest.approx([(4 - 1) / 2, (9 - 1) / 2, 1])
    assert (spread.seeds, spread.patients) == (2, 2)
    assert spread.standard_error() == pytest.approx(np.sqrt(1.5 / 2 + 4 / 2 + 1 / 4))
    assert spread.standard_error(seeds=10, patients=100) == pytest.approx(np.sqrt(0.15 + 0.04 + 0.001))


def test_the_mean_squares_are_those_of_an_analysis_of_variance() -> None:
    scores = simulate(np.random.default_rng(1), 5, 12, (0.5, 1, 0.3))
    seed, patient = np.indices(scores.shape)
    frame = pd.DataFrame({"score": scores.ravel(), "seed": seed.ravel(), "patient": patient.ravel()})
    squares = anova_lm(ols("score ~ C(seed) + C(patient)", frame).fit())["mean_sq"]
    spread = split_spread(scores)
    assert spread.residual_sd**2 == pytest.approx(squares["Residual"])
    assert spread.seed_sd**2 == pytest.approx((squares["C(seed)"] - squares["Residual"]) / 12)
    assert spread.patient_sd**2 == pytest.approx((squares["C(patient)"] - squares["Residual"]) / 5)


def test_the_spread_that_was_put_in_comes_out() -> None:
    random, truth = np.random.default_rng(2), (0.05, 0.12, 0.08)
    found = [split_spread(simulate(random, 6, 40, truth)) for _ in range(400)]
    variances = np.square([[one.seed_sd, one.patient_sd, one.residual_sd] for one in found]).mean(axis=0)
    assert variances == pytest.approx(np.square(truth), rel=0.1)


def test_the_standard_error_is_the_spread_of_means_of_studies() -> None:
    random, truth = np.random.default_rng(3), (0.05, 0.12, 0.08)
    means = [simulate(random, 3, 10, truth).mean() for _ in range(4000)]
    assert np.std(means) == pytest.approx(
        Spread(0.8, *truth, seeds=3, patients=10).standard_error(), rel=0.05
    )


def test_what_chance_makes_negative_is_0() -> None:
    spread = split_spread([[1.0, 2.0], [2.0, 1.0]])  # rows and columns all alike
    assert (spread.seed_sd, spread.patient_sd) == (0.0, 0.0)
    assert spread.residual_sd == pytest.approx(1.0)
    constant = split_spread(np.full((3, 4), 0.5))
    assert constant[:4] == (0.5, 0.0, 0.0, 0.0)


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ShapeError, match="two or more seeds and two or more patients, but got 1 and 3"):
        split_spread([[1, 2, 3]])
    with pytest.raises(ShapeError):
        split_spread([1, 2, 3])
    with pytest.raises(DataError, match="position 0, 1"):
        split_spread([[1, np.nan], [2, 3]])
    with pytest.raises(SettingsError):
        split_spread([[1, 3], [2, 6]]).standard_error(seeds=0)
