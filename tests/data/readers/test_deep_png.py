"""PNG of 16 bits in colour: every filter, interlacing, and damage of every kind."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from medgraft.data.readers import deep_png, read_image, room
from medgraft.errors import DataError

RANDOM = np.random.default_rng(3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(image: np.ndarray, kinds: list[int]) -> bytes:
    """One byte after the other, as the specification words it; image: (H, W, B) bytes."""
    height, width, size = image.shape
    lines = np.zeros((height + 1, (width + 1) * size), dtype=np.int64)
    lines[1:, size:] = image.reshape(height, -1)
    out = bytearray()
    for y in range(1, height + 1):
        kind = kinds[(y - 1) % len(kinds)]
        out.append(kind)
        for x in range(size, lines.shape[1]):
            a, b, c = (int(lines[y, x - size]), int(lines[y - 1, x]), int(lines[y - 1, x - size]))
            p = a + b - c
            nearest = min((a, b, c), key=lambda value: abs(p - value))  # ties: left, above, corner
            out.append((int(lines[y, x]) - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
    return bytes(out)


def write_png(path: Path, array: np.ndarray, kinds: list[int], colour: int, interlace: int = 0) -> Path:
    height, width = array.shape[:2]
    image = np.ascontiguousarray(array.astype(">u2")).view(np.uint8).reshape(height, width, -1)
    passes = deep_png.PASSES if interlace else ((0, 0, 1, 1),)
    parts = [image[y::down, x::across] for x, y, across, down in passes]
    stream = b"".join(filtered(part, kinds) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(stream)), (b"IEND", b"")]
    path.write_bytes(deep_png.MARK + b"".join(chunk(*each) for each in chunks))
    return path


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [4, 3, 1, 2, 0]])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_every_filter_is_undone(tmp_path: Path, kinds: list[int], colour: int, channels: int) -> None:
    array = RANDOM.integers(0, 2**16, (7, 5, channels)).astype(np.uint16)
    array[..., -1] //= 2  # an alpha that is not opaque stays
    read = read_image(write_png(tmp_path / "a.png", array, kinds, colour)).array
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, array[..., :1] if channels == 2 else array)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 8), (5, 17)])
def test_interlaced_files_are_put_together(tmp_path: Path, shape: tuple[int, int]) -> None:
    array = RANDOM.integers(0, 2**16, (*shape, 3)).astype(np.uint16)
    path = write_png(tmp_path / "a.png", array, [4, 1, 3], 2, interlace=1)
    np.testing.assert_array_equal(read_image(path).array, array)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_another_reader_sees_the_same(tmp_path: Path) -> None:
    decode_image = getattr(pytest.importorskip("torchvision.io"), "decode_image", None)
    if decode_image is None:
        pytest.skip("torchvision no longer reads images")
    array = RANDOM.integers(0, 2**16, (40, 30, 3)).astype(np.uint16)
    path = write_png(tmp_path / "a.png", array, [4, 3], 2)
    other = decode_image(str(path), mode="UNCHANGED").permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(read_image(path).array, other)


def damaged(path: Path, **changes: bytes) -> Path:
    """A file with other chunks, their checksums right."""
    header = changes.get("header", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    body = changes.get("body", zlib.compress(bytes(26)))
    path.write_bytes(deep_png.MARK + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"body": zlib.compress(bytes([9]) + bytes(25))}, "a row has no filter"),
        ({"body": zlib.compress(bytes(25))}, "too many or too few pixels"),
        ({"body": zlib.compress(bytes(27))}, "too many or too few pixels"),
        ({"body": bytes(40)}, "its pixels cannot be unpacked"),
        ({"header": struct.pack(">IIBBBBB", 0, 2, 16, 2, 0, 0, 0)}, "its header is nonsense"),
        ({"header": struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 7)}, "its header is nonsense"),
        (
            {"header": struct.pack(">IIBBBBB", 2**31, 2**31, 16, 2, 0, 0, 0)},
            "announces 27670116110564327424 bytes",
        ),
    ],
)
def test_damage_is_told(tmp_path: Path, changes: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_image(damaged(tmp_path / "a.png", **changes))


def test_truncated_files_and_wrong_checksums_are_told(tmp_path: Path) -> None:
    whole = damaged(tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-12])
    with pytest.raises(DataError, match=r"b.png is damaged: it is truncated"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(whole[:35] + b"\1" + whole[36:])
    with pytest.raises(DataError, match=r"c.png is damaged: a checksum is wrong"):
        read_image(tmp_path / "c.png")


def test_an_image_beyond_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "largest", lambda: 10)
    with pytest.raises(DataError, match=r"a.png announces 2.24e-08 GiB"):
        read_image(damaged(tmp_path / "a.png"))
