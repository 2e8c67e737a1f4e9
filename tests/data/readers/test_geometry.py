"""Volumes are turned to one set of axes, and masks back to their file's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.dicom_files import AXIAL, groups, write_dicom

from medgraft.data.readers import read_geometry, read_image
from medgraft.data.readers.geometry import Geometry
from medgraft.errors import DataError, ShapeError

RANDOM = np.random.default_rng(5)
SHAPE = (3, 4, 5)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
ALL_48 = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def place(affine: np.ndarray, index: Sequence[float]) -> list[float]:
    return list((affine @ [*index, 1])[:3])


def write_series(folder: Path, volume: np.ndarray, affine: np.ndarray) -> Path:
    """volume: (i, j, k), i counting slices, j rows, k columns; affine to right-anterior-superior."""
    folder.mkdir()
    to_left_back = np.diag([-1.0, -1, 1, 1])
    lying = to_left_back @ affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    for index in RANDOM.permutation(len(volume)):
        write_dicom(
            folder / f"{RANDOM.integers(10**9)}.dcm", volume[index], SeriesInstanceUID="1.2", Modality="MR",
            ImagePositionPatient=place(lying, (index, 0, 0)), PixelSpacing=[float(sizes[1]), float(sizes[2])],
            ImageOrientationPatient=[*(lying[:3, 2] / sizes[2]), *(lying[:3, 1] / sizes[1])],
        )  # fmt: skip
    return folder


def signed_axes(order: Sequence[int], signs: Sequence[int]) -> np.ndarray:
    """Axis i of the file runs along axis order[i] of the patient."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (patient, sign, size) in enumerate(zip(order, signs, (2.0, 0.5, 1.25))):
        affine[patient, axis] = sign * size
    affine[:3, 3] = (11, -7, 3)
    return affine


@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_every_orientation_of_nifti_comes_back(
    tmp_path: Path, order: Sequence[int], signs: Sequence[int]
) -> None:
    stored = RANDOM.integers(0, 99, SHAPE).astype(np.int16)
    affine = signed_axes(order, signs)
    path = tmp_path / "v.nii"
    nibabel.save(nibabel.Nifti1Image(stored, affine), path)
    picture, geometry = read_image(path), read_geometry(path)
    assert geometry.shape == picture.array.shape[:3] and geometry.stored_shape == SHAPE
    assert geometry.spacing == pytest.approx(picture.spacing)
    np.testing.assert_allclose(geometry.stored_affine, affine)
    back = geometry.to_stored(picture.array[..., 0])
    np.testing.assert_array_equal(back, stored)
    # by nibabel: towards the head, the back and the left
    expected = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()[::-1, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(picture.array[..., 0], expected)
    for index in np.ndindex(*SHAPE):  # the same voxel lies at the same place
        turned = np.argwhere(
            geometry.to_array(np.arange(60).reshape(SHAPE)) == np.ravel_multi_index(index, SHAPE)
        )[0]
        assert place(geometry.affine, turned) == pytest.approx(place(affine, index))


@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_a_dicom_series_and_its_nifti_are_the_same_array(
    tmp_path: Path, order: Sequence[int], signs: Sequence[int]
) -> None:
    affine = signed_axes(order, signs)
    stored = RANDOM.integers(0, 4000, SHAPE).astype(np.uint16)
    series = write_series(tmp_path / "s", stored, affine)
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "v.nii")
    by_dicom, by_nifti = read_image(series), read_image(tmp_path / "v.nii")
    np.testing.assert_array_equal(by_dicom.array, by_nifti.array)
    assert by_dicom.spacing == pytest.approx(by_nifti.spacing)
    one, other = read_geometry(series), read_geometry(tmp_path / "v.nii")
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-6)
    slices = one.to_stored(by_dicom.array)  # each has the rows and columns of its file
    for slice, file in zip(slices, one.files):
        np.testing.assert_array_equal(slice, read_image(file).array)


def test_an_axial_series_stays_as_its_files_are(tmp_path: Path) -> None:
    stored = RANDOM.integers(0, 4000, (3, 6, 5)).astype(np.uint16)
    affine = np.array([[0, 0, -0.25, 10], [0, -0.5, 0, 20], [3, 0, 0, 5], [0, 0, 0, 1]])
    series = write_series(tmp_path / "s", stored, affine)
    np.testing.assert_array_equal(read_image(series).array[..., 0], stored)
    geometry = read_geometry(series)
    assert (geometry.axes, geometry.flips, geometry.format) == ((0, 1, 2), (False, False, False), "dicom")
    np.testing.assert_allclose(geometry.affine, affine)


