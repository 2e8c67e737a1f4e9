"""How well a score agrees with fine-tuning where both were measured with several seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.ranking.reliability import check_seeds

if TYPE_CHECKING:
    from medgraft.statistics import Interval

WHO = "An agreement over seeds"


def tau_over_seeds(
    scores: ArrayLike, performance: ArrayLike, *, repeats: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Tell how well a score orders sources as fine-tuning does, both averaged over seeds, with an interval.

    The interval is that over resampled seeds, which take score and performance together. It tells what other seeds,
    and the labels that they draw, might have shown; nothing of other patients, other targets or other sources. It
    leans downwards where seeds differ as much as sources do (`measure_reliability`): noise lowers tau, and a
    resample, which holds fewer different seeds, is noisier.

    Args:
        scores: (sources, seeds) from the labels that each seed drew; higher is better. For a score that does not
            depend on the seed, repeat its column.
        performance: (sources, seeds) what fine-tuning with the same seeds gave; higher is better.
        repeats, level, seed: as for `medgraft.statistics.bootstrap_interval`.

    Returns: an Interval whose value is the weighted Kendall tau of both means, in [-1, 1], with expanded
        percentiles; without bounds, and with the reason, for a single seed. NaN where the score, or the
        performance, is the same for all sources: it orders nothing.

    Raises:
        ShapeError: no two tables of the same shape with two or more sources.
        DataError: a number is not finite.
        SettingsError: repeats or level out of range.

    Source: Vigna 2015 (tau); Hesterberg 2015 (expanded percentiles).

    >>> found = tau_over_seeds([[3, 3], [2, 2], [1, 1]], [[0.9, 0.7], [0.7, 0.8], [0.5, 0.5]])
    >>> [round(number, 2) for number in found[:3]]  # the second seed alone gives 0.18
    [1.0, 0.18, 1.0]
    """
    from medgraft.statistics import WeightedMetric, bootstrap_interval

    scored = check_seeds(WHO, "scores", scores)
    reached = check_seeds(WHO, "performance", performance)
    if scored.shape != reached.shape:
        raise ShapeError(
            WHO, "scores and performance of the same sources and seeds",
            f"their shapes are {scored.shape} and {reached.shape}", "Repeat the column of a score without seeds.",
        )  # fmt: skip
    seeds = scored.shape[1]
    metric = WeightedMetric(lambda weights: _taus(weights, scored, reached), seeds)
    return bootstrap_interval(metric, np.arange(seeds), repeats, level, seed, "expanded")


def _taus(
    weights: NDArray[np.float64], scores: NDArray[np.float64], performance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tau of both weighted means; of few seeds there are few different resamples, each computed once."""
    from medgraft.statistics import weighted_tau
    from medgraft.statistics.scores import decimals_of

    different, which = np.unique(weights, axis=0, return_inverse=True)
    total = different.sum(axis=1, keepdims=True)
    means = [
        np.round(different @ table.T / total, decimals_of(table, table)) for table in (scores, performance)
    ]
    found = np.array([weighted_tau(score, reached) for score, reached in zip(*means, strict=True)])
    taus: NDArray[np.float64] = found[which.ravel()]
    return taus
