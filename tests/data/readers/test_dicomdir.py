"""The index of a medium: its files as series, or told in a sentence when they are not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet
from tests.data.dicom_files import write_dicom

from medgraft.data.readers import hash_of_file, read_geometry, read_image, series, split_part, warn_of_header
from medgraft.errors import DataError

MEDIUM = Path(str(get_testdata_file("DICOMDIR"))).parent


def write_medium(folder: Path) -> np.ndarray:
    """A DICOMDIR of one series, written by pydicom; (3, 6, 5) values by height."""
    array = np.random.default_rng(1).integers(0, 4000, (3, 6, 5)).astype(np.uint16)
    medium = FileSet()
    for index in (2, 0, 1):
        path = write_dicom(
            folder / "one.dcm", array[index], SOPClassUID=pydicom.uid.CTImageStorage, PatientID="x",
            StudyDate="20200101", StudyTime="1200",
            StudyInstanceUID="1.1", SeriesInstanceUID="1.2", SOPInstanceUID=f"1.3.{index}",
            Modality="CT", SeriesNumber=1, InstanceNumber=9 - index, StudyID="1", PixelSpacing=[0.5, 0.25],
            ImagePositionPatient=[0, 0, 3 * index], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
        dataset = pydicom.dcmread(path)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        medium.add(dataset)
        path.unlink()
    medium.write(folder / "medium")
    return array


def test_an_index_is_read_like_the_series_of_its_files(tmp_path: Path) -> None:
    array = write_medium(tmp_path)
    index = tmp_path / "medium" / "DICOMDIR"
    picture = read_image(index)
    np.testing.assert_array_equal(picture.array[..., 0], array)
    assert picture.spacing == (3.0, 0.5, 0.25)
    assert read_geometry(index).shape == (3, 6, 5)
    assert any("PatientID" in told for told in warn_of_header(index))
    np.testing.assert_array_equal(read_image(f"{index}#series:0").array, picture.array)
    assert split_part(f"{index}#series:0") == (index, "series:0")


def test_files_that_the_index_does_not_name_do_not_count(tmp_path: Path) -> None:
    array = write_medium(tmp_path)
    write_dicom(tmp_path / "medium" / "added.dcm", array[0], SeriesInstanceUID="7")
    np.testing.assert_array_equal(read_image(tmp_path / "medium" / "DICOMDIR").array[..., 0], array)
    with pytest.raises(DataError, match="holds 2 series"):
        read_image(tmp_path / "medium")


def test_names_that_changed_their_case_are_found(tmp_path: Path) -> None:
    array = write_medium(tmp_path)
    for place, folders, files in os.walk(tmp_path / "medium", topdown=False):
        for name in (*files, *folders):
            Path(place, name).rename(Path(place, name.lower()))
    np.testing.assert_array_equal(read_image(tmp_path / "medium" / "dicomdir").array[..., 0], array)


def test_files_that_are_not_there_are_counted(tmp_path: Path) -> None:
    write_medium(tmp_path)
    index = tmp_path / "medium" / "DICOMDIR"
    next(file for file in index.parent.rglob("*") if file.is_file() and file != index).unlink()
    with pytest.raises(
        DataError, match=r"all files of its records, but 1 of the 3 that .*DICOMDIR names are not"
    ):
        read_image(index)
    assert len(read_image(index.parent).array) == 2  # the folder itself reads what is there


def test_a_real_medium_of_many_series() -> None:
    with pytest.raises(DataError, match=r"DICOMDIR holds 13 series"):
        read_image(MEDIUM / "DICOMDIR")
    expected = read_image(MEDIUM / "77654033" / "CR1" / "6154").array
    np.testing.assert_array_equal(read_image(f"{MEDIUM}/DICOMDIR#series:0").array, expected)


def test_a_hash_follows_the_files_that_the_index_names(tmp_path: Path) -> None:
    write_medium(tmp_path)
    before = hash_of_file(tmp_path / "medium" / "DICOMDIR")
    shutil.copytree(tmp_path / "medium", tmp_path / "copy")
    assert hash_of_file(tmp_path / "copy" / "DICOMDIR") == before
    changed = next(
        file for file in (tmp_path / "copy").rglob("*") if file.is_file() and file.name != "DICOMDIR"
    )
    changed.write_bytes(changed.read_bytes()[:-2] + b"\1\1")
    assert hash_of_file(tmp_path / "copy" / "DICOMDIR") != before


def test_an_index_of_nonsense_is_told(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"nothing at all")
    with pytest.raises(DataError, match="DICOMDIR"):
        read_image(tmp_path / "DICOMDIR")


def test_a_folder_of_too_many_files_is_no_examination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_medium(tmp_path)
    monkeypatch.setattr(series, "MOST", 3)
    with pytest.raises(DataError, match=r"at most 3 files, but .*medium holds more"):
        read_image(tmp_path / "medium")
