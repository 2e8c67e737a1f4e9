"""Several methods on several data sets or patients: ranks, and which differ in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError, ShapeError
from medgraft.statistics.result import TestResult, too_few
from medgraft.statistics.scores import check_scores, decimals_of

MOST_LETTERS = 52
"""Of the alphabet, small and capital."""


def mean_ranks(scores: ArrayLike, higher_is_better: bool = True) -> NDArray[np.float64]:
    """Rank the methods within each block and average: 1 is the best.

    Args:
        scores: (N, K) float, one row per block (data set, cohort or patient) and one column per method.
        higher_is_better: False for distances and errors.

    Returns: (K,) float64 in [1, K]; tied methods share their mean rank.

    Raises:
        ShapeError: not a table of two or more methods.
        DataError: a score is missing: a block must have a score of every method.

    Source: Demšar 2006, section 3.2.1.

    >>> mean_ranks([[0.9, 0.8, 0.7], [0.9, 0.9, 0.1]]).tolist()
    [1.25, 1.75, 3.0]
    """
    from scipy import stats

    table = _check_blocks("Ranking", scores, 2)
    ranks: NDArray[np.float64] = stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)
    return ranks


def friedman(scores: ArrayLike, *, alpha: float = 0.05) -> TestResult:
    """Test whether any of several methods ranks differently from the others over the same blocks.

    Blocks must be independent of one another: patients, cohorts or data sets, not seeds of one of them.

    Args:
        scores: (N, K) float, one row per block and one column per method, three or more; either direction.
        alpha: level at which the note says whether so few blocks can show anything.

    Returns: a TestResult; statistic is chi-square with K - 1 degrees of freedom, corrected for ties, n the blocks. The
        approximation is good from about ten blocks; with fewer it rather overlooks differences.

    Raises:
        ShapeError: not a table of three or more methods.
        DataError: a score is missing.

    Source: Friedman 1937. Computed by scipy.stats.friedmanchisquare.

    >>> result = friedman([[3, 2, 1], [3, 2, 1], [3, 1, 2], [2, 3, 1]])  # rank sums 11, 8, 5
    >>> result.statistic, round(result.p, 4), result.n
    (4.5, 0.1054, 4)
    """
    from scipy import stats

    table = _check_blocks("A Friedman test", scores, 3)
    blocks, methods = table.shape
    if (table == table[:, :1]).all():
        return TestResult(0.0, 1.0, blocks, "All methods score the same in every block.")
    found = stats.friedmanchisquare(*table.T)
    # Every block in the same order gives the largest statistic there is.
    smallest = float(stats.chi2.sf(blocks * (methods - 1), methods - 1))
    return TestResult(float(found.statistic), float(found.pvalue), blocks, too_few(blocks, smallest, alpha))


def nemenyi(scores: ArrayLike) -> NDArray[np.float64]:
    """Test every pair of methods for a difference in mean rank, corrected for their number.

    To be read only where `friedman` finds a difference at all.

    Args:
        scores: (N, K) float, one row per block and one column per method; either direction.

    Returns: (K, K) float64 p values, symmetric, 1 on the diagonal. p < alpha exactly where mean ranks lie further apart
        than `critical_difference` says.

    Raises:
        ShapeError: not a table of two or more methods.
        DataError: a score is missing.

    Source: Nemenyi 1963; Demšar 2006, section 3.2.2. Computed by scikit-posthocs.

    >>> nemenyi([[3, 2, 1], [3, 2, 1], [3, 1, 2], [2, 3, 1]]).round(3).tolist()
    [[1.0, 0.539, 0.086], [0.539, 1.0, 0.539], [0.086, 0.539, 1.0]]
    """
    import scikit_posthocs

    p: NDArray[np.float64] = scikit_posthocs.posthoc_nemenyi_friedman(
        _check_blocks("A Nemenyi test", scores, 2)
    ).to_numpy()
    return p


def critical_difference(subjects: int, blocks: int, alpha: float = 0.05) -> float:
    """Tell how far apart two mean ranks must be for the methods to differ.

    Args:
        subjects: K methods compared, including every one that was ranked, at least 2.
        blocks: N blocks they were ranked in.
        alpha: level for all pairs together, in (0, 1).

    Returns: a difference of mean ranks.

    Raises:
        SettingsError: out of range.

    Source: Demšar 2006, section 3.2.2: q / sqrt 2 * sqrt(K (K + 1) / (6 N)), q from the studentized range of K groups.

    >>> round(critical_difference(subjects=7, blocks=11), 3)
    2.716
    """
    from scipy import stats

    if subjects < 2 or blocks < 1 or not 0 < alpha < 1:
        raise SettingsError(
            "A critical difference",
            "two or more methods, one or more blocks and alpha in (0, 1)",
            f"got {subjects}, {blocks} and {alpha:g}",
            "Count every method that was ranked.",
        )
    q = float(stats.studentized_range.isf(alpha, subjects, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(subjects * (subjects + 1) / (6 * blocks)))


class RankDiagram(NamedTuple):
    """What a critical-difference diagram shows, without drawing it."""

    order: list[int]
    """Methods by number, best mean rank first."""
    ranks: list[float]
    """Their mean ranks in this order."""
    bars: list[tuple[int, int]]
    """First and last place in the order, of methods that do not differ; no bar lies within another."""


def critical_difference_groups(ranks: ArrayLike, difference: float) -> RankDiagram:
    """Arrange methods for a critical-difference diagram: sorted, with bars that join those that do not differ.

    Args:
        ranks: (K,) mean ranks, 1 is best.
        difference: the critical difference; methods differ that lie as far apart or further.

    Returns: a RankDiagram; a method that differs from all others is in no bar.

    Raises:
        SettingsError: the difference is not positive.
        ShapeError, DataError: the ranks are not a flat list of numbers.

    Source: Demšar 2006, figure 1.

    >>> critical_difference_groups([3.4, 1.2, 2.0], difference=1.5)
    RankDiagram(order=[1, 2, 0], ranks=[1.2, 2.0, 3.4], bars=[(0, 1), (1, 2)])
    """
    values = check_scores("A critical-difference diagram", ranks)
    if not difference > 0:
        raise SettingsError(
            "A critical-difference diagram",
            "a positive difference",
            f"got {difference:g}",
            "Use critical_difference().",
        )
    order = np.argsort(values, kind="stable")
    placed = values[order]
    bars: list[tuple[int, int]] = []
    for first in range(len(placed)):
        last = int(np.flatnonzero(placed - placed[first] < difference)[-1])
        if last > first and (not bars or last > bars[-1][1]):
            bars.append((first, last))
    return RankDiagram(order.tolist(), placed.tolist(), bars)


def significance_letters(p_matrix: ArrayLike, ranks: ArrayLike, alpha: float = 0.05) -> list[str]:
    """Give each method letters so that two share one exactly where they do not differ.

    Args:
        p_matrix: (K, K) symmetric p values of all pairs, as of `nemenyi`; the diagonal is not read.
        ranks: (K,) mean ranks: letters begin with the best method.
        alpha: pairs with p below it differ, in (0, 1).

    Returns: K texts, "a" for the best and all that do not differ from it, for example ["a", "ab", "b"].

    Raises:
        ShapeError: the matrix is not (K, K) for K ranks, or there are more methods than letters.
        DataError: a p value or rank is missing.
        SettingsError: alpha out of range.

    Source: Piepho 2004. Computed by scikit-posthocs.

    >>> significance_letters([[1, 0.01, 0.3], [0.01, 1, 0.2], [0.3, 0.2, 1]], ranks=[2.7, 1.2, 2.1])
    ['b', 'a', 'ab']
    """
    import scikit_posthocs

    who = "Giving letters"
    values = check_scores(who, ranks)
    p = check_scores(who, p_matrix, dimensions=2)
    if p.shape != (len(values), len(values)):
        raise ShapeError(
            who,
            "a p value of every pair of methods",
            f"got shape {p.shape} for {len(values)} ranks",
            "Pass what nemenyi() returns.",
        )
    if not 0 < alpha < 1:
        raise SettingsError(who, "alpha in (0, 1)", f"got {alpha:g}", "Use for example 0.05.")
    if len(values) > MOST_LETTERS:
        raise ShapeError(
            who, f"at most {MOST_LETTERS} methods", f"got {len(values)}", "Compare fewer at once."
        )
    order = np.argsort(values, kind="stable")
    display = scikit_posthocs.compact_letter_display(p[np.ix_(order, order)], alpha=alpha)
    letters = [""] * len(values)
    for place, text in zip(order.tolist(), display, strict=True):
        letters[place] = str(text).replace(" ", "")
    return letters


def _check_blocks(who: str, scores: ArrayLike, methods: int) -> NDArray[np.float64]:
    """A table of blocks by methods, with at least so many methods."""
    table = check_scores(who, scores, dimensions=2)
    if table.shape[1] < methods:
        raise ShapeError(
            who,
            f"{'two' if methods == 2 else 'three'} or more methods, one per column",
            f"got {table.shape[1]}",
            "Compare two with paired_wilcoxon()." if methods == 3 else "Add a method.",
        )
    # Scores that differ by rounding error only are tied.
    rounded: NDArray[np.float64] = np.round(table, decimals_of(table, table))
    return rounded
