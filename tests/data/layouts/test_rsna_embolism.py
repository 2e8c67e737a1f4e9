"""RSNA-STR Pulmonary Embolism CT as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.dicom_files import write_dicom

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

HEADER = (
    "StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID,pe_present_on_image,negative_exam_for_pe,qa_motion,qa_contrast,"
    "flow_artifact,rv_lv_ratio_gte_1,rv_lv_ratio_lt_1,leftsided_pe,chronic_pe,true_filling_defect_not_pe,rightsided_pe,"
    "acute_and_chronic_pe,central_pe,indeterminate"
)
ROWS = (
    "6897fa9de148,2bfbb7fd2e8b,c0f3cb036d06,0,0,0,0,0,0,1,1,0,0,0,0,0,0",
    "6897fa9de148,2bfbb7fd2e8b,f57ffd3883b6,1,0,0,0,0,0,1,1,0,0,0,0,0,0",
    "a2ffc8c10b10,5e5a0b6f4c9d,41220fda34a3,0,1,0,0,0,0,0,0,0,0,0,0,0,0",
)
HIDDEN = ("StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID", "00268ff88746,75d23269adbd,0d33fbd9f27e")


def rsna_embolism(folder: Path, train: tuple[str, ...] = ROWS) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("\n".join([HEADER, *train]) + "\n")
    (folder / "test.csv").write_text("\n".join(HIDDEN) + "\n")
    for top, rows in (("train", train), ("test", HIDDEN[1:])):
        for number, row in enumerate(rows):
            study, series, name = row.split(",")[:3]
            place = folder / top / study / series
            place.mkdir(parents=True, exist_ok=True)
            array = np.random.default_rng([len(rows), number]).integers(0, 2000, (8, 9)).astype(np.uint16)
            write_dicom(place / f"{name}.dcm", array, RescaleSlope=1, RescaleIntercept=-1024)
    return folder


def test_slices_studies_and_all_other_columns(tmp_path: Path) -> None:
    cohort = read_manifest(rsna_embolism(tmp_path / "pe"))
    assert cohort.kind == "classify" and cohort.classes == ("absent", "present")
    assert cohort.labels.tolist() == [0, 1, 0]
    assert cohort.patients.tolist() == ["6897fa9de148", "6897fa9de148", "a2ffc8c10b10"]
    assert cohort.table["negative_exam_for_pe"].tolist() == ["0", "0", "1"]
    assert cohort.table["rv_lv_ratio_lt_1"].tolist() == ["1", "1", "0"]
    assert set(HEADER.split(",")[4:]) <= set(cohort.table) and "pe_present_on_image" not in cohort.table
    array = cohort.picture(1).array
    assert array.shape[:2] == (8, 9) and array.min() < 0  # Hounsfield units


def test_test_slices_are_rows_only_where_no_truth_is_asked_for(tmp_path: Path) -> None:
    folder = rsna_embolism(tmp_path / "pe")
    cohort = read_manifest(folder, kind="encode")
    assert cohort.table["split"].tolist() == ["train"] * 3 + ["test"]
    assert cohort.patients.tolist()[3] == "00268ff88746" and cohort.picture(3).array.shape[:2] == (8, 9)
    (folder / "test.csv").unlink()
    with pytest.raises(DataError, match=r"table test\.csv beside test/, but it has none\. Copy .* or move"):
        read_manifest(folder)
    (folder / "test").rename(tmp_path / "away")
    assert len(read_manifest(folder, kind="encode")) == 3


def test_a_recipe_opens_the_same_rows_again(tmp_path: Path) -> None:
    cohort = read_manifest(rsna_embolism(tmp_path / "pe")).take([0, 2])
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.fingerprint() == cohort.fingerprint()


def test_only_splits_and_the_few_patients_of_a_made_set_are_warned_of(tmp_path: Path) -> None:
    problems = check(rsna_embolism(tmp_path / "pe"))
    told = [problem.message for problem in problems if "too few to train" not in problem.message]
    assert told == ["There is no column 'split': add it, or medgraft divides by patient."]


@pytest.mark.parametrize(
    ("table", "before", "after", "expected"),
    [
        ("train.csv", "StudyInstanceUID", "Study", r"it has no StudyInstanceUID\. Download"),
        ("train.csv", "3883b6,1,0", "3883b6,0.5,0", r"0 or 1 in 'pe_present_on_image', but row 2 has '0\.5'"),
        ("train.csv", "41220fda34a3", "../34a3", r"in 'SOPInstanceUID', but row 3 has none or others\. "),
        ("train.csv", "41220fda34a3", "41220fda34a4", r"in train/STUDY/SERIES/, but 1 of 3 .* first in row 3"),
        ("train.csv", "a2ffc8c10b10", "a2ffc8c10b11", r"1 of 3 are not there, the first in row 3\. Unpack"),
        ("train.csv", "f57ffd3883b6", "c0f3cb036d06", r"one row for each image, but row 2 has that of row 1"),
        ("train.csv", ",qa_motion", ",label", r"no column of its own called label, which medgraft makes"),
        ("test.csv", "0d33fbd9f27e", "0d33fbd9f27f", r"in test/STUDY/SERIES/, but 1 of 1 .* first in row 1"),
    ],
)  # fmt: skip
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, table: str, before: str, after: str, expected: str
) -> None:
    folder = rsna_embolism(tmp_path / "pe")
    text = (folder / table).read_text()
    assert text.count(before) == 1
    (folder / table).write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    message = str(caught.value)
    assert table in message and "\n" not in message
    assert not any(cell in message for row in ROWS for cell in row.split(",")[:3])  # they may tell a patient
    assert [problem.severity for problem in check(folder)] == ["error"]


@pytest.mark.parametrize("part", ["train.csv", "train", "train/6897fa9de148"])
def test_its_parts_name_the_folder_to_pass(tmp_path: Path, part: str) -> None:
    folder = rsna_embolism(tmp_path / "pe")
    with pytest.raises(DataError, match=rf"Opening RSNA-STR .* Pass the folder {folder}\."):
        read_manifest(folder / part)
