"""A folder of DICOM files: order, distance, and what makes it no volume."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.data.dicom_files import AXIAL, groups, write_dicom

from medgraft.data.pixels import hash_image
from medgraft.data.readers import hash_of_file, read_image, split_part
from medgraft.errors import DataError

RANDOM = np.random.default_rng(11)


def write_series(
    folder: Path,
    places: list[tuple[float, float, float]],
    *,
    uid: str = "1.2.3",
    number: int = 1,
    **tags: object,
) -> np.ndarray:
    """Files a.dcm, b.dcm, ... at these places; (N, 6, 5) values in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    array = RANDOM.integers(0, 4000, (len(places), 6, 5)).astype(np.uint16)
    for index, place in enumerate(places):
        write_dicom(
            folder / f"{uid}{chr(97 + index)}.dcm",
            array[index],
            **{
                "SeriesInstanceUID": uid,
                "SeriesNumber": number,
                "Modality": "CT",
                "ImagePositionPatient": list(place),
                "ImageOrientationPatient": list(AXIAL),
                "PixelSpacing": [0.5, 0.25],
                **tags,
            },
        )
    return array


def test_slices_are_ordered_by_place_and_spaced_by_it_whatever_the_tags_claim(tmp_path: Path) -> None:
    # as in a real series: the tag says 2 mm, the slices lie 7 mm apart; names and instance numbers mislead too
    array = write_series(
        tmp_path / "s", [(0, 0, 14.0), (0, 0, -7.0), (0, 0, 7.0), (0, 0, 0.0)],
        SpacingBetweenSlices="2.0", SliceThickness="5.0", InstanceNumber=1,
    )  # fmt: skip
    picture = read_image(tmp_path / "s")
    np.testing.assert_array_equal(picture.array[..., 0], array[[1, 3, 2, 0]])
    assert picture.spacing == (7.0, 0.5, 0.25)


def test_a_real_series_has_the_values_of_its_files_in_order_of_height() -> None:
    folder = Path(get_testdata_file("rtdose.dcm")).parent / "dicomdirtests" / "98892001" / "CT5N"
    slices = sorted(
        map(pydicom.dcmread, folder.iterdir()), key=lambda one: float(one.ImagePositionPatient[2])
    )
    picture = read_image(folder)
    expected = np.stack(
        [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices]
    )
    np.testing.assert_array_equal(picture.array[..., 0], expected)
    assert picture.spacing == pytest.approx((2.5, 0.488281, 0.488281))


def test_sagittal_slices_become_the_third_axis_from_right_to_left(tmp_path: Path) -> None:
    turn = [0, 1, 0, 0, 0, -1]  # normal: rows x columns = (-1, 0, 0)
    array = write_series(
        tmp_path / "s", [(4.0, 9, 9), (8.0, 9, 9), (0.0, 9, 9)], ImageOrientationPatient=turn
    )
    picture = read_image(tmp_path / "s")
    # rows run down to the feet, columns to the back, the files in their order of x to the left
    np.testing.assert_array_equal(picture.array[..., 0], array[[2, 0, 1], ::-1].transpose(1, 2, 0))
    assert picture.spacing == (0.5, 0.25, 4.0)


def test_every_slice_keeps_its_own_scale(tmp_path: Path) -> None:
    first = write_series(tmp_path / "s", [(0, 0, 0)], uid="1.2", RescaleSlope="2", RescaleIntercept="1")
    second = write_series(tmp_path / "t", [(0, 0, 3)], uid="1.2", RescaleSlope="0.5", RescaleIntercept="0")
    shutil.copy(tmp_path / "t" / "1.2a.dcm", tmp_path / "s" / "1.2b.dcm")
    expected = np.concatenate([first * 2.0 + 1, second * 0.5])
    np.testing.assert_array_equal(read_image(tmp_path / "s").array[..., 0], expected)


