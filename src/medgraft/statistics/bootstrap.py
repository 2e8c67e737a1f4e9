"""Intervals by resampling whole patients (or other units), so that their images stay together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError, ShapeError
from medgraft.statistics.bca import bca_levels
from medgraft.statistics.expanded import expanded_levels

Metric = Callable[[NDArray[np.int64]], float]
"""Row indices (repeats allowed) to a number; NaN where undefined."""

IntervalMethod = Literal["percentile", "expanded", "bca"]

WEIGHTS_AT_ONCE = 4_000_000
"""Numbers that a `WeightedMetric` is given in one call, so that memory stays bounded."""


class WeightedMetric:
    """A metric that is told how often each row counts, many resamples at once: much faster than one by one.

    Args:
        function: weights (R, N), how often each of R resamples holds each of N rows, to (R,) numbers; NaN where
            undefined.
        rows: N.

    >>> values = np.array([1.0, 2.0, 3.0, 4.0])
    >>> mean = WeightedMetric(lambda weights: weights @ values / weights.sum(1), rows=4)
    >>> mean(np.array([0, 0, 3]))
    2.0
    """

    def __init__(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]], rows: int) -> None:
        self.function, self.rows = function, rows

    def __call__(self, rows: NDArray[np.int64]) -> float:
        """The metric on rows by index, as any other metric."""
        return float(self.function(np.bincount(rows, minlength=self.rows)[None].astype(np.float64))[0])


class Interval(NamedTuple):
    """A number with the range it may have had with other patients."""

    value: float
    """On all rows; NaN if undefined."""
    low: float
    high: float
    repeats: int
    """Resamples drawn."""
    units: int
    """Different units resampled."""
    dropped: int = 0
    """Resamples on which the metric was undefined; the interval is over the others."""
    reason: str | None = None
    """Why there is no interval (low and high are NaN), or a percentile interval where BCa was asked for."""


def bootstrap_interval(
    metric: Metric,
    units: ArrayLike,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: IntervalMethod = "expanded",
) -> Interval:
    """Tell a metric on all rows, and its interval over resampled units.

    Args:
        metric: takes row indices, (n,) int64 where rows of a unit drawn twice come twice; returns a number. A
            `WeightedMetric` gets all resamples at once.
        units: (N,) one identifier per row: patient, slide block, or the row itself.
        repeats: resamples.
        level: coverage aimed at, in (0, 1).
        seed: of the resampling; equal seeds and units give equal resamples for every metric.
        method: "expanded", whose quantiles lie further out the fewer units there are; plain "percentile"; or "bca",
            which corrects for bias and skewness by leaving out one unit at a time (as many more evaluations as there
            are units; use 2000 repeats or more with it).

    Returns: an Interval; low and high are NaN, with the reason, for fewer than two units or an undefined
        metric. Where BCa is undefined it is the percentile interval, with the reason. With few units (below about 20)
        "percentile" and "bca" are too narrow: `docs/statistics.md`.

    Raises:
        SettingsError: level or repeats out of range, or no such method.
        ShapeError: `units` is not one-dimensional.

    Source: Efron & Tibshirani 1993, sections 13.3 and 14.3; expanded: Hesterberg 2015; whole clusters: Davison &
        Hinkley 1997, section 3.8.

    >>> values = np.array([1.0, 2.0, 3.0, 4.0])
    >>> bootstrap_interval(lambda rows: values[rows].mean(), ["a", "a", "b", "b"])
    Interval(value=2.5, low=1.5, high=3.5, repeats=1000, units=2, dropped=0, reason=None)
    """
    _check_settings(repeats, level, method)
    names = np.asarray(units)
    if names.ndim != 1:
        raise ShapeError(
            "A bootstrap interval", "one unit per row", f"units have shape {names.shape}", "Pass a flat list."
        )
    _, membership = np.unique(names, return_inverse=True)
    number = int(membership.max()) + 1 if len(membership) else 0
    value = float(metric(np.arange(len(names)))) if number else float("nan")
    none = Interval(value, float("nan"), float("nan"), repeats, number)
    if number < 2:
        return none._replace(
            reason=f"{number} unit{'' if number == 1 else 's'}, and an interval needs two or more"
        )
    if np.isnan(value):
        return none._replace(reason="the metric is undefined on these rows")
    scores = _scores(metric, membership, number, repeats, seed)
    defined = scores[~np.isnan(scores)]
    dropped = repeats - len(defined)
    if not len(defined):
        return none._replace(dropped=dropped, reason="the metric is undefined on every resample")
    quantiles, reason = ((1 - level) / 2, (1 + level) / 2), None
    if method == "expanded":
        quantiles = expanded_levels(number, level)
    elif method == "bca":
        found = bca_levels(defined, value, _left_out(metric, membership, number), level)
        if isinstance(found, str):
            reason = f"a percentile interval: BCa is undefined, as {found}"
        else:
            quantiles = found
    low, high = np.quantile(defined, quantiles)
    return Interval(value, float(low), float(high), repeats, number, dropped, reason)


def paired_difference(
    metric_a: Metric,
    metric_b: Metric,
    units: ArrayLike,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: IntervalMethod = "expanded",
) -> Interval:
    """Tell by how much a beats b on the same rows, with an interval over the same resampled units for both.

    Args:
        metric_a: as for `bootstrap_interval`.
        metric_b: as `metric_a`, on the same rows.
        units, repeats, level, seed, method: as for `bootstrap_interval`.

    Returns: an Interval of a - b; an interval without 0 means they differ.

    Raises: as `bootstrap_interval`.

    >>> a, b = np.array([0.9, 0.5, 0.7]), np.array([0.8, 0.4, 0.6])
    >>> difference = paired_difference(lambda rows: a[rows].mean(), lambda rows: b[rows].mean(), [1, 2, 3])
    >>> [round(number, 6) for number in difference[:3]]
    [0.1, 0.1, 0.1]
    """
    return bootstrap_interval(minus(metric_a, metric_b), units, repeats, level, seed, method)


def minus(metric_a: Metric, metric_b: Metric) -> Metric:
    """The difference of two metrics of the same rows, as a metric.

    >>> two, one = (WeightedMetric(lambda weights, n=n: n * weights.sum(1), rows=3) for n in (2, 1))
    >>> minus(two, one)(np.array([0, 1, 2]))
    3.0
    """
    if isinstance(metric_a, WeightedMetric) and isinstance(metric_b, WeightedMetric):
        a, b = metric_a.function, metric_b.function
        return WeightedMetric(lambda weights: a(weights) - b(weights), metric_a.rows)
    return lambda rows: metric_a(rows) - metric_b(rows)


def _check_settings(repeats: int, level: float, method: str) -> None:
    if not 0 < level < 1 or repeats < 1:
        raise SettingsError(
            "A bootstrap interval",
            "0 < level < 1 and at least one repeat",
            f"got level {level} and {repeats} repeats",
            "Use for example level=0.95 and repeats=1000.",
        )
    if method not in get_args(IntervalMethod):
        raise SettingsError(
            "A bootstrap interval",
            f"a method among {', '.join(get_args(IntervalMethod))}",
            f"got {method!r}",
            "Choose one of these.",
        )


def _scores(
    metric: Metric, membership: NDArray[np.int64], number: int, repeats: int, seed: int
) -> NDArray[np.float64]:
    """The metric on every resample."""
    if not isinstance(metric, WeightedMetric):
        found = [metric(rows) for rows in _resamples(membership, number, repeats, seed)]
        return np.array(found, dtype=np.float64)
    step = max(1, WEIGHTS_AT_ONCE // len(membership))
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, repeats, step):
        some = min(step, repeats - start)
        # Drawn together, the numbers are the same as drawn one resample at a time.
        drawn = generator.integers(number, size=(some, number)) + number * np.arange(some)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=some * number).reshape(some, number)
        parts.append(metric.function(counts[:, membership].astype(np.float64)))
    return np.concatenate(parts)


def _left_out(metric: Metric, membership: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    """The metric without each unit in turn."""
    if not isinstance(metric, WeightedMetric):
        found = [metric(np.flatnonzero(membership != unit)) for unit in range(number)]
        return np.array(found, dtype=np.float64)
    step = max(1, WEIGHTS_AT_ONCE // len(membership))
    parts = []
    for start in range(0, number, step):
        units = np.arange(start, min(start + step, number))
        parts.append(metric.function((membership != units[:, None]).astype(np.float64)))
    return np.concatenate(parts)


def _draws(number: int, repeats: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """`number` units drawn with replacement, `repeats` times."""
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        yield generator.integers(number, size=number)


def _resamples(
    membership: NDArray[np.int64], number: int, repeats: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Row indices of the drawn units."""
    rows = np.argsort(membership, kind="stable")
    sizes = np.bincount(membership, minlength=number)
    starts = np.cumsum(sizes) - sizes
    for drawn in _draws(number, repeats, seed):
        taken = sizes[drawn]
        # Each drawn unit's rows lie side by side in `rows`: count on from its start.
        ends = np.cumsum(taken)
        yield rows[np.arange(ends[-1]) + np.repeat(starts[drawn] - ends + taken, taken)]
