"""Names that stand for several files: channels in several files, header and voxels in two."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgraft.data.manifest import read_manifest
from medgraft.data.pixels import hash_image
from medgraft.data.readers import (
    hash_of_file,
    hash_reference,
    read_geometry,
    read_image,
    read_mask,
    size_and_time,
    warn_of_header,
)
from medgraft.data.readers.nifti import CONFLICT
from medgraft.data.writers import write_mask
from medgraft.errors import DataError

AFFINE = np.diag([-2.0, 1.5, 3.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def volume(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 99, shape or (3, 4, 5)).astype(np.int16)


def pair(path: Path, array: np.ndarray) -> Path:
    image = nibabel.AnalyzeImage(array, None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    nibabel.save(image, path)
    return path


def test_files_in_braces_are_channels_in_their_order(tmp_path: Path) -> None:
    one, two = (save(tmp_path / f"a_{name}.nii.gz", volume(seed)) for seed, name in enumerate(("t1", "t2")))
    picture = read_image(tmp_path / "a_{t2,t1}.nii.gz")
    for channel, file in enumerate((two, one)):
        np.testing.assert_array_equal(picture.array[..., channel], read_image(file).array[..., 0])
    assert picture.spacing == (3.0, 1.5, 2.0)
    part = read_image(f"{tmp_path}/a_{{t2, t1}}.nii.gz#slice:2")
    np.testing.assert_array_equal(part.array, picture.array[2])


def test_a_file_whose_own_name_has_braces_is_itself(tmp_path: Path) -> None:
    file = save(tmp_path / "a_{t1,t2}.nii.gz", volume(0))
    assert read_image(file).array.shape == (5, 4, 3, 1)


def test_sequences_of_other_sizes_or_spacings_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a_t1.nii.gz", volume(0))
    save(tmp_path / "a_t2.nii.gz", volume(0, 3, 4, 6))
    save(tmp_path / "a_t3.nii.gz", volume(0), np.diag([-2.0, 1.5, 3.1, 1.0]))
    with pytest.raises(DataError, match=r"one size .*a_t2\.nii\.gz is \(6, 4, 3\) and the first \(5, 4, 3\)"):
        read_image(tmp_path / "a_{t1,t2}.nii.gz")
    with pytest.raises(
        DataError, match=r"a_t3\.nii\.gz has voxels of 3\.1 x 1\.5 x 2 mm and the first of 3 x"
    ):
        read_image(tmp_path / "a_{t1,t3}.nii.gz")
    with pytest.raises(DataError, match=r"a_t4\.nii\.gz does not exist"):
        read_image(tmp_path / "a_{t1,t4}.nii.gz")


def test_every_file_of_a_name_decides_its_hash(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1", "t2")):
        save(tmp_path / f"a_{name}.nii", volume(seed))
    both = tmp_path / "a_{t1,t2}.nii"
    before, pixels, times = hash_reference(both), hash_image(str(both)), size_and_time(both)
    save(tmp_path / "a_t2.nii", volume(7))
    assert hash_reference(both) != before and size_and_time(both) != times and hash_image(str(both)) != pixels
    assert hash_of_file(both) != hash_of_file(tmp_path / "a_{t2,t1}.nii")


def test_a_header_that_contradicts_itself_is_told_of_any_file(tmp_path: Path) -> None:
    save(tmp_path / "a_t1.nii", volume(0))
    image = nibabel.Nifti1Image(volume(1), AFFINE)
    moved = AFFINE.copy()
    moved[2, 3] = 50
    image.header.set_sform(moved, 1)
    image.header.set_qform(AFFINE, 1)
    nibabel.save(nibabel.Nifti1Image(volume(1), None, image.header), tmp_path / "a_t2.nii")
    assert warn_of_header(tmp_path / "a_t1.nii") == []
    assert warn_of_header(tmp_path / "a_{t1,t2}.nii") == [CONFLICT]


def test_a_mask_lies_on_the_first_of_several_files(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1", "t2")):
        save(tmp_path / f"a_{name}.nii.gz", volume(seed))
    labels = (volume(3, 5, 4, 3) > 50).astype(np.uint8)
    written = write_mask(labels, tmp_path / "a_{t1,t2}.nii.gz", tmp_path / "m", classes=("none", "some"))
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels)
    np.testing.assert_allclose(nibabel.load(written).affine, AFFINE)


def test_one_volume_along_the_fourth_axis_is_a_frame(tmp_path: Path) -> None:
    cine = volume(0, 3, 4, 5, 6)
    path = save(tmp_path / "cine.nii.gz", cine)
    alone = save(tmp_path / "alone.nii.gz", cine[..., 4])
    picture, expected = read_image(f"{path}#frame:4"), read_image(alone)
    np.testing.assert_array_equal(picture.array, expected.array)
    assert picture.spacing == expected.spacing
    one, other = read_geometry(f"{path}#frame:4"), read_geometry(alone)
    np.testing.assert_allclose(one.affine, other.affine)
    written = write_mask(
        (picture.array[..., 0] > 50).astype(int), f"{path}#frame:4", tmp_path / "m", classes=("a", "b")
    )
    np.testing.assert_array_equal(nibabel.load(written).get_fdata(), cine[..., 4] > 50)
    with pytest.raises(DataError, match=r"from 0 to 5, but .*cine\.nii\.gz is asked for '6'"):
        read_image(f"{path}#frame:6")


def test_an_analyze_pair_opens_where_its_cell_tells_sides(tmp_path: Path) -> None:
    array = volume(0)
    path = pair(tmp_path / "a.hdr", array)
    picture = read_image(f"{path}#radiological")
    np.testing.assert_array_equal(picture.array[..., 0], array[:, ::-1].transpose(2, 1, 0))  # rows run left
    assert picture.spacing == (3.0, 2.0, 1.0)
    assert warn_of_header(f"{path}#radiological") == []
    with pytest.raises(DataError, match=r"a\.hdr is half of a pair\. .*FILE\.hdr#radiological"):
        read_image(path)


def test_voxels_that_change_are_read_again(tmp_path: Path) -> None:
    path = pair(tmp_path / "a.hdr", volume(0))
    before = read_image(f"{path}#radiological").array
    other = pair(tmp_path / "b.hdr", volume(1))
    hashed = hash_of_file(path)
    shutil.copy(other.with_suffix(".img"), path.with_suffix(".img"))
    after = read_image(f"{path}#radiological").array
    assert not np.array_equal(before, after) and hash_of_file(path) != hashed


def test_a_pair_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = pair(tmp_path / "a.hdr", volume(0))
    voxels = path.with_suffix(".img")
    voxels.write_bytes(voxels.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a\.hdr cannot be read"):
        read_image(f"{path}#radiological")
    voxels.unlink()
    with pytest.raises(DataError, match=r"a\.hdr has no a\.img beside it\. Copy it there"):
        read_image(f"{path}#radiological")


def test_a_mask_of_a_pair_lies_where_the_pair_lies(tmp_path: Path) -> None:
    path = pair(tmp_path / "a.hdr", volume(0))
    labels = (read_image(f"{path}#radiological").array[..., 0] > 50).astype(np.uint8)
    written = write_mask(labels, f"{path}#radiological", tmp_path / "m", classes=("none", "some"))
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels)
    expected = read_geometry(f"{path}#radiological").affine
    np.testing.assert_allclose(read_geometry(written).affine, expected)


def test_manifests_may_name_several_files_and_numbers(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1", "t2")):
        save(tmp_path / f"a_{name}.nii.gz", volume(seed))
    save(tmp_path / "a_seg.nii.gz", np.where(volume(3) > 50, 255, 7).astype(np.uint8))
    (tmp_path / "m.csv").write_text('image,mask\n"a_{t1,t2}.nii.gz","a_seg.nii.gz#labels:7,255"\n')
    cohort = read_manifest(tmp_path / "m.csv")
    assert cohort.classes == ("background", "class 1")
    assert cohort.picture(0).array.shape == (5, 4, 3, 2)
    expected = read_image(save(tmp_path / "b.nii.gz", volume(3))).array > 50
    np.testing.assert_array_equal(cohort.mask(0).array, expected)
