"""Score tables and what they are to be compared with, brought into the same order."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class Candidates(NamedTuple):
    """Tables with the same sources and targets in the same order."""

    scores: dict[str, pd.DataFrame]
    """(sources, targets) by name of the score; NaN where it is undefined."""
    performance: pd.DataFrame
    """(sources, targets); NaN where it is unknown: such a source is no candidate for the target."""

    def of(self, target: Hashable) -> NDArray[np.bool_]:
        """(sources,) which of them are candidates for a target."""
        known: NDArray[np.bool_] = self.performance[target].notna().to_numpy()
        return known


def check_candidates(who: str, scores: Mapping[str, pd.DataFrame], performance: pd.DataFrame) -> Candidates:
    """Bring score tables and performance into the same order, or tell which name is missing where.

    Args:
        who: what needs them, for the message.
        scores: by name, (sources, targets) numbers with names of both; all of the same sources and targets.
        performance: (sources, targets), at least those of the scores; NaN where unknown.

    Raises:
        DataError: no score; a name twice or without performance; other names in one table than in another; a cell
            that is no number; a target with fewer than two candidates.

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"t": [0.9, 0.8, 0.7]}, index=["a", "b", "c"])
    >>> check_candidates("Trying", {"mine": truth.loc[["c", "a"]]}, truth).performance.index.tolist()
    ['c', 'a']
    """
    if not scores:
        raise DataError(who, "one score table or more", "there is none", "Pass for example {'mine': table}.")
    first = next(iter(scores.values()))
    known = _arrange(who, "performance", performance, first)
    found = {name: _arrange(who, name, table, first) for name, table in scores.items()}
    for name, table in scores.items():
        if table.shape != first.shape:
            raise DataError(
                who, "the same sources and targets in every score table",
                f"{name!r} has {table.shape} and the first table {first.shape}",
                "Score all of them with every score, or leave out what one of them lacks.",
            )  # fmt: skip
    few = [str(target) for target in known if known[target].notna().sum() < 2]
    if few:
        raise DataError(
            who, "two or more sources of known performance for every target",
            f"there are fewer for {', '.join(few[:10])}", "Leave these targets out or add sources.",
        )  # fmt: skip
    return Candidates(found, known)


def _arrange(who: str, name: str, table: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """A table's rows and columns as the first table has them, as numbers; infinite ones count as missing."""
    for axis, has, wanted in (
        ("source", table.index, first.index),
        ("target", table.columns, first.columns),
    ):
        if not has.is_unique or not len(has):
            raise DataError(
                who, f"every {axis} once in the table {name!r}",
                f"{has[has.duplicated()][0]!r} comes twice" if len(has) else "there is none",
                "Give one row per source and one column per target.",
            )  # fmt: skip
        missing = wanted.difference(has, sort=False)
        if len(missing):
            raise DataError(
                who, f"the same {axis}s in every table, and their performance",
                f"{name!r} has no {axis} {', '.join(repr(value) for value in missing[:5])}",
                "Name them alike in all tables, or leave out what one of them lacks.",
            )  # fmt: skip
    try:
        numbers = table.loc[first.index, first.columns].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            who, "numbers in every table", f"{name!r} holds others: {error}", "Convert them."
        ) from error
    return numbers.where(np.isfinite(numbers))
