"""Predictions averaged over mirrored views of an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from medgraft.errors import SettingsError
from medgraft.models.model import Model

Axis = Literal["depth", "height", "width"]
AXES: tuple[Axis, ...] = get_args(Axis)


def flipped_probabilities(
    model: Model,
    images: Tensor,
    flips: Sequence[Axis] = (),
    rows: np.ndarray | None = None,
    **known: Any,
) -> Tensor:
    """Mean probabilities over all combinations of mirrored axes, each mirrored back where there is one per pixel.

    Args:
        model: any that predicts.
        images: (B, C, H, W) or (B, C, D, H, W), prepared.
        flips: axes to mirror; n of them take 2**n forward passes. Leave out those that tell classes apart: "width"
            where left and right do, as in chest X-rays.
        rows: as in `Model.predict`.
        known: what else it is told of these images.

    Returns: probabilities as `Model.predict` gives them, float32.

    Raises:
        SettingsError: an axis that the images do not have.
    """
    dims = flip_dims(flips, images.ndim - 2)
    total = model.predict(images, rows=rows, **known).probabilities.float()
    for count in range(1, len(dims) + 1):
        for chosen in combinations(dims, count):
            mirrored = model.predict(images.flip(chosen), rows=rows, **known).probabilities.float()
            total = total + (mirrored.flip(chosen) if mirrored.ndim == images.ndim else mirrored)
    mean: Tensor = total / 2 ** len(dims)
    return mean


def flip_dims(flips: Sequence[Axis], dimensions: int) -> tuple[int, ...]:
    """Tensor dimensions, counted from the end, of the axes to mirror.

    >>> flip_dims(("height", "width"), 2)
    (-2, -1)
    """
    offered = AXES[-dimensions:]
    for axis in flips:
        if axis not in offered:
            raise SettingsError("flips", f"axes among {', '.join(offered)}", f"got {axis!r}", "Leave it out.")
    return tuple(AXES.index(axis) - len(AXES) for axis in dict.fromkeys(flips))
