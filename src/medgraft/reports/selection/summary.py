"""The answer in a few sentences: no more than seeds and intervals allow."""

from __future__ import annotations

import math

from medgraft.reports.ranking.headline import named
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.selection.regret import (
    LEAST,
    Loss,
    against_baseline,
    against_best,
    least_losing,
    lost_where_readable,
    rule_title,
)
from medgraft.reports.selection.reliability import told_apart
from medgraft.reports.selection.source_selection import ALWAYS, ANY, Selection
from medgraft.reports.selection.taus import tau_of
from medgraft.reports.wording import counted, describe_score, number, percent, signed, span

LEVEL = 0.95


def summary_sentences(selection: Selection) -> list[str]:
    """Whether sources differ at all, which score's choice loses least, whether that beats no score, and its tau."""
    told = [told_apart(selection)]
    least = least_losing(selection)
    if not selection.readable or not least:
        return told
    told.append(_least_sentence(selection, least))
    told.append(_rules_sentence(selection, least[0]))
    told.append(_tau_sentence(selection, least[0]))
    return [sentence for sentence in told if sentence]


def _least_sentence(selection: Selection, least: list[str]) -> str:
    loss = against_best(selection, least[0])
    judged = [str(name) for name in selection.judged["score"]]
    several = len(selection.targets) > 1
    of = f"Of {len(judged)} scores, " if len(judged) > len(least) > 0 else ""
    told = f"{of}the choice by {named([score_title(name) for name in least])} loses least: "
    told += _lost(selection, loss, "on average " * several)
    if selection.unreadable and loss.value > LEAST:
        lost = lost_where_readable(selection, least[0])
        if math.isfinite(lost):
            told += f", {_value(selection, lost)} where sources are told apart"
    others = [name for name in judged if name not in least]
    near = [name for name in others if not _apart(loss, against_best(selection, name))]
    if near:
        told += (
            f"; intervals do not tell {counted(len(near), 'other score')} apart from it, so which score is best "
            "is not shown"
        )
    elif others:
        told += "; its interval lies below those of all others"
    return f"{told[0].upper()}{told[1:]}."


def _lost(selection: Selection, loss: Loss, on_average: str) -> str:
    if abs(loss.value) <= LEAST:
        return "nothing against the best source"
    label = describe_score(selection.metric).label
    return (
        f"{_value(selection, loss.value)} {label} against the best source {on_average}({_interval(selection, loss)})"
    )  # fmt: skip


def _rules_sentence(selection: Selection, score: str) -> str:
    """The choice against always taking the baseline, and against any source."""
    parts = []
    if selection.baseline:
        parts.append(_beside_baseline(selection, score))
    blind = against_best(selection, ANY)
    if math.isfinite(blind.value):
        loss = against_best(selection, score)
        beside = "loses less than" if _apart(loss, blind) else "is not shown to lose less than"
        parts.append(
            f"{beside} {rule_title(ANY)} ({_value(selection, blind.value)}, {_interval(selection, blind)})"
        )
    return f"That choice {', and it '.join(parts)}." if parts else ""


def _beside_baseline(selection: Selection, score: str) -> str:
    rule = rule_title(f"{ALWAYS}{selection.baseline}")
    more = against_baseline(selection, score)
    difference = f"{signed(more.value, selection.digits)}, {_interval(selection, more)}"
    if not math.isfinite(more.value):
        return f"cannot be compared with {rule}"
    if more.high < 0:
        return f"loses less than {rule} (difference {difference})"
    if more.low > 0:
        return f"loses more than {rule} (difference {difference})"
    return f"is not told apart from {rule} (difference {difference})"


def _tau_sentence(selection: Selection, score: str) -> str:
    """How far the score orders the other sources rightly, too."""
    one = len(selection.targets) == 1
    tau = tau_of(selection, score, selection.targets[0] if one else None)
    if not tau.shown:
        return ""
    interval = f"{percent(LEVEL)} interval {tau.interval}" if tau.interval else "no interval"
    shown = "" if tau.low > 0 else ", which does not show that it orders sources better than chance"
    return (
        f"The order of sources by {score_title(score)} agrees with that by fine-tuning with a weighted tau of "
        f"{tau.shown}{'' if one else ' on average'} ({interval}){shown}."
    )


def _apart(one: Loss, other: Loss) -> bool:
    """True where the first interval lies below the second; never without intervals."""
    return one.high < other.low


def _value(selection: Selection, value: float) -> str:
    return number(value, selection.digits)


def _interval(selection: Selection, loss: Loss) -> str:
    text = span(loss.low, loss.high, selection.digits)
    return f"{percent(LEVEL)} interval {text}" if text else "no interval"
