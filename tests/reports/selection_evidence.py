"""Evidence as a grid that chooses sources leaves it: a planted order and noise, judged by the library itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.ranking import measure_agreement
from medgraft.statistics import weighted_tau

Quality = tuple[float, float]
SOURCES: Mapping[str, Quality] = {
    "imagenet": (1.6, 1281167), "imagenet_last_reset": (0.9, 1281167), "fluorescence nuclei": (1.1, 400),
    "brain slices": (0.5, 880), "simulated_mr_of_five_scanners": (0.2, 1080), "a model from the hub": (0.7, math.nan),
    "random": (-1.2, 0), "over-fitted": (-0.4, 24),
}  # fmt: skip
"""How good each source is, in standard deviations, and how many images it was trained on."""
TARGETS: Mapping[str, float] = {"nuclei": 0.040, "tissue": 0.030, "zones": 0.035, "lesions": 0.0}
"""How much sources differ on each; on the last they do not, and seeds alone decide."""
LOYALTIES = {
    "log_me": 0.8, "leep": 0.6, "nearest_neighbours": 0.9, "linear_probe": 1.5, "label_predictability": 0.9,
    "feature_update": 0.3, "adaptability": 1.1, "sfda": 0.0,
}  # fmt: skip
"""How much of the planted order a score sees."""
SEED_SD = 0.01
NO_HEAD = "LEEP needs a source with trained classes of its own, but this one has none. Judge it by scores of features."
SATURATED = "SFDA needs more images than features, but it got 120 of 512. Judge by another score."


@cache
def selection_evidence(
    *,
    targets: Sequence[str] = tuple(TARGETS),
    sources: Sequence[str] = tuple(SOURCES),
    names: Sequence[str] = tuple(LOYALTIES),
    budgets: Sequence[int] = (20,),
    seeds: int = 5,
    own: bool = True,
    baseline: str | None = "imagenet",
    failures: bool = True,
) -> Evidence:
    """All tables of a grid that chooses sources, made once: nobody may change them.

    With `failures` the first source lacks seed 0 on the last target, LEEP says nothing of the random source, and
    SFDA says nothing at all.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for budget in budgets:
        random = np.random.default_rng([7, abs(budget)])
        performance = make_performance(random, targets, sources, seeds, own, failures)
        scores = make_scores(random, performance, names, failures)
        made = {
            "performance": performance.drop(columns="quality"), "scores": scores,
            **judge(performance, scores, names, baseline),
        }  # fmt: skip
        for name, table in made.items():
            tables.setdefault(f"selection_{name}", []).append(table.assign(budget=budget))
    return Evidence(tables={name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()})


def make_performance(
    random: np.random.Generator,
    targets: Sequence[str],
    sources: Sequence[str],
    seeds: int,
    own: bool,
    failures: bool,
) -> pd.DataFrame:
    """AUROC of every source on every target: quality there, and a deviation for each seed."""
    rows = []
    for target in targets:
        spread = TARGETS.get(target, 0.03)
        candidates = {name: (SOURCES[name][0], SOURCES[name][1], False) for name in sources}
        if own:
            candidates[f"{target} itself"] = (0.8, 475.0, True)
        for source, (skill, size, is_own) in candidates.items():
            quality = skill + 0.3 * random.normal()
            for seed in range(seeds):
                value = 0.85 + spread * quality + SEED_SD * random.normal()
                failed = (
                    failures and seeds > 1 and (source, target, seed) == (sources[0], list(targets)[-1], 0)
                )
                rows.append(
                    {"cohort": target, "source": source, "size": size, "own": is_own, "seed": seed,
                     "metric": "auroc", "value": math.nan if failed else value, "quality": quality}
                )  # fmt: skip
    return pd.DataFrame(rows)


