"""What every cell of a grid cost, and why cells failed."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import pandas as pd

from medgraft.reports.grids.grid import Grid
from medgraft.reports.wording import duration


class CellRow(NamedTuple):
    """Cells of one subject at one target, all seeds together, or one cell alone.

    seeds: which; for several cells the numbers are means over finished seeds, memory the highest.
    """

    subject: str
    cohort: str
    seeds: str
    state: str
    settings: str
    seconds: str
    peak: str
    gpu: str


class Failure(NamedTuple):
    """The same error of one subject at one target, in some seeds."""

    subject: str
    cohort: str
    seeds: str
    error: str


class Costs(NamedTuple):
    """Costs by subject, and those of every cell.

    gpu, settings: whether GPU time is known anywhere, and whether any setting was searched.
    """

    by_subject: list[CellRow]
    by_cell: list[CellRow]
    gpu: bool
    settings: bool
    seconds: str


def costs(grid: Grid) -> Costs:
    """Time, peak memory and GPU time of every cell, and their means by subject and target."""
    cells = grid.cells.assign(settings=_searched(grid.cells))
    finished = cells["seconds"].dropna()
    return Costs(
        by_subject=[_row(own) for _, own in cells.groupby(["cohort", "subject"], sort=False)],
        by_cell=[_row(own) for _, own in cells.groupby(["cohort", "subject", "seed"], sort=False)],
        gpu=bool(cells["gpu_seconds"].notna().any()),
        settings=bool((cells["settings"] != "").any()),
        seconds=duration(float(finished.sum())) if len(finished) else "",
    )


def failures(grid: Grid) -> list[Failure]:
    """Every failed cell with its error; seeds that failed alike are told together."""
    groups = grid.failed.groupby(["cohort", "subject", "error"], sort=False)
    return [
        Failure(str(subject), str(cohort), seeds_of(own), str(error) or "The error was not noted.")
        for (cohort, subject, error), own in groups
    ]


def seeds_of(cells: pd.DataFrame) -> str:
    """Seeds in words.

    >>> seeds_of(pd.DataFrame({"seed": [2, 0]}))
    'seeds 0, 2'
    """
    seeds = sorted(set(cells["seed"].tolist()))
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _row(cells: pd.DataFrame) -> CellRow:
    first = cells.iloc[0]
    done = int((cells["state"] == "finished").sum())
    state = "finished" if done == len(cells) else "failed" if not done else f"{done} of {len(cells)} finished"
    peak = cells["peak_mib"].max()
    settings = list(dict.fromkeys(text for text in cells["settings"] if text))
    return CellRow(
        subject=str(first["subject"]),
        cohort=str(first["cohort"]),
        seeds=seeds_of(cells),
        state=state,
        settings="; ".join(settings),
        seconds=_time(cells["seconds"]),
        peak=f"{peak:,.0f} MiB" if math.isfinite(peak) else "",
        gpu=_time(cells["gpu_seconds"]),
    )


def _time(seconds: pd.Series) -> str:
    known = seconds.dropna()
    return duration(float(known.mean())) if len(known) else ""


def _searched(cells: pd.DataFrame) -> list[str]:
    """Of each cell's settings those in which cells of its method differ, as a reader likes them.

    >>> chosen = ['{"scope": "head", "schedule": {"lr": 0.1}}', '{"scope": "head", "schedule": {"lr": 0.2}}']
    >>> _searched(pd.DataFrame({"method": ["probe", "probe"], "settings": chosen}))
    ['schedule.lr 0.1', 'schedule.lr 0.2']
    """
    flat = [_flat(_read(text)) for text in cells["settings"]]
    values: dict[tuple[str, str], set[str]] = {}
    for method, settings in zip(cells["method"], flat, strict=True):
        for name, value in settings.items():
            values.setdefault((method, name), set()).add(repr(value))
    return [
        ", ".join(f"{name} {value}" for name, value in settings.items() if len(values[method, name]) > 1)
        for method, settings in zip(cells["method"], flat, strict=True)
    ]


def _read(text: str) -> dict[str, object]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _flat(value: dict[str, object], before: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{before}{name}.") if isinstance(inner, dict) else {f"{before}{name}": inner}
    return flat
