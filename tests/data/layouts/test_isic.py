"""ISIC 2018, 2019 and 2020 as they are downloaded, made small; and what may be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import check
from medgraft.data.leakage import find_leaks
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.errors import DataError

# as the published tables begin
HEADER_2020 = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
)
ROWS_2020 = (
    "ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0",
    "ISIC_0015719,IP_3075186,female,,upper extremity,nevus,benign,0",
    "ISIC_0052212,IP_7279968,,50.0,,melanoma,malignant,1",
    "ISIC_0068279,IP_2842074,female,55.0,torso,melanoma,malignant,1",
)
HEADER_2019 = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
ROWS_2019 = (
    "ISIC_0000000,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    "ISIC_0000002_downsampled,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    "ISIC_0024307,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    "ISIC_0024308,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
    "ISIC_0024309,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
)
BESIDE_2019 = (
    "image,age_approx,anatom_site_general,lesion_id,sex",
    "ISIC_0000000,55.0,anterior torso,,female",
    "ISIC_0000002_downsampled,30.0,upper extremity,,unknown",
    "ISIC_0024309,85.0,,BCN_0003884,male",
    "ISIC_0024308,,head/neck,HAM_0000550,male",
    "ISIC_0024307,50.0,head/neck,HAM_0000550,male",
)


def isic2020(folder: Path, table: str = "train.csv", images: str = "train") -> Path:
    return save(folder, table, HEADER_2020, ROWS_2020, images)


def isic2019(folder: Path) -> Path:
    save(folder, "ISIC_2019_Training_GroundTruth.csv", HEADER_2019, ROWS_2019, "ISIC_2019_Training_Input")
    (folder / "ISIC_2019_Training_Metadata.csv").write_text("\n".join(BESIDE_2019) + "\n")
    return folder


def save(folder: Path, table: str, header: str, rows: tuple[str, ...], images: str) -> Path:
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / table).write_text("\n".join([header, *rows]) + "\n")
    for number, row in enumerate(rows):
        pixels = np.random.default_rng([len(rows), number]).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / images / f"{row.split(',')[0]}.jpg")
    return folder


@pytest.mark.parametrize(
    ("table", "images"),
    [
        ("train.csv", "train"),
        ("train.csv", "jpeg/train"),
        ("ISIC_2020_Training_GroundTruth.csv", "."),
        ("ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_JPEG/train"),
    ],
)
def test_2020_has_patients_and_attributes(tmp_path: Path, table: str, images: str) -> None:
    cohort = read_manifest(isic2020(tmp_path / "isic", table, images))
    assert cohort.kind == "classify" and cohort.classes == ("no melanoma", "melanoma")
    assert cohort.labels.tolist() == [0, 0, 1, 1] and cohort.unit_name == "patients"
    assert cohort.patients.tolist() == ["IP_7279968", "IP_3075186", "IP_7279968", "IP_2842074"]
    rows = cohort.table
    assert rows["sex"].tolist() == ["male", "female", "", "female"]
    assert rows["age_approx"].tolist() == ["45", "", "50", "55"]
    assert rows["anatom_site_general_challenge"].tolist()[0] == "head/neck"
    assert rows["diagnosis"].tolist() == ["unknown", "nevus", "melanoma", "melanoma"]
    assert not {"target", "benign_malignant"} & set(rows)  # are the label already
    assert cohort.picture(3).array.shape == (8, 9, 3) and "BY-NC" in cohort.notes["licence"]


def test_2019_has_lesions_that_stay_together(tmp_path: Path) -> None:
    cohort = read_manifest(isic2019(tmp_path / "isic"))
    assert cohort.classes == ("no melanoma", "melanoma") and cohort.labels.tolist() == [0, 1, 0, 0, 1]
    assert cohort.table["diagnosis"].tolist() == ["NV", "MEL", "NV", "SCC", "MEL"]
    alone = ["image ISIC_0000000", "image ISIC_0000002_downsampled"]
    assert cohort.units.tolist() == [*alone, "HAM_0000550", "HAM_0000550", "BCN_0003884"]
    assert cohort.unit_name == "lesions" and cohort.table["lesion_id"].tolist()[0] == ""
    assert cohort.table["sex"].tolist() == ["female", "", "male", "male", "male"]
    assert cohort.table["age_approx"].tolist() == ["55", "30", "50", "", "85"]
    assert cohort.table["anatom_site_general"].tolist()[3] == "head/neck"
    # one lesion on two sides is a leak
    assert [leak.kind for leak in find_leaks(cohort.take([2]), cohort.take([0, 3]))] == ["patient"]


def test_2018_has_the_lesions_of_its_groupings(tmp_path: Path) -> None:
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    rows = ("ISIC_0024306,0.0,0.0,0.0,1.0,0.0,0.0,0.0", "ISIC_0024310,1.0,0.0,0.0,0.0,0.0,0.0,0.0")
    folder = save(tmp_path / "isic", "ISIC2018_Task3_Training_GroundTruth.csv", header, rows, "images")
    told = (
        "image,lesion_id,diagnosis_confirm_type",
        "ISIC_0024306,HAM_0000550,follow-up",
        "ISIC_0024310,HAM_1,histopathology",
    )
    (folder / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("\n".join(told))
    cohort = read_manifest(folder)
    assert cohort.labels.tolist() == [0, 1] and cohort.units.tolist() == ["HAM_0000550", "HAM_1"]
    assert cohort.table["diagnosis"].tolist() == ["AKIEC", "MEL"]
    assert cohort.table["diagnosis_confirm_type"].tolist() == ["follow-up", "histopathology"]


def test_one_year_may_be_the_source_of_another(tmp_path: Path) -> None:
    source, target = read_manifest(isic2019(tmp_path / "a")), read_manifest(isic2020(tmp_path / "b"))
    assert Task(source=source, target=target).classes == source.classes


@pytest.mark.parametrize("make", [isic2019, isic2020])
def test_a_whole_set_has_no_problem_but_missing_splits(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    told = [problem.message for problem in check(make(tmp_path / "isic"))]
    assert told == ["There is no column 'split': add it, or medgraft divides by patient."]


def test_columns_of_readers_stay(tmp_path: Path) -> None:
    folder = isic2020(tmp_path / "isic")
    lines = (folder / "train.csv").read_text().splitlines()
    added = ["reader_1,split_unit", "0,a", "1,b", "1,a", "0,c"]
    (folder / "train.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, added)))
    cohort = read_manifest(folder)
    assert cohort.table["reader_1"].tolist() == ["0", "1", "1", "0"]
    assert cohort.units.tolist() == ["a", "b", "a", "c"] and cohort.unit_name == "split units"


def test_the_edition_with_lesions_goes_before_the_first(tmp_path: Path) -> None:
    folder = isic2020(tmp_path / "isic", "ISIC_2020_Training_GroundTruth.csv")
    lines = [HEADER_2020.replace(",sex", ",lesion_id,sex"), ROWS_2020[3].replace(",female", ",IL_1,female")]
    (folder / "ISIC_2020_Training_GroundTruth_v2.csv").write_text("\n".join(lines))
    assert read_manifest(folder).table["lesion_id"].tolist() == ["IL_1"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (",patient_id,", ",person,", r"it has no patient_id\. Download"),
        ("nevus,benign,0", "nevus,likely,0", r"needs benign or malignant in .* but row 2 has 'likely'"),
        ("nevus,benign,0", "nevus,benign,1", r"row 2 has '1' and benign\. Correct one of the two"),
        ("nevus,benign,0", "nevus", r"a cell for every column, but row 2 has fewer"),
        ("ISIC_0068279", "ISIC_0015719", r"one row for each image, but row 4 has that of row 2"),
        ("ISIC_0068279", "ISIC_0068270", r"1 of 4 are not there, the first is ISIC_0068270\.jpg in row 4"),
        (",diagnosis,", ",label,", r"no column of its own called label, which medgraft makes"),
    ],
)
def test_tables_of_2020_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    folder = isic2020(tmp_path / "isic")
    refuse(folder, "train.csv", before, after, expected)


@pytest.mark.parametrize(
    ("table", "before", "after", "expected"),
    [
        (
            "GroundTruth",
            "24308,0.0,0.0",
            "24308,1.0,0.0",
            r"one diagnosis in each row, but row 4 has MEL and SCC",
        ),
        ("GroundTruth", "24309,1.0", "24309,0.0", r"one diagnosis in each row, but row 5 has none"),
        ("GroundTruth", "24309,1.0", "24309,0.7", r"needs 1\.0 or 0\.0 in 'MEL', but row 5 has '0\.7'"),
        (
            "GroundTruth",
            "ISIC_0024309",
            "ISIC_0024310",
            r"a row for every image of .* the first of row 5\. Take",
        ),
        ("GroundTruth", ",UNK", ",lesion_id", r"no column of its own called lesion_id"),
        ("Metadata", "lesion_id", "lesion", r"Metadata\.csv needs the columns .* it has no lesion_id"),
        ("Metadata", "24307,50.0", "24308,50.0", r"row 5 says something else of ISIC_0024308"),
        ("Metadata", ",anatom_site_general", ",diagnosis", r"no column of its own called diagnosis"),
    ],
)
def test_tables_of_2019_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, table: str, before: str, after: str, expected: str
) -> None:
    folder = isic2019(tmp_path / "isic")
    refuse(folder, f"ISIC_2019_Training_{table}.csv", before, after, expected)


def refuse(folder: Path, table: str, before: str, after: str, expected: str) -> None:
    text = (folder / table).read_text()
    assert text.count(before) == 1
    (folder / table).write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert ".csv" in str(caught.value) and "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


def test_two_years_in_a_folder_and_a_missing_table_are_named(tmp_path: Path) -> None:
    folder = isic2019(tmp_path / "isic")
    (folder / "ISIC_2019_Training_Metadata.csv").rename(tmp_path / "kept.csv")
    with pytest.raises(DataError, match=r"\(ISIC_2019_Training_Metadata\.csv or .*there is none\. Copy it"):
        read_manifest(folder)
    isic2020(folder)
    with pytest.raises(DataError, match=r"one year, but it has train\.csv and ISIC_2019_Training_Ground"):
        read_manifest(folder)


def test_its_table_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = isic2020(tmp_path / "isic")
    with pytest.raises(DataError, match=r"Opening ISIC .* one of its tables\. Pass the folder"):
        read_manifest(folder / "train.csv")
