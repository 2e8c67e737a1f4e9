"""What it costs to start from the source that a score puts first."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError
from medgraft.ranking.candidates import Candidates, check_candidates

if TYPE_CHECKING:
    import pandas as pd

    from medgraft.statistics import Interval

WHO = "The regret of a score"


def measure_regret(
    scores: pd.DataFrame, performance: pd.DataFrame, *, baseline: str | None = "ImageNet"
) -> pd.DataFrame:
    """Tell how much performance is lost on every target by starting from the source that a score puts first.

    Candidates for a target are the sources of known performance there. Where several share the highest score, any
    of them may be taken, and the mean of their performance counts. A score that is missing for some puts none of
    these first; one that is missing for all puts all first together, like one that is the same for all.

    Args:
        scores: (sources, targets) with names; higher is better, NaN where undefined.
        performance: (sources, targets), at least the same names; higher is better, NaN where unknown, as where the
            source is the target.
        baseline: source to compare with always taking it; None for no such comparison.

    Returns: one row per target, in the unit of `performance`: best_source, best (its performance), chosen (the
        source put first), tied (how many are put first together), reached (their mean performance), against_best
        (at least 0), any_source (against the best, of a source drawn blindly) and, with a baseline,
        against_baseline (of the baseline's performance; negative: the score did better). `mean_over_targets` gives
        means with intervals.

    Raises:
        DataError: as `check_candidates`, or the baseline's performance is unknown on a target.

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"t": [0.75, 1.0, 0.5], "u": [1.0, 0.5, 0.75]}, index=["ImageNet", "a", "b"])
    >>> guess = pd.DataFrame({"t": [1, 3, 2], "u": [1, 2, 2]}, index=["ImageNet", "a", "b"])
    >>> regret = measure_regret(guess, truth)
    >>> regret[["chosen", "tied", "against_best", "against_baseline"]].values.tolist()
    [['a', 1, 0.0, -0.25], ['a or b', 2, 0.375, 0.375]]
    >>> mean_over_targets(regret["against_best"]).value
    0.1875
    """
    import pandas as pd

    candidates = check_candidates(WHO, {"scores": scores}, performance)
    table = candidates.scores["scores"]
    rows = {target: _row(candidates, table, target) for target in table}
    by_target = pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")
    if baseline is not None:
        always = baseline_performance(performance, table.columns, baseline)
        by_target["against_baseline"] = always - by_target["reached"]
    return by_target


def baseline_performance(performance: pd.DataFrame, targets: pd.Index, baseline: str) -> NDArray[np.float64]:
    """Tell how the source that is always taken does on every target, or that it is not known.

    Args:
        performance: (sources, targets).
        targets: those asked for.
        baseline: a source.

    Raises:
        DataError: the source, or its performance on a target, is unknown.

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"t": [0.5]}, index=["ImageNet"])
    >>> baseline_performance(truth, truth.columns, "ImageNet").tolist()
    [0.5]
    """
    if baseline not in performance.index:
        raise DataError(
            WHO, "the performance of the source that is always taken", f"there is no row {baseline!r}",
            "Name another source as baseline, or pass baseline=None.",
        )  # fmt: skip
    found: NDArray[np.float64] = performance[targets].T[baseline].to_numpy(dtype=np.float64)
    if not np.isfinite(found).all():
        target = targets[int(np.argmin(np.isfinite(found)))]
        raise DataError(
            WHO, "the baseline's performance on every target", f"that of {baseline!r} on {target!r} is unknown",
            "Name another source as baseline, or leave this target out.",
        )  # fmt: skip
    return found


def mean_over_targets(values: ArrayLike, repeats: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """Average over targets, with an interval over resampled targets that is expanded for their small number.

    Args:
        values: (targets,) numbers.
        repeats, level, seed: as for `medgraft.statistics.bootstrap_interval`.

    Returns: an Interval; without bounds, and with the reason, for a single target. It takes targets as a sample of
        those one might have; targets that share patients are no independent ones, and it is too narrow then.

    Raises:
        SettingsError: repeats or level out of range.

    Source: Hesterberg 2015 (expanded percentiles).

    >>> mean_over_targets([0.0, 0.0, 0.0]).high
    0.0
    """
    from medgraft.statistics import WeightedMetric, bootstrap_interval

    numbers = np.asarray(values, dtype=np.float64)
    mean = WeightedMetric(lambda weights: weights @ numbers / weights.sum(axis=1), len(numbers))
    return bootstrap_interval(mean, np.arange(len(numbers)), repeats, level, seed, "expanded")


def _row(candidates: Candidates, scores: pd.DataFrame, target: Hashable) -> dict[str, object]:
    """What the score chose for one target, and what that cost."""
    known = candidates.of(target)
    reached = candidates.performance[target].to_numpy()[known]
    names = scores.index[known]
    first = first_choices(scores[target].to_numpy()[known])
    chosen = [str(name) for name in names[first]]
    best = int(np.argmax(reached))
    return {
        "best_source": str(names[best]),
        "best": reached[best],
        "chosen": " or ".join(chosen[:2]) if len(chosen) < 3 else f"any of {len(chosen)}",
        "tied": len(chosen),
        "reached": reached[first].mean(),
        "against_best": reached[best] - reached[first].mean(),
        "any_source": reached[best] - reached.mean(),
    }


def first_choices(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which candidates a score puts first: more than one where the highest are equal.

    Args:
        scores: (n,), NaN where undefined.

    Returns: (n,) bool, at least one True; all where no score is defined.

    >>> first_choices(np.array([0.1, 0.3, np.nan, 0.1 + 0.2])).tolist()  # 0.1 + 0.2 differs in the last bit only
    [False, True, False, True]
    """
    from medgraft.statistics.scores import decimals_of

    defined = ~np.isnan(scores)
    if not defined.any():
        return ~defined
    # Scores that differ by rounding error only are equal, as in the tests of `medgraft.statistics`.
    rounded = np.where(defined, np.round(scores, decimals_of(scores[defined], scores[defined])), -np.inf)
    equal: NDArray[np.bool_] = rounded == rounded.max()
    return equal
