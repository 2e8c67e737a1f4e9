"""Intervals over units: against SciPy where rows are units, by hand where units matter."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import SettingsError, ShapeError
from medgraft.metrics.classification import auroc
from medgraft.statistics import bootstrap
from medgraft.statistics.bootstrap import Metric, WeightedMetric, bootstrap_interval, paired_difference


def mean_of(values: np.ndarray) -> Metric:
    return lambda rows: float(values[rows].mean())


def test_rows_as_units_agree_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, 1.0, 60)
    ours = bootstrap_interval(
        mean_of(values), np.arange(60), repeats=8000, level=0.9, seed=1, method="percentile"
    )
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, confidence_level=0.9, method="percentile", rng=2
    ).confidence_interval
    # Monte-Carlo error of a 5 % quantile over 8000 resamples is about 0.02 standard errors of the mean.
    tolerance = 5 * 0.024 * values.std() / np.sqrt(60)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.high, abs=tolerance)
    assert ours[3:] == (8000, 60, 0, None)


def test_units_stay_together_as_in_the_exact_distribution() -> None:
    # Three patients of 1, 2 and 3 rows: all 27 resamples can be listed.
    patients = np.array(["c", "a", "b", "c", "b", "c"])
    values = np.array([5.0, 1.0, 3.0, 6.0, 4.0, 7.0])
    exact = {
        round(float(np.mean(np.concatenate([values[patients == p] for p in drawn]))), 9)
        for drawn in product("abc", repeat=3)
    }
    seen: set[float] = set()

    def metric(rows: np.ndarray) -> float:
        seen.add(round(float(values[rows].mean()), 9))
        return float(values[rows].mean())

    interval = bootstrap_interval(metric, patients, repeats=2000)
    assert seen == exact
    assert (interval.low, interval.high) == (1.0, 6.0)
    assert interval.units == 3


def test_alike_rows_of_a_patient_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    patients = np.repeat(np.arange(25), 8)
    values = np.repeat(random.normal(size=25), 8) + 0.05 * random.normal(size=200)
    by_patient = bootstrap_interval(mean_of(values), patients)
    by_row = bootstrap_interval(mean_of(values), np.arange(200))
    ratio = (by_patient.high - by_patient.low) / (by_row.high - by_row.low)
    assert ratio == pytest.approx(np.sqrt(8), rel=0.2)


def test_the_order_of_rows_within_units_is_irrelevant() -> None:
    values = np.random.default_rng(4).normal(size=30)
    patients = np.arange(30) % 7
    shuffled = np.random.default_rng(5).permutation(30)
    first = bootstrap_interval(mean_of(values), patients)
    second = bootstrap_interval(mean_of(values[shuffled]), patients[shuffled])
    assert first[:3] == pytest.approx(second[:3])


def test_seeds_repeat_and_differ() -> None:
    values = np.random.default_rng(6).normal(size=30)
    first, second, other = (bootstrap_interval(mean_of(values), np.arange(30), seed=s) for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_undefined_resamples_are_dropped_and_counted() -> None:
    truth, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.5, 0.2, 0.4])
    interval = bootstrap_interval(lambda rows: auroc(truth[rows], scores[rows]), np.arange(4), repeats=4000)
    undefined = (3 / 4) ** 4 + (1 / 4) ** 4  # no case at all, or nothing but the one case
    assert interval.dropped / 4000 == pytest.approx(undefined, abs=0.03)
    assert interval.value == pytest.approx(2 / 3)
    assert 0.0 <= interval.low <= interval.high == 1.0
    assert interval.reason is None


@pytest.mark.parametrize(
    ("units", "number", "reason"), [(["a", "a"], 1, "1 unit, and"), ([], 0, "0 units, and")]
)
def test_fewer_than_two_units_have_no_interval(units: list[str], number: int, reason: str) -> None:
    interval = bootstrap_interval(lambda rows: float(len(rows)), units)
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.units == number
    assert interval.reason is not None and interval.reason.startswith(reason)
    assert np.isnan(interval.value) == (number == 0)


def test_an_undefined_metric_has_no_interval() -> None:
    always = bootstrap_interval(lambda rows: float("nan"), [1, 2, 3])
    assert np.isnan(always[:3]).all() and always.reason == "the metric is undefined on these rows"

    def only_all_rows(rows: np.ndarray) -> float:
        return 0.5 if np.array_equal(rows, np.arange(9)) else float("nan")

    resampled = bootstrap_interval(only_all_rows, np.arange(9), repeats=50)
    assert resampled.value == 0.5 and resampled.dropped == 50 and resampled.reason is not None


def test_a_paired_difference_uses_the_same_resamples_for_both() -> None:
    random = np.random.default_rng(7)
    patients = np.repeat(np.arange(20), 3)
    hard = random.normal(size=60)  # what both models find hard
    a, b = hard + 0.1 + 0.01 * random.normal(size=60), hard
    difference = paired_difference(mean_of(a), mean_of(b), patients, seed=3)
    assert difference[:3] == pytest.approx(bootstrap_interval(mean_of(a - b), patients, seed=3)[:3])
    alone = bootstrap_interval(mean_of(a), patients, seed=3)
    assert difference.low > 0
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)


@pytest.mark.slow
def test_nominal_coverage_is_nearly_reached() -> None:
    random = np.random.default_rng(8)
    held = 0
    for _ in range(300):
        values = np.repeat(random.normal(size=40), 2) + 0.3 * random.normal(size=80)
        interval = bootstrap_interval(mean_of(values), np.repeat(np.arange(40), 2), repeats=300)
        held += interval.low <= 0 <= interval.high
    assert 0.90 <= held / 300 <= 0.98


@pytest.mark.parametrize(("level", "repeats"), [(0.0, 10), (1.0, 10), (0.95, 0)])
def test_settings_out_of_range_are_refused(level: float, repeats: int) -> None:
    with pytest.raises(SettingsError):
        bootstrap_interval(lambda rows: 0.0, [1, 2], repeats=repeats, level=level)


def test_units_must_be_one_per_row() -> None:
    with pytest.raises(ShapeError):
        bootstrap_interval(lambda rows: 0.0, [[1, 2], [3, 4]])


@pytest.mark.parametrize("at_once", [10, 4_000_000])
def test_a_weighted_metric_gives_what_rows_give(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_ONCE", at_once)
    generator = np.random.default_rng(3)
    a, b, patients = generator.normal(size=50), generator.normal(size=50), generator.integers(9, size=50)

    def weighted(values: np.ndarray) -> WeightedMetric:
        return WeightedMetric(lambda weights: weights @ values / weights.sum(1), len(values))

    ours, theirs = bootstrap_interval(weighted(a), patients), bootstrap_interval(mean_of(a), patients)
    assert ours[:3] == pytest.approx(theirs[:3]) and ours[3:] == theirs[3:]
    difference = paired_difference(weighted(a), weighted(b), patients)
    assert difference[:3] == pytest.approx(paired_difference(mean_of(a), mean_of(b), patients)[:3])
    assert paired_difference(weighted(a), mean_of(b), patients)[:3] == pytest.approx(difference[:3])
