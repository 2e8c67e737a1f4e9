"""What so many patients can show: against the noncentral t distribution, a textbook case and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import SettingsError
from medgraft.statistics import detectable_difference


def power_of(effect: float, n: int, alpha: float) -> float:
    critical = stats.t.isf(alpha / 2, n - 1)
    shifted = effect * np.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shifted) + stats.nct.cdf(-critical, n - 1, shifted))


def test_half_a_standard_deviation_takes_34_pairs() -> None:
    # The textbook case: power 0.8 at 0.05, two-sided, for an effect of 0.5.
    assert detectable_difference(1.0, 34) <= 0.5 < detectable_difference(1.0, 33)


@pytest.mark.parametrize(
    ("n", "power", "alpha"),
    [(2, 0.8, 0.05), (3, 0.8, 0.05), (5, 0.9, 0.01), (40, 0.8, 0.05), (500, 0.5, 0.1)],
)
def test_such_a_difference_is_shown_with_the_promised_power(n: int, power: float, alpha: float) -> None:
    effect = detectable_difference(1.0, n, power=power, alpha=alpha)
    assert power_of(effect, n, alpha) == pytest.approx(power, abs=1e-4)


def test_simulated_studies_show_it_as_often_as_promised() -> None:
    effect = detectable_difference(2.0, 12)
    studies = np.random.default_rng(0).normal(effect, 2.0, (4000, 12))
    shown = stats.ttest_1samp(studies, 0, axis=1).pvalue <= 0.05
    assert shown.mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 4000))


def test_observed_differences_bring_their_spread_and_number() -> None:
    differences = [0.01, 0.03, -0.02, 0.05, 0.02]
    deviation = float(np.std(differences, ddof=1))
    assert detectable_difference(differences) == pytest.approx(detectable_difference(deviation, 5))
    assert detectable_difference(differences, 50) == pytest.approx(detectable_difference(deviation, 50))
    assert detectable_difference(differences, 50) < detectable_difference(differences)


def test_without_spread_anything_shows_and_one_patient_shows_nothing() -> None:
    assert detectable_difference([0.1, 0.1, 0.1]) == pytest.approx(0, abs=1e-12)
    assert np.isnan(detectable_difference([0.1]))
    assert np.isnan(detectable_difference(0.1, 1))


def test_settings_out_of_range_are_refused() -> None:
    for arguments in ({"differences": 0.1}, {"differences": 0.1, "n": 0}, {"differences": -0.1, "n": 5}):
        with pytest.raises(SettingsError):
            detectable_difference(**arguments)
    with pytest.raises(SettingsError):
        detectable_difference(0.1, 5, power=1.0)
    with pytest.raises(SettingsError):
        detectable_difference(0.1, 5, power=0.04)
