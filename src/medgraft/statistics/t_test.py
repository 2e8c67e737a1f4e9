"""Student's and Welch's t-test: do two methods differ in the mean?"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from medgraft.statistics.result import TestResult
from medgraft.statistics.scores import check_scores, paired_differences

NAN = float("nan")


def paired_t_test(a: ArrayLike, b: ArrayLike) -> TestResult:
    """Test whether two methods differ in the mean on the same patients, or over the same seeds.

    Assumes that the mean difference is about normal: doubtful for few patients with skewed scores, for which
    `permutation_test` and `paired_wilcoxon` are the safer choice.

    Args:
        a: (n,) one score per patient (or seed).
        b: (n,) as `a`, same patients in the same order.

    Returns: a TestResult; statistic is t with n - 1 degrees of freedom, positive where `a` is larger. p is NaN, with a
        note, for a single patient and where all differ by exactly the same amount.

    Raises:
        ShapeError: lengths differ or nothing is there.
        DataError: a score is missing.

    Source: Student 1908. Computed by scipy.stats.ttest_rel.

    >>> result = paired_t_test([5.0, 7.0, 9.0], [4.0, 5.0, 6.0])  # differences 1, 2, 3: t = 2 / (1 / sqrt 3)
    >>> round(result.statistic, 4), round(result.p, 4), result.n
    (3.4641, 0.0742, 3)
    """
    from scipy import stats

    differences = paired_differences("A paired t-test", a, b)
    number = len(differences)
    if not differences.any():
        units = "1 unit" if number == 1 else f"{number} units"
        return TestResult(0.0, 1.0, number, f"No difference in any of {units}.")
    if number < 2:
        return TestResult(NAN, NAN, number, "One unit has no spread: a t-test needs two or more.")
    if np.ptp(differences) == 0:
        return TestResult(NAN, NAN, number, "All units differ by the same amount: t does not exist.")
    found = stats.ttest_1samp(differences, 0.0)
    return TestResult(float(found.statistic), float(found.pvalue), number)


def independent_t_test(a: ArrayLike, b: ArrayLike) -> TestResult:
    """Test whether the means of two different groups of patients differ; their spreads may differ too.

    Args:
        a: (n,) one score per patient of one group.
        b: (m,) one score per patient of the other.

    Returns: a TestResult; statistic is Welch's t, positive where `a` is larger, n the patients of both. p is NaN,
        with a note, where a group has a single patient or neither has any spread.

    Raises:
        ShapeError: nothing is there.
        DataError: a score is missing.

    Source: Welch 1947. Computed by scipy.stats.ttest_ind without the assumption of equal spreads.

    >>> result = independent_t_test([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])  # t = -2 / sqrt(1 / 3 + 4 / 3)
    >>> round(result.statistic, 4), result.n
    (-1.5492, 6)
    """
    from scipy import stats

    first, second = (check_scores("An independent t-test", values) for values in (a, b))
    number = len(first) + len(second)
    if min(len(first), len(second)) < 2:
        return TestResult(NAN, NAN, number, "A group of one unit has no spread: a t-test needs two or more.")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        if first[0] == second[0]:
            return TestResult(0.0, 1.0, number, "All scores are equal.")
        return TestResult(NAN, NAN, number, "No spread in either group: t does not exist.")
    with warnings.catch_warnings():
        # one group may be all equal, as runs without chance are
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(first, second, equal_var=False)
    return TestResult(float(found.statistic), float(found.pvalue), number)
