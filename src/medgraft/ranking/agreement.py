"""How well do ranking scores find the sources that turn out best? Over several targets, and against one another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.errors import DataError
from medgraft.ranking.candidates import Candidates, check_candidates
from medgraft.ranking.expected_regret import expected_regret
from medgraft.ranking.published_tables import published
from medgraft.ranking.regret import first_choices, mean_over_targets, measure_regret

if TYPE_CHECKING:
    import pandas as pd

    from medgraft.statistics import RankDiagram, TestResult

WHO = "Judging ranking scores"
WORST = -2.0
"""Stands for the tau of a score that says nothing: below any tau."""


class Comparison(NamedTuple):
    """Which of several scores rank better than others, over targets."""

    ranks: pd.DataFrame
    """By score: mean_rank (1 is best) and letters: scores that share one were not shown to differ."""
    friedman: TestResult | None
    """Whether any differs; None for two scores."""
    nemenyi: pd.DataFrame
    """(scores, scores) p of every pair; to be read only where Friedman's test finds a difference."""
    critical_difference: float
    """Of mean ranks."""
    diagram: RankDiagram
    """What a critical-difference diagram shows; numbers are rows of `ranks`."""


class Agreement(NamedTuple):
    """What scores are worth, measured against what fine-tuning gave."""

    tau: pd.DataFrame
    """(targets, scores) weighted Kendall tau, in [-1, 1]; NaN where a score says nothing, with a note."""
    comparison: Comparison | None
    """None for a single score."""
    regret: pd.DataFrame
    """One row per score of which tables were given, "any source" and, with a baseline, "always NAME":
    against_best, low, high (mean regret with its interval over targets), against_baseline, baseline_low,
    baseline_high (negative: better than the baseline), expected (mean regret of scores with the same taus,
    `expected_regret`)."""
    by_target: pd.DataFrame
    """One row per score and target: what `measure_regret` tells, tau, and expected regret."""
    points: pd.DataFrame
    """One row per score, target and candidate: value and performance, for a scatter plot (`regression_band`)."""
    notes: tuple[str, ...]
    """Where a score says nothing, and why."""


