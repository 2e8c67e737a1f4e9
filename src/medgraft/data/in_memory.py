"""The table of a cohort whose images live in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.errors import DataError
from medgraft.types import Kind


def table_of_arrays(
    images: np.ndarray,
    truth: np.ndarray | None,
    kind: Kind,
    classes: Sequence[str],
    columns: Mapping[str, Sequence[str] | None],
    attributes: pd.DataFrame | None,
) -> pd.DataFrame:
    """A row per image, which it names as "#0", "#1" and so on; masks likewise.

    Raises:
        DataError: lengths that differ, truth that does not fit kind and classes, an attribute named as a column.
    """
    lengths = {"truth": truth, **columns, "attributes": attributes}
    for name, values in lengths.items():
        if values is not None and len(values) != len(images):
            _refuse(f"as many {name} as images, {len(images)}", f"it got {len(values)}")
    table = pd.DataFrame({"image": [f"#{index}" for index in range(len(images))]}, dtype=object)
    if truth is not None:
        table = table.assign(**_truth_columns(np.asarray(truth), kind, classes, table))
    for column, entries in columns.items():
        if entries is not None:
            table[column] = [str(entry) for entry in entries]
    if attributes is not None:
        taken = sorted(set(table.columns) & set(attributes.columns))
        if taken:
            _refuse("attributes with names of their own", f"{', '.join(taken)} is taken")
        table = pd.concat([table, attributes.reset_index(drop=True)], axis=1)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to: what comes out of a cohort must not change it."""
    view = array.view()
    view.setflags(write=False)
    return view


def _truth_columns(
    truth: np.ndarray, kind: Kind, classes: Sequence[str], table: pd.DataFrame
) -> dict[str, list[str]]:
    if kind == "classify":
        if truth.ndim != 1 or not np.isin(truth, np.arange(len(classes))).all():
            _refuse(
                f"truth (N,) from 0 to {len(classes) - 1}",
                f"it got {truth.shape}, {truth.min()} to {truth.max()}",
            )
        return {"label": [classes[int(label)] for label in truth]}
    if kind == "multilabel":
        values = truth.astype(float)
        if values.shape[1:] != (len(classes),) or not (np.isnan(values) | np.isin(values, (-1, 0, 1))).all():
            _refuse(f"truth (N, {len(classes)}) of 0, 1, -1 and NaN", f"it got {truth.shape}")
        return {
            LABEL_PREFIX + label: ["" if np.isnan(value) else str(int(value)) for value in values[:, index]]
            for index, label in enumerate(classes)
        }
    if kind != "segment" or truth.ndim not in (3, 4) or truth.dtype.kind not in "iub":
        _refuse(
            "truth (N, H, W) or (N, D, H, W) of whole numbers and kind 'segment'",
            f"it got {truth.dtype} {truth.shape}, {kind!r}",
        )
    return {"mask": table["image"].tolist()}


def _refuse(needs: str, got: str) -> None:
    raise DataError("Cohort.from_arrays", needs, got, "Correct the arguments.")
