"""The long table of facts: one measured number per row, with its interval and where it came from."""

from __future__ import annotations

import math
from typing import TypedDict, get_type_hints

import pandas as pd

from medgraft.errors import DataError


class Fact(TypedDict):
    """One row of the table of facts; see `fact` for what the columns mean."""

    subject: str
    cohort: str
    split: str
    metric: str
    part: str
    seed: int
    value: float
    low: float
    high: float
    level: float
    n: int
    unit: str
    selection: str


FACT_COLUMNS: tuple[str, ...] = tuple(get_type_hints(Fact))
_TYPES = get_type_hints(Fact)


def fact(
    *,
    subject: str,
    cohort: str,
    metric: str,
    value: float,
    split: str = "test",
    part: str = "",
    seed: int = 0,
    low: float = math.nan,
    high: float = math.nan,
    level: float = 0.95,
    n: int = 0,
    unit: str = "",
    selection: str = "none",
) -> Fact:
    """Write down one measured number.

    Args:
        subject: what was measured, as the user named it: a method, a model, a baseline.
        cohort: name of the data it was measured on.
        metric: e.g. "auroc", "balanced_accuracy", "dice".
        value: the number; NaN where undefined.
        split: "train", "validation" or "test".
        part: class or structure that the number is about; "" for the whole.
        seed: of the run that made the subject.
        low, high: ends of the interval; NaN where there is none.
        level: its coverage, in (0, 1).
        n: number of units that the interval resamples.
        unit: what those are, in the plural: "patients", "images", "blocks of one slide".
        selection: rule that chose the epoch: "last", "target_validation", "oracle", ...; "none" without one.

    >>> fact(subject="probe", cohort="Porto", metric="auroc", value=0.8)["split"]
    'test'
    """
    return Fact(
        subject=subject, cohort=cohort, split=split, metric=metric, part=part, seed=int(seed),
        value=float(value), low=float(low), high=float(high), level=float(level), n=int(n),
        unit=unit, selection=selection,
    )  # fmt: skip


def check_facts(facts: pd.DataFrame) -> pd.DataFrame:
    """The same rows with columns in order, of fixed types and numbered from 0.

    Raises:
        DataError: a column is missing or unknown, or a cell does not fit its column.
    """
    missing = [name for name in FACT_COLUMNS if name not in facts.columns]
    unknown = [str(name) for name in facts.columns if name not in FACT_COLUMNS]
    if missing or unknown:
        lacks = [f"lacks {', '.join(missing)}"] if missing else []
        has = [f"also has {', '.join(unknown)}"] if unknown else []
        raise DataError(
            "A table of facts",
            f"exactly the columns {', '.join(FACT_COLUMNS)}",
            f"it {' and '.join(lacks + has)}",
            "Make each row with `medgraft.evidence.fact`.",
        )
    return pd.DataFrame({name: _typed(facts[name]) for name in FACT_COLUMNS}).reset_index(drop=True)


def _typed(column: pd.Series) -> pd.Series:
    """Text as text, numbers as int64 or float64; only floats may be missing."""
    wanted = _TYPES[str(column.name)]
    if wanted is str:
        unfit = column.isna()
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        unfit = numbers.isna() & (column.notna() if wanted is float else True)
        unfit |= (numbers % 1 != 0) if wanted is int else False
    if unfit.any():
        raise _error(column, int(unfit.to_numpy().argmax()))
    if wanted is str:
        return column.astype(str)
    return numbers.astype("int64" if wanted is int else "float64")


def _error(column: pd.Series, row: int) -> DataError:
    kind = {str: "text", int: "a whole number", float: "a number"}[_TYPES[str(column.name)]]
    return DataError(
        "A table of facts",
        f"{kind} in every cell of '{column.name}'",
        f"row {row} holds '{column.iloc[row]}'",
        "Make each row with `medgraft.evidence.fact`.",
    )
