"""Wilcoxon's signed-rank test: is one of two methods better on the same patients?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medgraft.statistics.permutation import permutation_test
from medgraft.statistics.result import TestResult, join_notes, too_few
from medgraft.statistics.scores import paired_differences

EXACT_WITHOUT_TIES = 50
"""Differing patients up to which the exact distribution is used where no two differences are tied."""
EXACT_WITH_TIES = 14
"""Differing patients up to which all 2^n signs are enumerated where differences are tied."""


def paired_wilcoxon(a: ArrayLike, b: ArrayLike, *, alpha: float = 0.05) -> TestResult:
    """Test whether two methods differ on the same patients, by the ranks of their differences.

    Conventions: patients without a difference are left out (Wilcoxon) and counted in the note; tied differences
    share their mean rank; scores that differ by rounding error only are equal. Exact for up to 50 differing patients
    without ties and for up to 14 with ties; beyond that the normal approximation, without continuity correction.

    Args:
        a: (n,) one score per patient.
        b: (n,) as `a`, same patients in the same order.
        alpha: level at which the note says whether so few patients can show anything.

    Returns: a TestResult; statistic is the smaller sum of ranks, n the patients with a difference.

    Raises:
        ShapeError: lengths differ or nothing is there.
        DataError: a score is missing.

    Source: Wilcoxon 1945; as advised for two classifiers by Demšar 2006. Computed by scipy.stats.wilcoxon.

    >>> paired_wilcoxon([0.9, 0.8, 0.7, 0.6, 0.9, 0.8], [0.8, 0.6, 0.4, 0.2, 0.4, 0.2])
    TestResult(statistic=0.0, p=0.03125, n=6, note='')
    """
    from scipy import stats

    differences = paired_differences("A paired Wilcoxon test", a, b)
    differing = differences[differences != 0]
    number, zeros = len(differing), int((differences == 0).sum())
    if not number:
        return TestResult(0.0, 1.0, 0, f"No difference in any of {zeros} units.")
    left_out = f"{zeros} of {len(differences)} units without a difference are left out." if zeros else ""
    tied = len(np.unique(np.abs(differing))) < number
    exact = number <= (EXACT_WITH_TIES if tied else EXACT_WITHOUT_TIES)
    method = "exact" if exact and not tied else "asymptotic"
    found = stats.wilcoxon(differing, zero_method="wilcox", correction=False, method=method)
    p = float(min(found.pvalue, 1.0))
    if exact and tied:  # SciPy's exact distribution knows no ties: flip the signs of the ranks there are
        ranks = stats.rankdata(np.abs(differing)) * np.sign(differing)
        p = permutation_test(ranks, np.zeros(number), exact_up_to=2**EXACT_WITH_TIES).p
    approximate = "" if exact else "Normal approximation."
    note = join_notes(too_few(number, 2 / 2**number, alpha), left_out, approximate)
    return TestResult(float(found.statistic), p, number, note)
