"""How patients differ: the distribution of a score over single patients, for every subject of a target."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgraft.reports.charts import ACCENT, INK, MUTED, WIDTH, Chart, make_figure, to_svg
from medgraft.reports.grids.unit_scores import UnitScores, unit_scores
from medgraft.reports.panels import Panel
from medgraft.reports.predictions import Floats
from medgraft.reports.wording import counted, describe_score, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 24
FEWEST = 5
"""With fewer patients a density would be invented."""
STEPS = 65
ROUNDED = 9
"""Digits after which scores count as equal: means over seeds differ in the last ones by rounding."""
# in points; the chart is shown wider than others, so that its letters are as large as theirs
LETTERS, LINE, BAND, GAP = 6.4, 8.0, 17.0, 5.0
LEAST = 2.5
NUMBERS = 0.72  # inches, right of the axis
LETTERS_A_LINE = 60
GOLDEN = 0.6180339887498949


class Violin(NamedTuple):
    """The scores of all patients by one subject.

    scores: (N,) ascending, defined ones only.
    quartiles: (3,) lower quartile, median, upper quartile.
    places: (P,) from the lowest score to the highest; empty where there is no density to draw.
    density: (P,) Gaussian kernel density there, 1 at its highest.
    """

    subject: str
    scores: Floats
    quartiles: Floats
    places: Floats
    density: Floats


class Violins(NamedTuple):
    """Subjects in the order of the ranking; `left_out` more had no room. `score` says what was measured."""

    score: str
    violins: list[Violin]
    left_out: int
    chart: Chart


def violins(panel: Panel, subjects: Sequence[str], salt: str) -> Violins | None:
    """The distribution of scores over patients; None where no subject has scores of two.

    Args:
        panel: of the target.
        subjects: in the order of the ranking; those without scores by unit are passed over.
        salt: makes the ids of the chart its own.
    """
    found = unit_scores(panel)
    made = spread_over_units(found, subjects)
    if not made:
        return None
    shown = made[:SHOWN]
    digits = 2 if found.metric and describe_score(found.metric).is_distance else 3
    return Violins(found.label, shown, len(made) - len(shown), _chart(shown, found.label, digits, salt))


def spread_over_units(found: UnitScores, subjects: Sequence[str]) -> list[Violin]:
    """Quartiles and density of every subject that has scores by unit; none where no subject has scores of two.

    Args:
        found: what single units scored.
        subjects: in the order of the ranking.
    """
    columns = {
        name: found.values[name].to_numpy(dtype=np.float64) for name in subjects if name in found.values
    }
    made = [make_violin(name, values) for name, values in columns.items() if np.isfinite(values).any()]
    return made if max((len(one.scores) for one in made), default=0) > 1 else []


def make_violin(subject: str, values: Floats) -> Violin:
    """Quartiles and density of one subject.

    Args:
        subject: its name.
        values: (N,) float64, one score per patient; NaN where undefined.

    Returns: without a density where fewer than five patients are scored, or with fewer than three different scores.

    Source: bandwidth of Scott 1992, the standard deviation times N^(-1/5); clipped to the range of the scores.

    >>> make_violin("probe", np.array([0.5, 0.75, 0.25, np.nan])).quartiles.tolist()
    [0.375, 0.5, 0.625]
    """
    scores = np.sort(values[np.isfinite(values)])
    quartiles = np.quantile(scores, [0.25, 0.5, 0.75])
    places = density = np.empty(0)
    if len(scores) >= FEWEST and len(np.unique(scores.round(ROUNDED))) > 2:
        bandwidth = scores.std(ddof=1) * len(scores) ** -0.2
        places = np.linspace(scores[0], scores[-1], STEPS)
        density = np.exp(-0.5 * ((places[:, None] - scores) / bandwidth) ** 2).sum(axis=1)
        density /= density.max()
    return Violin(subject, scores, quartiles, places, density)


def _chart(made: Sequence[Violin], label: str, digits: int, salt: str) -> Chart:
    """One below the other on one axis: the name, below it the violin, right of that its numbers."""
    most = max(len(one.scores) for one in made)
    names = [textwrap.wrap(_name(one, most), LETTERS_A_LINE) for one in made]
    height = sum(len(lines) * LINE + BAND + GAP for lines in names)
    bottom, top = 0.36, 0.05  # inches
    inches = height / 72 + bottom + top
    figure, (axis,) = make_figure(1, height=inches)
    figure.subplots_adjust(
        left=0.08 / WIDTH, right=1 - NUMBERS / WIDTH, bottom=bottom / inches, top=1 - top / inches
    )
    _scale(axis, made, height, label)
    below = 0.0
    for one, lines in zip(made, names, strict=True):
        for line in lines:
            _write(axis, 0.0, below + LINE / 2, line, INK)
            below += LINE
        _draw(axis, one, below + BAND / 2)
        low, median, high = (number(value, digits) for value in one.quartiles)
        if len(one.places):
            _write(axis, 1.03, below + BAND / 2 - LINE / 2, median, INK)
            _write(axis, 1.03, below + BAND / 2 + LINE / 2, f"{low} to {high}", MUTED)
        else:
            _write(axis, 1.03, below + BAND / 2, median, INK)
        below += BAND + GAP
    told = "; ".join(_told(one, digits) for one in made)
    caption = f"{label[0].upper()}{label[1:]} of every patient or block"
    return Chart(caption, to_svg(figure, "violins", salt), f"{caption}. {told}.")


def _name(one: Violin, most: int) -> str:
    """The subject, and how many patients it has scores of where others have more."""
    return one.subject if len(one.scores) == most else f"{one.subject} ({len(one.scores)} of {most})"


def _told(one: Violin, digits: int) -> str:
    low, median, high = (number(value, digits) for value in one.quartiles)
    return f"{one.subject}: median {median}, quartiles {low} and {high}, {counted(len(one.scores), 'score')}"


def _scale(axis: Axes, made: Sequence[Violin], height: float, label: str) -> None:
    """Scores from left to right, points from top to bottom."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(one.scores[0] for one in made), max(one.scores[-1] for one in made)
    room = 0.03 * (high - low) if high - low > 10.0**-ROUNDED else 0.01
    axis.set(xlim=(low - room, high + room), ylim=(height, 0), yticks=[])
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.tick_params(labelsize=LETTERS)
    axis.set_xlabel(label, fontsize=LETTERS)


