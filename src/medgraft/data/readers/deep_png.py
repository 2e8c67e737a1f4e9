"""PNG of 16 bits in several channels, which Pillow would halve in depth without a word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medgraft.data.readers.room import DEFLATE, refuse_size
from medgraft.errors import DataError

MARK = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 4: 2, 6: 4}
"""Channels of each colour type with more than one, palettes aside."""
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, and the steps between columns and rows of each pass."""
FILTERS = 5
Pass = tuple[int, int, int, int]


def is_deep_colour(path: Path) -> bool:
    """A PNG with 16 bits per channel and more than one channel."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(MARK[:4]) and head[24:25] == b"\x10" and head[25] in CHANNELS


def decode_deep_colour(path: Path) -> np.ndarray:
    """Read such a file.

    Decoded here: the libraries at hand halve the depth or end the process when they meet a damaged file.

    Returns: (H, W, C) uint16; the alpha of grey images is left out.

    Raises:
        DataError: damaged; too large.

    Source: PNG specification (third edition), 5.3 (chunks), 8 (interlacing), 9.2 (filters).
    """
    chunks = _chunks(path.read_bytes(), path)
    header = chunks[0][1]
    if chunks[0][0] != b"IHDR" or len(header) != 13:
        raise _damaged(path, "it has no header")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", header)
    if (
        not (width and height and depth == 16 and colour in CHANNELS)
        or compression
        or filters
        or interlace > 1
    ):
        raise _damaged(path, "its header is nonsense")
    pixel = 2 * CHANNELS[colour]
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    refuse_size(width * height * pixel, path, holds=DEFLATE * len(packed))
    stream = _unpack(packed, _sizes(width, height, bool(interlace)), pixel, path)
    image = np.empty((height, width, pixel), dtype=np.uint8)
    for (column, row, across, down), part in stream:
        image[row::down, column::across] = part
    array = image.view(">u2").astype(np.uint16)
    return array[..., :1] if array.shape[-1] == 2 else array


def _chunks(data: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    found, at = [], len(MARK)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(body) < length or zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise _damaged(path, "a checksum is wrong")
        found.append((kind, body))
        if kind == b"IEND":
            return found
        at += 12 + length
    raise _damaged(path, "it is truncated")


def _sizes(width: int, height: int, is_interlaced: bool) -> list[tuple[Pass, int, int]]:
    """Every pass with pixels, and its rows and columns."""
    passes = PASSES if is_interlaced else ((0, 0, 1, 1),)
    sizes = [(each, -(-(height - each[1]) // each[3]), -(-(width - each[0]) // each[2])) for each in passes]
    return [(each, rows, columns) for each, rows, columns in sizes if rows > 0 and columns > 0]


def _unpack(
    packed: bytes, sizes: list[tuple[Pass, int, int]], pixel: int, path: Path
) -> Iterator[tuple[Pass, np.ndarray]]:
    """The pixels of each pass, (rows, columns, bytes)."""
    total = sum(rows * (1 + columns * pixel) for _, rows, columns in sizes)
    try:
        unpacked = np.frombuffer(zlib.decompressobj().decompress(packed, total + 1), dtype=np.uint8)
    except zlib.error as error:
        raise _damaged(path, "its pixels cannot be unpacked") from error
    if len(unpacked) != total:
        raise _damaged(path, "it has too many or too few pixels")
    start = 0
    for each, rows, columns in sizes:
        end = start + rows * (1 + columns * pixel)
        lines = unpacked[start:end].reshape(rows, -1)
        if lines[:, 0].max() >= FILTERS:
            raise _damaged(path, "a row has no filter")
        yield each, unfilter(lines[:, 0], lines[:, 1:].reshape(rows, columns, pixel))
        start = end


def unfilter(filters: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Undo the filters of PNG, diagonal by diagonal: a pixel needs only those to its left and above.

    Args:
        filters: (H,) uint8: none 0, left 1, above 2, their mean 3, Paeth 4.
        differences: (H, W, B) uint8.

    Returns: (H, W, B) uint8.

    >>> unfilter(np.array([1, 2], np.uint8), np.array([[[5], [1]], [[1], [250]]], np.uint8))[..., 0].tolist()
    [[5, 6], [6, 0]]
    """
    height, width, size = differences.shape
    padded = np.zeros((height + 1, width + 1, size), dtype=np.int16)
    padded[1:, 1:] = differences
    flat = padded.reshape(-1, size)
    for diagonal in range(height + width - 1):
        first, last = max(0, diagonal - width + 1), min(height - 1, diagonal)
        start = (
            (first + 1) * (width + 1) + diagonal - first + 1
        )  # one row down, one column back: `width` further on
        here, left, above, corner = (
            flat[start - back : start - back + (last - first) * width + 1 : width]
            for back in (0, 1, width + 1, width + 2)
        )
        kind = filters[first : last + 1, None]
        by_left, by_above = np.abs(above - corner), np.abs(left - corner)
        by_corner = np.abs(left + above - 2 * corner)
        paeth = np.where(
            (by_left <= by_above) & (by_left <= by_corner),
            left,
            np.where(by_above <= by_corner, above, corner),
        )
        guess = np.select(
            [kind == 1, kind == 2, kind == 3, kind == 4], [left, above, (left + above) >> 1, paeth]
        )
        here += guess
        here &= 255
    return padded[1:, 1:].astype(np.uint8)


def _damaged(path: Path, how: str) -> DataError:
    return DataError(
        "A PNG image",
        "a whole file",
        f"{path} is damaged: {how}",
        "Replace it with an intact copy or remove its row.",
    )
