"""The tables of evidence that rank sources: one ranking for each cohort and seed, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence

RANKING, PASSES, AGREEMENT, REGRET = "ranking", "ranking_passes", "ranking_agreement", "ranking_regret"
RELIABILITY = "ranking_reliability"
PROJECTIONS, PROJECTION_SCORES = "ranking_projections", "ranking_projection_scores"
TABLES = (RANKING, PASSES, AGREEMENT, REGRET, RELIABILITY, PROJECTIONS, PROJECTION_SCORES)
WHICH = ("cohort", "seed")
NUMBERS = ("value", "rank", "low", "high", "seconds")
FORMS = {
    RANKING: ("source", "score", *NUMBERS, "reason", "place", *WHICH),
    PASSES: ("source", "seconds", *WHICH),
    AGREEMENT: ("score", "other", "tau", "sources", *WHICH),
    RELIABILITY: (
        *("metric", "sources", "seeds", "seed_tau", "between_sd", "seed_sd"),
        *("f", "df_between", "df_residual", "critical", "p", "mean_reliability", "tells_apart", "sentence"),
        *WHICH,
    ),
    PROJECTIONS: ("source", "stage", "x", "y", "label", *WHICH),
    PROJECTION_SCORES: ("source", "stage", "neighbours", "dimensions", "reason", *WHICH),
}


@dataclass(frozen=True)
class SourceRanking:
    """Sources for one target, scored with one seed.

    scores: one row per source and score: source, score, value (higher is better), rank (1 is best), low, high
        (95 % interval of the rank), seconds, reason (why there is no value), place (0 is first); NaN where undefined.
    passes: seconds of the forward pass by source.
    agreement: score, other, tau, sources (that have both).
    decides: the score that the order goes by; empty where none tells the sources apart.
    images: that sources were judged by; 0 where unknown.
    unit: what intervals of ranks resample, in the plural; empty where unknown.
    fine_tuning_seeds: that leaders were fine-tuned with.
    reliability: how far fine-tuning tells the leaders apart, by name of the column; empty where it was not measured.
    """

    cohort: str
    seed: int
    scores: pd.DataFrame
    passes: dict[str, float]
    agreement: pd.DataFrame
    decides: str
    images: int
    unit: str
    fine_tuning_seeds: tuple[int, ...]
    reliability: dict[str, Any]

    @cached_property
    def sources(self) -> list[str]:
        """Best first."""
        ordered = self.scores.sort_values("place", kind="stable")
        return [str(source) for source in dict.fromkeys(ordered["source"])]

    @property
    def names(self) -> list[str]:
        """Of the scores, the one that decides first."""
        found = [str(name) for name in dict.fromkeys(self.scores["score"])]
        return sorted(found, key=lambda name: name != self.decides)

    def of(self, score: str) -> pd.DataFrame:
        """What a score says, by source, in the order of sources."""
        own = self.scores[self.scores["score"] == score].set_index("source")
        return own.reindex(self.sources)

    def ranked(self, score: str) -> pd.DataFrame:
        """The sources that a score ranks, best first."""
        own = self.of(score)
        return own[own["rank"].notna()].sort_values("rank", kind="stable")


def read_rankings(evidence: Evidence) -> list[SourceRanking]:
    """The rankings that evidence holds, in the order in which they were made.

    Raises:
        DataError: the table "ranking" lacks a column, or tells the same thing twice.
    """
    table = evidence.tables.get(RANKING, pd.DataFrame())
    if table.empty:
        return []
    refuse_gaps(RANKING, table, FORMS[RANKING])
    return [_read(evidence, str(cohort), int(seed)) for cohort, seed in _pairs(table)]


def refuse_gaps(name: str, table: pd.DataFrame, columns: Sequence[str], verb: str = "rank") -> None:
    """Refuse a table of another form; `verb` is the command that writes it.

    Raises:
        DataError: it lacks a column.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"The table '{name}'", f"the columns {', '.join(columns)}", f"it lacks {', '.join(missing)}",
            f"Write the evidence again with `medgraft {verb}`.",
        )  # fmt: skip


def _pairs(table: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(dict.fromkeys(zip(table["cohort"], table["seed"], strict=True)))


def _read(evidence: Evidence, cohort: str, seed: int) -> SourceRanking:
    scores = rows_of(evidence, RANKING, cohort, seed)
    scores = scores.assign(
        **{name: pd.to_numeric(scores[name], errors="coerce") for name in (*NUMBERS, "place")},
        reason=scores["reason"].fillna("").astype(str),
    )
    _refuse_two(scores, cohort, seed)
    passes = rows_of(evidence, PASSES, cohort, seed)
    timed = zip(passes["source"], passes["seconds"], strict=True) if len(passes) else ()
    entry = next(
        (
            one for one in evidence.provenance
            if one.get("what") == "rank" and (one.get("cohort"), one.get("seed")) == (cohort, seed)
        ),
        {},
    )  # fmt: skip
    data = entry.get("data") or {}
    reliability = rows_of(evidence, RELIABILITY, cohort, seed).to_dict("records")
    return SourceRanking(
        cohort=cohort,
        seed=seed,
        scores=scores,
        passes={str(source): float(seconds) for source, seconds in timed},
        agreement=rows_of(evidence, AGREEMENT, cohort, seed),
        decides=str(entry["decides"] or "") if "decides" in entry else _first_that_ranks(scores),
        images=int(data.get("rows") or 0),
        unit=str(data.get("unit") or ""),
        fine_tuning_seeds=tuple(entry.get("fine_tuning_seeds") or (seed,)),
        reliability={str(name): value for name, value in reliability[0].items()} if reliability else {},
    )


def rows_of(evidence: Evidence, name: str, cohort: str, seed: int) -> pd.DataFrame:
    """The rows of a table that are about one ranking; without rows where evidence has no such table.

    Raises:
        DataError: it lacks a column.
    """
    table = evidence.tables.get(name, pd.DataFrame())
    if table.empty:
        return table
    refuse_gaps(name, table, FORMS[name])
    return table[(table["cohort"] == cohort) & (table["seed"] == seed)].reset_index(drop=True)


def _first_that_ranks(scores: pd.DataFrame) -> str:
    for name in dict.fromkeys(scores["score"]):
        if scores.loc[scores["score"] == name, "rank"].notna().sum() > 1:
            return str(name)
    return ""


def _refuse_two(scores: pd.DataFrame, cohort: str, seed: int) -> None:
    """Ranks of one ranking say nothing about the sources of another."""
    told_twice = scores.duplicated(["source", "score"]).any()
    places = scores.drop_duplicates("source")["place"]
    if told_twice or places.duplicated().any():
        raise DataError(
            "A report", "one ranking for each cohort and seed", f"'{cohort}' with seed {seed} was ranked twice",
            "Report the two rankings one by one.",
        )  # fmt: skip
