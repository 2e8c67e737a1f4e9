"""A zip of DICOM files reads like its folder and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from tests.data.dicom_files import AXIAL, write_dicom

from medgraft.data.readers import read_geometry, read_image, warn_of_header, zipped
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


def test_errors_name_the_zip(sent: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"sent.zip holds 2 series") as caught:
        read_image(sent[0])
    assert "medgraft-" not in str(caught.value)


def test_a_zip_is_unpacked_once_and_few_are_kept(
    sent: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    copies = [Path(shutil.copy(sent[0], tmp_path / f"{index}.zip")) for index in range(zipped.KEPT + 2)]
    with zipped.unpack(copies[0]) as first:
        for copy in copies[1:]:
            read_image(f"{copy}#series:0")
        assert list(first.iterdir())  # whoever reads keeps it
    assert len(list(scratch.iterdir())) == zipped.KEPT
    with zipped.unpack(copies[-1]) as last:
        pass
    with zipped.unpack(copies[-1]) as again:
        assert again == last and read_geometry(f"{copies[-1]}#series:0").files[0].is_file()
    os.utime(copies[-1], (1, 1))
    with zipped.unpack(copies[-1]) as changed:
        assert changed != last
    script = f"from medgraft.data.readers import read_image; read_image('{sent[0]}#series:0')"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "other")}
    (tmp_path / "other").mkdir()
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list((tmp_path / "other").iterdir()) == []  # nothing stays when the process ends


def test_a_forked_process_leaves_its_parents_files(sent: tuple[Path, np.ndarray]) -> None:
    with zipped.unpack(sent[0]) as folder:
        pass
    child = os.fork()
    if child == 0:
        zipped._discard_all()
        os._exit(0)
    os.waitpid(child, 0)
    assert list(folder.iterdir())


def test_a_zip_that_is_none_or_too_large_is_refused(
    sent: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"no.zip cannot be read"):
        read_image(tmp_path / "no.zip")
    monkeypatch.setattr(zipped, "FILES", 1)
    with pytest.raises(
        DataError, match=r"sent.zip announces \d files of .* as only damaged or harmful ones do"
    ):
        read_image(sent[0])


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "SMALL", 2**20)
    monkeypatch.setattr(zipped.ZipFile, "extractall", lambda *_: pytest.fail("unpacked"))
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(2**21))
    with pytest.raises(DataError, match=r"bomb.zip announces 1 files of"):
        read_image(tmp_path / "bomb.zip")
    monkeypatch.setattr(zipped, "SMALL", 2**30)
    monkeypatch.setattr(zipped, "disk_usage", lambda _: shutil.disk_usage("/")._replace(free=2**20))
    with pytest.raises(DataError, match=r"bomb.zip holds .* GiB and .* has room for"):
        read_image(tmp_path / "bomb.zip")


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
