"""Agreement of a score with fine-tuning over seeds: against a naive loop, and by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.ranking import tau_over_seeds

RANDOM = np.random.default_rng(7)
PERFORMANCE = 0.8 + 0.03 * RANDOM.normal(size=(7, 1)) + 0.02 * RANDOM.normal(size=(7, 3))
SCORES = np.round(8 * PERFORMANCE + 0.2 * RANDOM.normal(size=(7, 3)), 1)  # rounded, so that some are tied


def test_the_value_is_the_tau_of_both_means() -> None:
    found = tau_over_seeds(SCORES, PERFORMANCE, repeats=50)
    expected = stats.weightedtau(SCORES.mean(axis=1), PERFORMANCE.mean(axis=1)).statistic
    assert found.value == pytest.approx(expected) and found.units == 3 and found.repeats == 50


def test_the_interval_is_that_of_every_resample_of_seeds_by_a_naive_loop() -> None:
    taus = []
    for drawn in product(range(3), repeat=3):  # all 27 are equally likely
        score, reached = (
            np.array([np.mean([row[seed] for seed in drawn]) for row in table])
            for table in (SCORES, PERFORMANCE)
        )
        taus.append(stats.weightedtau(score.round(9), reached.round(9)).statistic)
    tail = stats.norm.cdf(-np.sqrt(3 / 2) * stats.t.ppf(0.75, 2))
    expected = np.quantile(taus, [tail, 1 - tail], method="inverted_cdf")
    found = tau_over_seeds(SCORES, PERFORMANCE, repeats=20_000, level=0.5)
    assert (found.low, found.high) == pytest.approx(tuple(expected)) and found.low < found.high


def test_score_and_performance_are_drawn_together() -> None:
    # Every seed turns both orders round, so each alone agrees perfectly; drawn apart they would not.
    turned = np.array([[3.0, -3.0, 3.0], [2.0, -2.0, 2.0], [1.0, -1.0, 1.0]])
    found = tau_over_seeds(turned, 10 * turned)
    assert found[:3] == (1.0, 1.0, 1.0)


def test_equal_seeds_give_equal_intervals() -> None:
    first, again = (tau_over_seeds(SCORES, PERFORMANCE, seed=3, repeats=60) for _ in range(2))
    assert first == again
    lows = {tau_over_seeds(SCORES, PERFORMANCE, seed=seed, repeats=12).low for seed in range(12)}
    assert len(lows) > 1


def test_a_score_that_orders_nothing_has_no_agreement() -> None:
    for silent in (np.ones((7, 3)), np.tile([0.1 + 0.2, 0.3, 0.3], (7, 1))):
        for found in (tau_over_seeds(silent, PERFORMANCE), tau_over_seeds(SCORES, silent)):
            assert all(math.isnan(number) for number in found[:3])
            assert found.reason == "the metric is undefined on these rows"


def test_sources_that_tie_but_for_rounding_are_tied() -> None:
    scores = [[0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2], [0.2, 0.2]]
    exact = stats.weightedtau([3, 3, 2], [3, 2, 1]).statistic
    assert tau_over_seeds(scores, [[3, 3], [2, 2], [1, 1]], repeats=10).value == pytest.approx(exact)


def test_a_resample_in_which_the_score_is_silent_is_dropped_and_counted() -> None:
    found = tau_over_seeds([[1.0, 2.0], [1.0, 1.0]], [[0.9, 0.8], [0.7, 0.6]], repeats=400)
    assert found[:3] == (1.0, 1.0, 1.0) and 60 < found.dropped < 140  # a quarter draws the first seed twice


def test_one_seed_has_no_interval() -> None:
    found = tau_over_seeds(SCORES[:, :1], PERFORMANCE[:, :1])
    assert math.isnan(found.low) and found.reason == "1 unit, and an interval needs two or more"
    assert found.value == pytest.approx(stats.weightedtau(SCORES[:, 0], PERFORMANCE[:, 0]).statistic)


@pytest.mark.parametrize(
    ("scores", "performance", "options", "error", "said"),
    [
        (SCORES[:, :1], PERFORMANCE, {}, ShapeError, r"\(7, 1\) and \(7, 3\)"),
        (SCORES[:1], PERFORMANCE[:1], {}, ShapeError, "scores of shape"),
        (SCORES, PERFORMANCE * np.nan, {}, DataError, "finite performance"),
        (SCORES * [1.0, math.nan, 1.0], PERFORMANCE, {}, DataError, "finite scores"),
        (SCORES, PERFORMANCE, {"repeats": 0}, SettingsError, "0 repeats"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(scores, performance, options, error, said) -> None:
    with pytest.raises(error, match=said):
        tau_over_seeds(scores, performance, **options)
