"""PNG, JPEG, BMP and TIFF, with the depth their files have."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from medgraft.data.readers.deep_png import decode_deep_colour, is_deep_colour
from medgraft.data.readers.remember import remembered
from medgraft.data.readers.room import SizedFile, refuse_size
from medgraft.errors import DataError
from medgraft.types import Picture

BITS = 8
"""Pixels of one bit become bytes."""


def read_photo(path: Path, part: str | None) -> Picture:
    """Read PNG, JPEG or BMP: (H, W, 1), (H, W, 3) or (H, W, 4); uint8 or uint16. Palettes become RGB.

    Args:
        part: None, or a region "x,y,width,height" in pixels from the upper left corner.
    """
    return _whole_or_region(_decode_photo, path, part)


def read_tiff(path: Path, part: str | None) -> Picture:
    """Read TIFF: one page (H, W, C), several pages (D, H, W, C); any integer or float depth.

    Args:
        part: None, or a region "x,y,width,height" of a single page.
    """
    return _whole_or_region(_decode_tiff, path, part)


def read_photo_labels(path: Path, part: str | None) -> Picture:
    """Read a mask in PNG or BMP: palettes stay numbers, single bits 0 and 1."""
    return _whole_or_region(_decode_photo_labels, path, part)


def read_tiff_labels(path: Path, part: str | None) -> Picture:
    """Read a mask in TIFF: palettes stay numbers, single bits 0 and 1."""
    return _whole_or_region(_decode_tiff_labels, path, part)


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


def _whole_or_region(
    decode: Callable[[Path, str | None], np.ndarray], path: Path, part: str | None
) -> Picture:
    if part is None:
        return Picture(decode(path, None))
    return Picture(take_region(remembered(decode, path), part, path))


def _decode_photo_labels(path: Path, key: str | None) -> np.ndarray:
    from PIL import Image

    with SizedFile(path) as file, Image.open(file) as image:
        refuse_size(image.width * image.height * 4, path)
        if image.mode in ("P", "1"):
            return with_channels(np.asarray(image).astype(np.uint8))
    return _decode_photo(path, key)


def _decode_photo(path: Path, key: str | None) -> np.ndarray:
    from PIL import Image

    image: Image.Image
    if is_deep_colour(path):
        return with_channels(decode_deep_colour(path))
    with SizedFile(path) as file, Image.open(file) as image:
        refuse_size(image.width * image.height * 4, path)
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


def _decode_tiff(path: Path, key: str | None) -> np.ndarray:
    from tifffile import PHOTOMETRIC, TiffFile

    with TiffFile(path) as file:
        photometric, pages = file.pages.first.photometric, len(file.pages)
        _refuse_tiff(file, path)
        try:
            array, axes = file.series[0].asarray(), file.series[0].axes
        except (
            ValueError
        ):  # a compression for which tifffile needs a package of its own; Pillow knows the common ones
            if pages > 1:
                raise
            return _decode_photo(path, key)
    if photometric == PHOTOMETRIC.PALETTE and pages == 1:
        return _decode_photo(path, key)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if photometric == PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    return _as_image(array, axes, path)


def _decode_tiff_labels(path: Path, key: str | None) -> np.ndarray:
    from tifffile import TiffFile

    with TiffFile(path) as file:
        pages = len(file.pages)
        _refuse_tiff(file, path)
        try:
            array, axes = file.series[0].asarray(), file.series[0].axes
        except ValueError:
            if pages > 1:
                raise
            return _decode_photo_labels(path, key)
    return _as_image(array.astype(np.uint8) if array.dtype == bool else array, axes, path)


def _refuse_tiff(file: Any, path: Path) -> None:
    """Sizes that the file cannot hold, before they are allocated."""
    series, stored = file.series[0], path.stat().st_size
    segments = [count for page in series.pages if page is not None for count in page.databytecounts]
    refuse_size(max(segments, default=0), path, holds=stored)
    first = series.keyframe
    if not all(isinstance(size, Integral) for size in (*series.shape, *first.chunks)):
        raise DataError(
            "A TIFF file", "whole numbers as sizes", f"{path} has others",
            "It is damaged: replace it with an intact copy or remove its row.",
        )  # fmt: skip
    tile = math.prod(first.chunks) * first.dtype.itemsize if first.dtype else 0
    refuse_size(max(series.nbytes, tile), path, holds=None if first.compression > 1 else BITS * stored)


def _as_image(array: np.ndarray, axes: str, path: Path) -> np.ndarray:
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
    if (
        array.shape[-1] == 4
        and array.dtype.kind == "u"
        and bool((array[..., 3] == np.iinfo(array.dtype).max).all())
    ):
        return array[..., :3]
    return array
