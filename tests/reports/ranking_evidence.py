"""Evidence as a ranking of sources leaves it, made up: sources x scores, with ties, gaps and fine-tuned leaders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence, fact
from medgraft.ranking import measure_reliability

SOURCES = {
    "packaged/efficientnet_lite0": 0.86, "models/fluorescence nuclei": 0.84, "models/simulated stain": 0.83,
    "models/brain slices": 0.71, "models/simulated MR of five scanners, over-fitted": 0.66,
    "random/efficientnet_lite0": 0.55,
}  # fmt: skip
"""How good each source really is."""
NO_HEAD = "LEEP needs a source with trained classes of its own, but this one has none. Judge it by scores of features."
HEADLESS = ("models/simulated stain", "random/efficientnet_lite0")
SCALES = {
    "log_me": (-0.75, 0.4),
    "leep": (-0.9, 0.5),
    "nearest_neighbours": (0.0, 0.9),
    "linear_probe": (0.1, 1.0),
}
QUICK = ("log_me", "leep", "nearest_neighbours")
REGRET = [
    ("log_me", 0.335, 0.0218, 0.0102, 0.0391, 0.0167, 0.0017, 0.0379),
    ("leep", 0.350, 0.0218, 0.0081, 0.0402, 0.0167, -0.0012, 0.0386),
    ("adaptability", 0.523, 0.0135, 0.0050, 0.0240, -0.0083, -0.0133, -0.0026),
    ("always ImageNet", math.nan, 0.0052, 0.0001, 0.0164, 0.0, 0.0, 0.0),
]  # fmt: skip


def scores_of(
    name: str, seed: int, sources: Mapping[str, float], sure: bool, resampled: bool
) -> pd.DataFrame:
    """One score: quality on its own scale, with noise; intervals of ranks that overlap unless `sure`."""
    random = np.random.default_rng([seed, len(name)])
    low, scale = SCALES.get(name, (0.0, 1.0))
    noise = random.normal(0, 0.0 if name == "log_me" else 0.04, len(sources))
    values = low + scale * (np.array(list(sources.values())) + noise)
    table = pd.DataFrame({"source": list(sources), "score": name, "value": values})
    lacks = table["source"].isin(HEADLESS) & (name == "leep")
    table["value"] = table["value"].mask(lacks)
    table["rank"] = table["value"].rank(ascending=False)
    worst = table["rank"].max()
    reach = 0.0 if sure else 1.0
    has_interval = resampled and name in QUICK
    table["low"] = (table["rank"] - reach).clip(lower=1) if has_interval else math.nan
    table["high"] = (table["rank"] + reach).clip(upper=worst) if has_interval else math.nan
    table["seconds"] = np.where(lacks, 0.0002, 0.08 if name in QUICK else 2.4)
    table["reason"] = np.where(lacks, NO_HEAD, "")
    return table


def ranking_evidence(
    *,
    cohorts: Sequence[str] = ("H&E nuclei",),
    seeds: Sequence[int] = (0,),
    names: Sequence[str] = ("log_me", "leep", "nearest_neighbours", "linear_probe"),
    sources: Mapping[str, float] = SOURCES,
    fine_tuned: int = 0,
    tunings: int = 1,
    noise: float = 0.0,
    metric: str = "auroc",
    sure: bool = False,
    resampled: bool = True,
    regret: bool = False,
    stages: Mapping[str, int] | None = None,
    classes: Sequence[str] = ("connective", "inflammatory", "neoplastic"),
) -> Evidence:
    """A ranking for each cohort and seed; of the leaders, tuned so often with so much noise, the second is the best.

    stages: dimensions of the first source's features by stage, laid out; 0 is undefined.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    reliability: list[pd.DataFrame] = []
    facts: list[Any] = []
    provenance: list[dict[str, Any]] = []
    for shift, cohort in enumerate(cohorts):
        for seed in seeds:
            own = dict(zip(sources, np.roll(list(sources.values()), shift), strict=True))
            tables = [scores_of(name, seed, own, sure, resampled) for name in names]
            order = tables[0].sort_values("rank", kind="stable")["source"].tolist()
            scores = pd.concat(tables, ignore_index=True)
            scores["place"] = scores["source"].map({source: place for place, source in enumerate(order)})
            passes = pd.DataFrame(
                {"source": list(own), "seconds": [3.1 + place for place in range(len(own))]}
            )
            about = {"cohort": cohort, "seed": seed}
            made = {"ranking": scores, "ranking_passes": passes, "ranking_agreement": agreement_of(tables)}
            for name, table in (made | projections_of(order[0], stages or {}, classes)).items():
                parts.setdefault(name, []).append(table.assign(**about))
            provenance.append(
                {**entry(cohort, seed, names[0], order), "fine_tuning_seeds": [*range(seed, seed + tunings)]}
            )
            performance = np.array([own[source] for source in order[:fine_tuned]])[:, None]
            performance[:1] -= 0.05
            performance = performance + noise * np.random.default_rng(seed).normal(size=(fine_tuned, tunings))
            for source, values in zip(order, performance, strict=False):
                for tuning, value in enumerate(values.tolist(), seed):
                    facts.append(
                        fact(subject=source, cohort=cohort, metric=metric, seed=tuning, value=value,
                             low=value - 0.03, high=value + 0.025, n=27, unit="patients",
                             selection="target_validation")
                    )  # fmt: skip
            if fine_tuned > 1 and tunings > 1:
                reliability.append(reliability_of(performance, metric).assign(**about))
    united = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    if reliability:
        united["ranking_reliability"] = pd.concat(reliability, ignore_index=True)
    if regret:
        columns = [
            "score",
            "tau",
            "against_best",
            "low",
            "high",
            "against_baseline",
            "baseline_low",
            "baseline_high",
        ]
        united["ranking_regret"] = pd.DataFrame(REGRET, columns=columns).set_index("score")
    warnings = (
        () if sure or not resampled else ("LogME puts the first ahead, but others might be: fine-tune each.",)
    )
    evidence = Evidence(provenance=tuple(provenance), tables=united, warnings=warnings)
    return evidence + Evidence(pd.DataFrame(facts)) if facts else evidence


