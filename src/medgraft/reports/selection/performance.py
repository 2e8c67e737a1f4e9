"""How well every source did after fine-tuning, sources ordered by how much they were trained on."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from medgraft.reports.selection.dots import Dot, DotColumn, DotRow, DotTable, few_ticks, range_of, scale_of
from medgraft.reports.selection.source_selection import Selection
from medgraft.reports.wording import counted, number, span


class Performance(NamedTuple):
    """A source on one target: mean, lowest and highest over seeds; NaN where every seed failed.

    size: images that it was trained on, NaN unknown. own: it was trained on this target. planned: seeds.
    """

    source: str
    target: str
    size: float
    own: bool
    values: list[float]
    planned: int

    @property
    def mean(self) -> float:
        """Over the seeds that have a score."""
        return sum(self.values) / len(self.values) if self.values else math.nan


def performances(selection: Selection) -> list[Performance]:
    """Every source on every target that it was fine-tuned on, smallest sources first and unknown sizes last."""
    table = selection.performance
    found = []
    for (source, target), rows in table.groupby(["source", "cohort"], sort=False):
        values = rows.sort_values("seed", kind="stable")["value"].dropna()
        found.append(
            Performance(
                str(source), str(target), float(rows["size"].iloc[0]), bool(rows["own"].iloc[0]),
                [float(value) for value in values], int(rows["seed"].nunique()),
            )
        )  # fmt: skip
    places = {source: place for place, source in enumerate(sources_by_size(table))}
    order = {target: place for place, target in enumerate(selection.targets)}
    return sorted(found, key=lambda one: (places[one.source], order[one.target]))


def sources_by_size(table: pd.DataFrame) -> list[str]:
    """From smallest to largest, those of unknown size last; one that differs between targets goes by its mean."""
    sizes = table.groupby("source", sort=False)["size"].mean()
    return [str(source) for source in sizes.sort_values(kind="stable", na_position="last").index]


def best_candidates(selection: Selection) -> dict[str, float]:
    """The best mean of a source on every target, own sources left out."""
    best: dict[str, float] = {}
    for one in performances(selection):
        if one.own or not one.values:
            continue
        known = best.get(one.target, one.mean)
        best[one.target] = max(known, one.mean) if selection.sign > 0 else min(known, one.mean)
    return best


def performance_table(selection: Selection) -> DotTable:
    """The means with lowest and highest seed, on a scale for each target; dashed at the best."""
    found = performances(selection)
    cells = {(one.source, one.target): one for one in found}
    best = best_candidates(selection)
    scales = {
        target: scale_of([value for one in found if one.target == target for value in one.values])
        for target in selection.targets
    }

    def dot(source: str, target: str) -> Dot | None:
        one = cells.get((source, target))
        if one is None:
            return None
        if not one.values:
            return Dot(math.nan, None, None, "", f"0 of {counted(one.planned, 'seed')}")
        several = len(one.values) > 1
        low, high = range_of(scales[target], min(one.values), max(one.values)) if several else (None, None)
        texts = [span(min(one.values), max(one.values), selection.digits)] if several else []
        texts += [f"{len(one.values)} of {one.planned} seeds"] if len(one.values) < one.planned else []
        return Dot(
            scales[target].place(one.mean), low, high, number(one.mean, selection.digits), " · ".join(texts),
            stands_out=not one.own and one.mean == best.get(target), hollow=one.own,
        )  # fmt: skip

    columns = [
        DotColumn(
            target, few_ticks(scale), scale.place(best[target]) if target in best else None,
            target in selection.readable,
        )
        for target, scale in scales.items()
    ]  # fmt: skip
    rows = [
        DotRow(source, _size(selection.performance, source), [dot(source, target) for target in selection.targets])
        for source in sources_by_size(selection.performance)
    ]  # fmt: skip
    return DotTable("source", columns, rows)


def _size(table: pd.DataFrame, source: str) -> str:
    sizes = sorted(set(table.loc[table["source"] == source, "size"].dropna()))
    if not sizes:
        return "size unknown"
    if len(sizes) > 1:
        return f"{sizes[0]:,.0f} to {sizes[-1]:,.0f} images"
    return counted(int(sizes[0]), "image") if sizes[0] else "no images"
