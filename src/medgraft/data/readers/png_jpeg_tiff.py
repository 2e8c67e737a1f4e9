"""PNG, JPEG, BMP and TIFF, with the depth their files have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medgraft.errors import DataError
from medgraft.types import Picture


def read_photo(path: Path, part: str | None) -> Picture:
    """Read PNG, JPEG or BMP: (H, W, 1), (H, W, 3) or (H, W, 4); uint8 or uint16. Palettes become RGB."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGB")
        elif image.mode == "LA":
            image = image.convert("L")
        array = np.asarray(image)
    if array.dtype == np.int32:  # how Pillow opens some 16-bit PNG files
        array = array.astype(np.uint16)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    return Picture(with_channels(array))


def read_tiff(path: Path, part: str | None) -> Picture:
    """Read TIFF: one page (H, W, C), several pages (D, H, W, C); any integer or float depth."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array, axes = series.asarray(), series.axes
    if axes.startswith("S") and array.ndim == 3:  # planar colour
        array, axes = np.moveaxis(array, 0, -1), axes[1:] + "S"
    if array.ndim == 2 or (array.ndim == 3 and axes.endswith("S")):
        return Picture(with_channels(array))
    if array.ndim == 3:
        return Picture(array[..., None])
    if array.ndim == 4 and axes.endswith("S"):
        return Picture(array)
    raise DataError(
        "A TIFF file", "one image or a stack of images", f"{path} has axes {axes} of {array.shape}",
        "Save one stack per file.",
    )  # fmt: skip


def with_channels(array: np.ndarray) -> np.ndarray:
    """(H, W) to (H, W, 1); opaque alpha channels are dropped.

    >>> with_channels(np.zeros((4, 5))).shape
    (4, 5, 1)
    """
    if array.ndim == 2:
        return array[..., None]
    if array.shape[-1] == 4 and bool((array[..., 3] == np.iinfo(array.dtype).max).all()):
        return array[..., :3]
    return array
