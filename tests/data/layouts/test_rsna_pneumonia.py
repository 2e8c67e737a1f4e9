"""The RSNA Pneumonia Detection Challenge as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.dicom_files import write_dicom

from medgraft.data.checks import check
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

IDS = [f"0004cfab-14fd-4e49-80ba-63a80b6bdd{number:02d}" for number in range(4)]
LABELS = (
    "patientId,x,y,width,height,Target",
    f"{IDS[0]},,,,,0",
    f"{IDS[1]},,,,,0",
    f"{IDS[2]},264.0,152.0,213.0,379.0,1",
    f"{IDS[2]},562.0,152.0,256.0,453.0,1",
)
# a row for each box, as published
DETAILED = (
    "patientId,class",
    f"{IDS[0]},No Lung Opacity / Not Normal",
    f"{IDS[1]},Normal",
    f"{IDS[2]},Lung Opacity",
    f"{IDS[2]},Lung Opacity",
)


def rsna_pneumonia(folder: Path, detailed: bool = True, hidden: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "stage_2_train_labels.csv").write_text("\n".join(LABELS) + "\n")
    if detailed:
        (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(DETAILED) + "\n")
    for place, names in (("train", IDS[:3]), ("test", IDS[3:])):
        if place == "train" or hidden:
            (folder / f"stage_2_{place}_images").mkdir()
            for number, name in enumerate(names):
                array = np.random.default_rng([number, len(names)]).integers(0, 256, (8, 9)).astype(np.uint8)
                write_dicom(folder / f"stage_2_{place}_images" / f"{name}.dcm", array)
    return folder


def test_three_classes_a_row_per_patient(tmp_path: Path) -> None:
    cohort = read_manifest(rsna_pneumonia(tmp_path / "rsna"))
    assert cohort.kind == "classify"
    assert cohort.classes == ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
    assert cohort.labels.tolist() == [1, 0, 2] and cohort.patients.tolist() == IDS[:3]
    assert set(cohort.sites) == {"NIH"} and "boxes" not in cohort.table
    assert "ChestX-ray14" in cohort.notes["patients"] and cohort.picture(2).array.shape[:2] == (8, 9)


def test_two_classes_without_the_detailed_table(tmp_path: Path) -> None:
    cohort = read_manifest(rsna_pneumonia(tmp_path / "rsna", detailed=False))
    assert cohort.classes == ("No Lung Opacity", "Lung Opacity") and cohort.labels.tolist() == [0, 0, 1]


def test_boxes_stand_for_detection(tmp_path: Path) -> None:
    folder = rsna_pneumonia(tmp_path / "rsna")
    cohort = read_manifest(folder, kind="detect", classes=["Lung Opacity"])
    assert cohort.table["boxes"].tolist()[:2] == ["", ""]
    # left, top, left + width, top + height
    expected = '[[264.0, 152.0, 477.0, 531.0, "Lung Opacity"], [562.0, 152.0, 818.0, 605.0, "Lung Opacity"]]'
    assert cohort.table["boxes"].tolist()[2] == expected


def test_test_images_are_rows_only_where_no_truth_is_asked_for(tmp_path: Path) -> None:
    cohort = read_manifest(rsna_pneumonia(tmp_path / "rsna"), kind="encode")
    assert cohort.patients.tolist() == IDS and cohort.table["split"].tolist() == ["train"] * 3 + ["test"]
    assert cohort.table.index.tolist() == [1, 2, 3, 4] and cohort.picture(3).array.shape[:2] == (8, 9)
    assert len(read_manifest(rsna_pneumonia(tmp_path / "b", hidden=False), kind="encode")) == 3


def test_only_splits_and_the_few_patients_of_a_made_set_are_warned_of(tmp_path: Path) -> None:
    problems = check(rsna_pneumonia(tmp_path / "rsna"))
    told = [problem.message for problem in problems if "too few to train" not in problem.message]
    assert told == ["There is no column 'split': add it, or medgraft divides by patient."]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    folder = rsna_pneumonia(tmp_path / "rsna")
    (folder / "stage_2_train_labels.csv").unlink()
    with pytest.raises(DataError, match=r"needs the table stage_2_train_labels\.csv of .* Copy it"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("table", "before", "after", "expected"),
    [
        ("train_labels", ",Target", ",Goal", r"it has no Target\. Download it again"),
        ("train_labels", f"{IDS[1]},,,,,0", f"{IDS[1]},,,,,2", r"0 or 1 in 'Target', but row 2 has '2'"),
        ("train_labels", f"{IDS[1]},,,,,0", f"{IDS[1]},,,,,1", r"of a box where .* but row 2 has others"),
        ("train_labels", f"{IDS[1]},,,,,0", f"{IDS[1]},1,1,2,2,0", r"of a box where .* but row 2 has others"),
        ("train_labels", "256.0,453.0", "-1,453.0", r"of a box where .* but row 4 has others\. Correct the"),
        ("train_labels", "562.0", "nan", r"of a box where .* but row 4 has others\. Correct the"),
        ("train_labels", "562.0,152.0,256.0,453.0,1", ",,,,0", r"row 4 says something else than row 3"),
        ("train_labels", f"{IDS[1]},", "absent,", r"train_images/, but 1 of 3 are not there, the first in row 2"),
        ("train_labels", f"{IDS[1]},", ",", r"hyphens in 'patientId', but row 2 has none or others"),
        ("detailed_class_info", ",Normal", ",Healthy", r"in 'class', but row 2 has 'Healthy'"),
        ("detailed_class_info", ",Normal", ",Lung Opacity", r"row 2 has Lung Opacity and the target is 0"),
        ("detailed_class_info", f"{IDS[1]},", "other,", r"it has none for that of row 2 there\. Take both"),
        ("detailed_class_info", f"{IDS[1]},N", f"{IDS[0]},N", r"row 2 says something else than row 1"),
    ],
)  # fmt: skip
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, table: str, before: str, after: str, expected: str
) -> None:
    folder = rsna_pneumonia(tmp_path / "rsna")
    file = folder / f"stage_2_{table}.csv"
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    message = str(caught.value)
    assert file.name in message and "\n" not in message
    assert not any(name in message for name in IDS)  # they may tell a patient
    assert [problem.severity for problem in check(folder)] == ["error"]


@pytest.mark.parametrize(
    "part", ["stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "stage_2_test_images"]
)
def test_its_parts_name_the_folder_to_pass(tmp_path: Path, part: str) -> None:
    folder = rsna_pneumonia(tmp_path / "rsna")
    with pytest.raises(DataError, match=rf"Opening RSNA Pneumonia .* Pass the folder {folder}"):
        read_manifest(folder / part)