def make_scores(
    random: np.random.Generator, performance: pd.DataFrame, names: Sequence[str], failures: bool
) -> pd.DataFrame:
    """Scores that see some of the quality; a source that was trained on the target looks better than it is."""
    rows = []
    for place, name in enumerate(names):
        for row in performance.to_dict("records"):
            seen = LOYALTIES.get(name, 0.5) * row["quality"] + 0.8 * random.normal() + 3.0 * row["own"]
            reason = ""
            if failures and name == "sfda":
                reason = SATURATED
            elif failures and name == "leep" and row["source"] == "random":
                reason = NO_HEAD
            rows.append(
                {"cohort": row["cohort"], "seed": row["seed"], "source": row["source"], "own": row["own"],
                 "score": name, "value": math.nan if reason else seen, "reason": reason,
                 "seconds": 0.004 * 6.0**place * random.uniform(0.8, 1.2)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def judge(
    performance: pd.DataFrame, scores: pd.DataFrame, names: Sequence[str], baseline: str | None
) -> dict[str, pd.DataFrame]:
    """Everything that follows from what fine-tuning gave and scores said."""
    candidates, guesses = performance[~performance["own"]], scores[~scores["own"]]
    truth = candidates.pivot_table(index="source", columns="cohort", values="value", sort=False)
    means = {
        name: guesses[guesses["score"] == name]
        .pivot_table(index="source", columns="cohort", values="value", dropna=False, sort=False)
        .reindex(index=truth.index, columns=truth.columns)
        for name in names
    }
    found = measure_agreement(means, truth, baseline=baseline, repeats=200)
    taus = pd.DataFrame(
        [
            {"cohort": cohort, "score": name, "tau": found.tau.loc[cohort, name], **interval}
            for cohort in truth
            for name in names
            for interval in [tau_interval(candidates, guesses, cohort, name)]
        ]
    )
    regret = found.regret.rename_axis("score").reset_index()
    of_scores = found.tau.reindex(columns=regret["score"])
    spread = 1.96 * of_scores.std().to_numpy() / math.sqrt(len(of_scores))
    regret = regret.assign(tau=of_scores.mean().to_numpy())
    regret = regret.assign(tau_low=regret["tau"] - spread, tau_high=regret["tau"] + spread)
    for name in ("against_baseline", "baseline_low", "baseline_high"):
        regret[name] = regret.get(name, math.nan)
    measured = [reliability(cohort, own) for cohort, own in candidates.groupby("cohort", sort=False)]
    choices = found.by_target.reset_index().rename(columns={"target": "cohort"})
    return {
        "reliability": pd.DataFrame(measured),
        "taus": taus,
        "regret": regret,
        "choices": choices[["cohort", "score", "chosen", "reached", "best_source", "best", "against_best"]],
        "own": own_ranks(performance, scores, names),
    }  # fmt: skip


def tau_interval(candidates: pd.DataFrame, guesses: pd.DataFrame, cohort: str, name: str) -> dict[str, float]:
    """2.5 to 97.5 % of tau over resampled seeds; NaN where a score is undefined for a candidate."""
    truth = candidates[candidates["cohort"] == cohort].pivot(index="source", columns="seed", values="value")
    guess = guesses[(guesses["cohort"] == cohort) & (guesses["score"] == name)]
    guess = guess.pivot(index="source", columns="seed", values="value").reindex(truth.index)
    if guess.isna().to_numpy().any() or truth.shape[1] < 2:
        return {"low": math.nan, "high": math.nan}
    random = np.random.default_rng(1)
    drawn = [random.integers(truth.shape[1], size=truth.shape[1]) for _ in range(20)]
    taus = [
        weighted_tau(np.nanmean(guess.to_numpy()[:, seeds], axis=1), truth.iloc[:, seeds].mean(axis=1))
        for seeds in drawn
    ]
    low, high = np.percentile(taus, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}


def reliability(cohort: object, own: pd.DataFrame) -> dict[str, object]:
    """One-way analysis of variance of sources, over the seeds of which all are there."""
    from scipy.stats import f

    table = own.pivot(index="source", columns="seed", values="value").dropna(axis=1)
    sources, seeds = table.shape
    nothing = dict.fromkeys(
        ("seed_tau", "between_sd", "seed_sd", "f", "df_between", "df_residual", "critical", "p", "mean_reliability"),
        math.nan,
    )  # fmt: skip
    about = {"cohort": cohort, "sources": sources, "seeds": seeds}
    if seeds < 2:
        return about | nothing | {"tells_apart": False}
    between = seeds * table.mean(axis=1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    ratio, free = between / within, (sources - 1, sources * (seeds - 1))
    pairs = combinations(table.to_numpy().T, 2)
    return about | {
        "seed_tau": float(np.mean([weighted_tau(one, other) for one, other in pairs])),
        "between_sd": math.sqrt(max(0.0, (between - within) / seeds)), "seed_sd": math.sqrt(within),
        "f": ratio, "df_between": free[0], "df_residual": free[1], "critical": f.isf(0.05, *free),
        "p": f.sf(ratio, *free), "mean_reliability": max(0.0, 1 - 1 / ratio),
        "tells_apart": bool(ratio > f.isf(0.05, *free)),
    }  # fmt: skip


def own_ranks(performance: pd.DataFrame, scores: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Ranks of sources that were trained on the target, by fine-tuning and by each score."""
    rows = []
    for cohort, own in performance.groupby("cohort", sort=False):
        means = own.groupby("source")["value"].mean().rank(ascending=False)
        for source in dict.fromkeys(own.loc[own["own"], "source"]):
            for name in names:
                guess = scores[(scores["cohort"] == cohort) & (scores["score"] == name)]
                ranks = guess.groupby("source")["value"].mean().rank(ascending=False)
                rows.append(
                    {"cohort": cohort, "source": source, "true_rank": means[source], "of": len(means),
                     "score": name, "rank": ranks[source], "mean_rank_by_chance": (len(means) + 1) / 2}
                )  # fmt: skip
    columns = ["cohort", "source", "true_rank", "of", "score", "rank", "mean_rank_by_chance"]
    return pd.DataFrame(rows, columns=columns)
