"""What scores cost in time, and where and why they say nothing."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.reports.ranking.titles import score_title
from medgraft.reports.selection.source_selection import Selection
from medgraft.reports.wording import listed, short_duration


class ScoreCost(NamedTuple):
    """A score: median and longest time for one source, as text, and of how many sources it says something."""

    title: str
    median: str
    longest: str
    defined: int
    asked: int


class Silence(NamedTuple):
    """Why a score says nothing, how often, and on which targets."""

    title: str
    where: str
    times: int
    reason: str


def score_costs(selection: Selection) -> list[ScoreCost]:
    """Every score, the quickest first; sources, targets and seeds together."""
    groups = selection.scores.groupby("score", sort=False)
    order = groups["seconds"].median().sort_values(kind="stable", na_position="last").index
    rows = []
    for name in order:
        own = groups.get_group(name)
        times = own["seconds"]
        rows.append(
            ScoreCost(
                score_title(str(name)),
                short_duration(float(times.median())),
                short_duration(float(times.max())),
                int(own["value"].notna().sum()),
                len(own),
            )
        )
    return rows


def silences(selection: Selection) -> list[Silence]:
    """Each reason once for every score."""
    undefined = selection.scores[selection.scores["value"].isna()]
    return [
        Silence(
            score_title(str(name)),
            listed(list(dict.fromkeys(own["cohort"]))),
            len(own),
            str(reason) or "No reason was noted.",
        )
        for (name, reason), own in undefined.groupby(["score", "reason"], sort=False)
    ]
