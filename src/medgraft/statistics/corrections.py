"""When several differences are tested at once: p values that account for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError
from medgraft.statistics.scores import check_scores


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values so that all of a family together are wrong with at most the chosen chance.

    Never weaker than `bonferroni`, under no more assumptions: the one to use.

    Args:
        p: (m,) p values of one family, in [0, 1].

    Returns: (m,) float64 corrected p values in the same order, to be compared with alpha.

    Raises:
        ShapeError: nothing is there.
        DataError: a p value is missing or outside [0, 1].

    Source: Holm 1979. Computed by statsmodels.

    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()  # 3 * .01; 2 * .03; and .04 not below the one before
    [0.03, 0.06, 0.06]
    """
    return _correct(p, "holm")


def bonferroni(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values by multiplying with their number.

    Args:
        p: (m,) p values of one family, in [0, 1].

    Returns: (m,) float64 in the same order, at most 1.

    Raises: as `holm`.

    Source: Dunn 1961. Computed by statsmodels.

    >>> bonferroni([0.01, 0.04, 0.5]).round(4).tolist()
    [0.03, 0.12, 1.0]
    """
    return _correct(p, "bonferroni")


def _correct(p: ArrayLike, method: str) -> NDArray[np.float64]:
    from statsmodels.stats.multitest import multipletests

    who = "A correction for several tests"
    values = check_scores(who, p)
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            who,
            "p values in [0, 1]",
            f"got {values.min():g} to {values.max():g}",
            "Pass p values, not statistics.",
        )
    corrected: NDArray[np.float64] = multipletests(values, method=method)[1]
    return corrected
