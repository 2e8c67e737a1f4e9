"""BCa intervals: by hand, against SciPy where rows are units, and what happens where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import SettingsError
from medgraft.metrics.classification import auroc
from medgraft.statistics.bca import bca_levels
from medgraft.statistics.bootstrap import Metric, WeightedMetric, bootstrap_interval, paired_difference


def mean_of(values: np.ndarray) -> Metric:
    return lambda rows: float(values[rows].mean())


def weighted_mean_of(values: np.ndarray) -> WeightedMetric:
    return WeightedMetric(lambda weights: weights @ values / weights.sum(1), len(values))


def test_a_hand_worked_case() -> None:
    # 60 % lie below: bias .2533. Influences 2, 1, -3: cubes add to -18, squares to 14: a = -18 / (6 * 14^1.5) = -.0573.
    # Lower: .2533 - 1.9600 = -1.7066, over .9023 is -1.8915, plus .2533 is -1.6381: .0507.
    # Upper: .2533 + 1.9600 = 2.2133, over 1.1268 is 1.9643, plus .2533 is 2.2177: .9867.
    found = bca_levels(np.arange(1000.0), 599.5, np.array([1.0, 2.0, 6.0]), 0.95)
    assert found == pytest.approx((0.0507, 0.9867), abs=5e-5)


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.var])
def test_rows_as_units_agree_with_scipy(statistic) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).lognormal(0, 0.8, 41)
    ours = bootstrap_interval(lambda rows: statistic(values[rows]), np.arange(41), 4000, seed=1, method="bca")
    theirs = stats.bootstrap((values,), statistic, n_resamples=4000, method="BCa", rng=2)
    # Two runs of SciPy differ by as much: a few hundredths of the spread.
    tolerance = 0.12 * theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=2 * tolerance)
    assert ours.reason is None


def test_whole_patients_are_left_out() -> None:
    random = np.random.default_rng(1)
    patients = np.repeat(np.arange(12), random.integers(1, 5, 12))
    values = random.lognormal(size=12)[patients] + 0.1 * random.normal(size=len(patients))
    left_out = np.array([values[patients != patient].mean() for patient in range(12)])
    resampled = []
    generator = np.random.default_rng(5)
    for _ in range(500):
        drawn = generator.integers(12, size=12)
        resampled.append(np.concatenate([values[patients == patient] for patient in drawn]).mean())
    levels = bca_levels(np.array(resampled), values.mean(), left_out, 0.9)
    expected = np.quantile(resampled, levels)
    for metric in (mean_of(values), weighted_mean_of(values)):
        interval = bootstrap_interval(metric, patients, repeats=500, level=0.9, seed=5, method="bca")
        assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_a_skewed_mean_moves_towards_the_long_tail() -> None:
    values = np.random.default_rng(2).lognormal(0, 1, 40)
    plain, bca = (
        bootstrap_interval(weighted_mean_of(values), np.arange(40), 2000, method=method)
        for method in ("percentile", "bca")
    )
    assert bca.low > plain.low and bca.high > plain.high
    assert bca.value == plain.value


def test_a_symmetric_mean_hardly_moves() -> None:
    values = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    plain, bca = (
        bootstrap_interval(weighted_mean_of(values), np.arange(40), 4000, method=method)
        for method in ("percentile", "bca")
    )
    width = plain.high - plain.low
    assert (bca.low, bca.high) == pytest.approx((plain.low, plain.high), abs=0.05 * width)


def test_differences_have_bca_intervals_too() -> None:
    random = np.random.default_rng(3)
    a, b, patients = random.normal(size=30), random.normal(size=30), np.repeat(np.arange(10), 3)
    expected = bootstrap_interval(mean_of(a - b), patients, method="bca")
    for metrics in ((mean_of(a), mean_of(b)), (weighted_mean_of(a), weighted_mean_of(b))):
        assert paired_difference(*metrics, patients, method="bca")[:3] == pytest.approx(expected[:3])


def test_without_acceleration_it_is_the_percentile_interval_and_says_so() -> None:
    truth, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.5, 0.2, 0.4])
    metric = lambda rows: auroc(truth[rows], scores[rows])  # noqa: E731
    plain = bootstrap_interval(metric, np.arange(4), method="percentile")
    asked = bootstrap_interval(metric, np.arange(4), method="bca")
    assert asked[:3] == plain[:3] and plain.reason is None
    assert asked.reason == (
        "a percentile interval: BCa is undefined, as the metric is undefined without one of the units"
    )


def test_a_constant_metric_has_no_acceleration() -> None:
    interval = bootstrap_interval(lambda rows: 0.1 + 0.2, np.arange(9), method="bca")
    assert interval.low == interval.high == 0.1 + 0.2
    assert interval.reason is not None and "no unit changes the metric" in interval.reason


def test_every_way_of_being_undefined_is_told() -> None:
    scores = np.arange(10.0)
    assert "one side" in str(bca_levels(scores, -1.0, np.arange(5.0), 0.95))
    assert "undefined without" in str(bca_levels(scores, 4.5, np.array([1.0, np.nan]), 0.95))
    assert "too large" in str(bca_levels(np.arange(1e5), 99990.0, np.array([0.0] * 40 + [-9.0]), 0.999))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SettingsError, match="got 'studentized'"):
        bootstrap_interval(mean_of(np.arange(3.0)), [1, 2, 3], method="studentized")  # type: ignore[arg-type]
