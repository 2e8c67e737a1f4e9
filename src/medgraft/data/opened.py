"""A data set as it was found, before anything is concluded from it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medgraft.types import JSON


class Opened(NamedTuple):
    """A manifest, a folder or a published data set, opened.

    table: a row per image, all cells text; its index is the row number, from 1.
    root: what the paths in the table are relative to.
    sidecar: kind, classes, uncertain, name and notes, as far as they are told.
    unlabelled: rows published without truth; they are offered only where none is asked for (kind "encode").
    """

    table: pd.DataFrame
    root: Path
    sidecar: JSON
    unlabelled: pd.DataFrame | None = None
