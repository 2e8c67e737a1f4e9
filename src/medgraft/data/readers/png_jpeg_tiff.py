"""PNG, JPEG, BMP and TIFF, with the depth their files have."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from medgraft.errors import DataError
from medgraft.types import Picture


def read_photo(path: Path, part: str | None) -> Picture:
    """Read PNG, JPEG or BMP: (H, W, 1), (H, W, 3) or (H, W, 4); uint8 or uint16. Palettes become RGB.

    Args:
        part: None, or a region "x,y,width,height" in pixels from the upper left corner.
    """
    if part is None:
        return Picture(_decode_photo(path))
    return Picture(take_region(_remembered(_decode_photo, path), part, path))


def read_tiff(path: Path, part: str | None) -> Picture:
    """Read TIFF: one page (H, W, C), several pages (D, H, W, C); any integer or float depth.

    Args:
        part: None, or a region "x,y,width,height" of a single page.
    """
    if part is None:
        return Picture(_decode_tiff(path))
    return Picture(take_region(_remembered(_decode_tiff, path), part, path))


def take_region(array: np.ndarray, part: str, path: Path) -> np.ndarray:
    """Cut "x,y,width,height" out of an image (H, W, C).

    Raises:
        DataError: not four whole numbers, or not inside the image.
    """
    numbers = part.split(",")
    if array.ndim == 3 and len(numbers) == 4 and all(number.strip().isdigit() for number in numbers):
        x, y, width, height = map(int, numbers)
        if width and height and x + width <= array.shape[1] and y + height <= array.shape[0]:
            return array[y : y + height, x : x + width]
    raise DataError(
        "A region of an image", f"x,y,width,height inside {array.shape[1]} x {array.shape[0]} pixels",
        f"{path} is asked for {part!r}", "Correct what stands behind '#'.",
    )  # fmt: skip


def _remembered(decode: Callable[[Path], np.ndarray], path: Path) -> np.ndarray:
    status = path.stat()
    return _decode_once(decode, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _decode_once(decode: Callable[[Path], np.ndarray], path: Path, modified: int, size: int) -> np.ndarray:
    array = decode(path)
    array.setflags(write=False)
    return array


def _decode_photo(path: Path) -> np.ndarray:
    from PIL import Image

    image: Image.Image
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
    return with_channels(array)


def _decode_tiff(path: Path) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array, axes = series.asarray(), series.axes
    if axes.startswith("S") and array.ndim == 3:  # planar colour
        array, axes = np.moveaxis(array, 0, -1), axes[1:] + "S"
    if array.ndim == 2 or (array.ndim == 3 and axes.endswith("S")):
        return with_channels(array)
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4 and axes.endswith("S"):
        return array
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
