"""What an evaluation hands over, whatever the kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.statistics.bootstrap import Metric
from medgraft.types import JSON


class Example(NamedTuple):
    """A picture, and its line in the table of examples: row, truth, predicted, confidence, worst."""

    line: JSON
    picture: np.ndarray


class Measured(NamedTuple):
    """Scores as functions of positions in `units`, so that they can be resampled.

    scores: (metric, part, function).
    units: (N,) integers that name no patient.
    table_name, table: "predictions" by row, or "scores" by unit and class.
    patients: a picture of every unit, where asked for; lines hold unit, row, slice and scores.
    warnings: what a reader must know about these scores.
    """

    scores: list[tuple[str, str, Metric]]
    units: np.ndarray
    table_name: str
    table: pd.DataFrame
    examples: list[Example]
    patients: Sequence[Example] = ()
    warnings: tuple[str, ...] = ()
