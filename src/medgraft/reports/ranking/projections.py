"""How the first source of a ranking sees the target's images: pictures, and the numbers that keep them honest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart, to_svg
from medgraft.reports.grids.charts import Key, curve_keys
from medgraft.reports.planes import Dots, draw_plane
from medgraft.reports.ranking.source_ranking import PROJECTION_SCORES, PROJECTIONS, SourceRanking, rows_of
from medgraft.reports.wording import counted, listed, number

STAGES = {
    "before": ("Before fine-tuning", "the source's own features"),
    "after": ("After fine-tuning", "features of the fine-tuned source, which has trained on these images"),
    "nca": ("Under NCA", "the linear projection that brings neighbours of one class together (S_LP)"),
    "lda": ("Under LDA", "the regularised directions that tell the classes apart best (SFDA)"),
}
GOLDEN = 0.6180339887498949


class Stage(NamedTuple):
    """Features at one stage as text; without a chart where they are undefined, for the reason told."""

    title: str
    meaning: str
    dimensions: str
    agreement: str
    chart: Chart | None
    reason: str


class Projections(NamedTuple):
    """The stages of one source. images: how many dots, and of how many. chance: agreement of shuffled labels.

    flat: what up and down mean in pictures of one dimension; empty where there are none. tuned: the source was
        fine-tuned.
    """

    source: str
    images: str
    chance: str
    stages: list[Stage]
    legend: list[Key]
    flat: str
    tuned: bool


def make_projections(evidence: Evidence, ranking: SourceRanking, salt: str) -> Projections | None:
    """Pictures and numbers of a ranking's first source; None where none were made.

    Raises:
        DataError: a table lacks a column.
    """
    scores = _known(rows_of(evidence, PROJECTION_SCORES, ranking.cohort, ranking.seed)).to_dict("records")
    if not scores:
        return None
    points = rows_of(evidence, PROJECTIONS, ranking.cohort, ranking.seed)
    by_stage = {str(stage): own.assign(label=own["label"].astype(str)) for stage, own in _grouped(points)}
    labels = next((own["label"] for own in by_stage.values()), pd.Series(dtype=str))
    keys = curve_keys({name: place for place, name in enumerate(sorted(set(labels)))})
    images = counted(len(labels), "labelled image")
    if ranking.images > len(labels):
        images = f"{len(labels):,} of {counted(ranking.images, 'labelled image')}, drawn by class"
    return Projections(
        source=str(scores[0]["source"]),
        images=images,
        chance=number(_chance(labels), 2) if len(labels) > 1 else "",
        stages=[_stage(score, by_stage.get(str(score["stage"])), keys, salt) for score in scores],
        legend=list(keys.values()),
        flat=_flat_sentence([STAGES[score["stage"]][0] for score in scores if score["dimensions"] == 1]),
        tuned=any(score["stage"] == "after" for score in scores),
    )


def projection_numbers(evidence: Evidence, ranking: SourceRanking) -> list[dict[str, Any]]:
    """The numbers beside the pictures as plain data; the dots are in the evidence only."""
    scores = _known(rows_of(evidence, PROJECTION_SCORES, ranking.cohort, ranking.seed))
    return [
        {
            "source": str(score["source"]), "stage": str(score["stage"]), "neighbours": float(score["neighbours"]),
            "dimensions": int(score["dimensions"]), "reason": str(score["reason"]),
        }
        for score in scores.to_dict("records")
    ]  # fmt: skip


def _known(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["stage"].isin(list(STAGES))] if len(scores) else scores


def _grouped(points: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    return list(points.groupby("stage", sort=False)) if len(points) else []


def _stage(score: dict[Any, Any], points: pd.DataFrame | None, keys: dict[str, Key], salt: str) -> Stage:
    title, meaning = STAGES[score["stage"]]
    if score["reason"]:
        return Stage(title, meaning, "", "", None, str(score["reason"]))
    dimensions, agreement = int(score["dimensions"]), number(float(score["neighbours"]), 2)
    chart = None
    if points is not None:
        chart = _chart(title, points, keys, dimensions == 1, agreement, f"{salt} {score['stage']}")
    return Stage(title, meaning, f"{dimensions:,}", agreement, chart, "")


def _flat_sentence(flat: Sequence[str]) -> str:
    if not flat:
        return ""
    return f"{listed(list(flat))}: one dimension only, across; up and down just keep the dots apart."


def _chance(labels: pd.Series[Any]) -> float:
    """How often another image, drawn blindly, is of the same class."""
    counts = labels.value_counts().to_numpy(dtype=np.float64)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def _chart(
    title: str, points: pd.DataFrame, keys: dict[str, Key], is_flat: bool, agreement: str, salt: str
) -> Chart:
    """A dot per image, without axes: places have no unit."""
    drawn = points
    if is_flat:  # a row for each class, in which dots are spread so that none hides another
        rows = points["label"].map({name: place for place, name in enumerate(keys)})
        turn = points.groupby("label").cumcount() * GOLDEN % 1
        drawn = points.assign(y=0.7 * turn - rows)
    described = (
        f"{title}: {len(points)} dots, coloured by class; of five neighbours {agreement} agree in class."
    )
    dots = [
        Dots(key, own["x"].to_numpy(np.float64), own["y"].to_numpy(np.float64))
        for name, key in keys.items()
        for own in [drawn[drawn["label"] == name]]
    ]
    heights = (-len(keys) - 0.5, 2.0) if is_flat else None
    return Chart(title, to_svg(draw_plane(dots, heights), "projection", salt), described)
