"""DICOM segmentations, written by highdicom, as masks of their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, RTStructureSetStorage, generate_uid
from tests.data.dicom_files import AXIAL, item, write_dicom

from medgraft.data.manifest import read_manifest
from medgraft.data.readers import read_image, read_mask
from medgraft.data.writers import write_mask
from medgraft.errors import DataError

RANDOM = np.random.default_rng(9)
SAGITTAL = (0, 1, 0, 0, 0, -1)
HEIGHTS = (8, 0, 4, 12)
"""Of files in the order of their names."""


def write_series(
    folder: Path, orientation: tuple[int, ...] = AXIAL, frame: str = "1.2.9", **tags: object
) -> list[Any]:
    """Four slices of 6 x 5 pixels; the datasets in the order of their places."""
    normal = np.cross(orientation[:3], orientation[3:])
    folder.mkdir(parents=True)
    for index, height in enumerate(HEIGHTS):
        write_dicom(
            folder / f"{index}.dcm", RANDOM.integers(0, 99, (6, 5)).astype(np.uint16),
            SOPClassUID=CTImageStorage, SOPInstanceUID=generate_uid(), StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.4",
            FrameOfReferenceUID=frame, Modality="CT", PixelSpacing=[0.5, 0.25], SliceThickness=4, PatientID="x",
            ImagePositionPatient=(normal * height + [1, 2, 3]).tolist(), ImageOrientationPatient=list(orientation),
            **tags,
        )  # fmt: skip
    datasets = [pydicom.dcmread(folder / f"{index}.dcm") for index in np.argsort(HEIGHTS)]
    for dataset in datasets:
        dataset.PatientName = dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
        dataset.StudyDate = dataset.StudyTime = dataset.StudyID = ""
    return datasets


def write_segmentation(
    path: Path, images: list[Any], pixels: np.ndarray, kind: str = "BINARY", count: int = 2, **settings: Any
) -> Path:
    """pixels: (slices, rows, columns) of numbers, or with a last axis of segments."""
    described = [
        SegmentDescription(
            number, f"s{number}", codes.SCT.Tissue, codes.SCT.Tissue, SegmentAlgorithmTypeValues.MANUAL
        )
        for number in range(1, count + 1)
    ]
    Segmentation(
        images, pixels, kind, described, generate_uid(), 2, generate_uid(), 1, "m", "m", "1", "1", **settings
    ).save_as(path)
    return path


def labels(shape: tuple[int, ...] = (4, 6, 5), highest: int = 2) -> np.ndarray:
    """The second slice is empty: its frames are left out of the file."""
    found = RANDOM.integers(0, highest + 1, shape).astype(np.uint8)
    found[1] = 0
    found[0, 0, 0] = found[3, 5, 4] = highest
    return found


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL])
def test_segments_become_labels_on_the_voxels_of_their_image(
    tmp_path: Path, kind: str, orientation: tuple[int, ...]
) -> None:
    images = write_series(tmp_path / "s", orientation)
    stored = labels()
    path = write_segmentation(tmp_path / "seg.dcm", images, stored, kind, omit_empty_frames=True)
    picture, mask = read_image(tmp_path / "s"), read_mask(path, tmp_path / "s")
    assert mask.array.shape == picture.array.shape and mask.array.dtype == np.uint8
    assert mask.spacing == pytest.approx(picture.spacing)
    # by the numbers of the image's own voxels, wherever they were turned to
    for slice, image in zip(stored, images):
        for number in (1, 2):
            inside = picture.array[..., 0][mask.array[..., 0] == number]
            assert set(image.pixel_array[slice == number]) <= set(inside.tolist())
    expected = stored if orientation == AXIAL else stored[::-1, ::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(mask.array[..., 0], expected)
    np.testing.assert_array_equal(read_mask(path).array, mask.array)  # its own frames reach as far


def test_an_image_as_nifti_or_a_part_of_it_has_its_part_of_the_mask(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    stored = labels()
    path = write_segmentation(tmp_path / "seg.dcm", images, stored)
    affine = np.array([[-0.25, 0, 0, -1], [0, -0.5, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 4)), affine), tmp_path / "v.nii")
    np.testing.assert_array_equal(read_mask(path, tmp_path / "v.nii").array[..., 0], stored)
    np.testing.assert_array_equal(read_mask(path, f"{tmp_path}/v.nii#slice:2").array[..., 0], stored[2])
    one = tmp_path / "s" / "0.dcm"  # the third by place
    np.testing.assert_array_equal(read_mask(path, one).array[..., 0], stored[2])


def test_frames_at_the_ends_that_were_left_out_are_background_of_the_image(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    stored = labels()
    stored[[0, 3]] = 0
    path = write_segmentation(tmp_path / "seg.dcm", images, stored, omit_empty_frames=True)
    np.testing.assert_array_equal(read_mask(path, tmp_path / "s").array[..., 0], stored)
    np.testing.assert_array_equal(
        read_mask(path).array[..., 0], stored[2]
    )  # alone, only what the frames reach over


def test_more_than_half_of_a_voxel_belongs_to_its_segment(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    parts = RANDOM.choice([0, 0.25, 0.5, 0.75, 1.0], (4, 6, 5, 1))
    path = write_segmentation(
        tmp_path / "seg.dcm", images, parts, "FRACTIONAL", 1, fractional_type="PROBABILITY", max_fractional_value=200
    )  # fmt: skip
    np.testing.assert_array_equal(read_mask(path, tmp_path / "s").array, (parts > 0.5).astype(np.uint8))


def test_segments_that_overlap_are_refused(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    both = np.zeros((4, 6, 5, 2), np.uint8)
    both[1, 2, 3] = 1
    path = write_segmentation(tmp_path / "seg.dcm", images, both)
    with pytest.raises(
        DataError, match=r"one segment for every voxel, but in .*seg.dcm segments 1 and 2 overlap"
    ):
        read_mask(path, tmp_path / "s")


def test_a_segmentation_of_another_image_is_refused(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    path = write_segmentation(tmp_path / "seg.dcm", images, np.ones((4, 6, 5), np.uint8), count=1)
    write_series(tmp_path / "elsewhere", frame="1.2.8")
    with pytest.raises(DataError, match=r"the frame of reference of its image, but .*seg.dcm has another"):
        read_mask(path, tmp_path / "elsewhere")
    for name, shape, sizes, origin, sentence in (
        ("shifted", (5, 6, 4), (-0.25, -0.5, 4), (-1.12, -2, 3), "lie between them or are of another size"),
        ("coarse", (5, 6, 4), (-0.5, -0.5, 4), (-1, -2, 3), "lie between them or are of another size"),
        ("small", (5, 6, 3), (-0.25, -0.5, 4), (-1, -2, 3), "30 labelled pixels of .*seg.dcm lie outside"),
    ):
        affine = np.diag([*sizes, 1.0])
        affine[:3, 3] = origin
        nibabel.save(nibabel.Nifti1Image(np.zeros(shape), affine), tmp_path / f"{name}.nii")
        with pytest.raises(DataError, match=sentence):
            read_mask(path, tmp_path / f"{name}.nii")


def test_numbers_above_255_are_kept_and_odd_sizes_unpacked(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")  # 30 bits a frame: frames begin within bytes
    stored = labels()
    path = write_segmentation(tmp_path / "seg.dcm", images, stored, omit_empty_frames=False)
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        group = frame.SegmentIdentificationSequence[0]
        group.ReferencedSegmentNumber = {1: 7, 2: 300}[group.ReferencedSegmentNumber]
    dataset.save_as(path)
    mask = read_mask(path, tmp_path / "s").array
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask[..., 0], np.array([0, 7, 300])[stored])
    by_highdicom = highdicom.seg.segread(path).pixel_array
    assert int((mask > 0).sum()) == int(by_highdicom.sum())


def test_a_folder_with_a_segmentation_alone_is_one(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    stored = labels()
    (tmp_path / "seg").mkdir()
    write_segmentation(tmp_path / "seg" / "1", images, stored)  # without extension, known by its mark
    np.testing.assert_array_equal(read_mask(tmp_path / "seg", tmp_path / "s").array[..., 0], stored)


def test_a_segmentation_beside_its_series_is_no_image(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    stored, alone = labels(), read_image(tmp_path / "s")
    path = write_segmentation(tmp_path / "s" / "seg.dcm", images, stored)
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, alone.array)
    np.testing.assert_array_equal(read_mask(path, tmp_path / "s").array[..., 0], stored)


def test_a_row_of_a_manifest_puts_the_segmentation_on_its_image(tmp_path: Path) -> None:
    images = write_series(tmp_path / "s")
    stored = labels()
    stored[0] = 0
    write_segmentation(tmp_path / "seg.dcm", images, stored, omit_empty_frames=True)
    pd.DataFrame({"image": ["s"], "mask": ["seg.dcm"]}).to_csv(tmp_path / "t.csv", index=False)
    cohort = read_manifest(tmp_path / "t.csv")
    assert cohort.classes == ("background", "class 1", "class 2")
    np.testing.assert_array_equal(cohort.mask(0).array[..., 0], stored)


def test_segments_of_a_picture_without_a_place_are_its_pixels(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8), np.uint8)
    frames[0, 1:3], frames[1, 5:] = 255, 255
    group = "SegmentIdentificationSequence"
    tags = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "SegmentationType": "FRACTIONAL", "MaximumFractionalValue": 255,
        "PerFrameFunctionalGroupsSequence": [item(**{group: [item(ReferencedSegmentNumber=each)]}) for each in (1, 2)],
    }  # fmt: skip
    path = write_dicom(tmp_path / "seg.dcm", frames, frames=True, **tags)
    image = write_dicom(tmp_path / "a.dcm", frames[0])
    mask = read_mask(path, image)
    np.testing.assert_array_equal(mask.array[..., 0], (frames[0] > 0) + 2 * (frames[1] > 0))
    tags["PerFrameFunctionalGroupsSequence"][1][group][0].ReferencedSegmentNumber = 1  # type: ignore[index]
    twice = write_dicom(tmp_path / "twice.dcm", frames, frames=True, **tags)
    with pytest.raises(
        DataError, match=r"frames that tell where they lie, but .*twice.dcm has 2 without a place"
    ):
        read_mask(twice, image)


def test_contours_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "rt.dcm", np.zeros((4, 4), np.uint8), SOPClassUID=RTStructureSetStorage)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"pixels or voxels, but .*rt.dcm holds contours \(RTSTRUCT\)"):
            read(path)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, (1, 0, 0, 0, 0, -1), (1, 0, 0, 0, 0.6, 0.8)])
def test_what_is_predicted_and_written_is_read_back_as_it_was(
    tmp_path: Path, orientation: tuple[int, ...]
) -> None:
    write_series(tmp_path / "s", orientation)
    predicted = RANDOM.integers(0, 3, read_image(tmp_path / "s").array.shape[:3])
    predicted[:2] = 0
    for kind in ("dicom_seg", "nifti"):
        path = write_mask(
            predicted, tmp_path / "s", tmp_path / "mask", classes=("background", "a", "b"), format=kind
        )
        np.testing.assert_array_equal(read_mask(path, tmp_path / "s").array[..., 0], predicted)