def reliability_of(performance: np.ndarray, metric: str) -> pd.DataFrame:
    """How far these trainings tell the leaders apart, as `mg.rank` writes it."""
    found = measure_reliability(performance)
    told = {"tells_apart": found.tells_apart, "sentence": found.sentence()}
    return pd.DataFrame([{"metric": metric} | found._asdict() | told])


def projections_of(source: str, stages: Mapping[str, int], classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Dots of 240 images around a place for each class, and made-up agreement of neighbours; 0 dimensions: a reason."""
    if not stages:
        return {}
    random = np.random.default_rng(8)
    labels = np.arange(240) % len(classes)
    points, scores = [], []
    for place, (stage, dimensions) in enumerate(stages.items()):
        reason = "" if dimensions else f"{stage.upper()} needs more."
        agreement = 0.6125 + 0.1 * place if dimensions else math.nan
        scores.append((source, stage, agreement, dimensions, reason))
        if dimensions:
            x, y = 2 * place * np.array([np.cos(labels), np.sin(labels)]) + random.normal(size=(2, 240))
            y = y * (dimensions > 1)
            points.append(pd.DataFrame({"source": source, "stage": stage, "x": x, "y": y}))
            points[-1]["label"] = np.array(classes)[labels]
    columns = ["source", "stage", "neighbours", "dimensions", "reason"]
    laid_out = pd.concat(points, ignore_index=True) if points else pd.DataFrame()
    return {
        "ranking_projections": laid_out,
        "ranking_projection_scores": pd.DataFrame(scores, columns=columns),
    }


def agreement_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Pairs of scores; tau is made up, and NaN where they share fewer than two sources."""
    lines = []
    for place, one in enumerate(tables):
        for other in tables[place + 1 :]:
            shared = int((one["value"].notna() & other["value"].notna()).sum())
            tau = 0.9 - 0.5 * len(lines) / 3 if shared > 1 else math.nan
            pair = {"score": one["score"].iloc[0], "other": other["score"].iloc[0]}
            lines.append({**pair, "tau": tau, "sources": shared})
    return pd.DataFrame(lines, columns=["score", "other", "tau", "sources"])


def entry(cohort: str, seed: int, decides: str, order: Sequence[str]) -> dict[str, Any]:
    return {
        "what": "rank", "cohort": cohort, "seed": seed, "decides": decides, "order": list(order),
        "data": {"rows": 240, "fingerprint": "7c" * 32, "unit": "patients"},
        "versions": {"python": "3.11.9", "medgraft": "0.1.0", "torch": "2.10.0"}, "seconds": 48.2,
    }  # fmt: skip


def with_scores(evidence: Evidence, score: str, **columns: Any) -> Evidence:
    """The same evidence, in which a score's columns are others."""
    table = evidence.tables["ranking"].copy()
    for name, values in columns.items():
        table.loc[table["score"] == score, name] = values
    return Evidence(
        evidence.facts, evidence.provenance, evidence.tables | {"ranking": table}, {}, evidence.warnings
    )
