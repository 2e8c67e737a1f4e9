"""Flags of identity are told by name; what identifies a patient is never repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.dicom_files import write_dicom

from medgraft.data.checks import check
from medgraft.data.readers import read_image, warn_of_header
from medgraft.data.readers.identity import FLAGS

ARRAY = np.arange(30, dtype=np.uint16).reshape(6, 5)
SECRETS = {"PatientName": "Adler^Irene", "PatientID": "B221", "PatientBirthDate": "18580401"}


def test_a_file_without_flags_or_names_is_silent(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", ARRAY, BurnedInAnnotation="NO", PatientName="", PatientID="")
    assert warn_of_header(path) == []


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_told(tmp_path: Path, flag: str) -> None:
    assert warn_of_header(write_dicom(tmp_path / "a.dcm", ARRAY, **{flag: "YES"})) == [FLAGS[flag]]


def test_attributes_that_identify_are_named_without_their_values(tmp_path: Path) -> None:
    (told,) = warn_of_header(write_dicom(tmp_path / "a.dcm", ARRAY, **SECRETS))
    assert "PatientName, PatientID, PatientBirthDate" in told and "not flagged as de-identified" in told
    assert not any(secret in told for secret in SECRETS.values())
    done = write_dicom(tmp_path / "b.dcm", ARRAY, **SECRETS, PatientIdentityRemoved="YES")
    assert warn_of_header(done) == []


@pytest.mark.filterwarnings("error")
def test_values_against_the_standard_do_not_leak_through_warnings(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_dicom(tmp_path / "a.dcm", ARRAY, PatientBirthDate="19990101")
    raw = path.read_bytes().replace(b"19990101", b"1 Jan 99")
    path.write_bytes(raw)
    assert "PatientBirthDate" in warn_of_header(path)[0]
    assert not recwarn.list and "1 Jan 99" not in caplog.text


def test_an_attribute_of_an_unknown_kind_is_told_and_no_crash(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", ARRAY, BurnedInAnnotation="YES")
    raw = path.read_bytes()
    assert raw.count(b"\x28\x00\x01\x03CS") == 1
    path.write_bytes(raw.replace(b"\x28\x00\x01\x03CS", b"\x28\x00\x01\x03DO"))
    np.testing.assert_array_equal(read_image(path).array[..., 0], ARRAY)
    (told,) = warn_of_header(path)
    assert told.startswith("The header is damaged (")


def test_a_folder_tells_everything_once(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for index in range(3):
        write_dicom(tmp_path / "s" / f"{index}.dcm", ARRAY, BurnedInAnnotation="YES")
    assert warn_of_header(tmp_path / "s") == [FLAGS["BurnedInAnnotation"]]


def test_check_warns_once_for_all_rows_and_repeats_no_identifier(tmp_path: Path) -> None:
    lines = ["image,label,patient,split"]
    for index in range(8):
        array = np.random.default_rng(index).integers(0, 99, (6, 5)).astype(np.uint16)
        flagged = {"BurnedInAnnotation": "YES"} if index in (2, 5, 6) else {}
        write_dicom(tmp_path / f"{index}.dcm", array, **SECRETS, **flagged)
        lines.append(f"{index}.dcm,{'ab'[index % 2]},p{index},{'train' if index < 4 else 'test'}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    problems = check(tmp_path / "m.csv")
    assert [(problem.severity, problem.row, problem.file) for problem in problems] == [
        ("warning", 1, "0.dcm"),
        ("warning", 3, "2.dcm"),
    ]
    assert problems[0].message.endswith("The same holds for 7 more rows.")
    assert problems[1].message == FLAGS["BurnedInAnnotation"] + " The same holds for 2 more rows."
    assert not any(secret in str(problems) for secret in SECRETS.values())