def measure_agreement(
    scores: pd.DataFrame | Mapping[str, pd.DataFrame],
    performance: pd.DataFrame | None = None,
    *,
    baseline: str | None = "ImageNet",
    others: pd.DataFrame | None = None,
    alpha: float = 0.05,
    repeats: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Judge ranking scores by what fine-tuning gave: do they order sources rightly, and what does their choice
    cost?

    Args:
        scores: a table (sources, targets) with names of both, or several by name of the score; higher is better,
            NaN where undefined.
        performance: (sources, targets) what fine-tuning gave, at least the same names; higher is better, NaN where
            unknown (no candidate). None: the published AUC of 15 sources on 11 targets, `published().sources.auc`.
        baseline: source to compare with always taking it; None for no such comparison.
        others: (targets, scores) taus of further scores to be ranked together with these, such as
            `published().sources.tau` (printed with two decimals, so that some are tied).
        alpha: level of the critical difference and the letters, in (0, 1).
        repeats: resamples of the targets for intervals.
        seed: of resampling and simulation.

    Returns: an Agreement. A score that is the same for all candidates of a target, or missing for one of them, has
        no tau there and ranks last, with a note.

    Raises:
        DataError: tables do not fit together (`check_candidates`), or the baseline is unknown on a target.
        SettingsError: alpha or repeats out of range.

    Source: Vigna 2015 (tau); Demšar 2006 (ranks); Juodelyte, PhD thesis, section 6.5.2 (a silent score ranks last).

    >>> truth = published().sources.auc
    >>> size = truth.notna() * np.arange(15)[:, None]  # a score that always names the source in the last row
    >>> found = measure_agreement({"mine": size, "perfect": truth.fillna(0)})
    >>> found.comparison.ranks["mean_rank"].tolist()
    [2.0, 1.0]
    >>> found.regret["against_best"].mul(100).round(2).to_dict()  # AUC points
    {'mine': 2.81, 'perfect': 0.0, 'any source': 3.67, 'always ImageNet': 0.52}
    """
    import pandas as pd

    truth = published().sources.auc if performance is None else performance
    given = {"score": scores} if isinstance(scores, pd.DataFrame) else scores
    candidates = check_candidates(WHO, given, truth)
    tau, notes = _taus(candidates)
    regrets = {
        name: measure_regret(table, truth, baseline=baseline) for name, table in candidates.scores.items()
    }
    expected = expected_regret(tau, candidates.performance, seed=seed)
    by_target = pd.concat(
        {name: regret.assign(tau=tau[name], expected=expected[name]) for name, regret in regrets.items()},
        names=["score", "target"],
    )
    everyone = tau if others is None else _join(tau, others)
    return Agreement(
        tau,
        _compare(everyone, alpha) if everyone.shape[1] > 1 else None,
        _summarise(by_target, baseline, repeats, seed),
        by_target,
        _points(candidates),
        notes,
    )


def _taus(candidates: Candidates) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """(targets, scores) tau, and a sentence for each that is missing."""
    import pandas as pd

    found: dict[str, dict[Hashable, float]] = {name: {} for name in candidates.scores}
    notes = []
    for name, table in candidates.scores.items():
        for target in table:
            known = candidates.of(target)
            value, why = _tau(
                table[target].to_numpy()[known], candidates.performance[target].to_numpy()[known]
            )
            found[name][target] = value
            if why:
                notes.append(f"{name} says nothing on {target}: {why}.")
    return pd.DataFrame(found).rename_axis("target"), tuple(notes)


def _tau(scores: NDArray[np.float64], performance: NDArray[np.float64]) -> tuple[float, str]:
    """Weighted tau, or NaN and the reason."""
    from medgraft.statistics import weighted_tau

    missing = int(np.isnan(scores).sum())
    if missing:
        return np.nan, f"it is undefined for {missing} of {len(scores)} sources"
    if first_choices(scores).all():
        return np.nan, f"it is the same for all {len(scores)} sources"
    value = weighted_tau(scores, performance)
    return value, "all sources did equally well" if np.isnan(value) else ""


def _join(tau: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The taus of other scores beside these, on the same targets."""
    import pandas as pd

    missing = [str(target) for target in tau.index if target not in others.index]
    twice = [str(name) for name in others if name in tau]
    if missing or twice:
        raise DataError(
            WHO, "taus of the other scores on the same targets, under other names",
            f"there is none on {', '.join(missing[:5])}" if missing else f"{twice[0]!r} is in both tables",
            "Name targets alike and scores differently, or leave some out.",
        )  # fmt: skip
    return pd.concat([tau, others.loc[tau.index]], axis=1)


def _compare(tau: pd.DataFrame, alpha: float) -> Comparison:
    """Ranks of the scores, and which differ."""
    import pandas as pd

    from medgraft import statistics

    filled = tau.fillna(WORST).to_numpy()
    means, p = statistics.mean_ranks(filled), statistics.nemenyi(filled)
    difference = statistics.critical_difference(tau.shape[1], len(tau), alpha)
    letters = statistics.significance_letters(p, means, alpha)
    return Comparison(
        pd.DataFrame({"mean_rank": means, "letters": letters}, index=tau.columns.rename("score")),
        statistics.friedman(filled, alpha=alpha) if tau.shape[1] > 2 else None,
        pd.DataFrame(p, index=tau.columns, columns=tau.columns),
        difference,
        statistics.critical_difference_groups(means, difference),
    )


def _summarise(by_target: pd.DataFrame, baseline: str | None, repeats: int, seed: int) -> pd.DataFrame:
    """One row per way to choose a source: every score, blindly, always the same."""
    import pandas as pd

    names = list(by_target.index.unique("score"))
    lost = {name: by_target.loc[name, "against_best"] for name in names}
    one = by_target.loc[names[0]]
    lost["any source"] = one["any_source"]
    if baseline is not None:
        lost[f"always {baseline}"] = one["against_best"] - one["against_baseline"]
    rows = {}
    for name, values in lost.items():
        rows[name] = dict(zip(["against_best", "low", "high"], mean_over_targets(values, repeats, seed=seed)))
        if baseline is not None:
            other = mean_over_targets(values - lost[f"always {baseline}"], repeats, seed=seed)
            rows[name] |= dict(zip(["against_baseline", "baseline_low", "baseline_high"], other))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("choice")
    return table.join(by_target["expected"].groupby("score").mean())


def _points(candidates: Candidates) -> pd.DataFrame:
    """Every candidate of every target under every score."""
    import pandas as pd

    rows = [
        (name, target, source, value, reached)
        for name, table in candidates.scores.items()
        for target in table
        for source, value, reached in zip(
            table.index, table[target], candidates.performance[target], strict=True
        )
        if not np.isnan(reached)
    ]
    return pd.DataFrame(rows, columns=["score", "target", "source", "value", "performance"])
