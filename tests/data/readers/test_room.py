"""Files that announce more than they hold: one sentence, at once, without taking the memory."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from tests.data.dicom_files import AXIAL, groups, write_dicom

from medgraft.data.manifest import read_manifest
from medgraft.data.readers import read_image, room
from medgraft.errors import DataError

MEGABYTES = 2**20
GREY = np.arange(120, dtype=np.uint16).reshape(12, 10)


@contextmanager
def refused(sentence: str, *, megabytes: float = 20) -> Iterator[None]:
    """One of our errors, in a second and little memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(DataError, match=sentence) as caught:
            yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < megabytes * MEGABYTES and time.process_time() - start < 2


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": "1000000"},
        {"NumberOfFrames": "2147483647", "Rows": 65535},
        {"BitsAllocated": 64, "SamplesPerPixel": 3},
    ],
)
def test_dicom_of_absurd_sizes(tmp_path: Path, tags: dict[str, object]) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY, **tags)
    with refused(r"a.dcm announces \d+ bytes of pixels and can hold 240"):
        read_image(path)


def test_dicom_of_absurdly_many_frames_with_their_places(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY, NumberOfFrames="9999999", **groups([(0, 0, 1)]))
    with refused("a.dcm announces"):
        read_image(path)


@pytest.mark.parametrize("tags", [{"Rows": 0}, {"NumberOfFrames": "-4"}])
def test_dicom_without_pixels_to_speak_of(tmp_path: Path, tags: dict[str, object]) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY, **tags)
    with refused("frames, rows and columns, but .*a.dcm announces"):
        read_image(path)


def test_compressed_dicom_is_held_against_its_fragments_and_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", GREY))
    dataset.compress(RLELossless)
    dataset.NumberOfFrames = 10**6
    dataset.save_as(tmp_path / "many.dcm")
    with refused(r"many.dcm announces 8000000 bytes of pixels and can hold"):
        read_image(tmp_path / "many.dcm")
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 1, 65535, 65535
    dataset.save_as(tmp_path / "large.dcm")
    monkeypatch.setattr(room, "largest", lambda: 2**32)
    with refused(r"pixels of at most 4 GiB on this machine, but .*large.dcm announces 8 GiB"):
        read_image(tmp_path / "large.dcm")


def test_a_length_beyond_the_file_is_not_allocated(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY)
    data = path.read_bytes()
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 8
    path.write_bytes(data[:at] + struct.pack("<I", 2**31) + data[at + 4 :])
    tracemalloc.start()
    np.testing.assert_array_equal(read_image(path).array[..., 0], GREY)  # what is there is whole
    assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTES
    tracemalloc.stop()


def test_a_deflated_bomb_is_inflated_no_further_than_memory_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", np.zeros((6000, 6000), np.uint16)))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "bomb.dcm")
    assert (tmp_path / "bomb.dcm").stat().st_size < MEGABYTES
    assert read_image(tmp_path / "bomb.dcm").array.shape == (6000, 6000, 1)
    monkeypatch.setattr("medgraft.data.readers.dataset.largest", lambda: 10 * MEGABYTES)
    monkeypatch.setattr(room, "largest", lambda: 10 * MEGABYTES)
    with refused("bomb.dcm announces"):
        read_image(tmp_path / "bomb.dcm")


def test_places_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for index, height in enumerate((0, 3, "nan")):
        write_dicom(
            tmp_path / "s" / f"{index}.dcm", GREY, PixelSpacing=[1, 1], ImageOrientationPatient=list(AXIAL),
            SeriesInstanceUID="1",
        )  # fmt: skip
        dataset = pydicom.dcmread(tmp_path / "s" / f"{index}.dcm")
        dataset.add_new("ImagePositionPatient", "DS", ["0", "0", str(height)])
        dataset.save_as(tmp_path / "s" / f"{index}.dcm")
    with pytest.raises(DataError):
        read_image(tmp_path / "s")


@pytest.mark.parametrize("shape", ["(1048576, 1048576)", "(99999999999, 4)"])
def test_arrays_of_absurd_shape(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)
    (tmp_path / "a.npy").write_bytes(npy)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy)
    for name in ("a.npy", "a.npz", "a.npz#x"):
        with refused(f"{name.split('#')[0]} announces"):
            read_image(f"{tmp_path}/{name}")


