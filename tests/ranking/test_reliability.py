"""How far fine-tuning tells sources apart: against statsmodels, and by hand."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import weightedtau
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.ranking import measure_reliability


def simulated(sources: int, seeds: int, apart: float) -> np.ndarray:
    random = np.random.default_rng([sources, seeds])
    quality = apart * random.normal(size=(sources, 1))
    return 0.8 + quality + 0.05 * random.normal(size=(1, seeds)) + 0.01 * random.normal(size=(sources, seeds))


@pytest.mark.parametrize(("sources", "seeds"), [(2, 2), (4, 5), (9, 2)])
@pytest.mark.parametrize("apart", [0.0, 0.03])
def test_the_f_test_is_that_of_statsmodels(sources: int, seeds: int, apart: float) -> None:
    table = simulated(sources, seeds, apart)
    found = measure_reliability(table)
    long = pd.DataFrame(table).melt(ignore_index=False, var_name="seed").reset_index(names="source")
    anova = anova_lm(ols("value ~ C(source) + C(seed)", long).fit())
    between, residual = anova.loc["C(source)"], anova.loc["Residual"]
    assert (found.df_between, found.df_residual) == (between["df"], residual["df"])
    assert (found.f, found.p) == pytest.approx((between["F"], between["PR(>F)"]))
    assert found.seed_sd**2 == pytest.approx(residual["mean_sq"])
    component = max(0.0, (between["mean_sq"] - residual["mean_sq"]) / seeds)
    assert found.between_sd**2 == pytest.approx(component, abs=1e-12)
    assert found.tells_apart == (between["PR(>F)"] < 0.05)


def test_numbers_worked_by_hand() -> None:
    # Means of sources 2, 4, 7.5, of seeds 3, 6, of all 4.5. Mean square of sources: 2 (6.25 + 0.25 + 9) / 2 = 15.5;
    # residuals +-0.5, -+0.5 and 0, whose squares sum to 1, over 2 degrees of freedom.
    found = measure_reliability([[1.0, 3.0], [2.0, 6.0], [6.0, 9.0]])
    assert found.seed_sd == pytest.approx(math.sqrt(0.5))
    assert found.between_sd == pytest.approx(math.sqrt((15.5 - 0.5) / 2))
    assert found.f == pytest.approx(31) and found.mean_reliability == pytest.approx(1 - 1 / 31)
    assert found.critical == pytest.approx(19.0)  # of any table of F(2, 2)
    assert found.p == pytest.approx(1 / 32)  # of F(2, 2) it is 1 / (1 + F)
    assert found.seed_tau == 1.0 and found.tells_apart
    assert found.sentence() == (
        "Fine-tuning itself tells at least some of these 3 sources apart: two of 2 seeds agree with a weighted tau of "
        "1.00 on average, and sources differ more than seeds do (standard deviation 2.7 between sources, 0.71 between "
        "seeds; F(2, 2) = 31.0, critical 19.0)."
    )


def test_nine_similar_sources_are_not_told_apart() -> None:
    found = measure_reliability(simulated(9, 2, 0.0))
    assert not found.tells_apart and (found.df_between, found.df_residual) == (8, 8)
    assert found.critical == pytest.approx(3.438, abs=5e-4)  # of any table of F(8, 8)
    said = found.sentence()
    assert said.startswith(
        "Fine-tuning itself hardly tells these 9 sources apart: two of 2 seeds agree with a"
    )
    assert f"F(8, 8) = {found.f:.1f}, critical 3.4)." in said
    assert "and sources do not differ clearly more than seeds do" in said


def test_seeds_agree_by_the_mean_tau_of_every_pair() -> None:
    table = simulated(6, 4, 0.01)
    taus = [weightedtau(table[:, one], table[:, other]).statistic for one, other in permutations(range(4), 2)]
    found = measure_reliability(table)
    assert len(taus) == 12 and found.seed_tau == pytest.approx(np.mean(taus))
    assert measure_reliability(np.flip(table, axis=1)).seed_tau == pytest.approx(found.seed_tau)


def test_what_a_seed_does_to_all_sources_alike_counts_for_nothing() -> None:
    table = simulated(5, 3, 0.02)
    shifted = measure_reliability(table + np.array([0.0, 0.1, -0.05]))
    assert shifted == pytest.approx(measure_reliability(table))


def test_without_noise_sources_are_told_apart_by_certainty() -> None:
    found = measure_reliability(np.array([[0.1], [0.2], [0.3]]) + np.array([0.1, 0.2, 0.3]))
    assert (found.f, found.p, found.seed_sd, found.mean_reliability) == (math.inf, 0.0, 0.0, 1.0)
    assert found.tells_apart and found.seed_tau == 1.0 and found.between_sd == pytest.approx(0.1)


@pytest.mark.parametrize("other", [[0.3, 0.3], [0.1 + 0.2, 0.3]], ids=["exactly", "but for rounding"])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_where_all_sources_do_alike_nothing_is_told(other: list[float], shift: float) -> None:
    found = measure_reliability(np.array([[0.3, 0.3], other]) + np.array([0.0, shift]))
    assert math.isnan(found.f) and math.isnan(found.p) and math.isnan(found.seed_tau)
    assert math.isnan(found.mean_reliability) and found.between_sd == found.seed_sd == 0.0
    assert not found.tells_apart and "does not tell them apart" in found.sentence()


def test_a_seed_that_orders_nothing_agrees_with_none() -> None:
    # Two of three seeds agree; the third gives all sources the same.
    found = measure_reliability([[0.9, 0.8, 0.5], [0.8, 0.7, 0.5], [0.7, 0.6, 0.5]])
    assert found.seed_tau == pytest.approx(1 / 3)


def test_sources_less_apart_than_seeds_have_no_reliability() -> None:
    found = measure_reliability([[0.0, 1.0], [1.0, 0.0]])  # equal means: F is 0
    assert (found.f, found.p, found.between_sd, found.mean_reliability, found.seed_tau) == (0, 1, 0, 0, -1)


def test_the_level_moves_the_critical_value() -> None:
    table = [[1.0, 3.0], [2.0, 6.0], [6.0, 9.0]]
    assert measure_reliability(table, alpha=0.01).critical == pytest.approx(99.0)
    assert not measure_reliability(table, alpha=0.01).tells_apart


@pytest.mark.parametrize(
    ("table", "options", "error", "said"),
    [
        ([0.5, 0.6], {}, ShapeError, r"its shape is \(2,\)"),
        ([[0.5, 0.6]], {}, ShapeError, "two or more sources"),
        ([[0.5], [0.6]], {}, ShapeError, "two or more seeds"),
        ([[0.5, 0.6], [0.7, math.nan]], {}, DataError, "row 1, column 1"),
        ([[0.5, math.inf], [0.7, 0.2]], {}, DataError, "row 0, column 1"),
        ([[0.5, 0.6], [0.7, 0.8]], {"alpha": 1.0}, SettingsError, "got 1.0"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(table, options, error, said) -> None:
    with pytest.raises(error, match=said):
        measure_reliability(table, **options)


def test_the_callers_numbers_stay_as_they_are() -> None:
    table = simulated(3, 3, 0.1)
    before = table.copy()
    measure_reliability(table)
    assert np.array_equal(table, before)
