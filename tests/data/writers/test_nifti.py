"""Masks as NIfTI lie on their image, however its axes run."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.dicom_files import write_dicom

from medgraft.data.readers import read_image, read_mask
from medgraft.data.writers import write_mask
from medgraft.errors import ShapeError

CLASSES = ("background", "liver", "spleen")
SHAPE = (3, 4, 5)
ORIENTATIONS = [
    np.array([[axis, sign] for axis, sign in zip(order, signs)], dtype=float)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
"""All 48 ways in which the axes of a file run."""


def affine_of(orientation: np.ndarray, tilt: float = 0.1) -> np.ndarray:
    """An oblique affine whose nearest axes are these."""
    affine = np.zeros((4, 4))
    for axis, (to, sign) in enumerate(orientation):
        affine[int(to), axis] = sign * (1.5, 2.0, 2.5)[axis]
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine[:, 3] = (-7.0, 11.0, 3.0, 1.0)
    return turn @ affine


def codes_of(orientation: np.ndarray) -> str:
    return "".join(nibabel.aff2axcodes(affine_of(orientation)))


def write_image(path: Path, affine: np.ndarray, codes: tuple[int, int] = (1, 1)) -> np.ndarray:
    """An image in which every voxel has a number of its own."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = nibabel.Nifti1Image(array, None)
    image.header.set_qform(affine, codes[0])
    image.header.set_sform(affine, codes[1])
    image.header["descrip"] = b"NAME^OF A PATIENT"
    nibabel.save(nibabel.Nifti1Image(array, None, image.header), path)
    return array


def labels_of(array: np.ndarray) -> np.ndarray:
    """Labels without any symmetry, by the number of a voxel."""
    return (array % 7 % 3).astype(np.int64)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=codes_of)
def test_a_mask_lies_on_its_image_in_all_48_orientations(tmp_path: Path, orientation: np.ndarray) -> None:
    array = write_image(tmp_path / "scan.nii.gz", affine_of(orientation))
    labels = labels_of(read_image(tmp_path / "scan.nii.gz").array[..., 0])
    written = write_mask(labels, tmp_path / "scan.nii.gz", tmp_path / "mask", classes=CLASSES)
    assert written == tmp_path / "mask.nii.gz"
    mask, image = nibabel.load(written), nibabel.load(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(mask.dataobj, labels_of(array))  # voxel by voxel, in the file's own order
    assert mask.get_data_dtype() == np.uint8
    again = read_mask(written)
    np.testing.assert_array_equal(again.array[..., 0], labels)
    assert again.spacing == read_image(tmp_path / "scan.nii.gz").spacing


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=codes_of)
def test_a_slice_lies_where_it_was_cut(tmp_path: Path, orientation: np.ndarray) -> None:
    array = write_image(tmp_path / "scan.nii.gz", affine_of(orientation))
    reference = f"{tmp_path}/scan.nii.gz#slice:1"
    numbers = read_image(reference).array[..., 0]
    written = write_mask(labels_of(numbers), reference, tmp_path / "mask", classes=CLASSES)
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels_of(numbers))
    mask, affine = nibabel.load(written), affine_of(orientation)
    at = np.argwhere(np.asarray(mask.dataobj) == 1)
    world = nibabel.affines.apply_affine(mask.affine, at)
    voxels = np.rint(nibabel.affines.apply_affine(np.linalg.inv(affine), world)).astype(int)
    assert set(array[tuple(voxels.T)]) == set(numbers[labels_of(numbers) == 1])
    np.testing.assert_allclose(mask.get_qform(), mask.get_sform(), atol=1e-5)


