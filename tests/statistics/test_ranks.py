"""Ranks of several methods: against SciPy, scikit-posthocs and the tables of Demšar, and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.statistics import (
    critical_difference,
    critical_difference_groups,
    friedman,
    mean_ranks,
    nemenyi,
    significance_letters,
)

# Demšar 2006, table 6: AUC of C4.5 with 0 and three ways of choosing its parameters, on 14 data sets. The last two
# of the 13th are printed alike, 0.975, but ranked 2 and 3.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def random_scores(blocks: int = 9, methods: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(blocks, methods)) + 0.4 * np.arange(methods)


def test_demsars_example() -> None:
    assert mean_ranks(DEMSAR) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # His chi-square of 9.28 is not corrected for ties.
    ranks = mean_ranks(DEMSAR)
    plain = 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.005)
    assert friedman(DEMSAR).statistic == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).statistic)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, alpha=0.1) == pytest.approx(1.12, abs=0.005)


@pytest.mark.parametrize(
    ("subjects", "q"),
    [
        (2, 1.960),
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_the_critical_difference_has_the_q_of_its_number_of_methods(subjects: int, q: float) -> None:
    # Demšar 2006, table 5a. An index one too far gives the q of one method more.
    blocks = 6
    expected = q * np.sqrt(subjects * (subjects + 1) / (6 * blocks))
    assert critical_difference(subjects, blocks) == pytest.approx(expected, rel=3e-4)


def test_ranks_by_hand() -> None:
    scores = [[0.9, 0.8, 0.7], [0.9, 0.9, 0.1], [0.1, 0.2, 0.3]]
    assert mean_ranks(scores) == pytest.approx([(1 + 1.5 + 3) / 3, (2 + 1.5 + 2) / 3, (3 + 3 + 1) / 3])
    assert mean_ranks(scores, higher_is_better=False) == pytest.approx(4 - mean_ranks(scores))


def test_scores_that_differ_by_rounding_are_tied() -> None:
    assert mean_ranks([[0.1 + 0.2, 0.3, 0.1]]) == pytest.approx([1.5, 1.5, 3])


def test_friedman_by_hand_and_as_scipy() -> None:
    # Rank sums 11, 8, 5 in four blocks: 12 / 48 * (121 + 64 + 25) - 48 = 4.5; p = exp(-4.5 / 2).
    result = friedman([[3, 2, 1], [3, 2, 1], [3, 1, 2], [2, 3, 1]])
    assert result[:3] == pytest.approx((4.5, np.exp(-2.25), 4))
    scores = random_scores()
    theirs = stats.friedmanchisquare(*scores.T)
    assert friedman(scores)[:2] == pytest.approx((theirs.statistic, theirs.pvalue))
    assert friedman(-scores)[:2] == pytest.approx(friedman(scores)[:2])


def test_friedman_tells_when_it_can_show_nothing() -> None:
    # Two blocks in the same order: chi-square 2 * 2 is the largest there is, p = exp(-2).
    result = friedman([[1, 2, 3], [1, 2, 3]])
    assert result.p == pytest.approx(np.exp(-2))
    assert result.note.startswith("With 2 units the smallest p this test can give is 0.135")
    assert friedman([[1, 2, 3]] * 3).note == ""
    assert friedman([[1, 1, 1], [2, 2, 2]])[:2] == (0.0, 1.0)


def test_two_methods_are_no_case_for_friedman() -> None:
    with pytest.raises(
        ShapeError, match=r"three or more methods, one per column, but got 2\. Compare two with"
    ):
        friedman([[1, 2], [3, 4]])


def test_nemenyi_by_hand_and_against_its_formula() -> None:
    scores = random_scores()
    ranks = stats.rankdata(scores, axis=1).mean(axis=0)
    p = nemenyi(scores)
    for i, j in combinations(range(5), 2):
        q = abs(ranks[i] - ranks[j]) / np.sqrt(5 * 6 / (6 * 9)) * np.sqrt(2)
        assert p[i, j] == p[j, i] == pytest.approx(stats.studentized_range.sf(q, 5, np.inf))
    assert (np.diag(p) == 1).all()
    # Two methods: the range of two normal numbers, |difference| in standard errors of sqrt(1 / N).
    two = nemenyi([[1, 2], [1, 2], [1, 2], [2, 1]])
    assert two[0, 1] == pytest.approx(2 * stats.norm.sf(0.5 / np.sqrt(1 / 4)), rel=1e-4)


def test_nemenyi_and_the_critical_difference_agree() -> None:
    for seed in range(4):
        scores = random_scores(seed=seed)
        ranks, p = mean_ranks(scores), nemenyi(scores)
        apart = np.abs(ranks[:, None] - ranks) >= critical_difference(5, 9)
        assert ((p < 0.05) == apart).all()


def test_a_diagram_by_hand() -> None:
    # Sorted 1, 2, 3.5, 4, 6 with difference 2.1: 1-2, 2-4 and 4-6 stay together.
    diagram = critical_difference_groups([4.0, 1.0, 3.5, 6.0, 2.0], 2.1)
    assert diagram.order == [1, 4, 2, 0, 3]
    assert diagram.ranks == [1.0, 2.0, 3.5, 4.0, 6.0]
    assert diagram.bars == [(0, 1), (1, 3), (3, 4)]
    assert critical_difference_groups([1.0, 3.0], 1.0).bars == []
    assert critical_difference_groups([1.0, 2.0, 3.0], 9.0).bars == [(0, 2)]


def test_letters_by_hand() -> None:
    # Methods 0 and 2 differ, 1 differs from neither; best is 2.
    p = np.array([[1, 0.5, 0.01], [0.5, 1, 0.3], [0.01, 0.3, 1]])
    assert significance_letters(p, [2.8, 2.0, 1.2]) == ["b", "ab", "a"]
    assert significance_letters(np.ones((3, 3)), [1, 2, 3]) == ["a", "a", "a"]
    assert significance_letters(np.eye(3), [3, 1, 2]) == ["c", "a", "b"]
    assert significance_letters(p, [2.8, 2.0, 1.2], alpha=0.4) == ["b", "b", "a"]


@pytest.mark.parametrize("seed", range(6))
def test_methods_share_a_letter_exactly_where_they_do_not_differ(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = np.triu(random.uniform(0, 0.1, (6, 6)), 1)
    p = p + p.T + np.eye(6)
    letters = significance_letters(p, random.permutation(6))
    for i, j in combinations(range(6), 2):
        assert bool(set(letters[i]) & set(letters[j])) == (p[i, j] >= 0.05)


def test_letters_and_bars_tell_the_same() -> None:
    scores = random_scores(blocks=14, methods=7, seed=3)
    ranks = mean_ranks(scores)
    letters = significance_letters(nemenyi(scores), ranks)
    order, _, bars = critical_difference_groups(ranks, critical_difference(7, 14))
    joined = {pair for first, last in bars for pair in combinations(range(first, last + 1), 2)}
    for i, j in combinations(range(7), 2):
        assert bool(set(letters[order[i]]) & set(letters[order[j]])) == ((i, j) in joined)
    assert len(bars) >= 2
    frame = scikit_posthocs.posthoc_nemenyi_friedman(scores)
    assert frame.to_numpy() == pytest.approx(nemenyi(scores))


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="at position 1, 2"):
        mean_ranks([[1, 2, 3], [1, 2, np.nan]])
    with pytest.raises(ShapeError, match="got 1"):
        mean_ranks([[1], [2]])
    for arguments in ((1, 5), (3, 0), (3, 5, 1.0)):
        with pytest.raises(SettingsError):
            critical_difference(*arguments)
    with pytest.raises(SettingsError):
        critical_difference_groups([1, 2], 0)
    with pytest.raises(ShapeError, match=r"got shape \(2, 2\) for 3 ranks"):
        significance_letters(np.ones((2, 2)), [1, 2, 3])
    with pytest.raises(ShapeError, match="at most 52 methods"):
        significance_letters(np.eye(53), np.arange(53))
    with pytest.raises(SettingsError):
        significance_letters(np.ones((2, 2)), [1, 2], alpha=0)
