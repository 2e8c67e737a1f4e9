"""A line through scores and performance with its band, for a scatter plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError

if TYPE_CHECKING:
    import pandas as pd

WHO = "A regression line"


def regression_band(
    scores: ArrayLike, performance: ArrayLike, *, level: float = 0.95, points: int = 50
) -> pd.DataFrame:
    """Fit performance by a straight line in the score, with the band in which the line may lie.

    Args:
        scores: (n,) of n sources, three or more; not all equal.
        performance: (n,) of the same sources.
        level: coverage of the band at every point, in (0, 1).
        points: at which the line is told, two or more, from the lowest to the highest score.

    Returns: (points,) rows of score, line, low, high. The band is that of the mean; a single source may lie
        outside. It says how performance goes with the score over these sources, and `weighted_tau` whether the
        best are found.

    Raises:
        UndefinedError: fewer than three sources, or all scores equal.
        SettingsError: level or points out of range.
        ShapeError, DataError: lengths differ, or a number is missing.

    Source: least squares, as in figure 6.5 of Juodelyte's PhD thesis; computed by statsmodels.

    >>> regression_band([0.0, 1.0, 2.0], [0.5, 0.75, 1.0], points=3)["line"].round(6).tolist()
    [0.5, 0.75, 1.0]
    """
    import pandas as pd

    from medgraft.statistics.scores import check_pairs

    x, y = check_pairs(WHO, scores, performance)
    if not 0 < level < 1 or points < 2:
        raise SettingsError(
            WHO, "0 < level < 1 and two points or more", f"got {level:g} and {points}", "Change them."
        )
    if len(x) < 3:
        raise UndefinedError(
            WHO, "three sources or more", f"got {len(x)}", "Add sources, or draw points only."
        )
    if np.ptp(x) == 0:
        raise UndefinedError(WHO, "scores that differ", "all are equal", "Draw points only.")
    from statsmodels.api import OLS, add_constant

    at = np.linspace(x.min(), x.max(), points)
    fit = OLS(y, add_constant(x)).fit().get_prediction(add_constant(at, has_constant="add"))
    band = fit.conf_int(alpha=1 - level)
    return pd.DataFrame({"score": at, "line": fit.predicted_mean, "low": band[:, 0], "high": band[:, 1]})
