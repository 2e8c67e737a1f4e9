"""Clusters of two sites that a method pulled together: where images lay before and after, and how the losses went."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import INK, MUTED, STAND_INS, Chart, colour_of, make_figure, to_svg
from medgraft.reports.grids.charts import Key
from medgraft.reports.panels import SEEDED
from medgraft.reports.pictures import MATCHED_CLUSTERS, data_uri
from medgraft.reports.planes import Dots, draw_plane
from medgraft.reports.wording import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLUSTERS, ALIGNMENT = "clusters", "alignment"
WIDEST = 1200
"""Pixels of the picture of examples, a column for each cluster."""
COLUMNS = {
    CLUSTERS: {"when", "epoch", "side", "x", "y", "matched"},
    ALIGNMENT: {
        *("epoch", "supervised", "alignment", "alignment_weight"),
        *("seconds", "clustering_seconds", "matching_distance"),
    },
}
MARKERS = {"source": "o", "target": "^"}
UNMATCHED = -1
LEGEND = [Key(side, STAND_INS[MUTED], 0, marker) for side, marker in MARKERS.items()]
TITLES = {"first": "First clustering", "last": "Last clustering"}


class SiteClusters(NamedTuple):
    """What is told of one training: planes at the first and at the last clustering, losses, examples, sentences."""

    title: str
    charts: list[Chart]
    examples: list[str]
    sentences: list[str]

    @property
    def has_planes(self) -> bool:
        """False for grids, whose cells keep losses only."""
        return len(self.charts) > 1


class Alignment(NamedTuple):
    """How the losses of one training went.

    part: of the training; cohort: the target, "" where the evidence does not say.
    epochs: a row per epoch with the columns of a table "alignment".
    """

    subject: str
    seed: int
    part: str
    cohort: str
    epochs: pd.DataFrame


def site_clusters(evidence: Evidence, *, images: bool = True) -> list[SiteClusters]:
    """Every training that pulled clusters together, in the order of the evidence; a picture of examples if asked for.

    Source: Goodman et al. 2022 (AIVA), figures 2 to 4.
    """
    trainings = alignments(evidence)
    several = [len({str(one[place]) for one in trainings}) > 1 for place in (1, 3)]
    return [_told(evidence, one, several, images) for one in trainings]


def alignments(evidence: Evidence) -> list[Alignment]:
    """The losses of every training that pulled clusters together, for each target by itself."""
    found = []
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is not None and match["kind"] == ALIGNMENT and set(table.columns) >= COLUMNS[ALIGNMENT]:
            for cohort, own in table.groupby("cohort", sort=False) if "cohort" in table else [("", table)]:
                about = (match["subject"], int(match["seed"]), match["part"] or "", str(cohort))
                found.append(Alignment(*about, own.reset_index(drop=True)))
    return found


def _told(evidence: Evidence, one: Alignment, several: list[bool], images: bool) -> SiteClusters:
    about = [
        one.subject,
        f"seed {one.seed}" if several[0] else "",
        one.part,
        one.cohort if several[1] else "",
    ]
    title = " · ".join(word for word in about if word)
    place = "/".join(filter(None, (one.subject, str(one.seed), one.part)))
    clusters = evidence.tables.get(f"{CLUSTERS}/{place}", pd.DataFrame())
    if not set(clusters.columns) >= COLUMNS[CLUSTERS]:
        clusters = pd.DataFrame({"when": []})
    picture = evidence.images.get(f"{MATCHED_CLUSTERS}/{place}")
    return SiteClusters(
        title,
        [
            *(_plane(title, str(when), own) for when, own in clusters.groupby("when", sort=False)),
            _losses(title, one.epochs),
        ],
        [data_uri(picture, WIDEST)] if images and picture is not None else [],
        _sentences(one.epochs),
    )


def _plane(title: str, when: str, points: pd.DataFrame) -> Chart:
    """Dots coloured by matched cluster; a line joins the centres of each pair, with the pair's number."""
    groups = []
    for matched, of_pair in points.groupby("matched"):
        for side, marker in MARKERS.items():
            own = of_pair[of_pair["side"] == side]
            colour = MUTED if matched == UNMATCHED else colour_of(int(str(matched)))
            places = (own[axis].to_numpy(np.float64) for axis in ("x", "y"))
            groups.append(Dots(Key(side, colour, 0, marker), *places))
    figure = draw_plane(groups)
    _join(figure.axes[0], points)
    epoch = int(points["epoch"].iloc[0])
    trained = "before training" if epoch == 0 else f"after {epoch:,} {'epoch' if epoch == 1 else 'epochs'}"
    caption = f"{TITLES.get(when, when)}, {trained}"
    described = f"{title}, {caption.lower()}: {len(points)} images of two sites, coloured by cluster."
    return Chart(caption, to_svg(figure, "clusters", f"{title} {when}"), described)


def _join(axis: Axes, points: pd.DataFrame) -> None:
    centres = points[points["matched"] != UNMATCHED].groupby(["matched", "side"])[["x", "y"]].mean()
    for matched in centres.index.unique("matched"):
        ends = centres.loc[matched]
        axis.plot(ends["x"], ends["y"], color=INK, linewidth=0.9)
        axis.annotate(
            str(int(matched) + 1), ends[["x", "y"]].mean(), color=INK, fontsize=8, weight="bold",
            xytext=(2, 2), textcoords="offset points",
        )  # fmt: skip


def _losses(title: str, table: pd.DataFrame) -> Chart:
    from matplotlib.ticker import MaxNLocator

    figure, axes = make_figure(2, height=3.0)
    epochs = table["epoch"].to_numpy(np.float64) + 1
    for index, (axis, name) in enumerate(zip(axes, ("alignment", "supervised"), strict=True)):
        axis.plot(epochs, table[name].to_numpy(np.float64), color=colour_of(index), linewidth=1.4)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.margins(x=0.02)
    axes[0].set_ylabel("alignment loss")
    axes[1].set_ylabel("loss of the source")
    axes[1].set_xlabel("epoch")
    figure.align_ylabels()
    ends = [number(float(table["alignment"].iloc[place]), 4) for place in (0, -1)]
    told = f"Losses of {title}: alignment from {ends[0]} to {ends[1]}."
    return Chart("Losses", to_svg(figure, "alignment", title), told)


def _sentences(table: pd.DataFrame) -> list[str]:
    told = []
    first, last = (float(table["alignment"].iloc[place]) for place in (0, -1))
    if len(table) > 1 and first > 0 and np.isfinite(last):
        moved = "fell" if last <= first else "rose"
        told.append(
            f"The alignment loss {moved} by {percent(abs(last / first - 1))} from the first epoch to the last."
        )
    seconds = float(table["seconds"].sum())
    if seconds > 0:
        share = float(table["clustering_seconds"].sum()) / seconds
        told.append(f"Clustering took {'under 1 %' if share < 0.01 else percent(share)} of the time.")
    return told
