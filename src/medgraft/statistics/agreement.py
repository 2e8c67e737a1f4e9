"""Do two rankings agree?"""

from __future__ import annotations

from numpy.typing import ArrayLike

from medgraft.errors import ShapeError
from medgraft.statistics.scores import check_pairs


def weighted_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Tell how well two scores order the same things, the best ones counting most.

    Args:
        a: (n,) scores, larger is better, for example a ranking score of n source models.
        b: (n,) as `a`, for example how well they do after adaptation.

    Returns: Kendall's tau with hyperbolic weights, averaged over both rankings as weights, in [-1, 1]; 1: the same
        order. NaN where either is constant: it orders nothing.

    Raises:
        ShapeError: lengths differ, or fewer than two things.
        DataError: a score is missing.

    Source: Vigna 2015. scipy.stats.weightedtau with its defaults.

    >>> weighted_tau([3.0, 2.0, 1.0], [0.9, 0.8, 0.7])
    1.0
    >>> round(weighted_tau([3.0, 2.0, 1.0], [0.8, 0.9, 0.7]), 4)  # best two exchanged: worse than 1/3 unweighted
    0.1818
    """
    from scipy import stats

    who = "A weighted Kendall tau"
    first, second = check_pairs(who, a, b)
    if len(first) < 2:
        raise ShapeError(who, "two or more things to order", "got one", "Score more of them.")
    return float(stats.weightedtau(first, second).statistic)