def test_several_series_are_told_and_one_is_named(tmp_path: Path) -> None:
    later = write_series(tmp_path / "p" / "x", [(0, 0, 0), (0, 0, 2)], uid="1.1", number=5)
    earlier = write_series(tmp_path / "p" / "y", [(0, 0, 0), (0, 0, 3), (0, 0, 6)], uid="1.9", number=2)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "p")
    assert "holds 2 series (0: CT, 3 files of 6 x 5; 1: CT, 2 files of 6 x 5)" in str(caught.value)
    assert "1.1" not in str(caught.value).replace(str(tmp_path), "")
    np.testing.assert_array_equal(read_image(f"{tmp_path}/p#series:0").array[..., 0], earlier)
    picture = read_image(f"{tmp_path}/p#series:1")
    np.testing.assert_array_equal(picture.array[..., 0], later)
    assert picture.spacing == (2.0, 0.5, 0.25)
    with pytest.raises(DataError, match=r"N from 0 to 1, but .* is asked for 'series:2'"):
        read_image(f"{tmp_path}/p#series:2")


@pytest.mark.parametrize(
    ("heights", "sentence"),
    [
        ((0, 3, 3, 6), "one slice at each place, but .*s holds 4 slices at 3 places"),
        ((0, 3, 6, 12), "even distances, but .*s has slices 3 and 4 of 4 6 mm apart, most are 3 mm apart"),
    ],
)
def test_copies_and_gaps_are_told(tmp_path: Path, heights: tuple[float, ...], sentence: str) -> None:
    write_series(tmp_path / "s", [(0, 0, z) for z in heights])
    with pytest.raises(DataError, match=sentence):
        read_image(tmp_path / "s")


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "slices in one direction, but .*s holds several"),
        ({"Rows": 5, "Columns": 6}, "slices of one size, but .*s holds several"),
        ({"PixelSpacing": [1, 1]}, "one pixel spacing and one number of channels, but .*s holds several"),
        ({"ImagePositionPatient": None}, "in every file, but .*s holds 1 of 3 files without"),
    ],
)
def test_files_that_do_not_fit_are_told(tmp_path: Path, tags: dict[str, object], sentence: str) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)])
    write_series(tmp_path / "other", [(0, 0, 6)], **tags)
    shutil.copy(tmp_path / "other" / "1.2.3a.dcm", tmp_path / "s" / "odd.dcm")
    with pytest.raises(DataError, match=sentence):
        read_image(tmp_path / "s")


def test_reports_and_hidden_files_among_the_slices_are_left_out(tmp_path: Path) -> None:
    array = write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)])
    report = pydicom.dcmread(tmp_path / "s" / "1.2.3a.dcm")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    report.save_as(tmp_path / "s" / "report.dcm")
    shutil.copy(tmp_path / "s" / "1.2.3a.dcm", tmp_path / "s" / ".copy.dcm")
    (tmp_path / "s" / "notes.txt").write_text("nothing")
    np.testing.assert_array_equal(read_image(tmp_path / "s").array[..., 0], array)


def test_a_multi_frame_file_in_a_folder_is_a_series_of_its_own(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 4000, (3, 6, 5)).astype(np.uint16)
    tags = groups([(0, 0, 4), (0, 0, 2), (0, 0, 0)])
    (tmp_path / "s").mkdir()
    write_dicom(tmp_path / "s" / "e.dcm", array, frames=True, SeriesInstanceUID="1.2.3", **tags)
    picture = read_image(tmp_path / "s")
    np.testing.assert_array_equal(picture.array[..., 0], array[::-1])
    assert picture.spacing == (2.0, 0.5, 0.25)


def test_a_file_of_nonsense_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)])
    shutil.copy(get_testdata_file("badVR.dcm"), tmp_path / "s" / "bad.dcm")
    with pytest.raises(DataError, match=r"bad\.dcm has a header that cannot"):
        read_image(tmp_path / "s")


def test_a_hash_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3)])
    shutil.copytree(tmp_path / "s", tmp_path / "t")
    assert hash_of_file(tmp_path / "s") == hash_of_file(tmp_path / "t")
    assert hash_image(str(tmp_path / "s")) == hash_image(str(tmp_path / "t"))
    before = hash_image(str(tmp_path / "t"))
    write_series(tmp_path / "t", [(0, 0, 0), (0, 0, 3), (0, 0, 6)])
    assert hash_of_file(tmp_path / "s") != hash_of_file(tmp_path / "t")
    assert hash_image(str(tmp_path / "t")) != before
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        hash_of_file(tmp_path / "bare")


def test_only_the_parts_a_reader_knows_are_cut_from_a_name_without_extension() -> None:
    assert split_part("IM0001#frame:3") == (Path("IM0001"), "frame:3")
    assert split_part("patient #2") == (Path("patient #2"), None)
    assert split_part("#series:2") == (Path("#series:2"), None)
