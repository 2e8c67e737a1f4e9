"""The Shenzhen chest films as they are unpacked, made small; and what may be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import check
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

FILMS = {
    "CHNCXR_0001_0": "male 45yrs\nnormal\n",
    "CHNCXR_0002_0": "Female , 8months \r\nnormal\r\n",
    "CHNCXR_0327_1": "\nmale 27Y\nbilateral secondary PTB\nwith effusion",
    "CHNCXR_0662_1": "female\nPTB in the right upper field",
}


def shenzhen(folder: Path, readings: bool = True) -> Path:
    (folder / "CXR_png").mkdir(parents=True)
    if readings:
        (folder / "ClinicalReadings").mkdir()
    for number, (name, text) in enumerate(FILMS.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 9), np.uint8)
        Image.fromarray(pixels).save(folder / "CXR_png" / f"{name}.png")
        if readings:
            (folder / "ClinicalReadings" / f"{name}.txt").write_bytes(text.encode())
    (folder / "CXR_png" / "Thumbs.db").write_bytes(b"of Windows")
    return folder


@pytest.mark.parametrize("around", [False, True])
def test_films_patients_and_readings(tmp_path: Path, around: bool) -> None:
    folder = shenzhen(tmp_path / "ChinaSet_AllFiles")
    cohort = read_manifest(tmp_path if around else folder)
    assert cohort.kind == "classify" and cohort.classes == ("normal", "tuberculosis")
    assert cohort.labels.tolist() == [0, 0, 1, 1] and set(cohort.sites) == {"Shenzhen"}
    assert cohort.patients.tolist() == ["CHNCXR_0001", "CHNCXR_0002", "CHNCXR_0327", "CHNCXR_0662"]
    table = cohort.table
    assert table["sex"].tolist() == ["male", "female", "male", "female"]
    assert table["age"].tolist() == ["45", "0", "27", ""]
    assert table["finding"].tolist()[1:3] == ["normal", "bilateral secondary PTB with effusion"]
    assert cohort.notes["readings"] == "Sex or age could not be read from 1 of 4 readings."
    assert cohort.picture(3).array.shape[:2] == (8, 9) and "Medicine" in cohort.notes["licence"]


def test_films_alone_open_too_and_only_splits_are_missing(tmp_path: Path) -> None:
    folder = shenzhen(tmp_path / "c", readings=False)
    assert not {"sex", "age", "finding"} & set(read_manifest(folder).table)
    told = [problem.message for problem in check(folder)]
    assert told == ["There is no column 'split': add it, or medgraft divides by patient."]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("CHNCXR_0663.png", r"called like CHNCXR_0001_0\.png, but it has CHNCXR_0663\.png\. Name them"),
        ("CHNCXR_0664_2.png", r"it has CHNCXR_0664_2\.png"),
        ("CHNCXR_0001_1.png", r"one film of each number, but it has CHNCXR_0001_0\.png and CHNCXR_0001_1"),
        ("CHNCXR_0663_1.png", r"reading of every film, but 1 of 5 .* ClinicalReadings/CHNCXR_0663_1\.txt"),
    ],
)
def test_films_that_do_not_fit_are_named(tmp_path: Path, made: str, expected: str) -> None:
    folder = shenzhen(tmp_path / "c")
    (folder / "CXR_png" / made).write_bytes(b"")
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


@pytest.mark.parametrize("part", ["CXR_png", "ClinicalReadings"])
def test_an_inner_folder_names_the_one_to_pass(tmp_path: Path, part: str) -> None:
    folder = shenzhen(tmp_path / "c")
    with pytest.raises(
        DataError, match=rf"Opening the Shenzhen .* one of its folders\. Pass the folder {folder}"
    ):
        read_manifest(folder / part)