@pytest.mark.parametrize("codes", [(1, 0), (0, 4), (1, 4), (0, 0)])
def test_codes_are_those_of_the_image_and_texts_are_not_copied(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    array = write_image(tmp_path / "scan.nii", affine_of(ORIENTATIONS[9]), codes)
    labels = labels_of(read_image(tmp_path / "scan.nii").array[..., 0])
    written = write_mask(labels, tmp_path / "scan.nii", tmp_path / "mask", classes=CLASSES)
    mask, image = nibabel.load(written), nibabel.load(tmp_path / "scan.nii")
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == codes
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(mask.dataobj, labels_of(array))
    assert not mask.header["descrip"].item()


def test_an_image_with_axes_of_one_gets_a_volume(tmp_path: Path) -> None:
    array = np.arange(20, dtype=np.int16).reshape(4, 5, 1, 1)
    nibabel.save(nibabel.Nifti1Image(array, affine_of(ORIENTATIONS[3])), tmp_path / "scan.nii")
    labels = labels_of(read_image(tmp_path / "scan.nii").array[..., 0])
    written = write_mask(labels, tmp_path / "scan.nii", tmp_path / "mask", classes=CLASSES)
    np.testing.assert_array_equal(nibabel.load(written).dataobj, labels_of(array[..., 0]))


def test_the_same_mask_is_the_same_bytes(tmp_path: Path) -> None:
    labels = np.eye(4, dtype=np.int64)[None].repeat(2, 0)
    first = write_mask(labels, None, tmp_path / "a", classes=CLASSES, format="nifti")
    second = write_mask(labels, None, tmp_path / "b", classes=CLASSES, format="nifti")
    assert first.read_bytes() == second.read_bytes()
    np.testing.assert_array_equal(read_mask(first).array[..., 0], labels)


def test_a_volume_that_is_no_file_becomes_nifti_in_the_order_of_its_array(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.zeros((2, 3, 4, 1)))
    labels = np.arange(24).reshape(2, 3, 4) % 3
    written = write_mask(labels, tmp_path / "stack.npy", tmp_path / "mask", classes=CLASSES)
    picture = read_mask(written)
    np.testing.assert_array_equal(picture.array[..., 0], labels)
    assert picture.spacing == (1.0, 1.0, 1.0)


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "scan.nii", np.eye(4))
    with pytest.raises(ShapeError, match=r"size of its image, \(5, 4, 3\), but it has the shape \(3, 4, 5\)"):
        write_mask(np.zeros(SHAPE, int), tmp_path / "scan.nii", tmp_path / "mask", classes=CLASSES)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii"]


def test_a_dicom_series_written_as_nifti_lies_at_its_patient_coordinates(tmp_path: Path) -> None:
    orientation = [0, 1, 0, 0, 0, -1]  # sagittal; the normal runs to the right
    (tmp_path / "s").mkdir()
    for index, x in enumerate((4.0, 0.0, 8.0)):
        write_dicom(
            tmp_path / "s" / f"{index}.dcm",
            np.arange(30, dtype=np.uint16).reshape(6, 5) + 30 * index,
            SeriesInstanceUID="1.2",
            ImagePositionPatient=[x, 1, 2],
            ImageOrientationPatient=orientation,
            PixelSpacing=[0.5, 0.25],
        )
    labels = (read_image(tmp_path / "s").array[..., 0] == 4 * 5 + 3).astype(
        int
    ) * 2  # row 4, column 3 of the first
    written = write_mask(labels, tmp_path / "s", tmp_path / "mask", classes=CLASSES, format="nifti")
    image = nibabel.load(written)
    world = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 2))
    # that file lies at x = 4; column 3 is 3 * 0.25 mm along +y, row 4 is 4 * 0.5 mm along -z; left-back to right-front
    np.testing.assert_allclose(world, [[-4.0, -(1 + 0.75), 2 - 2.0]], atol=1e-6)
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels)


def test_slices_that_shift_sideways_keep_their_place_and_claim_no_qform(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for index in range(3):  # a gantry tilted so that every slice lies 1.2 mm further to the front
        write_dicom(
            tmp_path / "s" / f"{index}.dcm",
            np.zeros((6, 5), np.uint16),
            SeriesInstanceUID="1.2",
            ImagePositionPatient=[1, 2 - 1.2 * index, 3.0 * index],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.5, 0.25],
        )
    labels = np.zeros((3, 6, 5), int)
    labels[2, 4, 3] = 1
    image = nibabel.load(write_mask(labels, tmp_path / "s", tmp_path / "m", classes=CLASSES, format="nifti"))
    world = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 1))
    np.testing.assert_allclose(world, [[-(1 + 3 * 0.25), -(2 - 2.4 + 4 * 0.5), 6.0]], atol=1e-6)
    assert int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 1
