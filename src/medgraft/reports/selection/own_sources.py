"""Where scores put the source that was trained on the target itself, and where fine-tuning puts it."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from medgraft.reports.ranking.headline import named, rank_text
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.selection.source_selection import Selection
from medgraft.reports.wording import number


class OwnSource(NamedTuple):
    """A source trained on its target: its rank by fine-tuning, among how many, by chance, and by each score, as text.

    readable: fine-tuning tells sources apart there, so that its rank means something.
    """

    target: str
    source: str
    true_rank: str
    among: str
    by_chance: str
    ranks: list[str]
    readable: bool


class OwnSources(NamedTuple):
    """All of them; `means` are over rows that can be read, in the order of `headings`, empty below two."""

    headings: list[str]
    rows: list[OwnSource]
    mean_title: str
    means: list[str]
    true_mean: str
    chance_mean: str
    sentence: str


def own_sources(selection: Selection) -> OwnSources | None:
    """Every source that was trained on its target itself; None where there is none."""
    table = selection.own
    if table.empty:
        return None
    names = [name for name in selection.names if name in set(table["score"])]
    rows = []
    for (target, source), own in table.groupby(["cohort", "source"], sort=False):
        ranks = own.set_index("score")["rank"]
        first = own.iloc[0]
        rows.append(
            OwnSource(
                str(target), str(source), rank_text(first["true_rank"]), rank_text(first["of"]),
                rank_text(first["mean_rank_by_chance"]),
                [rank_text(float(ranks.get(name, math.nan))) for name in names],
                target in selection.readable,
            )
        )  # fmt: skip
    readable = table[table["cohort"].isin(selection.readable)]
    models = readable.drop_duplicates(["cohort", "source"])
    means = readable.groupby("score")["rank"].mean()
    return OwnSources(
        headings=[score_title(name) for name in names],
        rows=rows,
        mean_title="mean" if len(models) == len(rows) else "mean where told apart",
        means=[_mean(means[name]) for name in names] if len(models) > 1 else [],
        true_mean=_mean(models["true_rank"].mean()),
        chance_mean=_mean(models["mean_rank_by_chance"].mean()),
        sentence=_sentence(readable, names, models),
    )


def _sentence(table: pd.DataFrame, names: list[str], models: pd.DataFrame) -> str:
    """Which scores put these sources first, and whether fine-tuning does."""
    if models.empty:
        return "Fine-tuning does not tell the sources apart, so nobody knows whether these should be first."
    several = len(models) > 1
    truly, chance = (_mean(models[name].mean()) for name in ("true_rank", "mean_rank_by_chance"))
    who = f"{len(models)} sources that were" if several else "source that was"
    told = (
        f"Fine-tuning gives the {who} trained on the target itself the {'mean ' * several}rank {truly}; chance "
        f"would give {chance}."
    )
    them, where = ("them", "every time") if several else ("it", "here")
    if (models["true_rank"] == 1).all():
        return f"{told} It puts {them} first {where}, so a score that does so is right."
    always = [score_title(name) for name in names if _always_first(table, name, len(models))]
    if not always:
        return f"{told} No score puts {them} first {where}."
    first = f"{named(always)} {'put' if len(always) > 1 else 'puts'} {them} first {where}, which fine-tuning does not."
    return f"{told} {first[0].upper()}{first[1:]}"


def _always_first(table: pd.DataFrame, score: str, models: int) -> bool:
    ranks = table.loc[table["score"] == score, "rank"]
    return len(ranks) == models and bool((ranks == 1).all())


def _mean(value: float) -> str:
    return number(float(value), 1) if math.isfinite(value) else ""
