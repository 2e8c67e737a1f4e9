"""How far fine-tuning itself tells sources apart: without that, no score can be judged by what fine-tuning gave."""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, SettingsError, ShapeError

WHO = "The reliability of fine-tuning"


class Reliability(NamedTuple):
    """What differs between sources against what differs between trainings of the same source."""

    sources: int
    seeds: int
    seed_tau: float
    """Mean weighted Kendall tau of every two seeds, in [-1, 1]: how well one run per source foretells another."""
    between_sd: float
    """Standard deviation between sources, had each infinitely many seeds; 0 where seeds explain all."""
    seed_sd: float
    """Standard deviation of one source over seeds, without what a seed does to all sources alike."""
    f: float
    """Mean square between sources over that of the residual; inf without residual, NaN where nothing differs."""
    df_between: int
    df_residual: int
    critical: float
    """What `f` exceeds by chance as often as alpha says."""
    p: float
    mean_reliability: float
    """Share of the variance of means over these seeds that comes from the sources, in [0, 1]."""

    @property
    def tells_apart(self) -> bool:
        """Whether some sources differ by more than seeds explain; not whether every two do."""
        return self.f > self.critical

    def sentence(self) -> str:
        """What a reader must know before a score is judged by these trainings.

        >>> measure_reliability([[0.5, 0.5], [0.5, 0.5]]).sentence()
        'Fine-tuning gave these 2 sources the same with each of 2 seeds: it does not tell them apart.'
        """
        if math.isnan(self.f):
            return (
                f"Fine-tuning gave these {self.sources} sources the same with each of {self.seeds} seeds: "
                "it does not tell them apart."
            )
        if self.tells_apart:
            told = f"Fine-tuning itself tells at least some of these {self.sources} sources apart"
            how = "sources differ more"
        else:
            told = f"Fine-tuning itself hardly tells these {self.sources} sources apart"
            how = "sources do not differ clearly more"
        return (
            f"{told}: two of {self.seeds} seeds agree with a weighted tau of {self.seed_tau:.2f} on average, and "
            f"{how} than seeds do (standard deviation {self.between_sd:.2g} between sources, {self.seed_sd:.2g} "
            f"between seeds; F({self.df_between}, {self.df_residual}) = {self.f:.1f}, critical {self.critical:.1f})."
        )


def measure_reliability(performance: ArrayLike, *, alpha: float = 0.05) -> Reliability:
    """Tell whether fine-tuning with several seeds tells sources apart, before a score is judged by it.

    Args:
        performance: (sources, seeds) of the fine-tuned sources, two or more of each; higher is better. Seeds are
            blocks: what one does to all sources alike, such as the labels that it drew, counts for nothing.
        alpha: level of the F test, in (0, 1).

    Returns: a Reliability. Two seeds of which one gives all sources the same agree with tau 0: it orders nothing.

    Raises:
        ShapeError: no table of two or more sources and two or more seeds.
        DataError: a performance is not finite.
        SettingsError: alpha out of range.

    Source: two-way analysis of variance without replication: Searle, Casella & McCulloch 1992, section 4.3;
        reliability of the mean: Shrout & Fleiss 1979, ICC(3, k).

    >>> found = measure_reliability([[1.0, 3.0], [2.0, 6.0], [6.0, 9.0]])  # mean squares: sources 15.5, residual 0.5
    >>> found.f, found.df_between, found.df_residual, found.tells_apart
    (31.0, 2, 2, True)
    """
    from scipy import stats

    if not 0 < alpha < 1:
        raise SettingsError(WHO, "0 < alpha < 1", f"got {alpha}", "Use for example alpha=0.05.")
    table = check_seeds(WHO, "performance", performance)
    sources, seeds = table.shape
    if seeds < 2:
        raise ShapeError(
            WHO, "two or more seeds", "got one", "Fine-tune every source again with another seed."
        )
    df_between, df_residual = sources - 1, (sources - 1) * (seeds - 1)
    by_source = _without_rounding(table.mean(axis=1) - table.mean(), table)
    residual = _without_rounding(table - table.mean(axis=0) - by_source[:, None], table)
    between_square = seeds * float(np.sum(by_source**2)) / df_between
    residual_square = float(np.sum(residual**2)) / df_residual
    f = _ratio(between_square, residual_square)
    return Reliability(
        sources=sources,
        seeds=seeds,
        seed_tau=_seed_tau(table),
        between_sd=math.sqrt(max(0.0, between_square - residual_square) / seeds),
        seed_sd=math.sqrt(residual_square),
        f=f,
        df_between=df_between,
        df_residual=df_residual,
        critical=float(stats.f.isf(alpha, df_between, df_residual)),
        p=float(stats.f.sf(f, df_between, df_residual)),
        mean_reliability=f if math.isnan(f) else max(0.0, 1 - _ratio(1.0, f)),
    )


def check_seeds(who: str, what: str, values: ArrayLike) -> NDArray[np.float64]:
    """Give numbers of every source with every seed back as an array, or say what is wrong with them.

    Args:
        who: who needs them, for the message.
        what: they are, e.g. "performance".
        values: (sources, seeds), two or more sources.

    Returns: a new array, in which numbers that differ by rounding error only are equal.

    Raises:
        ShapeError: another number of axes, or fewer than two sources.
        DataError: one is not finite.

    >>> check_seeds("An agreement", "scores", [[0.3], [0.1 + 0.2]]).tolist()
    [[0.3], [0.3]]
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or not table.size:
        raise ShapeError(
            who, f"{what} of shape (sources, seeds) with two or more sources", f"its shape is {table.shape}",
            "Give one row per source and one column per seed.",
        )  # fmt: skip
    missing = np.argwhere(~np.isfinite(table))
    if len(missing):
        source, seed = missing[0]
        raise DataError(
            who, f"finite {what} of every source with every seed",
            f"that in row {source}, column {seed} is not", "Leave out that source, or that seed for all sources.",
        )  # fmt: skip
    return _without_rounding(table, table)


def _without_rounding(values: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences that are arithmetic and not measurement set to 0: else F were a ratio of rounding errors."""
    from medgraft.statistics.scores import decimals_of

    rounded: NDArray[np.float64] = np.round(values, decimals_of(table, table))
    return rounded


def _ratio(above: float, below: float) -> float:
    if below > 0:
        return above / below
    return math.inf if above > 0 else math.nan


def _seed_tau(table: NDArray[np.float64]) -> float:
    """Tau weighs by both orders, so that of two seeds it does not matter which comes first."""
    from medgraft.statistics.agreement import weighted_tau

    if (table == table[:1]).all():
        return math.nan
    taus = np.array([weighted_tau(one, other) for one, other in combinations(table.T, 2)])
    return float(np.nan_to_num(taus).mean())
