"""CheXpert as it is unpacked, made small: labels that are 1, 0, -1 or empty, with the top folder and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

# as the published files begin
HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
TRAIN = (
    "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "patient00002/study1/view2_lateral.jpg,Unknown,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,",
    "patient00003/study1/view1_frontal.jpg,Male,41,Frontal,PA,,,,,,1.0,,,,0.0,,,,",
)
VALID = (
    "patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
)


def chexpert(folder: Path, top: str = "CheXpert-v1.0-small", images: str = "") -> Path:
    """The small version; `images`: the folder within `folder` into which the images were unpacked."""
    for name, rows in (("train", TRAIN), ("valid", VALID)):
        folder.mkdir(parents=True, exist_ok=True)
        lines = [HEADER, *(f"{top}/{name}/{row}" for row in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        for number, row in enumerate(rows):
            file = folder / images / name / row.split(",")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            grey = np.full((6, 5), 40 * number + (200 if name == "valid" else 10), np.uint8)
            Image.fromarray(grey).save(file, quality=95)
    return folder


def test_rows_patients_splits_and_attributes(tmp_path: Path) -> None:
    cohort = read_manifest(chexpert(tmp_path / "CheXpert-v1.0-small"))
    assert cohort.name == "CheXpert-v1.0-small" and cohort.kind == "multilabel" and len(cohort) == 5
    assert (
        cohort.classes[0] == "No Finding"
        and cohort.classes[-1] == "Support Devices"
        and len(cohort.classes) == 14
    )
    table = cohort.table
    assert cohort.patients.tolist() == [
        "patient00001",
        "patient00002",
        "patient00002",
        "patient00003",
        "patient64541",
    ]
    assert table["split"].tolist() == ["train"] * 4 + ["validation"]
    assert table["sex"].tolist() == ["female", "female", "", "male", "male"]
    assert table["age"].tolist() == ["68", "87", "83", "41", "73"]
    assert table["view"].tolist() == ["Frontal", "Frontal", "Lateral", "Frontal", "Frontal"]
    assert table["projection"].tolist() == ["AP", "AP", "", "PA", "AP"]
    assert table["study"].tolist() == ["study1", "study2", "study1", "study1", "study1"]
    assert set(cohort.sites) == {"Stanford"}
    assert "reports" in cohort.notes["silver_labels"] and "Stanford" in cohort.notes["licence"]
    assert [cohort.picture(row).array.max() for row in range(5)] == pytest.approx(
        [10, 50, 90, 130, 200], abs=2
    )


@pytest.mark.parametrize(
    ("uncertain", "value"), [("ignore", np.nan), ("zeros", 0.0), ("ones", 1.0), ("smooth", 0.7)]
)
def test_labels_follow_the_policy_for_uncertain_ones(tmp_path: Path, uncertain: str, value: float) -> None:
    cohort = read_manifest(chexpert(tmp_path / "c"), uncertain=uncertain)  # type: ignore[arg-type]
    u = value
    expected = [
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, u, 1, 0, u, u, 0, u, 0, u, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, u, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(cohort.labels, np.array(expected, np.float32))


def test_five_of_the_observations_may_be_chosen(tmp_path: Path) -> None:
    chosen = ("Cardiomegaly", "Edema")
    cohort = read_manifest(chexpert(tmp_path / "c"), classes=chosen, uncertain="zeros")
    np.testing.assert_array_equal(cohort.labels, [[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("top", "images", "asked"),
    [
        ("CheXpert-v1.0-small", "", "."),
        ("CheXpert-v1.0", "", "."),
        ("CheXpert-v1.0-small", "CheXpert-v1.0-small", "."),
        ("CheXpert-v1.0-small", "", ".."),
    ],
)
def test_it_opens_however_it_was_unpacked(tmp_path: Path, top: str, images: str, asked: str) -> None:
    folder = chexpert(tmp_path / "data" / "CheXpert-v1.0-small", top, images)
    cohort = read_manifest(folder if asked == "." else folder.parent)
    assert cohort.picture(0).array.shape == (6, 5, 1) and cohort.picture(4).array.max() > 190


def test_a_recipe_opens_the_same_rows_again(tmp_path: Path) -> None:
    cohort = read_manifest(chexpert(tmp_path / "c"), uncertain="ones").split("train")
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.uncertain == "ones"
    assert again.fingerprint() == cohort.fingerprint()


def test_the_validation_part_alone_does(tmp_path: Path) -> None:
    folder = chexpert(tmp_path / "c")
    (folder / "train.csv").unlink()
    for file in sorted((folder / "train").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (folder / "train").rmdir()
    cohort = read_manifest(folder)
    assert len(cohort) == 1 and cohort.patients.tolist() == ["patient64541"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = chexpert(tmp_path / "c")
    with pytest.raises(DataError, match=r"train\.csv is one of its tables\. Pass the folder"):
        read_manifest(folder / "train.csv")
    (folder / "valid.csv").rename(folder / "kept.csv")
    with pytest.raises(
        DataError, match=r"needs the table valid\.csv of CheXpert, but it has the images in valid/"
    ):
        read_manifest(folder)
    (folder / "kept.csv").rename(folder / "valid.csv")
    (folder / "train").rename(folder / "CheXpert-v1.0 batch 2 (train 1)")
    with pytest.raises(
        DataError, match=r"train\.csv needs its images .*view1_frontal\.jpg does not exist\. Unpack"
    ):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (",Edema,", ",Oedema,", "has no Edema"),
        (",Sex,Age,", ",Sex,Years,", "has no Age"),
        ("CheXpert-v1.0-small/train/patient00003/", "elsewhere/3/", "row 4 has 'elsewhere/3/study1"),
        (",,,,1.0,,,,0.0,,,,", ",,,,1.0", "a cell for every column, but row 4 has fewer"),
        ("Female,87", "Female,87,9,9,9,9", "a cell for every column, but row 2 has more"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    folder = chexpert(tmp_path / "c")
    text = (folder / "train.csv").read_text()
    assert text.count(before) == 1
    (folder / "train.csv").write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "train.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_another_train_csv_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,label\n1,a\n")
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "train" / name / "1.png")
    cohort = read_manifest(tmp_path)
    assert cohort.kind == "classify" and cohort.classes == ("a", "b")
