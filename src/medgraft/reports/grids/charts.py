"""Curves of a grid: score against labelled images, and gain against seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from medgraft.reports.charts import DASHES, INK, MUTED, RULE, Chart, colour_of, make_figure, to_svg
from medgraft.reports.grids.efficiency import Efficiency, Spending
from medgraft.reports.wording import describe_score, duration, number, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P")
STRETCH = 5.0
"""Numbers that differ by more than this factor are drawn on a logarithmic axis."""
LETTER = 0.028
"""Width of a letter under an axis, as a share of the axis."""
ROUND_TIMES = tuple(
    factor * unit
    for unit, factors in ((0.01, (1, 2, 5)), (0.1, (1, 2, 5)), (1, (1, 2, 5, 10, 20)), (60, (0.5, 1, 2, 5, 10, 20)),
                          (3600, (0.5, 1, 2, 5, 10, 20, 50, 100)))
    for factor in factors
)  # fmt: skip


class Key(NamedTuple):
    """One line of a legend: colour, dash pattern and marker (None for plain lines)."""

    name: str
    colour: str
    dash: int
    marker: str | None


def curve_keys(curves: dict[str, int]) -> dict[str, Key]:
    """The legend of all methods of a grid; no two of 36 are alike in colour, dash and marker."""
    keys = {}
    for name, index in curves.items():
        turn = index + index // len(MARKERS)
        keys[name] = Key(name, colour_of(index), turn % len(DASHES), MARKERS[turn % len(MARKERS)])
    return keys


def level_keys(methods: Sequence[str]) -> dict[str, Key]:
    """The legend of horizontal lines: ink and grey, in three dash patterns."""
    return {
        method: Key(method, (INK, MUTED)[index % 2], (index + 1) % len(DASHES), None)
        for index, method in enumerate(dict.fromkeys(methods))
    }


def efficiency_charts(
    found: Sequence[Efficiency], keys: dict[str, Key], levels: dict[str, Key], metric: str, salt: str
) -> list[Chart]:
    """Score against labelled images: a chart per source on one scale, a curve per method, a line per level."""
    charts = []
    values = [value for one in found for value in _values(one)]
    if not values:  # nothing had a budget
        return []
    room = 0.05 * (max(values) - min(values)) or 0.01
    for one in found:
        figure, (axis,) = make_figure(1, height=2.9)
        counts = sorted({point.labelled_images for curve in one.curves for point in curve.points})
        scale = Stretched(counts)
        for level in one.levels:
            key = levels[level.method]
            axis.axhline(level.value, color=key.colour, linestyle=DASHES[key.dash], linewidth=1.1, zorder=1.5)
        for curve in one.curves:
            key, points = keys[curve.method], curve.points
            places = [scale.place(point.labelled_images) for point in points]
            if one.band != "none":
                low, high = ([getattr(point, end) for point in points] for end in ("low", "high"))
                axis.fill_between(places, low, high, color=key.colour, alpha=0.13, linewidth=0)
            _draw(axis, places, [point.value for point in points], key)
        _ticks(axis, scale, counts, [f"{count:,.0f}" for count in counts])
        axis.set_ylim(min(values) - room, max(values) + room)
        axis.set_xlabel("labelled images at the target")
        axis.set_ylabel(describe_score(metric).label)
        told = "; ".join(
            f"{curve.method} "
            + ", ".join(f"{point.labelled_images:.0f}: {number(point.value)}" for point in curve.points)
            for curve in one.curves
        )
        caption = _caption("Score against labelled images", one.source, len(found))
        charts.append(Chart(caption, to_svg(figure, "efficiency", f"{salt} {one.source}"), f"{told}."))
    return charts


def gain_charts(spent: Sequence[Spending], keys: dict[str, Key], metric: str, salt: str) -> list[Chart]:
    """Gain over no adaptation against seconds: a chart per source, a curve per method; none where no time is known."""
    timed = [one for one in spent if math.isfinite(one.seconds) and one.seconds > 0 and one.method in keys]
    sources = list(dict.fromkeys(one.source for one in timed))
    charts = []
    for source in sources:
        own = [one for one in timed if one.source == source]
        figure, (axis,) = make_figure(1, height=2.9)
        scale = Stretched(sorted({one.seconds for one in timed}))
        axis.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        for method in dict.fromkeys(one.method for one in own):
            points = sorted(
                (one for one in own if one.method == method),
                key=lambda one: (one.labelled_images, one.seconds),
            )
            _draw(
                axis, [scale.place(one.seconds) for one in points], [one.gain for one in points], keys[method]
            )
        marks = scale.round_times()
        _ticks(axis, scale, marks, [_short(mark) for mark in marks])
        gains = [one.gain for one in timed] + [0.0]
        room = 0.05 * (max(gains) - min(gains)) or 0.01
        axis.set_ylim(min(gains) - room, max(gains) + room)
        axis.set_xlabel("computing time of one cell")
        axis.set_ylabel(f"gain in {describe_score(metric).label}")
        told = "; ".join(f"{one.subject}: {duration(one.seconds)}, {signed(one.gain)}" for one in own)
        caption = _caption("Gain over no adaptation against time", source, len(sources))
        charts.append(Chart(caption, to_svg(figure, "gain", f"{salt} {source}"), f"{told}."))
    return charts


def scatter_chart(
    caption: str, groups: Sequence[tuple[Key, Sequence[tuple[float, float]]]], across: str, up: str
) -> Chart:
    """Dots by group, around a line at no gain."""
    figure, (axis,) = make_figure(1, height=2.9)
    axis.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for key, points in groups:
        axis.plot(
            [place for place, _ in points], [value for _, value in points], linestyle="none", color=key.colour,
            marker=key.marker, markersize=5, alpha=0.85, markeredgewidth=0, clip_on=False,
        )  # fmt: skip
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.margins(0.06)
    told = "; ".join(
        f"{key.name} " + ", ".join(f"{number(place)}: {signed(value)}" for place, value in points)
        for key, points in groups
        if points
    )
    return Chart(caption, to_svg(figure, "scatter", caption), f"{told}.")


def _values(efficiency: Efficiency) -> list[float]:
    ends = [end for curve in efficiency.curves for point in curve.points for end in point[-3:]]
    return [value for value in (*ends, *(level.value for level in efficiency.levels)) if math.isfinite(value)]


def _caption(text: str, source: str, sources: int) -> str:
    return f"{text}, from {source}" if sources > 1 else text


class Stretched:
    """A horizontal axis from 0 to 1: logarithmic where numbers differ much, with 0 a step to the left."""

    def __init__(self, values: Sequence[float]) -> None:
        self.positive = [value for value in values if value > 0] or [1.0]
        self.logarithmic = max(self.positive) / min(self.positive) > STRETCH
        ends = [self._raw(value) for value in values] or [0.0]
        self.low, self.width = min(ends), (max(ends) - min(ends)) or 1.0

    def _raw(self, value: float) -> float:
        if not self.logarithmic:
            return value
        return math.log2(value) if value > 0 else math.log2(min(self.positive)) - 1.5

    def place(self, value: float) -> float:
        """Where a value lies, 0 for the first and 1 for the last."""
        return (self._raw(value) - self.low) / self.width

    def round_times(self) -> list[float]:
        """Seconds that read well, within the values (also just outside them)."""
        low, high = min(self.positive), max(self.positive)
        return [seconds for seconds in ROUND_TIMES if low * 0.8 <= seconds <= high * 1.25] or [low]


def _draw(axis: Axes, places: Sequence[float], values: Sequence[float], key: Key) -> None:
    axis.plot(
        places, values, color=key.colour, linestyle=DASHES[key.dash], linewidth=1.5,
        marker=key.marker, markersize=4.5, markeredgewidth=0.8 if key.marker != "x" else 1.2,
        clip_on=False, zorder=3,
    )  # fmt: skip


def _ticks(axis: Axes, scale: Stretched, values: Sequence[float], labels: Sequence[str]) -> None:
    """Ticks at these values, as many as have room."""
    places: list[float] = []
    kept: list[str] = []
    for value, label in zip(values, labels, strict=True):
        place = scale.place(value)
        if not kept or place - places[-1] >= LETTER * (2 + (len(label) + len(kept[-1])) / 2):
            places.append(place)
            kept.append(label)
    axis.set_xticks(places, kept)
    axis.set_xlim(-0.06, 1.06)
    axis.spines["bottom"].set_color(RULE)


def _short(seconds: float) -> str:
    """A round time under an axis.

    >>> _short(0.2), _short(30), _short(120), _short(3600)
    ('0.2 s', '30 s', '2 min', '1 h')
    """
    unit, name = next((unit, name) for unit, name in ((3600, "h"), (60, "min"), (0, "s")) if seconds >= unit)
    return f"{seconds / (unit or 1):g} {name}"
