"""How one source sees the images of a target, before and after fine-tuning and in two projections, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.errors import DataError, ModelError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.projections import project_by_lda, project_by_nca, to_plane
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours

Stage = Literal["before", "after", "nca", "lda"]
MOST_SHOWN = 1000
"""Images of one picture: more take minutes and hide one another."""


class Projection(NamedTuple):
    """Features at one stage.

    plane: (n, 2) where they lie in the picture; None where the stage is undefined.
    neighbours: share of an image's five nearest neighbours of its own class, itself left out, in all dimensions; NaN
        where undefined.
    dimensions: of these features; 0 where undefined.
    reason: why it is undefined, else empty.
    """

    stage: Stage
    plane: NDArray[np.float64] | None
    neighbours: float
    dimensions: int
    reason: str


def measure_projection(
    stage: Stage, make: Callable[[], NDArray[np.floating]], labels: NDArray[np.int64], *, seed: int = 0
) -> Projection:
    """Lay out the features that `make` gives, and measure what the picture may only suggest.

    >>> labels = np.arange(12) % 2
    >>> measure_projection("before", lambda: labels[:, None] + np.arange(12.0)[:, None] / 100, labels).neighbours
    1.0
    """
    try:
        features = make()
        agreement = nearest_neighbours(features, labels)
        plane = to_plane(features, seed=seed)
    except (UndefinedError, DataError, ModelError) as error:
        return Projection(stage, None, math.nan, 0, str(error))
    return Projection(stage, plane, agreement, features.shape[1], "")


def projection_tables(
    source: str,
    before: NDArray[np.floating],
    names: Sequence[str],
    after: Callable[[], NDArray[np.floating]] | None = None,
    *,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Tables for a report: where every image lies at every stage, and how far its neighbours are of its class.

    Args:
        source: its name.
        before: (n, D) its features of the target's images.
        names: (n,) their classes.
        after: gives the features of the same images once the source was fine-tuned; None leaves the stage out.
        seed: of the layout and of the order of rows.

    Returns: "ranking_projections" (source, stage, x, y, label), one row per image and stage, shuffled, so that no row
        tells which image it is; "ranking_projection_scores" (source, stage, neighbours, dimensions, reason), one row
        per stage.

    >>> features = np.random.default_rng(0).normal(size=(12, 4))
    >>> projection_tables("mine", features, ["cyst", "tumour"] * 6)["ranking_projection_scores"]["stage"].tolist()
    ['before', 'nca', 'lda']
    """
    given = np.asarray(names, dtype=str)
    labels = np.unique(given, return_inverse=True)[1]
    makers: dict[Stage, Callable[[], NDArray[np.floating]]] = {"before": lambda: before}
    if after is not None:
        makers["after"] = after
    makers |= {"nca": lambda: project_by_nca(before, labels), "lda": lambda: project_by_lda(before, labels)}
    found = [measure_projection(stage, make, labels, seed=seed) for stage, make in makers.items()]
    shuffled = np.random.default_rng(seed).permutation(len(given))
    points = [
        pd.DataFrame(
            {"source": source, "stage": one.stage, "x": one.plane[shuffled, 0], "y": one.plane[shuffled, 1]}
            | {"label": given[shuffled]}
        )
        for one in found
        if one.plane is not None
    ]
    columns = ["source", "stage", "x", "y", "label"]
    scores = [
        {"source": source, "stage": one.stage, "neighbours": one.neighbours}
        | {"dimensions": one.dimensions, "reason": one.reason}
        for one in found
    ]
    return {
        "ranking_projections": pd.concat(points, ignore_index=True)
        if points
        else pd.DataFrame(columns=columns),
        "ranking_projection_scores": pd.DataFrame(scores),
    }
