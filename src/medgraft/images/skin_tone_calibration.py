"""Fit skin tone thresholds to types that people gave, and score them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medgraft.errors import DataError, SettingsError
from medgraft.images.skin_tone import THRESHOLDS

TYPES = 6


class Agreement(NamedTuple):
    """Estimated types beside those that people gave.

    exact, within_one: share of the images whose type is the same, and at most one step away.
    unknown: share without a type; they count as disagreement.
    """

    exact: float
    within_one: float
    unknown: float


def agreement(estimated: Sequence[int | None], human: Sequence[int]) -> Agreement:
    """How often estimated types are those that people gave.

    Args:
        estimated: of each image, 1 to 6 or None.
        human: of each image, 1 to 6.

    Raises:
        DataError: their numbers differ, there are none, or a type is not from 1 to 6.

    Source: Groh et al. 2021 and Bevan & Atapour-Abarghouei 2022 score `within_one`.

    >>> agreement([1, 2, 4, None], [1, 3, 6, 6])
    Agreement(exact=0.25, within_one=0.5, unknown=0.25)
    """
    truth = _types("agreement", human, len(estimated))
    known = np.array([each is not None for each in estimated])
    steps = np.abs(_types("agreement", [each or 1 for each in estimated], len(truth)) - truth)
    return Agreement(
        float((known & (steps == 0)).mean()), float((known & (steps <= 1)).mean()), float((~known).mean())
    )


def calibrate_thresholds(
    angles: Sequence[float], human: Sequence[int], *, within: int = 0, balanced: bool = False
) -> tuple[float, ...]:
    """The five thresholds that agree best with types that people gave: a true maximum, not a search.

    Thresholds suit the camera and light that they were fitted to; score them on other patients. Where several agree as
    well, to half an image's share, the other count decides.

    Args:
        angles: ITA of each image in degrees, finite: leave out the unknown ones.
        human: type of each image, 1 to 6.
        within: what counts as agreement: 0, the same type; 1, at most one step away, as published scores count. The
            latter rewards to call nothing 1 or 6, so do not use it for labels that a model is to be debiased by.
        balanced: every type that occurs counts as much as any other, however few images it has; otherwise rare
            types, often the darkest, may vanish.

    Returns: five thresholds, none above the one before it, halfway between neighbouring angles; beyond all angles
        the published ones, moved out of the way.

    Raises:
        DataError: numbers differ, there are none, a type is not from 1 to 6, an angle is not finite.
        SettingsError: another `within`.

    Source: Groh et al. 2021 choose thresholds empirically, without saying how; this maximum is ours.

    >>> calibrate_thresholds([60.0, 50.0, 35.0, 25.0, 15.0, -20.0], [1, 1, 2, 4, 5, 6])
    (42.5, 30.0, 30.0, 20.0, -2.5)
    """
    if within not in (0, 1):
        raise SettingsError("calibrate_thresholds", "within 0 or 1", f"got {within}", "Change within.")
    values, types = np.asarray(angles, float), _types("calibrate_thresholds", human, len(angles))
    if not np.isfinite(values).all():
        raise DataError(
            "calibrate_thresholds",
            "finite angles",
            "got unknown ones",
            "Leave out the images whose angle is NaN.",
        )
    order = np.argsort(-values, kind="stable")
    values, types = values[order], types[order]
    weight = 1 / np.bincount(types)[types] if balanced else np.ones(len(types))
    weight /= weight.sum()
    steps = np.abs(types - np.arange(1, TYPES + 1)[:, None])
    gains = weight * ((steps <= within) + (steps <= 1 - within) / (2 * len(types)))
    return _thresholds(values, _best_cuts(values, gains))


def _best_cuts(values: np.ndarray, gains: np.ndarray) -> list[int]:
    """How many images lie above each threshold, by dynamic programming over types and images.

    Args:
        values: (N,) angles, none above the one before it.
        gains: (6, N) what it is worth to give an image a type.
    """
    total = np.pad(gains.cumsum(axis=1), ((0, 0), (1, 0)))
    places = np.arange(len(values) + 1)
    between = np.concatenate([[True], values[:-1] > values[1:], [True]])  # equal angles have one type
    best, starts = total[0], []
    for kind in range(1, TYPES):
        before = np.where(between, best - total[kind], -np.inf)
        highest = np.maximum.accumulate(before)
        risen = np.concatenate([[True], highest[1:] > highest[:-1]])
        starts.append(np.maximum.accumulate(np.where(risen, places, 0)))
        best = total[kind] + highest
    cuts = [len(values)]
    for start in reversed(starts):
        cuts.append(int(start[cuts[-1]]))
    return cuts[:0:-1]


def _thresholds(values: np.ndarray, cuts: list[int]) -> tuple[float, ...]:
    found = []
    for cut, published in zip(cuts, THRESHOLDS):
        if cut == 0:
            found.append(max(published, float(values[0])))
        elif cut == len(values):
            found.append(min(published, float(np.nextafter(values[-1], -np.inf))))
        else:
            above, below = float(values[cut - 1]), float(values[cut])
            middle = (above + below) / 2
            found.append(middle if middle < above else below)
    return tuple(found)


def _types(who: str, types: Sequence[int], count: int) -> np.ndarray:
    array = np.asarray(types)
    if not len(array) or len(array) != count:
        raise DataError(
            who,
            "one type per image",
            f"got {len(array)} types for {count} images",
            "List them in the same order.",
        )
    if not np.isin(array, np.arange(1, TYPES + 1)).all():
        raise DataError(
            who, "types from 1 to 6", "got others", "Leave out the images whose type people did not tell."
        )
    return array.astype(np.int64)
