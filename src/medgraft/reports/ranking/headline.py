"""Which source, by which score, and how sure that is: no more than the intervals of ranks allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from medgraft.reports.ranking.source_ranking import SourceRanking
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.wording import counted, listed

NAMED = 3
"""Sources that a sentence names; more are counted."""


def first_sentence(ranking: SourceRanking) -> str:
    """Who is first by which score, and who cannot be told apart from it."""
    sources = counted(len(ranking.sources), "source")
    if not ranking.decides:
        return f"No score tells these {sources} apart: their order means nothing."
    own = ranking.ranked(ranking.decides)
    title = score_title(ranking.decides)
    leaders = _first(own)
    among = f"{len(own)} of {sources} that it ranks" if len(own) < len(ranking.sources) else sources
    if len(leaders) > 1:
        return f"{title} gives {named(leaders)} the same, highest value among {among} and does not tell them apart."
    return f"{title} puts {leaders[0]} first among {among}; {_how_sure(own, ranking.unit)}"


def overlapping(own: pd.DataFrame) -> list[str]:
    """Sources whose interval of ranks reaches that of the first one, best first."""
    reach = float(own["high"].iloc[0])
    return [str(source) for source in own.index[1:] if own.loc[source, "low"] <= reach]


def _how_sure(own: pd.DataFrame, unit: str) -> str:
    if not own[["low", "high"]].notna().all(axis=None):
        return "its ranks were not resampled, so nothing is known of how sure that is."
    other = f"other {unit or 'images'}"
    rivals = overlapping(own)
    if not rivals:
        return f"with {other} too: its interval of ranks lies apart from all others."
    if len(rivals) == 1:
        told = f"{rivals[0]} might be: its interval of ranks overlaps. Treat the two as equal, or fine-tune both."
    else:
        told = f"any of {named(rivals)} might be: their intervals of ranks overlap."
        told += " Treat them as equal, or fine-tune each."
    return f"with {other} {told}"


def other_scores(ranking: SourceRanking) -> str:
    """Whom the scores that do not decide put first; empty where none of them ranks."""
    leaders = _first(ranking.ranked(ranking.decides))
    agree, differ = [], []
    for name in ranking.names:
        own = ranking.ranked(name)
        if name == ranking.decides or own.empty:
            continue
        first = _first(own)
        if set(leaders) & set(first):
            agree.append(score_title(name))
        else:
            differ.append(f"by {score_title(name)} {named(first)} {'is' if len(first) == 1 else 'are'} first")
    same = leaders[0] if len(leaders) == 1 else "one of the first"
    told = [f"by {listed(agree)} {same} is first too"] if agree else []
    sentence = "; ".join([*told, *differ])
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _first(own: pd.DataFrame) -> list[str]:
    """Sources with the best rank, several where they tie."""
    return [str(source) for source in own.index[own["rank"] == own["rank"].min()]]


def named(sources: Sequence[str]) -> str:
    """The first names of a list, and how many more there are.

    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(sources) <= NAMED + 1:
        return listed(list(sources))
    return listed([*sources[:NAMED], f"{len(sources) - NAMED} more"])


def rank_text(rank: float) -> str:
    """A rank, with a decimal only where it needs one.

    >>> rank_text(2.0), rank_text(1.475)
    ('2', '1.5')
    """
    return f"{rank:.1f}".removesuffix(".0") if math.isfinite(rank) else ""


def rank_span(low: float, high: float) -> str:
    """An interval of ranks; empty where there is none.

    >>> rank_span(1.0, 2.5), rank_span(float("nan"), 1.0)
    ('1 to 2.5', '')
    """
    return f"{rank_text(low)} to {rank_text(high)}" if math.isfinite(low) and math.isfinite(high) else ""
