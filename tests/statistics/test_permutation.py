"""Permutation tests: Fisher's own case, plain enumeration, and what drawing promises."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.statistics import permutation, permutation_test

DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
"""Crossed minus self-fertilised maize, eighths of an inch: Fisher 1935, section 17."""


def flipped(differences: np.ndarray) -> float:
    signs = np.array(list(product([-1, 1], repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9))


def test_fishers_count_of_darwins_maize() -> None:
    # 863 of the 32768 ways give a sum of 314 inches or more (Fisher 1935, section 21): two-sided twice that.
    result = permutation_test(DARWIN, np.zeros(15), exact_up_to=2**15)
    assert result.p == 2 * 863 / 32768
    assert result.statistic == pytest.approx(314 / 15)
    assert (result.n, result.note) == (15, "")


def test_drawing_comes_near_the_exact_p() -> None:
    drawn = permutation_test(DARWIN, np.zeros(15), repeats=9999)
    assert drawn.note == "9999 ways drawn."
    assert drawn.p == pytest.approx(1726 / 32768, abs=5 * np.sqrt(0.053 * 0.947 / 9999))
    assert drawn == permutation_test(DARWIN, np.zeros(15), seed=0)
    assert drawn.p != permutation_test(DARWIN, np.zeros(15), seed=1).p


def test_small_samples_are_enumerated() -> None:
    random = np.random.default_rng(0)
    for number in (1, 2, 7, 10):
        a, b = random.normal(0.5, 1, number), random.normal(size=number)
        assert permutation_test(a, b).p == pytest.approx(flipped(a - b))


def test_drawn_and_enumerated_are_scipys() -> None:
    random = np.random.default_rng(8)
    for paired, kind in ((True, "samples"), (False, "independent")):
        a, b = random.gamma(2.0, size=7), random.gamma(3.0, size=7 if paired else 5)
        theirs = stats.permutation_test(
            (a, b),
            lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)),
            permutation_type=kind,
            vectorized=True,
            n_resamples=np.inf,
            alternative="greater",
        ).pvalue
        assert permutation_test(a, b, paired=paired).p == pytest.approx(theirs)
        drawn = permutation_test(a, b, paired=paired, exact_up_to=0, repeats=20000).p
        assert drawn == pytest.approx(theirs, abs=5 * np.sqrt(0.25 / 20000))


@pytest.mark.parametrize("paired", [True, False])
def test_the_size_of_a_block_changes_no_p(monkeypatch: pytest.MonkeyPatch, paired: bool) -> None:
    a, b = np.random.default_rng(9).normal(size=(2, 6))
    arguments = [{"exact_up_to": 1}, {}]
    whole = [permutation_test(a, b, paired=paired, repeats=500, **chosen).p for chosen in arguments]
    monkeypatch.setattr(permutation, "AT_ONCE", 40)
    assert [permutation_test(a, b, paired=paired, repeats=500, **chosen).p for chosen in arguments] == whole


def test_equal_sums_are_found_equal_in_spite_of_rounding() -> None:
    a, b = np.array([0.1, 0.2, 0.0, 0.7]), np.array([0.0, 0.0, 0.3, 0.1])  # .1 + .2 - .3 + .6
    assert permutation_test(a, b).p == flipped(np.array([1, 2, -3, 6])) == 10 / 16


def test_units_without_a_difference_change_neither_p_nor_the_mean() -> None:
    a = np.array([0.3, 0.5, 0.2, 0.9, 0.4])
    b = np.array([0.1, 0.2, 0.3, 0.9, 0.4])
    with_zeros = permutation_test(a, b)
    assert with_zeros.p == permutation_test(a[:3], b[:3]).p == 0.5
    assert with_zeros.n == 3
    assert with_zeros.statistic == pytest.approx((a - b).mean())


def test_two_groups_are_dealt_anew() -> None:
    # Of the 20 ways to choose three of six, only the observed one and its mirror are as far apart.
    result = permutation_test([1, 2, 3], [4, 5, 6], paired=False)
    assert (result.statistic, result.p, result.n) == (-3.0, 0.1, 6)
    assert "smallest p this test can give is 0.1" in result.note
    a, b = np.array([0.3, 1.4, 0.2, 2.0]), np.array([0.1, 0.9, 0.4])
    both, observed = np.concatenate([a, b]), abs(a.mean() - b.mean())
    ways = [
        abs(both[list(chosen)].mean() - np.delete(both, list(chosen)).mean())
        for chosen in combinations(range(7), 4)
    ]
    assert permutation_test(a, b, paired=False).p == pytest.approx(np.mean(np.array(ways) >= observed - 1e-9))
    drawn = permutation_test(a, b, paired=False, exact_up_to=10)
    assert drawn.p == pytest.approx(np.mean(np.array(ways) >= observed - 1e-9), abs=0.03)


def test_drawn_p_is_never_0() -> None:
    result = permutation_test(np.arange(1.0, 41.0), np.zeros(40), repeats=999)
    assert result.p == 1 / 1000
    few = permutation_test(np.arange(1.0, 41.0), np.zeros(40), repeats=9)
    assert few.p == 0.1 and "cannot show a difference at 0.05. 9 ways drawn." in few.note


@pytest.mark.parametrize("paired", [True, False])
def test_many_patients_are_no_more_than_many_ways(paired: bool) -> None:
    a, b = np.random.default_rng(1).normal([[0.05], [0.0]], 1.0, (2, 1500))
    found = permutation_test(a, b, paired=paired, repeats=500)
    theirs = (stats.ttest_rel if paired else stats.ttest_ind)(a, b).pvalue
    assert found.p == pytest.approx(theirs, abs=5 * np.sqrt(0.25 / 500))
    assert found.n == (1500 if paired else 3000)


def test_too_few_patients_are_told() -> None:
    assert permutation_test([1, 2, 3, 4, 5], [0] * 5).note.startswith("With 5 units the smallest p")
    assert permutation_test([1, 2, 3, 4, 5, 6], [0] * 6) == (3.5, 2 / 64, 6, "")
    assert permutation_test([1], [0]).note.startswith("With 1 unit the smallest p this test can give is 1:")


def test_no_difference_has_p_1() -> None:
    assert permutation_test([0.1, 0.2], [0.1, 0.2]) == (0.0, 1.0, 0, "No difference in any of 2 units.")
    assert permutation_test([1, 1], [1, 1], paired=False).p == 1.0


def test_chance_alone_is_called_a_difference_no_more_often_than_alpha() -> None:
    random = np.random.default_rng(5)
    p = np.array(
        [permutation_test(random.exponential(size=8), random.exponential(size=8)).p for _ in range(300)]
    )
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 300))


def test_bad_input_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one repeat"):
        permutation_test([1], [2], repeats=0)
    with pytest.raises(ShapeError):
        permutation_test([1, 2], [2])
    with pytest.raises(DataError):
        permutation_test([1, np.nan], [2, 3], paired=False)
