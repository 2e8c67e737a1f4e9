"""What people said of the same images: how many cases they found, and how many they rightly left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.errors import DataError
from medgraft.evaluation.subgroups import groups_of, in_order

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

PREFIX = "reader_"
UNREAD = -1


def readers_of(cohort: Cohort) -> dict[str, np.ndarray]:
    """What every reader said: by name, (N,) numbers of classes, -1 where a reader did not read.

    Args:
        cohort: whose columns `reader_NAME` hold class names, or 0 and 1 where there are two classes; empty cells were
            not read. Only for kind `classify`; others have no readers.

    Raises:
        DataError: a cell holds something else.
    """
    if cohort.kind != "classify" or "truth" not in cohort.fields:
        return {}
    columns = [str(column) for column in cohort.table.columns if str(column).startswith(PREFIX)]
    return {column.removeprefix(PREFIX): _decisions(cohort, column) for column in columns}


def measure_readers(
    readers: dict[str, np.ndarray], cohort: Cohort, attributes: Sequence[str] = ()
) -> pd.DataFrame:
    """Sensitivity and specificity of every reader, over all and in the groups of attributes, for a ROC chart.

    Args:
        readers: as `readers_of` gives them.
        cohort: with labels.
        attributes: columns that make groups.

    Returns: columns reader, attribute and group ("" over all), class, index, sensitivity, sensitivity_low,
        sensitivity_high, specificity, ..., images, n (units that were read). A class against the rest; of two classes
        the second one only.
    """
    names = list(enumerate(cohort.classes))
    lines = []
    for attribute, group, inside in _groups(cohort, attributes):
        for reader, decisions in readers.items():
            read = inside & (decisions != UNREAD)
            for index, name in names[1:] if len(names) == 2 else names:
                is_case, said = cohort.labels[read] == index, decisions[read] == index
                units = cohort.units[read]
                line: dict[str, object] = {"reader": reader, "attribute": attribute, "group": group}
                line |= {"class": name, "index": index, "images": int(read.sum()), "n": len(set(units))}
                line |= _share("sensitivity", said[is_case], units[is_case])
                line |= _share("specificity", ~said[~is_case], units[~is_case])
                lines.append(line)
    return pd.DataFrame(lines)


def share_interval(share: float, units: int) -> tuple[float, float]:
    """The 95 % interval of a share of images from so many patients, each counted as one observation.

    Wider than it need be where a patient has several images; unlike a bootstrap it is not a point at 0 and 1.

    Source: Wilson 1927, by statsmodels.

    >>> [round(end, 3) for end in share_interval(1.0, 10)]
    [0.722, 1.0]
    """
    from statsmodels.stats.proportion import proportion_confint

    if not units:
        return float("nan"), float("nan")
    low, high = proportion_confint(share * units, units, method="wilson")
    return float(low), min(1.0, float(high))


def _share(name: str, right: np.ndarray, units: np.ndarray) -> dict[str, object]:
    share = float(right.mean()) if len(right) else float("nan")
    low, high = share_interval(share, len(set(units)))
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def _groups(cohort: Cohort, attributes: Sequence[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    yield "", "", np.ones(len(cohort), dtype=bool)
    for attribute in attributes:
        groups = groups_of(cohort, attribute)
        yield from ((attribute, group, groups == group) for group in in_order(groups))


def _decisions(cohort: Cohort, column: str) -> np.ndarray:
    classes = cohort.classes
    numbers = {name: index for index, name in enumerate(classes)}
    if len(classes) == 2:
        numbers = {"0": 0, "1": 1, "0.0": 0, "1.0": 1} | numbers
    found = np.full(len(cohort), UNREAD)
    for position, cell in enumerate(cohort.table[column]):
        text = "" if pd.isna(cell) else str(cell).strip()
        if text and text not in numbers:
            raise DataError(
                f"The column '{column}'",
                f"a class ({', '.join(classes)}){', 0 or 1' if len(classes) == 2 else ''}, or an empty cell",
                f"row {cohort.table.index[position]} holds something else",
                "Correct it, or leave the cell empty where the reader did not read the image.",
            )  # fmt: skip
        found[position] = numbers.get(text, UNREAD)
    return found
