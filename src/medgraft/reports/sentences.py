"""What the numbers say, in plain sentences that claim no more than the intervals allow."""

from __future__ import annotations

import math

from medgraft.reports.comparison import Cell, make_cell
from medgraft.reports.panels import Panel
from medgraft.reports.wording import (
    counted,
    describe_score,
    in_order,
    listed,
    number,
    percent,
    signed,
    span,
)

FEWEST_UNITS = 6
"""With fewer, differences of one sign in all of them are no surprise yet: 2 * 0.5**5 > 0.05 (sign test)."""


def headline(panel: Panel) -> list[str]:
    """Who comes first by the main score, who follows, and what the intervals allow to say about it."""
    defined: list[tuple[str, Cell]] = []
    for subject in panel.subjects:
        cell = make_cell(panel, subject, panel.main)
        if cell is not None and cell.seeds:
            defined.append((subject, cell))
    score = describe_score(panel.main)
    if not defined:
        return [f"No subject has a defined {score.label}."]
    (first, best), *others = defined
    if not others:
        return [f"{score.label[0].upper()}{score.label[1:]} of {first}: {_with_interval(panel, best)}."]
    extreme = "lowest" if score.higher_is_better is False else "highest"
    told = [
        f"The {extreme} {score.label} is that of {first}: {_with_interval(panel, best)}; "
        f"{others[0][0]} follows with {_with_interval(panel, others[0][1])}."
    ]
    return told + (_against_reference(panel) if len(panel.comparisons) else [_overlap(first, best, others)])


def _against_reference(panel: Panel) -> list[str]:
    """One sentence per reference: who is shown to be better, who worse, and for whom nothing is shown."""
    units = panel.comparisons["n"].min() if "n" in panel.comparisons else math.nan
    if units < FEWEST_UNITS:
        return [f"{panel.units or f'{units:.0f} units'} are too few to show a difference."]
    verdicts: dict[str, dict[str, list[str]]] = {}
    for row, (verdict, _) in zip(
        panel.comparisons.to_dict("records"), comparison_sentences(panel), strict=True
    ):
        if row["metric"] == panel.main:
            of_reference = verdicts.setdefault(str(row["reference"]), {})
            of_reference.setdefault(verdict, []).append(str(row["subject"]))
    told = []
    for reference, subjects in verdicts.items():
        better, open_, worse = (subjects.get(name, []) for name in ("better", "open", "worse"))
        parts = [f"{listed(better)} shown to be better"] if better else ["none is shown to be better"]
        parts += [f"{listed(worse)} shown to be worse"] if worse else []
        parts += [f"no difference shown for {listed(open_)}"] if open_ else []
        told.append(f"Compared with {reference} on the same rows: {'; '.join(parts)}.")
    return told


def comparison_sentences(panel: Panel) -> list[tuple[str, str]]:
    """Each paired difference as (verdict, sentence); the verdict is "better", "worse" or "open"."""
    told = []
    for row in panel.comparisons.to_dict("records"):
        score = describe_score(str(row["metric"]))
        difference, low, high = (float(row[name]) for name in ("difference", "low", "high"))
        verdict, words = _verdict(low, high, score.higher_is_better)
        if float(str(row.get("n", math.nan))) < FEWEST_UNITS:
            verdict, words = "open", "too few to show a difference"
        interval = f" ({percent(panel.level)} interval {span(low, high)})" if span(low, high) else ""
        basis = counted(int(row["seeds"]), "seed") if "seeds" in row and row["seeds"] == row["seeds"] else ""
        units = _units(panel, row)
        over = " and ".join(part for part in (basis, units) if part)
        told.append(
            (
                verdict,
                f"{row['subject']} minus {row['reference']}: {signed(difference)} in {score.label}{interval}"
                f"{f', over {over}' if over else ''}: {words}.",
            )
        )
    return told


def distance_note(panel: Panel) -> str:
    """What a reader must know about surface distances; empty where there are none."""
    names = [name for name in in_order(set(panel.facts["metric"])) if describe_score(name).is_distance]
    if not names:
        return ""
    cells = [make_cell(panel, subject, name) for subject in panel.subjects for name in names]
    told = "Distances are over all borders of a unit, pooled over its images."
    if not any(cell is not None and cell.undefined for cell in cells):
        return f"{told} All are defined."
    each = "once per class and seed" if panel.seeds > 1 else "once per class"
    return (
        f"{told} An image that shows a structure in only one of truth and prediction has no distance: it is left "
        f"out of the mean and counted, {each}. Surface Dice and Dice do count it."
    )


def _units(panel: Panel, row: dict[object, object]) -> str:
    told = panel.facts.loc[panel.facts["unit"] != "", "unit"]
    count = row.get("n")
    if not isinstance(count, (int, float)) or math.isnan(count) or told.empty:
        return ""
    return f"{int(count):,} {told.iloc[0]}"


def _verdict(low: float, high: float, higher_is_better: bool | None) -> tuple[str, str]:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "open", "no interval, so nothing is shown"
    if low <= 0 <= high:
        return "open", "no difference shown"
    if higher_is_better is None:
        return "open", "a difference is shown"
    better = (low > 0) == higher_is_better
    return ("better", "shown to be better") if better else ("worse", "shown to be worse")


def _with_interval(panel: Panel, cell: Cell) -> str:
    interval = f" ({percent(panel.level)} interval {cell.interval})" if cell.interval else " (no interval)"
    return number(cell.value) + interval


def _overlap(first: str, best: Cell, others: list[tuple[str, Cell]]) -> str:
    """What intervals of single subjects allow to say; they are not a paired comparison."""
    if not all(cell.interval for _, cell in [(first, best), *others]):
        return "Without intervals for all, the order may be chance."
    apart = [name for name, cell in others if cell.high < best.low or cell.low > best.high]
    if len(apart) == len(others):
        return f"Its interval lies apart from that of every other subject, so {first} is ahead here."
    near = len(others) - len(apart)
    return (
        f"Its interval overlaps with {'that' if near == 1 else 'those'} of {counted(near, 'other subject')}, "
        "so the order among these may be chance."
    )
