"""How large must a difference be for this number of patients to show it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import SettingsError
from medgraft.statistics.scores import check_scores


def detectable_difference(
    differences: ArrayLike, n: int | None = None, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Tell the smallest true paired difference that a study of n patients (or seeds) would probably show.

    A difference that was not shown is no proof of equality: if it is smaller than this, the study could not have told.

    Args:
        differences: (m,) observed differences of two methods, one per patient (or seed); or their standard deviation
            as a single number.
        n: patients (or seeds) of the study; None takes as many as there are differences. Needed with a standard
            deviation.
        power: chance to show such a difference, in (alpha, 1).
        alpha: level of the two-sided test, in (0, 1).

    Returns: a difference of means in the unit of the scores, 0 where all differences are equal; NaN for a single
        patient, who has no spread.

    Raises:
        SettingsError: n, power or alpha out of range, or n not told.
        ShapeError, DataError: the differences are empty or incomplete.

    Source: Cohen 1988, section 2.3; the noncentral t distribution is solved by statsmodels. With an observed standard
        deviation it is itself an estimate: with ten patients its error is about a quarter.

    >>> round(detectable_difference(0.05, n=20), 4)  # 0.66 standard deviations
    0.033
    """
    from statsmodels.stats.power import TTestPower

    given = np.asarray(differences, dtype=np.float64)
    who = "A detectable difference"
    scores = check_scores(who, given[None] if given.ndim == 0 else given)
    units = n if n is not None else (0 if given.ndim == 0 else len(scores))
    if units < 1 or not 0 < alpha < power < 1 or (given.ndim == 0 and scores[0] < 0):
        raise SettingsError(
            who,
            "n of at least 1, 0 < alpha < power < 1 and a standard deviation that is not negative",
            f"got n={n}, alpha={alpha:g}, power={power:g}"
            + (f" and a standard deviation of {scores[0]:g}" if given.ndim == 0 else ""),
            "Use for example n=40, power=0.8, alpha=0.05.",
        )
    if units < 2 or (given.ndim and len(scores) < 2):
        return float("nan")
    deviation = float(scores[0]) if given.ndim == 0 else float(scores.std(ddof=1))
    effect = TTestPower().solve_power(nobs=units, alpha=alpha, power=power, alternative="two-sided")
    return deviation * float(np.ravel(effect)[0])
