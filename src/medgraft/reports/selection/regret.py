"""What starting from each score's first choice cost, beside taking any source and always the same one."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from medgraft.reports.ranking.titles import score_title
from medgraft.reports.selection.performance import best_candidates, performances
from medgraft.reports.selection.source_selection import ALWAYS, ANY, Selection
from medgraft.reports.wording import MINUS, number, span

LEAST = 1e-9
"""Losses that differ by less are equal: means are added in some order."""


class Loss(NamedTuple):
    """A mean over targets with its interval; NaN where there is none. In the unit of the test, above 0 is worse."""

    value: float
    low: float
    high: float


class Regret(NamedTuple):
    """A score or a rule in the table: numbers as text with their intervals, empty where there are none.

    readable: lost against the best on those targets only that can be read.
    is_rule: it takes no look at any score.
    """

    title: str
    best: tuple[str, str]
    readable: str
    baseline: tuple[str, str]
    expected: str
    is_rule: bool


class Choice(NamedTuple):
    """What a score chose on one target and what that gives away, as text; empty where it chose nothing."""

    chosen: str
    loses: str
    readable: bool


class ChoiceTable(NamedTuple):
    """Rows are scores; columns are targets: name, best source, its score, and whether it can be read."""

    columns: list[tuple[str, str, str, bool]]
    rows: list[tuple[str, list[Choice]]]


def against_best(selection: Selection, score: str) -> Loss:
    """What a score or rule loses against the best source."""
    return _loss(selection, score, "against_best", "low", "high")


def against_baseline(selection: Selection, score: str) -> Loss:
    """What a score or rule loses against always taking the baseline; negative where it gains."""
    return _loss(selection, score, "against_baseline", "baseline_low", "baseline_high")


def lost_where_readable(selection: Selection, score: str) -> float:
    """The mean loss of a score or rule on the targets that can be read; NaN where one of them is unknown."""
    if score == ANY or score.startswith(ALWAYS):
        lost = _lost_by_rule(selection, score)
    else:
        own = selection.choices[selection.choices["score"] == score].set_index("cohort")["against_best"]
        lost = [float(own.get(target, math.nan)) for target in selection.readable]
    return sum(lost) / len(lost) if lost else math.nan


def _lost_by_rule(selection: Selection, rule: str) -> list[float]:
    """What a rule gives away on every target that can be read, from the means of the candidates."""
    best = best_candidates(selection)
    lost = []
    for target in selection.readable:
        means = {
            one.source: one.mean
            for one in performances(selection)
            if one.target == target and not one.own and one.values
        }
        blind = sum(means.values()) / len(means) if means else math.nan
        reached = blind if rule == ANY else means.get(rule.removeprefix(ALWAYS), math.nan)
        lost.append(selection.sign * (best.get(target, math.nan) - reached))
    return lost


def least_losing(selection: Selection) -> list[str]:
    """The scores whose choices lose least against the best source; of equal ones first that with the highest tau."""
    known = selection.judged.dropna(subset=["against_best"])
    least = known["against_best"].min()
    equal = set(known.loc[known["against_best"] <= least + LEAST, "score"])
    return [name for name in selection.names if name in equal]


def regrets(selection: Selection) -> list[Regret]:
    """Scores and rules, those that lose least first."""
    table = selection.regret.sort_values("against_best", kind="stable", na_position="last")
    rows = []
    for name in map(str, table["score"]):
        is_rule = name == ANY or name.startswith(ALWAYS)
        expected = float(table.loc[table["score"] == name, "expected"].iloc[0])
        rows.append(
            Regret(
                title=rule_title(name) if is_rule else score_title(name),
                best=_texts(selection, against_best(selection, name)),
                readable=_shown(selection, lost_where_readable(selection, name)),
                baseline=("", "") if name.startswith(ALWAYS) else _texts(selection, against_baseline(selection, name)),
                expected=_shown(selection, expected),
                is_rule=is_rule,
            )
        )  # fmt: skip
    return rows


def choices(selection: Selection) -> ChoiceTable:
    """What every score chose on every target."""
    table = selection.choices
    by_score = {(row["score"], row["cohort"]): row for row in table.to_dict("records")}
    columns = []
    for target in selection.targets:
        best = table.loc[table["cohort"] == target, ["best_source", "best"]].head(1)
        source, value = best.iloc[0] if len(best) else ("", math.nan)
        columns.append((target, str(source), _shown(selection, value), target in selection.readable))
    rows = []
    for name in selection.names:
        cells = []
        for target, _, _, readable in columns:
            row = by_score.get((name, target), {})
            loses = float(row.get("against_best", math.nan))
            shown = "the best" if abs(loses) <= LEAST else f"{MINUS}{_shown(selection, loses)}"
            cells.append(Choice(str(row.get("chosen", "")), shown if math.isfinite(loses) else "", readable))
        rows.append((score_title(name), cells))
    return ChoiceTable(columns, rows)


def rule_title(name: str) -> str:
    """A rule that needs no score, as a sentence calls it.

    >>> rule_title("always ImageNet"), rule_title("any source")
    ('always taking ImageNet', 'a source drawn blindly')
    """
    return "a source drawn blindly" if name == ANY else name.replace(ALWAYS, f"{ALWAYS}taking ", 1)


def _loss(selection: Selection, score: str, *names: str) -> Loss:
    rows: pd.DataFrame = selection.regret[selection.regret["score"] == score]
    return Loss(*(float(rows[name].iloc[0]) for name in names)) if len(rows) else Loss(*[math.nan] * 3)


def _texts(selection: Selection, loss: Loss) -> tuple[str, str]:
    return _shown(selection, loss.value), span(loss.low, loss.high, selection.digits)


def _shown(selection: Selection, value: float) -> str:
    return number(value, selection.digits) if math.isfinite(value) else ""
