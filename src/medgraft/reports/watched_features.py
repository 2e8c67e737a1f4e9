"""What features were worth while pre-training went on, and how much of their space they filled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart, colour_of, make_figure, to_svg
from medgraft.reports.grids.charts import Key, curve_keys
from medgraft.reports.panels import SEEDED
from medgraft.reports.planes import Dots, draw_plane
from medgraft.reports.wording import counted, number

LOOKS = {"epoch", "linear_auroc", "neighbours_auroc", "effective_rank"}
FILLED_IN = "median_instead"
"""What SimMIM's loss is to be compared with; the two are drawn into one panel."""
OF_VIEWS = {
    "effective_rank": "effective rank",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "accuracy_permuted": "cells in place",
    FILLED_IN: "error of squares",
}
"""Columns of a history that tell what is learned from its batches besides the loss, and what they are called."""


PLANE = {"epoch", "x", "y", "label"}


class Moment(NamedTuple):
    """Where images lay at one look: how many epochs had been trained, what a linear probe said, the picture."""

    title: str
    probe: str
    chart: Chart


class Planes(NamedTuple):
    """A training's first look and its last. legend: classes."""

    title: str
    legend: list[Key]
    moments: list[Moment]


class FeatureCourse(NamedTuple):
    """One training: what probes said of its features, and what its own batches did.

    looks: rows by `epoch` (as many as were trained): AUROC and balanced accuracy of two probes, effective rank; may be
        empty.
    batches: rows by `epoch` (counted from 1) with those of `OF_VIEWS` that were recorded; may be empty.
    """

    subject: str
    part: str
    seed: int
    looks: pd.DataFrame
    batches: pd.DataFrame


def feature_courses(evidence: Evidence) -> list[FeatureCourse]:
    """Every training whose features were watched."""
    found: dict[tuple[str, str, int], dict[str, pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is None:
            continue
        key = match["subject"], match["part"] or "", int(match["seed"])
        if match["kind"] == "watched" and set(table.columns) >= LOOKS:
            found.setdefault(key, {})["looks"] = table
        elif match["kind"] == "history" and set(table.columns) & OF_VIEWS.keys():
            columns = [column for column in OF_VIEWS if column in table]
            columns += ["loss"] * (FILLED_IN in columns)
            found.setdefault(key, {})["batches"] = table[["epoch", *columns]].assign(epoch=table["epoch"] + 1)
    nothing = pd.DataFrame({"epoch": []})
    return [
        FeatureCourse(*key, course.get("looks", nothing), course.get("batches", nothing))
        for key, course in found.items()
    ]


def feature_charts(evidence: Evidence) -> list[Chart]:
    """One chart per subject (and part of its training), one colour per seed: probes above, batches below."""
    courses: dict[str, list[FeatureCourse]] = {}
    for course in feature_courses(evidence):
        courses.setdefault(" · ".join(filter(None, (course.subject, course.part))), []).append(course)
    return [_chart(subject, own) for subject, own in courses.items()]


def feature_planes(evidence: Evidence) -> list[Planes]:
    """Pictures of every subject (and part of its training), by its first seed."""
    found: dict[str, Planes] = {}
    for name, table in sorted(evidence.tables.items()):
        match = SEEDED.fullmatch(name)
        if (
            match is None
            or match["kind"] != "watched_planes"
            or not len(table)
            or not set(table.columns) >= PLANE
        ):
            continue
        title = " · ".join(filter(None, (match["subject"], match["part"])))
        if title not in found:
            looks = evidence.tables.get(
                name.replace("watched_planes/", "watched/", 1), pd.DataFrame({"epoch": []})
            )
            found[title] = _planes(title, table.assign(label=table["label"].astype(str)), looks)
    return list(found.values())


def _planes(title: str, table: pd.DataFrame, looks: pd.DataFrame) -> Planes:
    keys = curve_keys({name: place for place, name in enumerate(sorted(set(table["label"])))})
    moments = []
    for epoch, own in table.groupby("epoch"):
        when = "before training" if epoch == 0 else f"after {counted(int(str(epoch)), 'epoch')}"
        probed = looks.loc[looks["epoch"] == epoch].to_dict("records")
        told = f"linear probe {number(float(probed[0]['linear_auroc']))}" if probed else ""
        dots = [
            Dots(key, of_class["x"].to_numpy(np.float64), of_class["y"].to_numpy(np.float64))
            for name, key in keys.items()
            for of_class in [own[own["label"] == name]]
        ]
        described = (
            ", ".join(filter(None, (f"{title} {when}: {len(own)} dots, coloured by class", told))) + "."
        )
        svg = to_svg(draw_plane(dots), "watched", f"{title} {epoch}")
        moments.append(Moment(when, told, Chart(when, svg, described)))
    return Planes(title, list(keys.values()), moments)


def _chart(subject: str, courses: list[FeatureCourse]) -> Chart:
    from matplotlib.ticker import MaxNLocator

    probed = any(len(course.looks) for course in courses)
    of_batches = [name for name in OF_VIEWS if any(name in course.batches for course in courses)]
    panels = ["probes"] * probed + of_batches
    figure, axes = make_figure(len(panels), height=1.0 + 1.15 * len(panels))
    for index, course in enumerate(courses):
        for panel, axis in zip(panels, axes, strict=True):
            _draw(axis, panel, course, colour_of(index))
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_ylabel("AUROC" if panel == "probes" else OF_VIEWS[panel])
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.margins(x=0.02)
    axes[-1].set_xlabel("epochs trained")
    figure.align_ylabels()
    told = _told(subject, courses) if probed else f"{subject}: features of its batches while it trained."
    return Chart(told, to_svg(figure, "features", subject), told)


def _draw(axis: object, panel: str, course: FeatureCourse, colour: str) -> None:
    if panel != "probes":
        columns = [("loss", "-"), (FILLED_IN, "--")] if panel == FILLED_IN else [(panel, "-")]
        for column, line in columns if panel in course.batches else []:
            axis.plot(course.batches["epoch"], course.batches[column], line, color=colour, linewidth=1.2)  # type: ignore[attr-defined]
        return
    for column, line in (("linear_auroc", "-"), ("neighbours_auroc", "--")):
        if len(course.looks):
            axis.plot(  # type: ignore[attr-defined]
                course.looks["epoch"], course.looks[column],
                line, color=colour, linewidth=1.4, marker="o", markersize=2.5,
            )  # fmt: skip


def _told(subject: str, courses: list[FeatureCourse]) -> str:
    """Means over seeds of the linear probe before, at its best look and at the end."""
    watched = [course.looks for course in courses if len(course.looks)]
    first, last = (float(np.mean([looks["linear_auroc"].iloc[end] for looks in watched])) for end in (0, -1))
    seeds = f", a mean over {len(watched)} seeds" if len(watched) > 1 else ""
    begun = watched[0]["epoch"].iloc[0]
    before = "before it" if begun == 0 else f"after {begun:.0f} epochs"
    return f"{subject}: the linear probe's AUROC is {first:.3f} {before} and {last:.3f} at its end{seeds}."
