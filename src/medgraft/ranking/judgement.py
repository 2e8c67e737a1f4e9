"""What are scores worth? Judged on several targets by fine-tuning with several seeds, whose own worth is told first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medgraft.errors import DataError
from medgraft.ranking.agreement import Agreement, measure_agreement
from medgraft.ranking.elsewhere import performance_elsewhere
from medgraft.ranking.regret import mean_over_targets
from medgraft.ranking.reliability import measure_reliability
from medgraft.ranking.seed_tau import tau_over_seeds

if TYPE_CHECKING:
    import pandas as pd

WHO = "Judging scores by fine-tuning"
ELSEWHERE = "performance_elsewhere"
"""A score that never looks at the target; a source that was measured nowhere else counts as an average one."""


def judge(
    performance: pd.DataFrame,
    scores: pd.DataFrame,
    own_ranks: pd.DataFrame | None = None,
    *,
    baseline: str | None = None,
    alpha: float = 0.05,
) -> dict[str, pd.DataFrame]:
    """Judge transferability scores by what fine-tuning gave, and fine-tuning by how far its seeds agree.

    Args:
        performance: one row per cohort, source and seed: cohort, source, own (True for a source that was trained on
            this target itself, which is no candidate), seed, value (higher is better; NaN where it failed).
        scores: one row per cohort, source, seed and score: cohort, source, own, seed, score, value (NaN where it is
            undefined); the seed is that of the labels that it was computed from.
        own_ranks: one row per cohort, own source, seed and score: where the score puts it (1 is first) among the
            candidates and itself.
        baseline: source that one would always take without scores; None for no such comparison.
        alpha: level of the test whether fine-tuning tells the sources apart.

    Returns: by name: "reliability", one row per cohort (`measure_reliability`); "taus", one per cohort and score
        (weighted tau of the means over seeds, interval over seeds); "regret", one per score ("any source" and "always
        NAME" among them) over cohorts; "choices", one per cohort and score; "own", one per own source and score: its
        true rank, and the mean rank that the score gives it. With several cohorts there is one more score,
        "performance_elsewhere". Sources of which a seed failed are left out where it did; a cohort with fewer than
        two sources or seeds left is, too.

    Raises:
        DataError: no cohort is left, or the baseline is unknown on one.

    Source: Juodelyte, PhD thesis, sections 6.4 and 6.5 (tau, self-source bias); reliability and regret are ours.

    >>> import pandas as pd
    >>> rows = [(c, s, False, k, v + k / 100) for c in "tu" for s, v in (("a", 0.9), ("b", 0.7)) for k in (0, 1)]
    >>> truth = pd.DataFrame(rows, columns=["cohort", "source", "own", "seed", "value"])
    >>> found = judge(truth, truth.assign(score="oracle"), baseline="b")
    >>> found["taus"]["tau"].tolist(), found["reliability"]["tells_apart"].tolist()
    ([1.0, 1.0, 1.0, 1.0], [True, True])
    """
    import pandas as pd

    candidates = performance[~performance["own"].astype(bool)]
    truth = {cohort: _wide(rows).dropna() for cohort, rows in candidates.groupby("cohort", sort=False)}
    truth = {cohort: table for cohort, table in truth.items() if min(table.shape) > 1}
    if not truth:
        raise DataError(
            WHO, "a cohort with two sources or more and two seeds or more", "there is none", "Add some."
        )
    by_score = {
        str(name): {
            cohort: _aligned(rows[rows["cohort"] == cohort], table) for cohort, table in truth.items()
        }
        for name, rows in scores[~scores["own"].astype(bool)].groupby("score", sort=False)
    }
    if len(truth) > 1:
        by_score[ELSEWHERE] = _elsewhere(truth)
    agreement = measure_agreement(
        {name: _means(found) for name, found in by_score.items()}, _means(truth), baseline=baseline
    )
    taus = [
        {"cohort": cohort, "score": name, **_tau(found[cohort], truth[cohort])}
        for name, found in by_score.items()
        for cohort in truth
    ]
    reliability = [{"cohort": cohort, **_reliability(table, alpha)} for cohort, table in truth.items()]
    return {
        "reliability": pd.DataFrame(reliability),
        "taus": pd.DataFrame(taus),
        "regret": _regret(agreement),
        "choices": _choices(agreement),
        "own": _own(performance, own_ranks),
    }


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """(sources, seeds) in the order of the rows."""
    return rows.pivot(index="source", columns="seed", values="value").reindex(rows["source"].unique())


def _aligned(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """(sources, seeds) as the truth has them; NaN where the score was not computed."""
    return _wide(rows).reindex(index=truth.index, columns=truth.columns)


def _means(tables: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """(sources, cohorts) over seeds; NaN where one is missing."""
    import pandas as pd

    return pd.DataFrame({cohort: table.mean(axis=1, skipna=False) for cohort, table in tables.items()})


def _elsewhere(truth: Mapping[Any, pd.DataFrame]) -> dict[Any, pd.DataFrame]:
    """(sources, seeds) by cohort: performance on the others, seed by seed."""
    import pandas as pd

    seeds = sorted({seed for table in truth.values() for seed in table.columns})
    of_seed = {
        seed: performance_elsewhere(
            pd.DataFrame({cohort: table[seed] for cohort, table in truth.items() if seed in table})
        ).fillna(0.0)
        for seed in seeds
    }
    return {
        cohort: pd.DataFrame({seed: of_seed[seed].loc[table.index, cohort] for seed in table.columns})
        for cohort, table in truth.items()
    }


def _tau(scores: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    if scores.isna().to_numpy().any():
        return {"tau": float("nan"), "low": float("nan"), "high": float("nan")}
    found = tau_over_seeds(scores.to_numpy(), truth.to_numpy())
    return {"tau": found.value, "low": found.low, "high": found.high}


def _reliability(truth: pd.DataFrame, alpha: float) -> dict[str, Any]:
    found = measure_reliability(truth.to_numpy(), alpha=alpha)
    return {**found._asdict(), "tells_apart": found.tells_apart}


def _regret(agreement: Agreement) -> pd.DataFrame:
    """The table of `measure_agreement`, with the mean tau of every score over the cohorts where it has one."""
    lines = []
    for score, row in agreement.regret.iterrows():
        known = agreement.tau[score].dropna() if score in agreement.tau else ()
        tau = mean_over_targets(known) if len(known) == len(agreement.tau) else None
        told = (tau.value, tau.low, tau.high) if tau is not None else (float("nan"),) * 3
        means = dict(zip(("tau", "tau_low", "tau_high"), told))
        lines.append({"score": score} | means | {str(name): value for name, value in row.items()})
    import pandas as pd

    return pd.DataFrame(lines)


def _choices(agreement: Agreement) -> pd.DataFrame:
    named = agreement.by_target.reset_index().rename(columns={"target": "cohort"})
    return named[["cohort", "score", "chosen", "reached", "best_source", "best", "against_best"]]


def _own(performance: pd.DataFrame, ranks: pd.DataFrame | None) -> pd.DataFrame:
    """True ranks beside those that scores give, of sources that were trained on the target itself."""
    import pandas as pd

    columns = ["cohort", "source", "true_rank", "of", "score", "rank", "mean_rank_by_chance"]
    if ranks is None or ranks.empty:
        return pd.DataFrame(columns=columns)
    lines = []
    for (cohort, source, score), own in ranks.groupby(["cohort", "source", "score"], sort=False):
        here = performance[performance["cohort"] == cohort]
        pool = here[~here["own"].astype(bool) | (here["source"] == source)]
        means = _wide(pool).mean(axis=1, skipna=False)
        true_rank = float(means.rank(ascending=False).loc[str(source)])
        of = int(means.notna().sum())
        rank = own["rank"].mean(skipna=False)
        lines.append((cohort, source, true_rank, of, score, rank, (of + 1) / 2))
    return pd.DataFrame(lines, columns=columns)
