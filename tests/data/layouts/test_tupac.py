"""TUPAC16's mitosis data as they are unpacked, made small, with the alternative labels; and what may be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

MITOSES, OTHERS = "mitoses_ground_truth", "nonmitoses_ground_truth"
HEIGHT, WIDTH = 150, 180
# rows of y,x without a header; an image without cells of a kind has no table, or an empty one
CELLS = {
    f"{MITOSES}/01/01.csv": "70,80\n149,3\n",
    f"{OTHERS}/01/01.csv": "75,90\n",
    f"{MITOSES}/23/02.csv": "",
    f"{OTHERS}/23/02.csv": "64,64\n",
    f"{MITOSES}/24/01.csv": "80,100\n",
    f"{OTHERS}/48/01.csv": "70,70\n",
    f"{MITOSES}/49/01.csv": "70,71\n",
    f"{OTHERS}/73/01.csv": "70,72\n",
}
PARTS = {"01": "part_1", "23": "part_1", "24": "part_2", "48": "part_2", "49": "part_3", "73": "part_3"}


def tupac(folder: Path, images: str = "mitoses_train_image_data_{part}", truth: str = "TUPAC_AL") -> Path:
    """images, truth: the folders into which these were unpacked."""
    for name, text in CELLS.items():
        file = folder / truth / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for number, (case, part) in enumerate(PARTS.items()):
        for stem in ("01", "02"):
            file = folder / images.format(part=part) / case / f"{stem}.tif"
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, picture(number + 10 * int(stem)))
    return folder


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_cells_become_patches_with_centres_and_cases(tmp_path: Path) -> None:
    cohort = read_manifest(tupac(tmp_path / "tupac"))
    assert cohort.kind == "classify" and cohort.classes == ("look-alike", "mitotic figure")
    table = cohort.table
    assert cohort.patients.tolist() == ["01", "01", "01", "23", "24", "48", "49", "73"]
    assert cohort.sites.tolist() == ["1", "1", "1", "1", "2", "2", "3", "3"] == table["center"].tolist()
    assert cohort.labels.tolist() == [1, 1, 0, 0, 1, 0, 1, 0]
    assert table["field"].tolist() == ["01"] * 3 + ["02"] + ["01"] * 4
    assert table["image"][1] == "mitoses_train_image_data_part_1/01/01.tif#16,6,128,128"
    # the first lies in the middle of its patch, as rows and columns; the second is near a corner
    np.testing.assert_array_equal(cohort.picture(0).array, picture(10)[6:134, 16:144])
    np.testing.assert_array_equal(cohort.picture(1).array, picture(10)[22:150, 0:128])
    np.testing.assert_array_equal(cohort.picture(3).array, picture(21)[0:128, 0:128])
    assert table[["y", "x"]].iloc[1].tolist() == ["149", "3"]


@pytest.mark.parametrize(
    ("images", "truth"),
    [
        ("", ""),
        ("mitoses_train_image_data", "TUPAC_AL"),
        (
            "mitoses-train_image_data/mitoses_train_image_data_{part}",
            "TUPAC_alternativeLabels-master/TUPAC_AL",
        ),
    ],
)
def test_it_opens_however_it_was_unpacked(tmp_path: Path, images: str, truth: str) -> None:
    cohort = read_manifest(tupac(tmp_path / "tupac", images, truth))
    assert len(cohort) == 8 and cohort.picture(7).array.shape == (128, 128, 3)


def test_alternative_labels_go_before_the_original_ones(tmp_path: Path) -> None:
    folder = tupac(tmp_path / "tupac")
    (folder / MITOSES / "01").mkdir(parents=True)
    (folder / MITOSES / "01" / "02.csv").write_text("70,70\n70,90\n")
    assert len(read_manifest(folder)) == 8


def test_a_whole_set_has_no_problem_but_missing_splits(tmp_path: Path) -> None:
    told = [problem.message for problem in check(without_overlap(tupac(tmp_path / "tupac")))]
    assert told == ["There is no column 'split': add it, or medgraft divides by patient."]


def without_overlap(folder: Path) -> Path:
    (folder / "TUPAC_AL" / OTHERS / "01" / "01.csv").unlink()
    (folder / "TUPAC_AL" / MITOSES / "01" / "01.csv").write_text("70,80\n")
    return folder


def test_a_recipe_opens_the_same_rows_of_centres_again(tmp_path: Path) -> None:
    cohort = read_manifest(tupac(tmp_path / "tupac")).at("2", "3")
    again = Cohort.from_recipe(cohort.recipe)
    assert len(again) == 4 and again.fingerprint() == cohort.fingerprint()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            f"{MITOSES}/24/01.csv",
            "y,x\n80,100\n",
            r"24/01\.csv needs y,x within 150 x 180 .* row 1 has 'y,x'",
        ),
        (f"{MITOSES}/24/01.csv", "80,100\n80\n", r"row 2 has '80'\. Take it"),
        (f"{MITOSES}/24/01.csv", "170,100\n", r"row 1 has '170,100'"),
        (f"{OTHERS}/01/01.csv", "75,90\n70,80\n", r"01/01\.csv needs cells .* but row 2 is in both\. Remove"),
        (f"{OTHERS}/24/09.csv", "9,9\n", r"the image of every table of cells, but 24/09\.tif is not there"),
        (f"{OTHERS}/74/01.csv", "9,9\n", r"the cases 01 to 73, but it has 74\. Name it"),
        (f"{OTHERS}/A1/01.csv", "9,9\n", r"the cases 01 to 73, but it has A1\."),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, file: str, text: str, expected: str
) -> None:
    folder = tupac(tmp_path / "tupac")
    (folder / "TUPAC_AL" / file).parent.mkdir(exist_ok=True)
    (folder / "TUPAC_AL" / file).write_text(text)
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


def test_a_cell_that_is_told_twice_is_one_row(tmp_path: Path) -> None:
    folder = tupac(tmp_path / "tupac")
    (folder / "TUPAC_AL" / MITOSES / "24" / "01.csv").write_text("80,100\n\n80,100\n")
    assert len(read_manifest(folder)) == 8


def test_what_is_missing_or_too_much_is_named(tmp_path: Path) -> None:
    folder = tupac(tmp_path / "tupac")
    part = folder / "mitoses_train_image_data_part_2"
    tifffile.imwrite(part / "24" / "01.tif", np.zeros((100, 300, 3), np.uint8))
    with pytest.raises(DataError, match=r"01\.tif needs at least 128 x 128 pixels, but it has 300 x 100"):
        read_manifest(folder)
    (part / "24" / "01.tif").write_bytes(b"II*")
    with pytest.raises(DataError, match=r"01\.tif needs a readable TIFF"):
        read_manifest(folder)
    (part / "24" / "01.tif").unlink()
    with pytest.raises(DataError, match=r"but 24/01\.tif is not there\. Unpack all parts"):
        read_manifest(folder)
    (folder / "24").mkdir()
    for place in (part / "24", folder / "24"):
        tifffile.imwrite(place / "01.tif", picture(1))
    with pytest.raises(DataError, match=r"one copy of each image, but it has 24/01\.tif and mitoses_train_"):
        read_manifest(folder)


def test_the_original_labels_alone_have_no_cells_that_are_none(tmp_path: Path) -> None:
    folder = tupac(tmp_path / "tupac", truth="")
    (folder / OTHERS).rename(tmp_path / "away")
    with pytest.raises(
        DataError, match=r"but it has no nonmitoses_ground_truth\. Copy TUPAC_AL of the alter"
    ):
        read_manifest(folder)
    (folder / MITOSES).rename(tmp_path / "away too")
    with pytest.raises(DataError, match=r"but it has no mitoses_ground_truth\. Copy"):
        read_manifest(folder)


@pytest.mark.parametrize("inner", [f"TUPAC_AL/{MITOSES}", "mitoses_train_image_data_part_1"])
def test_a_folder_within_it_names_the_whole(tmp_path: Path, inner: str) -> None:
    folder = tupac(tmp_path / "tupac")
    with pytest.raises(
        DataError, match=r"Opening TUPAC16 mitoses .* is one of its folders\. Pass the folder"
    ):
        read_manifest(folder / inner)
