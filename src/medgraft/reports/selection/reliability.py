"""Before any score is judged: does fine-tuning itself tell the sources apart, or is their order that of the seeds?"""

from __future__ import annotations

import math
from typing import NamedTuple

from medgraft.reports.grids.ranking import p_value
from medgraft.reports.selection.source_selection import Selection
from medgraft.reports.wording import counted, listed, number


class Reliability(NamedTuple):
    """How far the results of fine-tuning on one target can be believed, as text; empty where undefined."""

    target: str
    sources: str
    seeds: str
    seed_tau: str
    between_sd: str
    seed_sd: str
    f: str
    critical: str
    p: str
    mean_reliability: str
    tells_apart: bool


def reliabilities(selection: Selection) -> list[Reliability]:
    """One row per target, in the order of the evidence."""
    known = {str(row["cohort"]): row for row in selection.reliability.to_dict("records")}
    rows = []
    for target in selection.targets:
        row = {str(name): value for name, value in known.get(target, {}).items()}

        def text(name: str, digits: int, row: dict[str, object] = row) -> str:
            value = float(str(row.get(name, math.nan)))
            return number(value, digits) if math.isfinite(value) else ""

        freedom = [text("df_between", 0), text("df_residual", 0)]
        rows.append(
            Reliability(
                target=target,
                sources=text("sources", 0),
                seeds=text("seeds", 0),
                seed_tau=text("seed_tau", 2),
                between_sd=text("between_sd", selection.digits + 1),
                seed_sd=text("seed_sd", selection.digits + 1),
                f=f"F({', '.join(freedom)}) = {text('f', 1)}" if text("f", 1) and all(freedom) else text("f", 1),
                critical=text("critical", 1),
                p=p_value(float(str(row.get("p", math.nan))), ""),
                mean_reliability=text("mean_reliability", 2),
                tells_apart=target in selection.readable,
            )
        )  # fmt: skip
    return rows


def told_apart(selection: Selection) -> str:
    """On which targets fine-tuning tells the sources apart, and what that means for scores."""
    readable, unreadable = selection.readable, selection.unreadable
    targets = counted(len(selection.targets), "target")
    if not readable and selection.seeds < 2:
        return (
            "With one seed nobody knows how much another one would change, so no order of sources can be "
            "called right here, and no score good or bad."
        )
    if not readable:
        which = selection.targets[0] if len(selection.targets) == 1 else f"any of {targets}"
        return (
            f"Fine-tuning does not tell the sources apart on {which}: their differences may be those between "
            "seeds, so no order of sources can be called right here, and no score good or bad."
        )
    if not unreadable:
        which = f"{readable[0]}, the only target" if len(readable) == 1 else f"all {targets}"
        return f"Fine-tuning tells the sources apart on {which}."
    return (
        f"Fine-tuning tells the sources apart on {len(readable)} of {targets}, but not on {listed(unreadable)}, "
        "where no order of sources can be called right or wrong."
    )


def agreement_of_seeds(selection: Selection) -> str:
    """How much sources differ beside seeds, and how far the order under one seed is that under another, if known."""
    parts = []
    for names, where in ((selection.readable, "are"), (selection.unreadable, "are not")):
        rows = selection.reliability[selection.reliability["cohort"].isin(names)]
        taus, ratios = rows["seed_tau"].dropna(), (rows["between_sd"] / rows["seed_sd"]).dropna()
        if taus.empty or ratios.empty:
            continue
        more = _between(float(ratios.min()), float(ratios.max()), 1)
        alike = _between(float(taus.min()), float(taus.max()), 2)
        parts.append(
            f"where sources {where} told apart they spread {more} times as much as seeds, and two seeds order "
            f"them with a tau of {alike}"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _between(low: float, high: float, digits: int) -> str:
    ends = dict.fromkeys((number(low, digits), number(high, digits)))
    return " to ".join(ends)
