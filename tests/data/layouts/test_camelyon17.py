"""Camelyon17-WILDS as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

# as the published table begins: the first column has no name, patients have leading zeros
HEADER = ",patient,node,x_coord,y_coord,tumor,slide,center,split"
ROWS = (
    "0,004,4,3328,21792,1,0,0,0",
    "1,004,4,3200,22272,0,0,0,1",
    "2,020,2,96,128,1,10,1,0",
    "3,021,4,64,32,0,11,1,1",
    "4,042,3,640,960,1,23,2,0",
    "5,061,0,512,512,0,30,3,0",
    "6,096,0,96,192,1,49,4,0",
)


def camelyon17(folder: Path, rows: tuple[str, ...] = ROWS) -> Path:
    """Patches of 8 pixels of noise."""
    folder.mkdir(parents=True)
    (folder / "metadata.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    for number, row in enumerate(rows):
        _, patient, node, x, y, *_ = row.split(",")
        place = folder / "patches" / f"patient_{patient}_node_{node}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(place / f"patch_patient_{patient}_node_{node}_x_{x}_y_{y}.png")
    return folder


def hospitals() -> tuple[str, ...]:
    """Two patients of each hospital with a patch of each class."""
    return tuple(
        f"{number},{20 * center + patient:03d},0,{96 * tumor},0,{tumor},{10 * center + patient},{center},0"
        for number, (center, patient, tumor) in enumerate(product(range(5), range(2), range(2)))
    )


def test_rows_hospitals_patients_splits_and_attributes(tmp_path: Path) -> None:
    cohort = read_manifest(camelyon17(tmp_path / "camelyon17_v1.0"))
    assert cohort.kind == "classify" and cohort.classes == ("normal", "tumor") and len(cohort) == 7
    assert cohort.name == "camelyon17_v1.0" and "CC0" in cohort.notes["licence"]
    table = cohort.table
    assert cohort.labels.tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert cohort.patients.tolist() == ["004", "004", "020", "021", "042", "061", "096"]
    assert cohort.sites.tolist() == ["0", "0", "1", "1", "2", "3", "4"] == table["center"].tolist()
    assert table["slide"].tolist() == ["0", "0", "10", "11", "23", "30", "49"]
    # the official division: hospitals 1 and 2 by themselves; id_val is of training patients
    assert table["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] + ["train"] * 2
    assert table["wilds_split"].tolist() == ["train", "id_val", "val", "val", "test", "train", "train"]
    assert [cohort.picture(row).array[0, 0].tolist() for row in range(7)] == [[n] * 3 for n in range(7)]


def test_a_whole_set_has_no_problem(tmp_path: Path) -> None:
    assert check(camelyon17(tmp_path / "c", hospitals())) == []


def test_columns_of_readers_stay(tmp_path: Path) -> None:
    folder = camelyon17(tmp_path / "c")
    lines = (folder / "metadata.csv").read_text().splitlines()
    lines = [lines[0] + ",reader_1", *(f"{line},{number % 2}" for number, line in enumerate(lines[1:]))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    assert read_manifest(folder).table["reader_1"].tolist() == ["0", "1", "0", "1", "0", "1", "0"]


def test_a_table_whose_patients_lost_their_zeros_opens_too(tmp_path: Path) -> None:
    folder = camelyon17(tmp_path / "c")
    text = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(text.replace(",004,", ",4,").replace(",020,", ",20,"))
    assert read_manifest(folder).patients[:3].tolist() == ["004", "004", "020"]


def test_a_recipe_opens_the_same_rows_of_a_hospital_again(tmp_path: Path) -> None:
    cohort = read_manifest(camelyon17(tmp_path / "c")).at("0", "3", "4")
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert len(again) == 4 and again.table.equals(cohort.table)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (",slide,", ",glass,", r"it has no slide\. Download it again"),
        (",1,0,0,0\n", ",2,0,0,0\n", r"needs 0 or 1 in 'tumor', but row 1 has '2' in 'tumor'\. Correct"),
        (",49,4,0", ",49,5,0", r"needs 0, 1, 2, 3 or 4 in 'center', but row 7 has '5'"),
        (",30,3,0", ",30,3,2", r"needs 0 or 1 in 'split', but row 6 has '2'"),
        (",3200,", ",far,", r"needs whole numbers in 'x_coord', but row 2 has 'far'"),
        (",512,512,0,30,3,0", ",512", r"a cell for every column, but row 6 has fewer"),
        ("021,4,64,32,0,11", "020,2,96,128,1,10", r"one row for each image, but row 4 has that of row 3\."),
        (
            "5,061,0,512,",
            "5,061,0,500,",
            r"1 of 7 are not there, the first is patches/patient_061_node_0/.*x_500_y_512\.png in row 6\. Unpack",
        ),
        (",split", ",split,label", r"no column of its own called label, which medgraft makes.*another name"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    folder = camelyon17(tmp_path / "c")
    text = (folder / "metadata.csv").read_text()
    assert text.count(before) == 1
    (folder / "metadata.csv").write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "metadata.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


def test_what_is_missing_and_parts_of_it_are_named(tmp_path: Path) -> None:
    folder = camelyon17(tmp_path / "c")
    for part in ("metadata.csv", "patches", "patches/patient_004_node_4"):
        with pytest.raises(DataError, match=r"Opening Camelyon17-WILDS .*Pass the folder .*c\.$"):
            read_manifest(folder / part)
    (folder / "patches" / "patient_042_node_3").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"1 of 7 are not there, .*patient_042_node_3.* in row 5"):
        read_manifest(folder)
    (folder / "metadata.csv").unlink()
    with pytest.raises(DataError, match=r"needs the table metadata\.csv of Camelyon17-WILDS, but it has"):
        read_manifest(folder)
