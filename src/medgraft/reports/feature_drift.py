"""Where features of source, training and test images went during training: a row of pictures for each subject."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.charts import COLOURS, Chart, to_svg
from medgraft.reports.grids.charts import Key
from medgraft.reports.planes import Dots, draw_plane
from medgraft.reports.wording import number

POINTS, SEPARATIONS = "features_over_training", "feature_separation"
OF_A_ROW = ["subject", "cohort", "seed"]
COLUMNS = {
    POINTS: {*OF_A_ROW, "epoch", "side", "x", "y"},
    SEPARATIONS: {*OF_A_ROW, "epoch", "pair", "balanced_accuracy", "reason"},
}
SIDES = {
    "source": Key("source", COLOURS[0], 0, "o"),
    "target train": Key("target train", COLOURS[2], 0, "s"),
    "target test": Key("target test", COLOURS[1], 0, "^"),
}
"""In the colours of the paper's figure."""
PAIRS = {"target train and target test": "train | test", "source and target test": "source | test"}


class Moment(NamedTuple):
    """A picture, what it is called, and under it how well sides are told apart."""

    title: str
    chart: Chart
    separations: list[str]


class Followed(NamedTuple):
    """A subject's moments, and why a number is undefined."""

    title: str
    moments: list[Moment]
    reasons: list[str]


class FeatureDrift(NamedTuple):
    """All subjects, and what colours and markers mean."""

    rows: list[Followed]
    legend: list[Key]


def make_feature_drift(evidence: Evidence) -> FeatureDrift | None:
    """Pictures of every subject whose features were followed; None where none were.

    Raises:
        DataError: a table lacks a column.

    Source: Goodman et al. 2022, figure 1.
    """
    points, separations = _read(evidence, POINTS), read_separations(evidence)
    if points.empty:
        return None
    known = points[points["side"].isin(list(SIDES))]
    several = [name for name in OF_A_ROW[1:] if known[name].nunique() > 1]
    rows = []
    for key, own in known.groupby(OF_A_ROW, sort=False):
        about = dict(zip(OF_A_ROW, tuple(key), strict=True))
        told = separations
        for name, value in about.items():
            told = told[told[name] == value]
        words = [str(about["subject"])]
        words += [f"seed {about[name]}" if name == "seed" else str(about[name]) for name in several]
        rows.append(_follow(" · ".join(words), own, told))
    shown = set(known["side"])
    return FeatureDrift(rows, [key for side, key in SIDES.items() if side in shown])


def read_separations(evidence: Evidence) -> pd.DataFrame:
    """How well sides could be told apart: a row per subject, seed, moment and pair of sides, or none.

    Raises:
        DataError: the table lacks a column.
    """
    return _read(evidence, SEPARATIONS)


def _read(evidence: Evidence, name: str) -> pd.DataFrame:
    table = evidence.tables.get(name, pd.DataFrame(columns=sorted(COLUMNS[name])))
    missing = sorted(COLUMNS[name] - set(table.columns))
    if missing:
        raise DataError(
            f"The table '{name}'",
            f"the column '{missing[0]}'",
            "it has none",
            "Make it with follow_features.",
        )
    return table


def _follow(title: str, points: pd.DataFrame, separations: pd.DataFrame) -> Followed:
    moments = []
    for epoch, own in points.groupby("epoch"):
        told = separations[separations["epoch"] == epoch].to_dict("records")
        name = "Source model" if epoch == 0 else f"Epoch {epoch:,}"
        numbers = [_say(row) for row in told]
        dots = [
            Dots(key, of_side["x"].to_numpy(np.float64), of_side["y"].to_numpy(np.float64))
            for side, key in SIDES.items()
            for of_side in [own[own["side"] == side]]
        ]
        described = f"{title}, {name.lower()}: {len(own)} dots, coloured by side. {', '.join(numbers)}."
        figure = draw_plane(dots, unit_square=True)
        moments.append(
            Moment(name, Chart(name, to_svg(figure, "drift", f"{title} {epoch}"), described), numbers)
        )
    return Followed(title, moments, list(dict.fromkeys(filter(None, separations["reason"].astype(str)))))


def _say(row: dict[Any, Any]) -> str:
    value = float(row["balanced_accuracy"])
    pair = PAIRS.get(row["pair"], str(row["pair"]))
    return f"{pair} {'–' if math.isnan(value) else number(value, 2)}"
