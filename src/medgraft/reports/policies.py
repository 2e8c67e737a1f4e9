"""Which layers were tuned, where a method chose them image by image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import ACCENT, MUTED, RULE, Chart, make_figure, to_svg
from medgraft.reports.panels import SEEDED

COLUMNS = {"layer", "block", "level", "tuned"}
STEP = 0.2  # inches from level to level
LABELS = 0.6  # inches for the lowest block's name


class Policy(NamedTuple):
    """What one chart shows: the layers of a subject, part of its training and target, from input to output.

    cohort: the target; "" where the evidence does not say.
    tuned: (L,) shares of images, means over seeds.
    """

    subject: str
    part: str
    cohort: str
    layers: list[str]
    blocks: list[str]
    levels: np.ndarray
    tuned: np.ndarray


def mean_policies(evidence: Evidence) -> list[Policy]:
    """How often every layer was tuned, by subject, part of its training and target."""
    tables: dict[tuple[str, str, str], list[pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is not None and match["kind"] == "policy" and set(table.columns) >= COLUMNS:
            for cohort, own in table.groupby("cohort", sort=False) if "cohort" in table else [("", table)]:
                tables.setdefault((match["subject"], match["part"] or "", str(cohort)), []).append(own)
    policies = []
    for about, of_subject in tables.items():
        first = of_subject[0]
        layers = first["layer"].tolist()
        known = [table for table in of_subject if table["layer"].tolist() == layers]
        shares = np.mean([table["tuned"].to_numpy(np.float64) for table in known], axis=0)
        blocks, levels = first["block"].astype(str).tolist(), first["level"].to_numpy(np.int64)
        policies.append(Policy(*about, [str(layer) for layer in layers], blocks, levels, shares))
    return policies


def policy_maps(evidence: Evidence) -> list[Chart]:
    """One chart per subject, part of its training and target: every layer, coloured by how often it was tuned.

    Shares are means over seeds. Targets are named where there are several.
    """
    policies = mean_policies(evidence)
    several = len({one.cohort for one in policies}) > 1
    charts = []
    for one in policies:
        words = (one.subject, one.part, one.cohort if several else "")
        charts.append(_draw(" · ".join(word for word in words if word), one))
    return charts


def _draw(caption: str, layers: Policy) -> Chart:
    """Layers from left to right; the lower, the coarser the resolution, so that a U-Net has its shape."""
    from matplotlib.patches import Rectangle

    count, deepest = len(layers.blocks), int(layers.levels.max(initial=1))
    height = 0.55 + deepest * STEP + LABELS
    figure, (axis,) = make_figure(1, height=height)
    figure.subplots_adjust(left=0.03, right=0.97, bottom=0.02, top=0.98)
    axis.grid(False)
    axis.set_axis_off()
    lowest = -deepest - LABELS / STEP
    axis.set(xlim=(-0.6, count - 0.4), ylim=(lowest, -0.4))
    for place, (level, share) in enumerate(zip(layers.levels, layers.tuned, strict=True)):
        corner = (place - 0.42, -level - 0.35)
        axis.add_patch(Rectangle(corner, 0.84, 0.7, facecolor=RULE, linewidth=0))
        if share > 0:
            axis.add_patch(Rectangle(corner, 0.84, 0.7, facecolor=ACCENT, alpha=float(share), linewidth=0))
    for block in dict.fromkeys(layers.blocks):
        places = [place for place, name in enumerate(layers.blocks) if name == block]
        below = -float(layers.levels[places].max()) - 0.55
        axis.text(
            float(np.mean(places)), below, block, rotation=90, ha="center", va="top", color=MUTED, fontsize=7
        )
    means = {
        block: float(np.mean([share for name, share in zip(layers.blocks, layers.tuned) if name == block]))
        for block in dict.fromkeys(layers.blocks)
    }
    told = ", ".join(f"{block} {mean:.0%}" for block, mean in means.items())
    return Chart(
        caption,
        to_svg(figure, "policy", caption),
        f"Share of images tuned, {caption}, mean of each block: {told}.",
    )
