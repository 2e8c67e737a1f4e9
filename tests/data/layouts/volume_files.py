"""Tiny volumes as published sets hold them, and what stands in their voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

SHAPE = (6, 5, 4)
"""(x, y, z): different sizes, so that no axis can pass for another."""


def save(path: Path, array: np.ndarray) -> None:
    """NIfTI, or an Analyze pair where the name ends in .hdr."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdr":
        image = nibabel.AnalyzeImage(array, None)
        image.header.set_zooms((1.0,) * array.ndim)
    else:
        image = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(image, path)


def image_of(seed: int, *more: int) -> np.ndarray:
    """(x, y, z) and further axes, int16."""
    return np.random.default_rng(seed).integers(0, 900, (*SHAPE, *more)).astype(np.int16)


def mask_of(seed: int, numbers: tuple[int, ...], *more: int) -> np.ndarray:
    """(x, y, z) and further axes, uint8, of these numbers, every one of them there."""
    mask = np.random.default_rng(seed).choice(numbers, (*SHAPE, *more)).astype(np.uint8)
    mask.reshape(-1)[: len(numbers)] = numbers
    return mask


def turned(array: np.ndarray, x_runs_left: bool = False) -> np.ndarray:
    """(x, y, z, ...) as (feet-head, front-back, right-left, ...)."""
    rows = array if x_runs_left else array[::-1]
    return np.moveaxis(rows[:, ::-1], (0, 1, 2), (2, 1, 0))
