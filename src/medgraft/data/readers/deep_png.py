"""PNG of 16 bits in several channels, which Pillow would halve in depth without a word."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from medgraft.data.readers.room import refuse_size
from medgraft.errors import DataError

MARK = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 4: 2, 6: 4}
"""Channels of each colour type with more than one, palettes aside."""
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, and the steps between columns and rows of each pass."""
FILTERS = 5


def is_deep_colour(path: Path) -> bool:
    """A PNG with 16 bits per channel and more than one channel."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(MARK[:4]) and head[24:25] == b"\x10" and head[25] in CHANNELS


def decode_deep_colour(path: Path) -> np.ndarray:
    """(H, W, C) uint16; the alpha of grey images is left out.

    The stream is checked here, because the decoder ends the process when it meets a damaged one.

    Raises:
        DataError: damaged; too large.
    """
    import torch
    from torchvision.io import decode_image

    whole = _checked(path)
    decoded = decode_image(torch.frombuffer(bytearray(whole), dtype=torch.uint8), mode="UNCHANGED")
    array: np.ndarray = decoded.permute(1, 2, 0).numpy()
    return array[..., :1] if array.shape[-1] == 2 else array


def _checked(path: Path) -> bytes:
    """The file with its header and pixels alone, once they are known to be whole.

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
    refuse_size(width * height * pixel, path, holds=1032 * len(packed))
    rows = _row_lengths(width, height, pixel, interlaced=bool(interlace))
    _refuse_rows(packed, rows, path)
    kept = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return MARK + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in kept
    )


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


def _row_lengths(width: int, height: int, pixel: int, *, interlaced: bool) -> np.ndarray:
    """Bytes of every row in the stream, its filter's included."""
    if not interlaced:
        return np.full(height, 1 + width * pixel, dtype=np.int64)
    lengths = []
    for column, row, across, down in PASSES:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            lengths.append(np.full(rows, 1 + columns * pixel, dtype=np.int64))
    return np.concatenate(lengths)


def _refuse_rows(packed: bytes, rows: np.ndarray, path: Path) -> None:
    total = int(rows.sum())
    try:
        unpacked = zlib.decompressobj().decompress(packed, total + 1)
    except zlib.error as error:
        raise _damaged(path, "its pixels cannot be unpacked") from error
    if len(unpacked) != total:
        raise _damaged(path, "it has too many or too few pixels")
    starts = np.cumsum(rows) - rows
    if int(np.frombuffer(unpacked, dtype=np.uint8)[starts].max()) >= FILTERS:
        raise _damaged(path, "a row has no filter")


def _damaged(path: Path, how: str) -> DataError:
    return DataError(
        "A PNG image",
        "a whole file",
        f"{path} is damaged: {how}",
        "Replace it with an intact copy or remove its row.",
    )
