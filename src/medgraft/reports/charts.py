"""Charts as inline SVG: small, deterministic, in the colours of the page, with text as text."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgraft.reports.predictions import GRID, Floats, Reliability
from medgraft.reports.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, told apart with any colour vision; yellow left out, it is too pale on paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", (0, (4, 1.5)), (0, (1.2, 1.2)))
WIDTH = 3.2  # inches
INK, MUTED, RULE, ACCENT = "#010203", "#040506", "#070809", "#0a0b0c"
# drawn in these, shown in the page's own colours, so that dark mode and print apply
STAND_INS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", ACCENT: "var(--accent)"}


class Chart(NamedTuple):
    """An SVG, its caption, and what it shows for those who cannot see it."""

    caption: str
    svg: str
    description: str


class Line(NamedTuple):
    """One line of a learning curve: epochs from 1, losses, and scores (NaN where none was taken)."""

    name: str
    epochs: Floats
    losses: Floats
    scores: Floats


class Point(NamedTuple):
    """One operating point, as of a reader: false- and true-positive rate."""

    false: float
    true: float


def colour_of(index: int) -> str:
    """The colour of the n-th line; the same in chart and legend."""
    return COLOURS[index % len(COLOURS)]


def dash_of(index: int) -> int:
    """The n-th line's dash pattern, 0 to 2."""
    return index // len(COLOURS) % len(DASHES)


def learning_curve(caption: str, lines: Sequence[Line]) -> Chart:
    """Loss over epochs, and the score that chose the epoch below it where there is one."""
    from matplotlib.ticker import MaxNLocator

    scored = any(np.isfinite(line.scores).any() for line in lines)
    figure, axes = make_figure(2 if scored else 1, height=3.0 if scored else 2.1)
    for index, line in enumerate(lines):
        for axis, values in zip(axes, (line.losses, line.scores), strict=False):
            axis.plot(
                line.epochs, values, color=colour_of(index), linestyle=DASHES[dash_of(index)], linewidth=1.4
            )
    axes[0].set_ylabel("training loss")
    if scored:
        axes[1].set_ylabel("validation score")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.margins(x=0.02)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels()
    last = ", ".join(f"{line.losses[-1]:.3f}" for line in lines if len(line.losses))
    return Chart(
        caption, to_svg(figure, "curve", caption), f"Learning curves of {caption}: final loss {last}."
    )


def roc_chart(
    caption: str, curves: Sequence[Floats | None], salt: str, points: Sequence[Point] = ()
) -> Chart:
    """True- against false-positive rate, one line per subject; None leaves one out but keeps its colour.

    points: of readers, drawn as crosses.
    """
    figure, (axis,) = make_figure(1, height=2.7)
    _diagonal(axis)
    for index, rates in enumerate(curves):
        if rates is not None:
            axis.plot(
                np.append(0, GRID), np.append(0, rates),
                color=colour_of(index), linestyle=DASHES[dash_of(index)], linewidth=1.5,
            )  # fmt: skip
    if points:
        false, true = zip(*points, strict=True)
        axis.plot(false, true, "x", color=INK, markersize=5, markeredgewidth=1.2, clip_on=False)
    axis.set_xlabel("false-positive rate")
    axis.set_ylabel("true-positive rate")
    read = f" and {counted(len(points), 'operating point')} of readers" if points else ""
    return Chart(caption, to_svg(figure, "roc", salt), f"ROC curves for {caption}{read}.")


def reliability_chart(caption: str, bins: Reliability, salt: str) -> Chart:
    """Share that was right against confidence; the larger a dot, the more cases."""
    figure, (axis,) = make_figure(1, height=2.7)
    _diagonal(axis)
    area = 12 + 160 * bins.cases / bins.cases.sum()
    axis.plot(bins.confidence, bins.right, color=ACCENT, linewidth=1.2)
    axis.scatter(bins.confidence, bins.right, s=area, color=ACCENT, zorder=3, linewidths=0, clip_on=False)
    axis.set_xlabel("confidence")
    axis.set_ylabel("share that was right")
    pairs = ", ".join(f"{c:.2f}: {r:.2f}" for c, r in zip(bins.confidence, bins.right, strict=True))
    described = f"Share that was right by confidence, {caption}: {pairs}."
    return Chart(caption, to_svg(figure, "reliability", salt), described)


def _diagonal(axis: Axes) -> None:
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")


def make_figure(rows: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8.5, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(WIDTH, height))
        # fixed margins: the browser's font is not the one that a layout engine would measure
        figure.subplots_adjust(
            left=0.62 / WIDTH, right=1 - 0.1 / WIDTH, bottom=0.45 / height, top=1 - 0.1 / height, hspace=0.12
        )
        axes = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(color=RULE, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(colors=MUTED, length=0, pad=4)
        axis.xaxis.label.set_color(INK)
        axis.yaxis.label.set_color(INK)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.spines["bottom"].set_color(MUTED)
    return figure, axes


def to_svg(figure: Figure, kind: str, salt: str) -> str:
    """The figure as an element of the page: own ids, no header, no links, the page's colours."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    prefix = f"{kind}-{hashlib.sha256(salt.encode()).hexdigest()[:8]}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}", svg)
    svg = re.sub(r'<svg height="[^"]*"', "<svg", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    for stand_in, colour in STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    return re.sub(r"\n\s*", "\n", svg)
