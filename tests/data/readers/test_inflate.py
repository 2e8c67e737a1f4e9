from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgraft.data.readers import read_image
from medgraft.data.readers.inflate import inflate
from medgraft.data.readers.nifti import _voxels
from medgraft.errors import DataError


@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_was_packed_comes_back(tmp_path: Path, level: int) -> None:
    contents = np.random.default_rng(0).integers(0, 9, 300_000, dtype=np.uint8).tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(contents, level))
    assert inflate(tmp_path / "a.gz", 10**9) == contents
    assert inflate(tmp_path / "a.gz", 1234) == contents[:1234]


def test_several_members_and_trailing_zeros_are_one_file(tmp_path: Path) -> None:
    parts = [bytes([number]) * 70_000 for number in range(3)]
    (tmp_path / "a.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(512))
    assert inflate(tmp_path / "a.gz", 10**9) == b"".join(parts)
    assert inflate(tmp_path / "a.gz", 100_000) == b"".join(parts)[:100_000]


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(range(256)) * 100)[:-30])
    with pytest.raises(DataError, match="ends in the middle"):
        inflate(tmp_path / "a.gz", 10**9)


def test_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"abc" * 1000))
    packed[-6] ^= 1
    (tmp_path / "a.gz").write_bytes(packed)
    with pytest.raises(Exception, match="checksum"):
        inflate(tmp_path / "a.gz", 10**9)


def test_a_volume_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    voxels = np.random.default_rng(2).integers(0, 99, (40, 40, 40), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    packed = bytearray(path.read_bytes())
    packed[-6] ^= 1
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"cannot be read \(.*checksum"):
        read_image(path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", ">i2", "f8"])
@pytest.mark.parametrize("scaled", [False, True])
def test_voxels_equal_those_of_nibabel(tmp_path: Path, dtype: str, scaled: bool) -> None:
    voxels = np.random.default_rng(1).integers(0, 200, (5, 6, 7)).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    image = nibabel.Nifti1Image(voxels, np.eye(4), header)
    path = tmp_path / "a.nii.gz"
    nibabel.save(image, path)
    if scaled:
        contents = bytearray(gzip.decompress(path.read_bytes()))
        contents[112:120] = np.array([0.3, -7], header.endianness + "f4").tobytes()  # scl_slope, scl_inter
        path.write_bytes(gzip.compress(contents))
    opened = nibabel.load(path)
    wanted, found = np.asarray(opened.dataobj), _voxels(opened, path)
    assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
    assert (found.dtype.kind == "f") == (scaled or dtype[0] == "f")
