"""A zip of DICOM files reads like its folder and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from tests.data.dicom_files import AXIAL, write_dicom

from medgraft.data.readers import read_image, warn_of_header, zipped
from medgraft.data.readers.identity import FLAGS
from medgraft.errors import DataError


@pytest.fixture
def sent(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Two series of two slices: (zip, (4, 6, 5) values)."""
    array = np.random.default_rng(2).integers(0, 4000, (4, 6, 5)).astype(np.uint16)
    with ZipFile(tmp_path / "sent.zip", "w") as archive:
        for index, values in enumerate(array):
            series, place = divmod(index, 2)
            tags = {
                "SeriesInstanceUID": f"1.{series}", "SeriesNumber": series, "PixelSpacing": [0.5, 0.25],
                "ImagePositionPatient": [0, 0, -3 * place], "ImageOrientationPatient": list(AXIAL),
            }  # fmt: skip
            file = write_dicom(tmp_path / f"{index}.dcm", values, **tags)
            archive.write(file, f"IMAGES/S{series}/IM{index}")
        archive.writestr("README.TXT", "nothing")
    return tmp_path / "sent.zip", array


def test_a_series_in_a_zip_is_ordered_by_place(sent: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, array = sent
    picture = read_image(f"{path}#series:1")
    np.testing.assert_array_equal(picture.array[..., 0], array[[3, 2]])
    assert picture.spacing == (3.0, 0.5, 0.25)


def test_errors_name_the_zip_and_nothing_stays_behind(
    sent: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    with pytest.raises(DataError, match=r"sent.zip holds 2 series") as caught:
        read_image(sent[0])
    assert "scratch" not in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_zip_that_is_none_or_too_large_is_refused(
    sent: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"no.zip cannot be read"):
        read_image(tmp_path / "no.zip")
    monkeypatch.setattr(zipped, "LARGEST", 100)
    with pytest.raises(DataError, match=r"sent.zip holds more"):
        read_image(sent[0])


def test_flags_inside_a_zip_are_told(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", np.zeros((6, 5), np.uint16), BurnedInAnnotation="YES")
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "a")
    assert warn_of_header(tmp_path / "a.zip") == [FLAGS["BurnedInAnnotation"]]


def test_names_that_lead_out_of_the_folder_stay_inside(tmp_path: Path) -> None:
    array = np.arange(30, dtype=np.uint16).reshape(6, 5)
    file = write_dicom(tmp_path / "a.dcm", array)
    (tmp_path / "in").mkdir()
    with ZipFile(tmp_path / "in" / "evil.zip", "w") as archive:
        archive.write(file, "../../evil.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "in" / "evil.zip").array[..., 0], array)
    assert (
        not list(tmp_path.rglob("evil.dcm"))
        and not (Path(tempfile.gettempdir()).parent / "evil.dcm").exists()
    )
