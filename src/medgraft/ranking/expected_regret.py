"""What a score of known agreement costs on average: one top choice per target is too few to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.errors import DataError, SettingsError

if TYPE_CHECKING:
    import pandas as pd

WHO = "An expected regret"
CORRELATIONS = np.linspace(-1, 1, 21)
"""Of score and performance, from reversed to perfect, between which is interpolated."""


class RegretCurve(NamedTuple):
    """For one target: the mean regret of scores that agree more and more with its performance."""

    tau: NDArray[np.float64]
    """(21,) weighted Kendall tau, rising."""
    regret: NDArray[np.float64]
    """(21,) mean regret against the best at this tau, in the unit of the performance."""
    blind: float
    """Regret of a source drawn blindly."""


def expected_regret(
    tau: pd.DataFrame, performance: pd.DataFrame, *, draws: int = 500, seed: int = 0
) -> pd.DataFrame:
    """Tell what scores with these agreements would cost on average, had they been wrong in other places.

    The regret of one score on one target hangs on a single choice. This is its mean over many simulated scores of
    the same weighted Kendall tau with the performance: normal scores of the ranks plus noise.

    Args:
        tau: (targets, scores) weighted Kendall tau, in [-1, 1], as of `measure_agreement` or `published`; NaN, a
            score that says nothing, counts as a blind choice.
        performance: (sources, targets), at least these targets; higher is better, NaN where unknown.
        draws: simulated scores per target and correlation.
        seed: of the simulation.

    Returns: (targets, scores) expected regret against the best source, at least 0, in the unit of `performance`.

    Raises:
        DataError: a target without performance, or with fewer than two known; a tau outside [-1, 1].
        SettingsError: fewer than 10 draws.

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"t": [0.75, 0.5, 0.25]}, index=["a", "b", "c"])
    >>> tau = pd.DataFrame({"perfect": [1.0], "silent": [float("nan")], "reversed": [-1.0]}, index=["t"])
    >>> expected_regret(tau, truth).loc["t"].tolist()
    [0.0, 0.25, 0.5]
    """
    import pandas as pd

    if ((tau < -1) | (tau > 1)).any(axis=None):
        raise DataError(
            WHO, "weighted taus in [-1, 1]", "some lie outside", "Pass what measure_agreement() returns."
        )
    missing = [str(target) for target in tau.index if target not in performance.columns]
    if missing:
        raise DataError(
            WHO, "the performance on every target", f"that on {', '.join(missing[:5])} is missing",
            "Name targets alike in both tables.",
        )  # fmt: skip
    rows = {}
    for target in tau.index:
        curve = regret_curve(performance[target].to_numpy(dtype=np.float64), draws=draws, seed=seed)
        given = tau.loc[target].to_numpy(dtype=np.float64)
        rows[target] = np.where(np.isnan(given), curve.blind, np.interp(given, curve.tau, curve.regret))
    return pd.DataFrame.from_dict(rows, orient="index", columns=tau.columns).rename_axis("target")


def regret_curve(performance: NDArray[np.float64], *, draws: int = 500, seed: int = 0) -> RegretCurve:
    """Tell how the mean regret on one target falls as a score agrees better with the performance.

    Args:
        performance: (n,) of every source; higher is better, NaN where unknown.
        draws: simulated scores per correlation.
        seed: of the simulation.

    Returns: a RegretCurve, to be drawn or interpolated; `regret` need not fall at every step, as draws are finite.

    Raises:
        DataError: fewer than two are known.
        SettingsError: fewer than 10 draws.

    >>> curve = regret_curve(np.array([0.75, 0.5]))
    >>> curve.tau[[0, -1]].tolist(), curve.regret[[0, -1]].tolist(), curve.blind
    ([-1.0, 1.0], [0.25, 0.0], 0.125)
    """
    from scipy import stats

    if draws < 10:
        raise SettingsError(WHO, "10 draws or more", f"got {draws}", "Use for example draws=500.")
    known = performance[~np.isnan(performance)]
    if len(known) < 2:
        raise DataError(WHO, "two or more sources of known performance", f"got {len(known)}", "Add sources.")
    place = stats.rankdata(known, method="ordinal")
    normal = stats.norm.ppf(place / (len(known) + 1))
    noise = np.random.default_rng(seed).standard_normal((draws, len(known)))
    lost = known.max() - known
    tau, regret = np.empty(len(CORRELATIONS)), np.empty(len(CORRELATIONS))
    for step, correlation in enumerate(CORRELATIONS):
        scores = correlation * normal + np.sqrt(1 - correlation**2) * noise
        tau[step] = weighted_taus(scores, known).mean()
        regret[step] = lost[scores.argmax(axis=1)].mean()
    return RegretCurve(np.maximum.accumulate(tau), regret, float(lost.mean()))


def weighted_taus(scores: NDArray[np.float64], performance: NDArray[np.float64]) -> NDArray[np.float64]:
    """`medgraft.statistics.weighted_tau` of many scores without ties at once.

    Args:
        scores: (R, n) float, no two equal in a row.
        performance: (n,) float; ties allowed, but not all equal.

    Returns: (R,) weighted Kendall tau, in [-1, 1]; NaN where all performance is equal.

    Source: Vigna 2015, section 5: additive hyperbolic weights, mean over both rankings as weights.

    >>> weighted_taus(np.array([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0]]), np.array([0.9, 0.8, 0.7])).round(4).tolist()
    [1.0, 0.1818]
    """
    over = np.sign(scores[:, :, None] - scores[:, None, :])
    better = np.sign(performance[:, None] - performance[None, :])
    agree = (over * better).sum(axis=2)  # per source: pairs ordered alike minus pairs ordered otherwise
    differ = np.abs(better).sum(axis=1)
    above = (over > 0).sum(axis=1)  # sources scored higher: the rank from 0
    # Equal performance is ranked by score, as scipy does.
    higher = (better > 0).sum(axis=0) + ((better == 0) & (over > 0)).sum(axis=1)
    found = []
    for rank in (above, higher):
        weight = 1 / (rank + 1)
        largest = np.sqrt((weight.sum(axis=1) * (weight.shape[1] - 1)) * (weight @ differ))
        found.append((weight * agree).sum(axis=1) / np.where(largest > 0, largest, np.nan))
    both: NDArray[np.float64] = np.mean(found, axis=0)
    return both