def _write(axis: Axes, place: float, middle: float, text: str, colour: str) -> None:
    """Text that begins at a share of the axis."""
    axis.text(
        place, middle, text, transform=axis.get_yaxis_transform(), fontsize=LETTERS, color=colour,
        ha="left", va="center_baseline", parse_math=False,
    )  # fmt: skip


def _draw(axis: Axes, one: Violin, middle: float) -> None:
    half = BAND / 2
    heights = np.full(len(one.scores), 0.6 * half)
    if len(one.places):
        edge = half * one.density
        axis.fill_between(
            one.places, middle - edge, middle + edge, color=ACCENT, alpha=0.2, linewidth=0, zorder=1
        )
        heights = 0.8 * np.interp(one.scores, one.places, edge)
        for quartile, width in zip(one.quartiles, (0.6, 1.3, 0.6), strict=True):
            reach = max(float(np.interp(quartile, one.places, edge)), LEAST)
            axis.plot(
                [quartile, quartile], [middle - reach, middle + reach],
                color=INK, linewidth=width, solid_capstyle="butt", zorder=3,
            )  # fmt: skip
    # multiples of the golden ratio lie evenly and neighbours far apart, so that dots seldom hide one another
    turns = (np.arange(len(one.scores)) * GOLDEN + 0.5) % 1 - 0.5
    _dots(axis, one.scores, middle + 2 * heights * turns)


def _dots(axis: Axes, across: Floats, down: Floats) -> None:
    """One path for all: with an element for each, grids of many patients would be pages of many megabytes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.repeat(np.column_stack([across, down]), 2, axis=0)
    path = Path(corners, [Path.MOVETO, Path.LINETO] * len(across))
    path.should_simplify = False  # lines without length are what it would take out
    axis.add_patch(
        PathPatch(path, fill=False, edgecolor=ACCENT, linewidth=1.9, capstyle="round", alpha=0.75, zorder=2)
    )
