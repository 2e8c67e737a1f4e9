"""Masks of single images as grey PNG files whose values are the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medgraft.errors import DataError
from medgraft.whole_files import written_whole


def write_png(labels: np.ndarray, path: Path) -> None:
    """Write labels as a grey PNG of 8 or 16 bits.

    Args:
        labels: (H, W) uint8 or uint16.

    Raises:
        DataError: a volume.
        RunError: no room, or no permission.
    """
    from PIL import Image

    if labels.ndim != 2:
        raise DataError(
            "A PNG mask", "one image (H, W)", f"the mask of {path.name} is a volume of shape {labels.shape}",
            "Write volumes as 'nifti', or leave the format to 'auto'.",
        )  # fmt: skip
    with written_whole(path) as temporary, temporary.open("wb") as file:
        Image.fromarray(labels).save(file, format="PNG")
