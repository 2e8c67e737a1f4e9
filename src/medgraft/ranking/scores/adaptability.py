"""The thesis' proposed score: label predictability times feature update, each scaled over the candidates."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError
from medgraft.ranking.inputs import UndefinedError

WHO = "Adaptability"


def adaptability(
    label_predictability: ArrayLike,
    feature_update: ArrayLike,
    *,
    candidates: Literal["sources", "architectures"] = "sources",
    own: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Rank candidates by features that suit the target and, together with it, by readiness to learn its patterns.

    Both terms are scaled to [0, 1] over the candidates and multiplied, so the worst in either term gets 0. The score
    compares candidates for one target; of one alone it says nothing, and another candidate may change all values.

    Args:
        label_predictability: (m,) S_LP of each candidate; NaN where undefined.
        feature_update: (m,) S_FU of each; NaN where undefined.
        candidates: "sources": one architecture trained on different data. "architectures": different networks
            trained on the same data; both terms are then reversed, because they were found to go the other way.
        own: (m,) bool, which candidates were trained on the target itself; they take part in the scaling, as
            published, and get no score, because features fitted to the target would flatter them.

    Returns: (m,) float64 in [0, 1], higher is better; NaN for `own` and wherever a term is undefined.

    Raises:
        ShapeError: not as many values in both terms.
        UndefinedError: fewer than two candidates have both terms, or a term is the same for all.

    Source: the thesis' chapter 6, equations 6.5, 6.6 and 6.8; a product, though the text calls it a sum.

    >>> adaptability([0.5, 0.75, 0.9], [1.0, 3.0, 2.0]).round(4).tolist()
    [0.0, 0.625, 0.5]
    """
    terms = {
        "label predictability": np.asarray(label_predictability, dtype=np.float64),
        "feature update": np.asarray(feature_update, dtype=np.float64),
    }
    shapes = [values.shape for values in terms.values()]
    mine = np.zeros(shapes[0], bool) if own is None else np.asarray(own, dtype=bool)
    if len({*shapes, mine.shape}) > 1 or mine.ndim != 1:
        raise ShapeError(
            WHO, "one value of each term per candidate", f"the terms are {shapes[0]} and {shapes[1]}"
            + ("" if own is None else f", own is {mine.shape}"),
            "Score every candidate; put NaN where a term is undefined.",
        )  # fmt: skip
    known = np.all([np.isfinite(values) for values in terms.values()], axis=0)
    if known.sum() < 2:
        raise UndefinedError(
            WHO, "two candidates with both terms", f"{int(known.sum())} of {len(known)} have them",
            "Add candidates: the terms are scaled over them.",
        )  # fmt: skip
    product = np.prod([_scale(term, values, known, candidates) for term, values in terms.items()], axis=0)
    return np.asarray(np.where(mine, np.nan, product))


def _scale(
    term: str, values: NDArray[np.float64], known: NDArray[np.bool_], candidates: str
) -> NDArray[np.float64]:
    """To [0, 1] over the candidates that have both terms, NaN for the rest."""
    lowest, highest = values[known].min(), values[known].max()
    if lowest == highest:
        raise UndefinedError(
            WHO, f"a {term} that differs between candidates", f"it is {lowest:g} for all",
            "Rank by the other term alone.",
        )  # fmt: skip
    worst, best = (highest, lowest) if candidates == "architectures" else (lowest, highest)
    return np.where(known, (values - worst) / (best - worst), np.nan)
