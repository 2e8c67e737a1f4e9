"""ChestX-ray14 as it is unpacked, made small, in the releases of 2017 and 2020."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.layouts.chestxray14 import FINDINGS
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

# as the published files begin, commas at the ends of lines included
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.14300000000000002,0.14300000000000002,",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.14300000000000002,0.14300000000000002,",
    "00000002_000.png,No Finding,0,2,80,M,PA,2500,2048,0.171,0.171,",
    "00000003_000.png,Hernia,0,3,81,F,AP,2582,2991,0.14300000000000002,0.14300000000000002,",
    "00000013_000.png,Pleural_Thickening|Mass,0,13,414,F,AP,2582,2991,0.143,0.143,",
)
TEST = ("00000003_000.png", "00000013_000.png")


def chestxray14(
    folder: Path, table: str = "Data_Entry_2017.csv", places: tuple[str, ...] = ("images",)
) -> Path:
    """places: the folders into which the images were unpacked, one after the other."""
    folder.mkdir(parents=True)
    (folder / table).write_text("\n".join([HEADER, *ROWS]) + "\n")
    names = [row.split(",")[0] for row in ROWS]
    (folder / "train_val_list.txt").write_text("\n".join(name for name in names if name not in TEST))
    (folder / "test_list.txt").write_text("\n".join(TEST) + "\n")
    (folder / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    for number, name in enumerate(names):
        place = folder / places[number % len(places)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), 10 * number, np.uint8)).save(place / name)
    return folder


def test_rows_patients_splits_and_attributes(tmp_path: Path) -> None:
    cohort = read_manifest(chestxray14(tmp_path / "ChestX-ray14"))
    assert cohort.name == "ChestX-ray14" and cohort.kind == "multilabel" and cohort.classes == FINDINGS
    table = cohort.table
    assert cohort.patients.tolist() == ["1", "1", "2", "3", "13"]
    assert table["split"].isin(["train", "validation"]).tolist() == [True, True, True, False, False]
    assert table["split"].tolist()[3:] == ["test", "test"]
    assert table["sex"].tolist() == ["male", "male", "male", "female", "female"]
    assert table["age"].tolist() == ["57", "58", "80", "81", ""]  # nobody is 414
    assert table["view"].tolist() == ["PA", "PA", "PA", "AP", "AP"] and set(cohort.sites) == {"NIH"}
    assert "reports" in cohort.notes["silver_labels"] and "NIH" in cohort.notes["licence"]
    assert [int(cohort.picture(row).array.max()) for row in range(5)] == [0, 10, 20, 30, 40]


def test_findings_become_labels_and_no_finding_none(tmp_path: Path) -> None:
    labels = read_manifest(chestxray14(tmp_path / "c")).labels
    named = [{name for name, value in zip(FINDINGS, row) if value == 1} for row in labels]
    assert named == [
        {"Cardiomegaly"}, {"Cardiomegaly", "Emphysema"}, set(), {"Hernia"}, {"Pleural_Thickening", "Mass"}
    ]  # fmt: skip
    assert np.isin(labels, (0, 1)).all()


def test_some_findings_may_be_chosen(tmp_path: Path) -> None:
    cohort = read_manifest(chestxray14(tmp_path / "c"), classes=("Mass", "Hernia"))
    np.testing.assert_array_equal(cohort.labels, [[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    "places",
    [
        ("images",),
        ("images/images",),
        ("images_001/images", "images_002/images"),
        ("images_001", "images_012"),
    ],
)
def test_images_are_found_however_they_were_unpacked(tmp_path: Path, places: tuple[str, ...]) -> None:
    cohort = read_manifest(chestxray14(tmp_path / "c", places=places))
    assert [int(cohort.picture(row).array.max()) for row in range(5)] == [0, 10, 20, 30, 40]


def test_the_release_of_2020_and_the_first_one_open_too(tmp_path: Path) -> None:
    folder = chestxray14(tmp_path / "c", "Data_Entry_2017_v2020.csv")
    file = folder / "Data_Entry_2017_v2020.csv"
    expected = read_manifest(folder).table
    text = file.read_text()
    file.write_text(text.replace("Patient Gender", "Patient Sex").replace(",\n", "\n"))
    assert read_manifest(folder).table.equals(expected)
    file.write_text(text.replace(",57,M", ",057Y,M").replace(",58,M", ",018M,M").replace(",80,M", ",009D,M"))
    assert read_manifest(folder).table["age"].tolist()[:3] == ["57", "1", "0"]


def test_the_newer_table_is_taken_where_both_are(tmp_path: Path) -> None:
    folder = chestxray14(tmp_path / "c")
    newer = (folder / "Data_Entry_2017.csv").read_text().replace(",414,", ",41,")
    (folder / "Data_Entry_2017_v2020.csv").write_text(newer)
    assert read_manifest(folder).table["age"].tolist()[-1] == "41"


def test_validation_patients_stay_whole_and_do_not_depend_on_the_others(tmp_path: Path) -> None:
    folder = chestxray14(tmp_path / "c")
    rows, names = [HEADER], []
    for patient in range(1, 801):
        for picture in range(2):
            names.append(f"{patient:08d}_{picture:03d}.png")
            rows.append(f"{names[-1]},No Finding,0,{patient},50,F,PA,1,1,1,1,")
    image = (folder / "images" / "00000001_000.png").read_bytes()
    for name in names:
        (folder / "images" / name).write_bytes(image)
    (folder / "train_val_list.txt").write_text("\n".join(names[:-100]))
    (folder / "test_list.txt").write_text("\n".join(names[-100:]))
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows))
    table = read_manifest(folder).table
    assert table.groupby("patient")["split"].nunique().max() == 1
    assert (table["split"] == "test").sum() == 100
    share = (table["split"] == "validation").sum() / 1500
    assert share == pytest.approx(1 / 8, abs=0.04)
    kept = [HEADER, *rows[1::3]]
    (folder / "Data_Entry_2017.csv").write_text("\n".join(kept))
    fewer = read_manifest(folder).table.set_index("image")["split"]
    assert fewer.equals(table.set_index("image")["split"][fewer.index])


def test_a_recipe_opens_the_same_rows_again(tmp_path: Path) -> None:
    cohort = read_manifest(chestxray14(tmp_path / "c")).split("test")
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.fingerprint() == cohort.fingerprint()


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("Data_Entry_2017.csv", r"the table Data_Entry_2017_v2020\.csv of ChestX-ray14, but it has none"),
        ("test_list.txt", r"it has no test_list\.txt\. Copy it"),
        ("train_val_list.txt", r"it has no train_val_list\.txt"),
        ("images/00000003_000.png", "1 of 5 are not there, the first in row 4. Unpack"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, removed: str, expected: str) -> None:
    folder = chestxray14(tmp_path / "c")
    (folder / removed).unlink()
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("|Emphysema", "|Emphysemia", "row 2 has 'Emphysemia'"),
        ("Hernia", "", "row 4 has ''"),
        ("00000002_000.png", "00000002_009.png", "row 3 is in neither"),
        (",Patient ID,", ",Patient,", "has no Patient ID"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    folder = chestxray14(tmp_path / "c")
    text = (folder / "Data_Entry_2017.csv").read_text()
    assert text.count(before) == 1
    (folder / "Data_Entry_2017.csv").write_text(text.replace(before, after))
    (folder / "images" / "00000002_009.png").write_bytes(
        (folder / "images" / "00000002_000.png").read_bytes()
    )
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


def test_its_table_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = chestxray14(tmp_path / "c")
    with pytest.raises(DataError, match=r"ChestX-ray14 needs the folder of the data set, .* Pass the folder"):
        read_manifest(folder / "Data_Entry_2017.csv")