def nifti_of_shape(shape: tuple[int, ...]) -> bytes:
    data = bytearray(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float64), np.eye(4)).to_bytes())
    data[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(data)


def test_volumes_of_absurd_shape(tmp_path: Path) -> None:
    data = nifti_of_shape((32767, 32767, 32767))
    (tmp_path / "a.nii").write_bytes(data)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data))
    for name in ("a.nii", "a.nii.gz"):
        with refused(f"{name} announces {8 * 32767**3} bytes of pixels"):
            read_image(tmp_path / name)


def test_a_truncated_volume_says_so(tmp_path: Path) -> None:
    whole = nibabel.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)), np.eye(4)).to_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:30000])
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole)[:30000])
    for name in ("a.nii", "a.nii.gz"):
        with refused(rf"{name} .*truncated"):
            read_image(tmp_path / name)


def test_pictures_of_absurd_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)
    zeros = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + zeros + chunk(b"IEND", b"")
    )
    with refused(r"a.png cannot be read \(DecompressionBombError"):
        read_image(tmp_path / "a.png")
    Image.fromarray(np.zeros((900, 900), np.uint8)).save(tmp_path / "b.png")
    monkeypatch.setattr(room, "largest", lambda: MEGABYTES)
    with refused("b.png announces"):
        read_image(tmp_path / "b.png")


def test_a_chunk_behind_the_pixels_of_a_png_is_not_allocated(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-12] + struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(40))
    with refused("a.png cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_tiffs_of_absurd_size(
    tmp_path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "largest", lambda: 2**30)
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((32, 32), np.uint8), **options)  # type: ignore[arg-type]
    out.seek(0)
    with tifffile.TiffFile(out) as file:
        tags = [file.pages.first.tags[name] for name in ("ImageWidth", "ImageLength")]
        places = [(tag.valueoffset, tag.dtype) for tag in tags]
    data = bytearray(out.getvalue())
    for offset, dtype in places:
        size = 2 if dtype == 3 else 4
        data[offset : offset + size] = (60000 if size == 2 else 2**30).to_bytes(size, "little")
    (tmp_path / "a.tif").write_bytes(bytes(data))
    with refused("a.tif (announces|cannot be read)"):
        read_image(tmp_path / "a.tif")


WITHOUT_HEIGHT = (
    "c-r&y)MDUZU|`^7U|?inU<9&67#KJhA?yYTAfK6$87vOMY*01`@B!ICwG69(SP-iB0}zWMsTTu^a{}oGAQp$J@c?2eMpiKU91u%`"
    "*^CU=fNTvUy@rfT3_L*k9@M^SrQ(dlf>b3dg=ixa9R(wU*jlhS%sm2NHYbSB1T&)~J1s3OGbdHAppt>Q000kt5z7"
)
"""A TIFF file, deflated, without height and with nine numbers for the rows of a strip; found by fuzzing."""


def test_a_tiff_with_a_list_for_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(zlib.decompress(base64.b85decode(WITHOUT_HEIGHT)))
    with refused(r"whole numbers as sizes, but .*a\.tif has others"):
        read_image(tmp_path / "a.tif")


def test_a_minc_file_of_absurd_size(tmp_path: Path) -> None:
    data = (Path(nibabel.__file__).parent / "tests" / "data" / "tiny.mnc").read_bytes()
    at = data.index(b"zspace\0\0") + 8
    (tmp_path / "a.mnc").write_bytes(data[:at] + struct.pack(">I", 2**26) + data[at + 4 :])
    with refused(r"a\.mnc cannot be read"):
        read_image(tmp_path / "a.mnc")


def test_a_message_is_one_line_of_letters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("im\x07age\u2028,label\nx.png,a\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "t.csv")
    assert str(caught.value).isprintable()


def test_a_sidecar_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\nx.png,a\n")
    (tmp_path / "t.toml").write_bytes(b'name = "\xf7"\n')
    with pytest.raises(DataError, match=r"t.toml needs valid TOML"):
        read_manifest(tmp_path / "t.csv")


def test_a_container_counts_as_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    monkeypatch.setattr(room, "CGROUP", tmp_path / "memory.max")
    room.largest.cache_clear()
    assert room.largest() == 500
    (tmp_path / "memory.max").write_text("max\n")
    room.largest.cache_clear()
    assert room.largest() > 2**28
    room.largest.cache_clear()
