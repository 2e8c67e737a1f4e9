"""DICOM segmentations, read back by highdicom and compared place by place."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from tests.data.dicom_files import AXIAL, groups, item, write_dicom

from medgraft.data.readers import read_image, read_mask
from medgraft.data.writers import write_mask
from medgraft.errors import DataError, SettingsError, ShapeError

CLASSES = ("background", "Läsion", "spleen \\ 脾")
SAGITTAL = (0, 1, 0, 0, 0, -1)
STUDY, SERIES, FRAME = "1.2.3.4", "1.2.3.4.5", "1.2.3.4.9"
PATIENT = {
    "PatientName": "Möller^Jürgen",
    "PatientID": "P-123",
    "PatientSex": "M",
    "PatientBirthDate": "19500102",
}


def write_image(path: Path, array: np.ndarray, *, kind: str = CTImageStorage, **tags: object) -> str:
    """A DICOM image that belongs to a patient, a study and a series; returns its instance."""
    uid = generate_uid()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(
        path, array,
        **{
            "SpecificCharacterSet": "ISO_IR 100", **PATIENT, "SOPClassUID": kind, "SOPInstanceUID": uid,
            "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "FrameOfReferenceUID": FRAME, "Modality": "CT",
            "AccessionNumber": "A-77", "StudyDate": "20200101", **tags,
        },
    )  # fmt: skip
    return uid


def numbered(count: int) -> np.ndarray:
    """(count, 6, 5) every pixel with a number of its own."""
    return np.arange(count * 30, dtype=np.uint16).reshape(count, 6, 5)


def label_of(numbers: np.ndarray) -> np.ndarray:
    """Labels without symmetry; the second stored slice has none of them."""
    found: np.ndarray = np.where(numbers // 30 == 1, 0, numbers % 7 % 3).astype(np.int64)
    return found


def labels_of(reference: str | Path) -> np.ndarray:
    """What a perfect model predicts: labels turned as the reader turns the image."""
    picture = read_image(reference)
    return label_of(picture.array[..., 0].astype(int))


def write_series(folder: Path, positions: Any, orientation: Any, **tags: object) -> list[str]:
    """One file per position, in an order of names that is not that of places."""
    tags = {"PixelSpacing": [0.5, 0.25], "SliceThickness": "5", "SpacingBetweenSlices": "99", **tags}
    return [
        write_image(
            folder / f"{index}.dcm",
            numbered(len(positions))[index],
            ImagePositionPatient=list(position),
            ImageOrientationPatient=list(orientation),
            **tags,
        )
        for index, position in enumerate(positions)
    ]


def world_of(position: Any, orientation: Any, row: float, column: float) -> tuple[float, ...]:
    """Place of a pixel by the equation of PS3.3, C.7.6.2.1.1, with the spacings of these tests."""
    along_row, along_column = np.reshape(np.asarray(orientation, float), (2, 3))
    place = np.asarray(position, float) + along_row * 0.25 * column + along_column * 0.5 * row
    return tuple(np.round(place, 5))


def expected_places(
    numbers: np.ndarray, positions: Any, orientation: Any
) -> dict[int, set[tuple[float, ...]]]:
    """Where each label lies, file by file and pixel by pixel."""
    labels = label_of(numbers.astype(int))
    return {
        number: {
            world_of(positions[d], orientation, row, column)
            for d, row, column in np.argwhere(labels == number)
        }
        for number in (1, 2)
    }


def places_by_highdicom(file: Path) -> dict[int, set[tuple[float, ...]]]:
    """World coordinates of every segment's voxels, by highdicom's own frames and affines."""
    segmentation = highdicom.seg.segread(file)
    found: dict[int, set[tuple[float, ...]]] = {1: set(), 2: set()}
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for frame, own in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence):
        to_world = highdicom.spatial.PixelToReferenceTransformer(
            own.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        at = np.argwhere(frame)[:, ::-1]
        if len(at):
            number = int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            found[number] |= {tuple(place) for place in np.round(to_world(at), 5)}
    return found


@pytest.mark.parametrize(
    ("positions", "orientation"),
    [
        ([(1, 2, 14.0), (1, 2, 0.0), (1, 2, 7.0)], AXIAL),
        ([(8.0, 9, 9), (0.0, 9, 9), (4.0, 9, 9)], SAGITTAL),
        ([(0, 3.0, 9), (0, 5.0, 9), (0, 1.0, 9)], (1, 0, 0, 0, 0, -1)),  # coronal
        ([(0, 0, 0), (0, -1.2, 3), (0, -2.4, 6)], AXIAL),  # a tilted gantry shifts the slices
        ([(0, 0, 0), (0, -1.92, 1.44), (0, -0.96, 0.72)], (1, 0, 0, 0, 0.6, 0.8)),  # oblique
    ],
)
def test_segments_lie_on_the_slices_of_the_series(tmp_path: Path, positions: Any, orientation: Any) -> None:
    uids = write_series(tmp_path / "s", positions, orientation)
    written = write_mask(labels_of(tmp_path / "s"), tmp_path / "s", tmp_path / "mask", classes=CLASSES)
    assert written == tmp_path / "mask.dcm"
    assert places_by_highdicom(written) == expected_places(numbered(3), positions, orientation)
    np.testing.assert_array_equal(read_mask(written, tmp_path / "s").array[..., 0], labels_of(tmp_path / "s"))
    segmentation = highdicom.seg.segread(written)
    assert segmentation.FrameOfReferenceUID == FRAME and segmentation.StudyInstanceUID == STUDY
    assert {uid for *_, uid in segmentation.get_source_image_uids()} == set(uids)
    by_source = segmentation.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(by_source, label_of(numbered(3).astype(int)))
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    normal = np.cross(orientation[:3], orientation[3:])
    step = np.diff(np.sort(np.asarray(positions) @ normal))[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(step)  # not the 99 of the tag
    assert float(measures.SliceThickness) == 5
    assert [float(each) for each in measures.PixelSpacing] == [0.5, 0.25]


def test_a_series_among_several_and_a_zip_are_found(tmp_path: Path) -> None:
    positions = [(0, 0, 0), (0, 0, 4), (0, 0, 8)]
    write_series(tmp_path / "p" / "a", positions[:2], AXIAL, SeriesNumber=1)
    write_series(tmp_path / "p" / "b", positions, AXIAL, SeriesNumber=2, SeriesInstanceUID="1.2.9")
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "p")
    for place in (tmp_path / "p", tmp_path / "zipped.zip"):
        reference = f"{place}#series:1"
        written = write_mask(labels_of(reference), reference, tmp_path / "mask", classes=CLASSES)
        assert places_by_highdicom(written) == expected_places(numbered(3), positions, AXIAL)
        assert pydicom.dcmread(written).ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.9"


def write_enhanced(path: Path, positions: Any, orientation: Any = AXIAL, **tags: object) -> None:
    shared = groups(positions, orientation=orientation)
    write_image(path, numbered(len(positions)), kind=EnhancedCTImageStorage, frames=True, **shared, **tags)


@pytest.mark.parametrize(
    ("positions", "orientation"),
    [([(0, 0, 4.0), (0, 0, 0.0), (0, 0, 2.0)], AXIAL), ([(1.0, 0, 0), (7.0, 0, 0), (4.0, 0, 0)], SAGITTAL)],
)
def test_frames_of_an_enhanced_file_are_referred_to_as_stored(
    tmp_path: Path, positions: Any, orientation: Any
) -> None:
    file = tmp_path / "e.dcm"
    write_enhanced(file, positions, orientation)
    written = write_mask(labels_of(file), file, tmp_path / "mask", classes=CLASSES)
    assert places_by_highdicom(written) == expected_places(numbered(3), positions, orientation)
    by_frame = highdicom.seg.segread(written).get_pixels_by_source_frame(
        pydicom.dcmread(file).SOPInstanceUID,
        [1, 2, 3],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(by_frame, label_of(numbered(3).astype(int)))


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_one_frame_of_an_enhanced_file_has_a_mask_at_its_place(tmp_path: Path, frame: int) -> None:
    positions = [(1.0, 0, 0), (7.0, 0, 0), (4.0, 0, 0)]
    write_enhanced(tmp_path / "e.dcm", positions, SAGITTAL)
    reference = f"{tmp_path}/e.dcm#frame:{frame}"
    written = write_mask(labels_of(reference), reference, tmp_path / "mask", classes=CLASSES)
    expected = expected_places(numbered(3)[frame : frame + 1], positions[frame : frame + 1], SAGITTAL)
    assert places_by_highdicom(written) == expected
    np.testing.assert_array_equal(read_mask(written, reference).array[..., 0], labels_of(reference))
    derived = highdicom.seg.segread(written).PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert int(derived.SourceImageSequence[0].ReferencedFrameNumber) == frame + 1


def test_an_enhanced_file_of_one_frame_has_its_place_in_its_groups(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e.dcm", [(7.0, 1, 2)], SAGITTAL)
    written = write_mask(
        labels_of(tmp_path / "e.dcm"), tmp_path / "e.dcm", tmp_path / "mask", classes=CLASSES
    )
    assert places_by_highdicom(written) == expected_places(numbered(1), [(7.0, 1, 2)], SAGITTAL)


def test_a_series_of_a_real_medium_is_found_by_its_index(tmp_path: Path) -> None:
    medium = Path(get_testdata_file("DICOMDIR"))
    reference = f"{medium}#series:11"
    values = read_image(reference).array[..., 0]
    labels = (values > np.median(values)).astype(int)
    written = write_mask(labels, reference, tmp_path / "mask", classes=CLASSES[:2])
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels)
    # the segment of each slice is what exceeds the median in the file that it refers to
    sources = {
        one.SOPInstanceUID: one
        for one in map(pydicom.dcmread, (medium.parent / "98892001" / "CT5N").iterdir())
    }
    segmentation = highdicom.seg.segread(written)
    for pixels, own in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence):
        source = sources[own.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        units = source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept)
        np.testing.assert_array_equal(pixels, units > np.median(values))
        assert own.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient


def test_a_radiograph_without_frame_of_reference_is_referred_to_by_its_pixels(tmp_path: Path) -> None:
    file = tmp_path / "cr.dcm"
    uid = write_image(
        file,
        numbered(1)[0],
        kind=ComputedRadiographyImageStorage,
        FrameOfReferenceUID=None,
        ImagerPixelSpacing=[0.1, 0.1],
        Modality="CR",
    )
    written = write_mask(labels_of(file), file, tmp_path / "mask", classes=CLASSES)
    segmentation = highdicom.seg.segread(written)
    assert "FrameOfReferenceUID" not in segmentation
    pixels = segmentation.get_pixels_by_source_instance([uid], combine_segments=True)
    np.testing.assert_array_equal(pixels[0], label_of(numbered(1)[0].astype(int)))
    np.testing.assert_array_equal(read_mask(written, file).array[..., 0], labels_of(file))


def test_a_single_slice_keeps_its_place(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(3, 4, 5)], SAGITTAL, SliceThickness=None)
    for reference in (tmp_path / "s", tmp_path / "s" / "0.dcm"):
        written = write_mask(labels_of(reference), reference, tmp_path / "mask", classes=CLASSES)
        assert places_by_highdicom(written) == expected_places(numbered(1), [(3, 4, 5)], SAGITTAL)


def test_one_class_keeps_every_frame_and_an_empty_mask_is_a_file_too(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3), (0, 0, 6)], AXIAL)
    labels = labels_of(tmp_path / "s") % 2
    written = write_mask(labels, tmp_path / "s", tmp_path / "mask", classes=CLASSES[:2])
    picture = read_mask(written)
    np.testing.assert_array_equal(picture.array[..., 0], labels)
    assert picture.spacing == (3.0, 0.5, 0.25)
    for count in (2, 3):
        empty = write_mask(np.zeros_like(labels), tmp_path / "s", tmp_path / "empty", classes=CLASSES[:count])
        segmentation = highdicom.seg.segread(empty)
        assert segmentation.number_of_segments == count - 1
        assert not segmentation.pixel_array.any()


def test_segments_are_named_and_say_that_a_program_made_them(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)], AXIAL)
    written = write_mask(
        np.ones((2, 6, 5), int), tmp_path / "s", tmp_path / "mask", classes=(*CLASSES, "x" * 70)
    )
    segmentation = highdicom.seg.segread(written)
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    assert labels == ["Läsion", "spleen / 脾", "x" * 64]
    first = segmentation.SegmentSequence[0]
    assert (first.SegmentAlgorithmType, first.SegmentAlgorithmName) == ("AUTOMATIC", "medgraft")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"
    assert segmentation.SegmentationType == "BINARY" and segmentation.SeriesInstanceUID != SERIES


def test_the_patient_is_that_of_the_image_whatever_its_alphabet(tmp_path: Path) -> None:
    other = item(PatientID="ß-9", IssuerOfPatientID="Zürich")
    write_series(
        tmp_path / "s",
        [(0, 0, 0), (0, 0, 3)],
        AXIAL,
        OtherPatientIDsSequence=[other],
        StudyDescription="Schädel",
    )
    written = write_mask(np.ones((2, 6, 5), int), tmp_path / "s", tmp_path / "mask", classes=CLASSES)
    dataset = pydicom.dcmread(written)
    for name, value in {**PATIENT, "AccessionNumber": "A-77", "StudyDescription": "Schädel"}.items():
        assert str(dataset[name].value) == value
    assert dataset.OtherPatientIDsSequence[0].IssuerOfPatientID == "Zürich"


def test_deidentified_headers_and_odd_values_are_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = dict.fromkeys([*PATIENT, "AccessionNumber"])
    write_series(tmp_path / "bare", [(0, 0, 0), (0, 0, 3)], AXIAL, **bare)
    odd = {
        "PatientName": "Secret " * 12,
        "PatientID": "secret" * 12,
        "PatientSex": "secret",
        "PatientAge": "secret",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pydicom.config.disable_value_validation():
            write_series(tmp_path / "odd", [(0, 0, 0), (0, 0, 3)], AXIAL, **odd)
    with warnings.catch_warnings(record=True) as told, caplog.at_level(logging.DEBUG):
        caplog.clear()
        warnings.simplefilter("always")
        for name in ("bare", "odd"):
            written = write_mask(
                np.ones((2, 6, 5), int), tmp_path / name, tmp_path / f"{name}_mask", classes=CLASSES
            )
            assert written.suffix == ".dcm"
    assert not caplog.records and not told and not any(capfd.readouterr())


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"FrameOfReferenceUID": None}, "headers of .*s do not suffice"),
        ({"StudyInstanceUID": None}, "s has no StudyInstanceUID"),
        ({"SOPClassUID": "1.2.3.4.5.6"}, "headers of .*s do not suffice"),
    ],
)
def test_headers_that_do_not_suffice_are_told_and_auto_writes_nifti(
    tmp_path: Path, tags: dict[str, object], sentence: str
) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)], AXIAL, **tags)
    labels = np.ones((2, 6, 5), int)
    with pytest.raises(DataError, match=sentence):
        write_mask(labels, tmp_path / "s", tmp_path / "mask", classes=CLASSES, format="dicom_seg")
    assert not list(tmp_path.glob("mask*"))
    written = write_mask(labels, tmp_path / "s", tmp_path / "mask", classes=CLASSES)
    assert written == tmp_path / "mask.nii.gz"
    np.testing.assert_allclose(np.diag(nibabel.load(written).affine), [-0.25, -0.5, 3, 1])


def test_a_loop_of_ultrasound_has_no_place_and_becomes_nifti(tmp_path: Path) -> None:
    array = numbered(3).astype(np.uint8)
    write_image(
        tmp_path / "us.dcm",
        array,
        frames=True,
        kind=UltrasoundMultiFrameImageStorage,
        FrameOfReferenceUID=None,
    )
    labels = label_of(numbered(3).astype(int))
    written = write_mask(labels, tmp_path / "us.dcm", tmp_path / "mask", classes=CLASSES)
    np.testing.assert_array_equal(read_mask(written).array[..., 0], labels)
    with pytest.raises(DataError, match=r"position, direction and pixel size, but .*us.dcm does not"):
        write_mask(labels, tmp_path / "us.dcm", tmp_path / "mask", classes=CLASSES, format="dicom_seg")
    single = write_mask(labels[1], f"{tmp_path}/us.dcm#frame:1", tmp_path / "one", classes=CLASSES)
    np.testing.assert_array_equal(read_mask(single).array[..., 0], labels[1])
    assert single.suffix == ".png"


def test_what_is_not_dicom_has_no_segmentation(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), int)
    with pytest.raises(SettingsError, match="a DICOM image to refer to, but an image in memory is none"):
        write_mask(labels, None, tmp_path / "m", classes=CLASSES, format="dicom_seg")
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(SettingsError, match=r"but .*a.npy#1 is none. Write its mask as 'nifti' or 'png'"):
        write_mask(labels, f"{tmp_path}/a.npy#1", tmp_path / "m", classes=CLASSES, format="dicom_seg")


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)], AXIAL, kind=MRImageStorage)
    with pytest.raises(ShapeError, match=r"labels of shape \(3, 6, 5\) do not fit .*s of \(2, 6, 5\)"):
        write_mask(np.zeros((3, 6, 5), int), tmp_path / "s", tmp_path / "mask", classes=CLASSES)
