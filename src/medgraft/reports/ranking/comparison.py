"""Sources beside scores: values with ranks, what is undefined and why, agreement, time, intervals of ranks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.reports.grids.ranking import RankScale
from medgraft.reports.ranking.headline import rank_span, rank_text
from medgraft.reports.ranking.source_ranking import SourceRanking
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.wording import duration, number, short_duration


class ScoreCell(NamedTuple):
    """One score of one source, as text; `shown` is empty where it is undefined, `rank` where it ranks none."""

    shown: str
    rank: str
    interval: str


class ScoreTable(NamedTuple):
    """Rows are sources, best first; columns are scores, the one that decides first."""

    headings: list[str]
    rows: list[tuple[str, list[ScoreCell]]]


class Undefined(NamedTuple):
    """Why a score says nothing, and of which sources."""

    title: str
    sources: str
    reason: str


class RankStrip(NamedTuple):
    """A source in the chart of ranks; places in percent of the width, None without an interval."""

    source: str
    place: float
    low: float | None
    high: float | None
    shown: str
    interval: str


class RankStrips(NamedTuple):
    """All sources that a score ranks, on one scale."""

    title: str
    strips: list[RankStrip]
    ticks: list[tuple[float, str]]
    resampled: bool


class Agreement(NamedTuple):
    """Weighted tau between scores: (text, share of the darkest colour), empty text on the diagonal.

    fewer: some pairs of scores share only some of the sources.
    """

    headings: list[str]
    rows: list[tuple[str, list[tuple[str, float]]]]
    fewer: bool


class Times(NamedTuple):
    """Seconds by source as text: its forward pass, then each score; the last row adds them up."""

    headings: list[str]
    rows: list[tuple[str, list[str]]]
    sentence: str


def score_columns(ranking: SourceRanking) -> ScoreTable:
    """Every score of every source."""
    columns = [_cells(ranking.of(name)) for name in ranking.names]
    rows = [
        (source, [column[place] for column in columns])
        for place, source in enumerate(ranking.sources)
    ]  # fmt: skip
    return ScoreTable([score_title(name) for name in ranking.names], rows)


def undefined_scores(ranking: SourceRanking) -> list[Undefined]:
    """Each reason once for every score, with the sources that it is about."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in ranking.names:
        own = ranking.of(name)
        for source, row in own[own["value"].isna()].iterrows():
            reason = (
                row["reason"] if isinstance(row["reason"], str) and row["reason"] else "No reason was noted."
            )
            found.setdefault((name, reason), []).append(str(source))
    return [
        Undefined(score_title(name), _whom(sources, ranking), reason)
        for (name, reason), sources in found.items()
    ]  # fmt: skip


def rank_strips(ranking: SourceRanking, score: str) -> RankStrips | None:
    """Between which ranks the sources lie by one score; None where it ranks none."""
    own = ranking.ranked(score)
    if own.empty:
        return None
    scale = RankScale(len(own))
    strips = []
    for source, row in own.iterrows():
        rank, low, high = (float(row[name]) for name in ("rank", "low", "high"))
        has_interval = math.isfinite(low) and math.isfinite(high)
        strips.append(
            RankStrip(
                source=str(source),
                place=scale.place(rank),
                low=scale.place(low) if has_interval else None,
                high=scale.place(high) if has_interval else None,
                shown=rank_text(rank),
                interval=rank_span(low, high),
            )
        )
    return RankStrips(score_title(score), strips, scale.ticks, any(strip.interval for strip in strips))


def agreement_matrix(ranking: SourceRanking) -> Agreement | None:
    """Every score that ranks against every other; None where there are not two."""
    names = [name for name in ranking.names if len(ranking.ranked(name))]
    if ranking.agreement.empty or len(names) < 2:
        return None
    pairs = ranking.agreement
    shown = pairs[pairs["score"].isin(names) & pairs["other"].isin(names)]
    taus = _taus(shown)
    rows = [(score_title(one), [_tau(taus, one, other) for other in names]) for one in names]
    fewer = bool((shown["sources"] < len(ranking.sources)).any())
    return Agreement([score_title(name) for name in names], rows, fewer)


def times(ranking: SourceRanking) -> Times:
    """What looking at the target cost, and what each score cost."""
    columns = {"forward pass": pd.Series(ranking.passes, dtype=float).reindex(ranking.sources)}
    columns |= {score_title(name): ranking.of(name)["seconds"] for name in ranking.names}
    rows = [
        (source, [short_duration(column[source]) for column in columns.values()])
        for source in ranking.sources
    ]
    sums = [float(np.nansum(column)) for column in columns.values()]
    rows.append(("all", [short_duration(total) for total in sums]))
    sentence = f"Forward passes took {duration(sums[0])}, all scores together {duration(sum(sums[1:]))}."
    return Times(list(columns), rows, sentence)


def _cells(own: pd.DataFrame) -> list[ScoreCell]:
    digits = _digits(own["value"])
    return [
        ScoreCell(
            number(float(row["value"]), digits) if math.isfinite(row["value"]) else "",
            rank_text(float(row["rank"])),
            rank_span(float(row["low"]), float(row["high"])),
        )
        for row in own.to_dict("records")
    ]


def _digits(values: pd.Series) -> int:
    """As many as tell sources apart: three figures of the span of the values."""
    room = float(values.max() - values.min())
    return min(6, max(0, 2 - math.floor(math.log10(room)))) if room > 0 else 3


def _whom(sources: list[str], ranking: SourceRanking) -> str:
    return "all sources" if len(sources) == len(ranking.sources) > 1 else ", ".join(sources)


def _taus(table: pd.DataFrame) -> dict[frozenset[str], float]:
    pairs = zip(table["score"], table["other"], table["tau"], strict=True)
    return {frozenset((str(one), str(other))): float(tau) for one, other, tau in pairs}


def _tau(taus: dict[frozenset[str], float], one: str, other: str) -> tuple[str, float]:
    if one == other:
        return "", 0.0
    tau = taus.get(frozenset((one, other)), math.nan)
    return (number(tau, 2), max(0.0, tau)) if math.isfinite(tau) else ("–", 0.0)
