"""The two affines of a NIfTI file: used where they agree, told where they do not."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgraft.data.readers import read_geometry, read_image, warn_of_header
from medgraft.data.readers.nifti import CONFLICT
from medgraft.errors import DataError

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def write_nifti(path: Path, qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int] = (1, 1)) -> Path:
    image = nibabel.Nifti1Image(ARRAY, None)
    image.header.set_sform(sform, codes[1])
    image.header.set_qform(qform, codes[0])  # sets the voxel size too
    nibabel.save(nibabel.Nifti1Image(ARRAY, None, image.header), path)
    return path


def moved(*by: float) -> np.ndarray:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = by
    return affine


def test_affines_that_agree_are_silent(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", moved(1, 2, 3), moved(1, 2, 3.4))
    assert warn_of_header(path) == []
    assert read_image(path).spacing == (3.0, 2.0, 2.0)


def test_axes_that_run_both_ways_are_refused_with_both(tmp_path: Path) -> None:
    flipped = moved(4, 0, 0) @ np.diag([-1.0, 1, 1, 1])
    path = write_nifti(tmp_path / "v.nii", flipped, moved(0, 0, 0))
    with pytest.raises(
        DataError, match=r"one orientation, but .*v.nii runs LAS by its qform and RAS by its sform"
    ):
        read_image(path)
    for codes in ((0, 1), (1, 0)):
        one = write_nifti(tmp_path / f"one{codes[0]}.nii", flipped, moved(0, 0, 0), codes)
        expected = ARRAY[::-1] if codes == (0, 1) else ARRAY  # towards the left
        np.testing.assert_array_equal(read_image(one).array[..., 0], expected[:, ::-1].transpose(2, 1, 0))
        assert warn_of_header(one) == []


def test_a_slight_turn_between_the_affines_is_no_contradiction(tmp_path: Path) -> None:
    angle = np.deg2rad(46)  # the nearest axis changes, the direction hardly does
    less = np.deg2rad(44)
    turns = []
    for each in (angle, less):
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(each), -np.sin(each)], [np.sin(each), np.cos(each)]]
        turns.append(turn)
    path = write_nifti(tmp_path / "v.nii", turns[0], turns[1])
    assert nibabel.aff2axcodes(turns[0]) != nibabel.aff2axcodes(turns[1])
    assert read_image(path).array.size == ARRAY.size


@pytest.mark.parametrize(
    ("sform", "codes", "is_told"),
    [
        (moved(0, 0, 1.4), (1, 1), True),  # half a voxel of 2 mm is 1 mm
        (moved(0, 0, 0.9), (1, 1), False),
        (moved(0, 0, 50), (1, 4), False),  # a template's space is another place by right
        (moved(0, 0, 0) @ np.diag([1.1, 1, 1, 1]), (1, 4), True),  # the size of a voxel is not
    ],
)
def test_places_and_sizes_that_differ_are_told(
    tmp_path: Path, sform: np.ndarray, codes: tuple[int, int], is_told: bool
) -> None:
    path = write_nifti(tmp_path / "v.nii.gz", moved(0, 0, 0), sform, codes)
    assert warn_of_header(f"{path}#slice:1") == ([CONFLICT] if is_told else [])
    assert read_image(path).array.shape == (5, 4, 3, 1)


def test_surfaces_and_matrices_are_no_volumes(tmp_path: Path) -> None:
    source = Path(nibabel.__file__).parent / "tests" / "data" / "row_major.dconn.nii"
    with pytest.raises(DataError, match=r"voxels of a volume, but .*row_major.dconn.nii is a Cifti2 file"):
        read_image(source)


def test_the_fourth_axis_becomes_channels_where_asked_for(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 1.5, 3.0, 1.0])), tmp_path / "v.nii.gz")
    picture = read_image(f"{tmp_path}/v.nii.gz#channels")
    assert picture.array.shape == (5, 4, 3, 2) and picture.spacing == (3.0, 1.5, 2.0)
    for x, y, z in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        assert picture.array[z, 3 - y, 2 - x].tolist() == array[x, y, z].tolist()
    with pytest.raises(DataError, match=r"three dimensions, but .*v.nii.gz has 4.*FILE#channels"):
        read_image(tmp_path / "v.nii.gz")


def test_channels_of_a_flipped_file_are_turned_with_it(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-2.0, 1.0, 1.0, 1.0])), tmp_path / "v.nii")
    turned = read_image(f"{tmp_path}/v.nii#channels").array
    np.testing.assert_array_equal(turned, array[:, ::-1].transpose(2, 1, 0, 3))


def test_a_volume_without_a_fourth_axis_has_one_channel(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", moved(0, 0, 0), moved(0, 0, 0))
    np.testing.assert_array_equal(read_image(f"{path}#channels").array, read_image(path).array)


@pytest.mark.parametrize("extension", ["mgh", "mgz"])
def test_freesurfer_volumes_are_turned_like_nifti(tmp_path: Path, extension: str) -> None:
    affine = np.array([[0, -2.0, 0, 7], [0, 0, 3.0, 8], [-5.0, 0, 0, 9], [0, 0, 0, 1]])
    nibabel.save(nibabel.MGHImage(ARRAY.astype(np.float32), affine), tmp_path / f"v.{extension}")
    nibabel.save(nibabel.Nifti1Image(ARRAY.astype(np.float32), affine), tmp_path / "v.nii")
    picture, same = read_image(tmp_path / f"v.{extension}"), read_image(tmp_path / "v.nii")
    np.testing.assert_array_equal(picture.array, same.array)
    assert picture.spacing == pytest.approx(same.spacing)
    one, other = read_geometry(tmp_path / f"v.{extension}"), read_geometry(tmp_path / "v.nii")
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_minc_of_the_first_kind_is_read_and_of_the_second_refused() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    expected = nibabel.as_closest_canonical(nibabel.load(folder / "tiny.mnc")).get_fdata()
    np.testing.assert_allclose(
        read_image(folder / "tiny.mnc").array[..., 0], expected[::-1, ::-1].transpose(2, 1, 0)
    )
    with pytest.raises(DataError, match=r"small.mnc is MINC 2. Convert it to NIfTI with mnc2nii"):
        read_image(folder / "small.mnc")


def test_halves_of_pairs_are_refused_with_a_remedy() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    for name in ("analyze.hdr", "NA.PAR", "scaled+tlrc.BRIK", "example4d+orig.BRIK.gz"):
        with pytest.raises(DataError, match=r"header and voxels in one file, but .* is half of a pair"):
            read_image(folder / name)
