"""How far each layer moved in a step: whether an optimiser trained all of them at the same speed."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart, colour_of, make_figure, to_svg
from medgraft.reports.panels import SEEDED

COLUMNS = {"group", "tensor", "update"}


class LayerUpdates(NamedTuple):
    """What one chart shows: the layers of a subject (and part of its training).

    layers: group, tensor, update (mean absolute change per step), in the order of the network.
    """

    subject: str
    part: str
    layers: pd.DataFrame


def layer_updates(evidence: Evidence) -> list[LayerUpdates]:
    """How far each layer moved in a step, a mean over epochs, seeds and targets."""
    tables: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is not None and match["kind"] == "updates" and set(table.columns) >= COLUMNS:
            tables.setdefault((match["subject"], match["part"] or ""), []).append(table)
    return [LayerUpdates(subject, part, _mean(own)) for (subject, part), own in tables.items()]


def update_charts(evidence: Evidence) -> list[Chart]:
    """One chart per subject, layers in the order of the network, on one scale; means over epochs, seeds and targets.

    Source: Sheikh et al. 2022, figure 2.
    """
    means = {" · ".join(filter(None, (one.subject, one.part))): one.layers for one in layer_updates(evidence)}
    moved = pd.concat([table["update"] for table in means.values()]) if means else pd.Series(dtype=float)
    moved = moved[moved > 0]
    if moved.empty:
        return []
    limits = (moved.min() / 1.6, moved.max() * 1.6)
    return [_chart(subject, table, limits) for subject, table in means.items()]


def _mean(tables: list[pd.DataFrame]) -> pd.DataFrame:
    whole = pd.concat(tables)
    return whole.groupby(["group", "tensor"], sort=False)["update"].mean().reset_index()


def _chart(subject: str, table: pd.DataFrame, limits: tuple[float, float]) -> Chart:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, (axis,) = make_figure(1, height=2.6)
    place, marks = 0.0, {}
    for index, (group, own) in enumerate(table.groupby("group", sort=False)):
        places = [place + number for number in range(len(own))]
        axis.vlines(places, limits[0], own["update"], color=colour_of(index), linewidth=2.2)
        axis.plot(places, own["update"], "o", color=colour_of(index), markersize=3.5)
        # on two lines in turn, so that neighbours do not touch
        marks[sum(places) / len(places)] = ("\n" if index % 2 else "") + str(group)
        place += len(own) + 1.5
    axis.set_yscale("log")
    axis.set_ylim(*limits)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylabel("mean change per step")
    axis.set_xticks(list(marks), list(marks.values()), fontsize=7.5)
    moved = table.loc[table["update"] > 0, "update"]
    ratio = moved.max() / moved.min() if len(moved) else 1.0
    times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    told = f"{subject}: the layer that moves most moves {times} times as far as the one that moves least."
    return Chart(told, to_svg(figure, "updates", subject), told)
