"""A score against the performance that it should foretell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medgraft.reports.charts import ACCENT, RULE, Chart, make_figure, to_svg
from medgraft.reports.grids.charts import Key, curve_keys
from medgraft.reports.ranking.leaders import Fit, Leader, Realised
from medgraft.reports.ranking.source_ranking import SourceRanking
from medgraft.reports.ranking.titles import score_title
from medgraft.reports.wording import describe_score, number

HEIGHT = 2.9


def source_keys(ranking: SourceRanking, found: Realised) -> dict[str, Key]:
    """Colour and marker of every leader: those of its place in the ranking, the same in all charts."""
    keys = curve_keys({source: place for place, source in enumerate(ranking.sources)})
    return {leader.source: keys[leader.source] for leader in found.leaders}


def score_scatters(found: Realised, keys: dict[str, Key], salt: str) -> list[Chart]:
    """A chart per score: its value across, the test score with its interval upwards, and the line from three on."""
    low, high = _ends(found.leaders)
    room = 0.08 * (high - low) or 0.01
    return [_scatter(fit, found.metric, keys, (low - room, high + room), salt) for fit in found.fits]


def _scatter(fit: Fit, metric: str, keys: dict[str, Key], ends: tuple[float, float], salt: str) -> Chart:
    from matplotlib.ticker import MaxNLocator

    title, label = score_title(fit.score), describe_score(metric).label
    figure, (axis,) = make_figure(1, height=HEIGHT)
    if fit.line is not None:
        axis.fill_between(fit.line.places, fit.line.low, fit.line.high, color=ACCENT, alpha=0.13, linewidth=0)
        axis.plot(fit.line.places, fit.line.middle, color=ACCENT, linewidth=1.3)
    for leader, value in zip(fit.leaders, fit.values, strict=True):
        key, cell = keys[leader.source], leader.cell
        if cell.interval:
            axis.plot([value, value], [cell.low, cell.high], color=key.colour, linewidth=1.2, alpha=0.6)
        axis.plot([value], [cell.value], color=key.colour, marker=key.marker, markersize=6, linestyle="none")
    room = 0.08 * (max(fit.values) - min(fit.values)) or 0.1 * abs(fit.values[0]) or 0.1
    axis.set_xlim(min(fit.values) - room, max(fit.values) + room)
    axis.set_ylim(*ends)
    axis.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axis.spines["bottom"].set_color(RULE)
    axis.set_xlabel(title)
    axis.set_ylabel(label)
    pairs = "; ".join(
        f"{leader.source} {value:.3g}: {number(leader.cell.value)}"
        for leader, value in zip(fit.leaders, fit.values, strict=True)
    )
    return Chart(
        title,
        to_svg(figure, "scatter", f"{salt} {fit.score}"),
        f"{label} after fine-tuning by {title}: {pairs}.",
    )


def _ends(leaders: Sequence[Leader]) -> tuple[float, float]:
    values = [end for leader in leaders for end in leader.cell[:3] if math.isfinite(end)]
    return min(values), max(values)
