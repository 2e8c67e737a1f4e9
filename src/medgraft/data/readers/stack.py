"""Where slices lie in the patient: their order along the normal and the distance between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medgraft.errors import DataError

SAME_PLACE = 1e-3
"""Millimetres below which two slices lie at one place."""
ROUNDING = 0.11
"""Millimetres two distances may differ because files store positions with one decimal."""
UNEVEN = 0.05
"""Share of the usual distance by which a distance may differ."""


class Stack(NamedTuple):
    """Slices in order.

    order: (N,) positions of the slices, ascending along the normal.
    distance: millimetres from one to the next along the normal.
    origin, step: (3,) millimetres, where the first lies and how far on the next does, in DICOM's axes.
    orientation: (6,) direction cosines of the rows, then of the columns.
    """

    order: np.ndarray
    distance: float
    origin: tuple[float, ...]
    step: tuple[float, ...]
    orientation: tuple[float, ...]


def order_slices(
    positions: Sequence[Sequence[float]], orientation: Sequence[float], who: str, where: str
) -> Stack:
    """Order slices along their normal; the distance is what their positions say, whatever other tags claim.

    Slices that shift sideways (a tilted gantry) are taken: the distance is the one along the normal.

    Args:
        positions: (N, 3) ImagePositionPatient in millimetres, N >= 2.
        orientation: (6,) ImageOrientationPatient, direction cosines of the rows, then of the columns.
        who, where: begin the sentence of an error, and name the file or folder in it.

    Raises:
        DataError: several slices at one place; gaps or uneven distances.

    Source: DICOM PS3.3, C.7.6.2.1.1.

    >>> stack = order_slices([(0, 0, 14), (0, 0, 0), (0, 0, 7)], (1, 0, 0, 0, 1, 0), "A series", "scan")
    >>> stack.order.tolist(), stack.distance, stack.step
    ([1, 2, 0], 7.0, (0.0, 0.0, 7.0))
    """
    along = distances_along_normal(positions, orientation)
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    repeated = int((steps < SAME_PLACE).sum())
    if repeated:
        raise DataError(
            who, "one slice at each place",
            f"{where} holds {len(along)} slices at {len(along) - repeated} places",
            "Keep one time point, echo or copy of each slice, or name single files or frames.",
        )  # fmt: skip
    usual = float(np.median(steps))
    allowed = min(max(UNEVEN * usual, ROUNDING), usual / 2)
    odd = np.abs(steps - usual) > allowed
    if odd.any():
        first = int(np.argmax(odd))
        raise DataError(
            who, "slices at even distances",
            f"{where} has slices {first + 1} and {first + 2} of {len(along)} {steps[first]:.4g} mm apart, most are "
            f"{usual:.4g} mm apart",
            "Add the missing slices, or name single files or frames.",
        )  # fmt: skip
    start, end = (np.asarray(positions[index], dtype=np.float64) for index in (order[0], order[-1]))
    return Stack(
        order,
        float(along[order[-1]] - along[order[0]]) / (len(along) - 1),
        tuple(start.tolist()),
        tuple(((end - start) / (len(along) - 1)).tolist()),
        tuple(map(float, orientation)),
    )


def distances_along_normal(positions: Sequence[Sequence[float]], orientation: Sequence[float]) -> np.ndarray:
    """(N,) millimetres of each position along the normal of the slices."""
    cosines = np.asarray(orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    along: np.ndarray = np.asarray(positions, dtype=np.float64) @ (normal / np.linalg.norm(normal))
    return along