def test_a_tilted_gantry_shifts_slices_sideways_in_the_affine_too(tmp_path: Path) -> None:
    positions = [(0, 0, 0), (0, 1, 3), (0, 2, 6)]
    (tmp_path / "s").mkdir()
    for index, position in enumerate(positions):
        write_dicom(
            tmp_path / "s" / f"{index}.dcm", RANDOM.integers(0, 9, (6, 5)).astype(np.uint8), PixelSpacing=[1, 1],
            ImagePositionPatient=list(position), ImageOrientationPatient=list(AXIAL), SeriesInstanceUID="1",
        )  # fmt: skip
    geometry = read_geometry(tmp_path / "s")
    for index, (x, y, z) in enumerate(positions):
        assert place(geometry.affine, (index, 0, 0)) == pytest.approx([-x, -y, z])
    assert read_image(tmp_path / "s").spacing == (3.0, 1.0, 1.0)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL])
def test_frames_of_a_file_are_turned_like_a_series(tmp_path: Path, orientation: tuple[int, ...]) -> None:
    array = RANDOM.integers(0, 4000, (3, 6, 5)).astype(np.uint16)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [(normal * 2.0 * index).tolist() for index in (2, 0, 1)]
    frames = write_dicom(tmp_path / "e.dcm", array, frames=True, **groups(positions, orientation=orientation))
    (tmp_path / "s").mkdir()
    for index, position in enumerate(positions):
        write_dicom(
            tmp_path / "s" / f"{index}.dcm", array[index], PixelSpacing=[0.5, 0.25], SeriesInstanceUID="1",
            ImagePositionPatient=position, ImageOrientationPatient=list(orientation),
        )  # fmt: skip
    np.testing.assert_array_equal(read_image(frames).array, read_image(tmp_path / "s").array)
    assert read_image(frames).spacing == read_image(tmp_path / "s").spacing
    one, other = read_geometry(frames), read_geometry(tmp_path / "s")
    np.testing.assert_allclose(one.affine, other.affine)
    assert one.frames == (1, 2, 0) and one.files == (frames,)
    np.testing.assert_array_equal(one.to_stored(read_image(frames).array)[..., 0], array[[1, 2, 0]])
    single = read_geometry(f"{frames}#frame:0")
    assert single.shape == (1, 6, 5)
    assert place(single.affine, (0, 0, 0)) == pytest.approx(np.array(positions[0]) * [-1, -1, 1])


def test_a_single_slice_is_not_turned(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 4000, (6, 5)).astype(np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm", array, ImagePositionPatient=[4, 5, 6], ImageOrientationPatient=list(SAGITTAL),
        PixelSpacing=[0.5, 0.25], SliceThickness=3,
    )  # fmt: skip
    geometry = read_geometry(path)
    np.testing.assert_array_equal(read_image(path).array[..., 0], array)
    np.testing.assert_array_equal(geometry.to_stored(array)[0], array)
    assert geometry.shape == (1, 6, 5) and geometry.spacing == (3.0, 0.5, 0.25)
    assert place(geometry.affine, (0, 2, 4)) == pytest.approx([-4, -(5 + 1), 6 - 1])


def test_a_slice_of_a_nifti_file_lies_in_its_volume(tmp_path: Path) -> None:
    affine = signed_axes((1, 2, 0), (1, -1, -1))
    stored = RANDOM.integers(0, 99, SHAPE).astype(np.int16)
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(stored, affine), path)
    whole = read_geometry(path)
    for index in range(whole.shape[0]):
        one = read_geometry(f"{path}#slice:{index}")
        picture = read_image(f"{path}#slice:{index}")
        assert one.shape == (1, *picture.array.shape[:2])
        assert place(one.affine, (0, 1, 2)) == pytest.approx(place(whole.affine, (index, 1, 2)))
        back = one.to_stored(picture.array[..., 0])
        assert back.shape == one.stored_shape
        corner = place(one.stored_affine, (0, 0, 0))
        first = np.rint(np.linalg.solve(affine, [*corner, 1]))[:3].astype(int)
        window = tuple(slice(start, start + size) for start, size in zip(first, back.shape))
        np.testing.assert_array_equal(back, stored[window])
    with pytest.raises(DataError, match="a whole number from 0 to"):
        read_geometry(f"{path}#slice:99")


def test_units_of_a_header_become_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.diag([250.0, 500.0, 1000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "s.nii")
    assert (
        read_geometry(tmp_path / "s.nii").spacing
        == read_image(tmp_path / "s.nii").spacing
        == (1.0, 0.5, 0.25)
    )


def test_masks_of_another_size_and_files_without_a_place_are_told(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "v.nii")
    geometry: Geometry = read_geometry(tmp_path / "v.nii")
    with pytest.raises(
        ShapeError, match=r"the size of its image, \(5, 4, 3\), but it has the shape \(3, 4, 5\)"
    ):
        geometry.to_stored(np.zeros(SHAPE))
    bare = write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    for path in (bare, tmp_path / "a.npy"):
        with pytest.raises(
            DataError, match=f"tells position, direction and pixel size, but .*{path.name} does not"
        ):
            read_geometry(path)


def test_an_affine_without_directions_is_told(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), None)
    image.header.set_sform(np.diag([0.0, 1, 1, 1]), 1)
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), None, image.header), tmp_path / "v.nii")
    with pytest.raises(
        DataError, match=r"three axes with a direction in the patient, but those of .*v\.nii have none"
    ):
        read_image(tmp_path / "v.nii")
