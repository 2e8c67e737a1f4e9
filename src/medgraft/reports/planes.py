"""Images as dots in a plane without axes: places have no unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from medgraft.reports.charts import RULE, make_figure
from medgraft.reports.grids.charts import Key
from medgraft.reports.predictions import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 2.9
MANY = 300
"""More dots than this are drawn smaller."""


class Dots(NamedTuple):
    """Dots of one colour and marker: (n,) places across, (n,) places up."""

    key: Key
    x: Floats
    y: Floats


def draw_plane(
    groups: Sequence[Dots], heights: tuple[float, float] | None = None, *, unit_square: bool = False
) -> Figure:
    """Draw dots, later groups above earlier ones.

    Args:
        groups: what is drawn.
        heights: where the plane ends below and above; None gives both axes one scale.
        unit_square: both axes end at 0 and 1, so that several pictures can be compared.
    """
    figure, (axis,) = make_figure(1, height=SIDE)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.99)
    size = 3.4 if sum(len(dots.x) for dots in groups) <= MANY else 2.4
    for dots in groups:
        axis.plot(
            dots.x, dots.y, color=dots.key.colour, marker=dots.key.marker, markersize=size, linestyle="none",
            alpha=0.75, markeredgewidth=0,
        )  # fmt: skip
    axis.grid(False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[["top", "right", "left", "bottom"]].set_visible(True)
    axis.spines[["top", "right", "left", "bottom"]].set_color(RULE)
    axis.margins(0.06)
    if unit_square:
        axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
    elif heights is not None:
        axis.set_ylim(*heights)
    else:
        axis.set_aspect("equal", adjustable="datalim")
    return figure
