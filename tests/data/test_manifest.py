"""Manifests: what a user may hand over, and what they are told where it does not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgraft.data.boxes import parse_boxes
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

TEXT = "image,label,patient,site,split\na.png,benign,7,Basel,train\nb.png,malignant,8,Porto,test\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def write_mask(path: Path, *labels: int) -> None:
    Image.fromarray(np.resize(np.array(labels, np.uint8), (6, 5))).save(path)


@pytest.mark.parametrize(
    ("name", "separator", "encoding"),
    [
        ("m.csv", ",", "utf-8"),
        ("m.csv", ";", "utf-8"),
        ("m.csv", ",", "utf-8-sig"),
        ("m.CSV", "\t", "utf-8"),
        ("m.tsv", "\t", "utf-8"),
    ],
)
def test_text_tables_are_read_whatever_their_separator_and_mark(
    tmp_path: Path, name: str, separator: str, encoding: str
) -> None:
    cohort = read_manifest(write(tmp_path / name, TEXT.replace(",", separator), encoding))
    assert cohort.kind == "classify" and cohort.classes == ("benign", "malignant")
    assert cohort.table.index.tolist() == [1, 2]
    assert cohort.patients.tolist() == ["7", "8"] and cohort.sites.tolist() == ["Basel", "Porto"]
    assert cohort.labels.tolist() == [0, 1]
    assert cohort.name == "m" and cohort.root == tmp_path


def test_parquet_equals_csv_with_whole_numbers_beside_empty_cells(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image": ["a.png", "b.png"], "label": [3, 10], "age": [61.0, None], "dose": [0.5, 1.0]}
    )
    table.to_parquet(tmp_path / "m.parquet")
    cohort = read_manifest(tmp_path / "m.parquet")
    assert cohort.classes == ("3", "10")
    assert cohort.table["age"].tolist() == ["61", ""]
    assert cohort.table["dose"].tolist() == ["0.5", "1"]


def test_blanks_around_cells_and_column_names_do_not_count(tmp_path: Path) -> None:
    cohort = read_manifest(write(tmp_path / "m.csv", " image , label\na.png , benign \n b.png,malignant\n"))
    assert cohort.table.columns.tolist() == ["image", "label"]
    assert cohort.table["image"].tolist() == ["a.png", "b.png"]
    assert cohort.classes == ("benign", "malignant")


def test_other_words_for_splits_are_understood(tmp_path: Path) -> None:
    words = ["train", "Training", "val", "valid", "Validation", "dev", "test", "holdout"]
    rows = "".join(f"{index}.png,a,{word}\n" for index, word in enumerate(words))
    cohort = read_manifest(write(tmp_path / "m.csv", "image,label,split\n" + rows))
    assert cohort.table["split"].tolist() == [
        "train", "train", "validation", "validation", "validation", "validation", "test", "holdout"
    ]  # fmt: skip


def test_rows_are_counted_as_lines_below_the_header(tmp_path: Path) -> None:
    cohort = read_manifest(write(tmp_path / "m.csv", "image,label\na.png,x\n\n,\nd.png,y\n"))
    assert cohort.table.index.tolist() == [1, 4]  # blank lines are left out, and counted
    lines = (tmp_path / "m.csv").read_text().splitlines()
    for row, image in cohort.table["image"].items():
        assert lines[row].startswith(image)


def test_an_index_that_pandas_wrote_is_no_attribute(tmp_path: Path) -> None:
    pd.DataFrame({"image": ["a.png"], "label": ["x"]}).to_csv(tmp_path / "m.csv")
    cohort = read_manifest(tmp_path / "m.csv")
    assert cohort.table.columns.tolist() == ["image", "label"]
    assert "attributes" not in cohort.fields


def test_paths_are_relative_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(tmp_path / "data" / "images" / "a.png")
    write(tmp_path / "data" / "m.csv", "image\nimages/a.png\n")
    monkeypatch.chdir(tmp_path)
    cohort = read_manifest("data/m.csv")
    assert cohort.kind == "encode" and cohort.picture(0).array.max() == 9
    absolute = write(tmp_path / "m.csv", f"image\n{tmp_path}/data/images/a.png\n")
    assert read_manifest(absolute).picture(0).array.max() == 9


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "cannot be read: No columns"),
        ("image,label\n", "at least one row"),
        ("path,label\na.png,x\n", "a column 'image', but it has: path, label"),
        ("image,label,label\na.png,x,y\n", "every column once, but it has label twice"),
        ("image,label\na.png,x,y\n", "line 2"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, content: str, expected: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(write(tmp_path / "m.csv", content))
    message = str(caught.value)
    assert expected in message and "m.csv" in message and "\n" not in message


@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "m.npz", "m.xlsx"])
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\x9dPK\x03\x04 not a table" * 9)
    with pytest.raises(DataError, match=name):
        read_manifest(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")


def test_lists_in_parquet_cells_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"image": ["a"], "labels": [["x", "y"]]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="a cell holds a list"):
        read_manifest(tmp_path / "m.parquet")


# Truth of several kinds


@pytest.mark.parametrize(
    ("uncertain", "value"), [("ignore", np.nan), ("zeros", 0), ("ones", 1), ("smooth", 0.7)]
)
def test_missing_labels_stay_missing_and_uncertain_ones_become_what_was_asked(
    tmp_path: Path, uncertain: str, value: float
) -> None:
    path = write(
        tmp_path / "m.csv", "image,label:effusion,label:nodule\na.png,1,-1\nb.png,,0\nc.png,0.0,-1.0\n"
    )
    cohort = read_manifest(path, uncertain=uncertain)  # type: ignore[arg-type]
    assert cohort.kind == "multilabel" and cohort.classes == ("effusion", "nodule")
    np.testing.assert_array_equal(cohort.labels, np.array([[1, value], [np.nan, 0], [0, value]], np.float32))
    write(tmp_path / "m.toml", f"uncertain = '{uncertain}'\n")
    np.testing.assert_array_equal(read_manifest(path).labels, cohort.labels)


def test_several_names_in_one_cell(tmp_path: Path) -> None:
    cohort = read_manifest(write(tmp_path / "m.csv", "image,labels\na.png,b | a\nb.png,\nc.png,a\n"))
    assert cohort.classes == ("a", "b")
    np.testing.assert_array_equal(cohort.labels, [[1, 1], [0, 0], [1, 0]])


def test_masks_and_their_classes(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", 0, 1)
    write_mask(tmp_path / "n.png", 0, 3)
    path = write(tmp_path / "m.csv", "image,mask\na.png,m.png\nb.png,n.png\nc.png,none.png\nd.png,\n")
    cohort = read_manifest(path)
    assert cohort.kind == "segment"
    assert cohort.classes == ("background", "class 1", "class 2", "class 3")
    assert read_manifest(path, classes=["nothing", "cell"]).classes == ("nothing", "cell")


def test_black_and_white_masks_do_not_silently_have_256_classes(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", 0, 255)
    path = write(tmp_path / "m.csv", "image,mask\na.png,m.png\n")
    with pytest.raises(DataError, match=r"255, which is white in a black-and-white mask\. Save it as 1"):
        read_manifest(path)
    assert read_manifest(path, classes=["background", "cell"]).classes == ("background", "cell")


def test_boxes_and_their_classes(tmp_path: Path) -> None:
    cell = '"[[0, 0, 4, 5, ""nucleus""], [1, 1, 3, 3, ""debris""]]"'
    cohort = read_manifest(write(tmp_path / "m.csv", f"image,boxes\na.png,{cell}\nb.png,\nc.png,oops\n"))
    assert cohort.kind == "detect" and cohort.classes == ("debris", "nucleus")
    assert [box.label for box in parse_boxes(cohort.table["boxes"].iloc[0])] == ["nucleus", "debris"]


def test_two_kinds_of_truth_need_a_choice_and_the_other_is_no_attribute(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "image,label,mask\na.png,x,m.png\nb.png,y,n.png\n")
    with pytest.raises(DataError, match=r"columns for classify, segment\. Pass kind='classify'"):
        read_manifest(path)
    cohort = read_manifest(path, kind="classify")
    assert cohort.table.columns.tolist() == ["image", "label"]
    with pytest.raises(DataError, match="a kind among"):
        read_manifest(path, kind="guess")  # type: ignore[arg-type]


def test_classes_that_the_table_cannot_have_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "image,label:a,label:b\na.png,1,0\n")
    with pytest.raises(DataError, match="a column 'label:NAME' for every class, but it has none for c"):
        read_manifest(path, classes=["a", "c"])
    with pytest.raises(DataError, match="every class once"):
        read_manifest(path, classes=["a", "a"])
    both = write(tmp_path / "b.csv", "image,label:a,labels\na.png,1,a\n")
    with pytest.raises(DataError, match="it has both"):
        read_manifest(both)


def test_split_units_replace_patients_as_units(tmp_path: Path) -> None:
    cohort = read_manifest(
        write(tmp_path / "m.csv", "image,label,patient,split_unit\na.png,x,1,left\nb.png,y,1,right\n")
    )
    assert cohort.units.tolist() == ["left", "right"] and cohort.patients.tolist() == ["1", "1"]


# The file beside it


def test_the_sidecar_tells_what_the_table_cannot(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", TEXT)
    write(
        tmp_path / "m.toml",
        'name = "lungs"\nclasses = ["malignant", "benign"]\n[notes]\nsimulated = true\nunit_name = "slides"\n',
    )
    cohort = read_manifest(path)
    assert cohort.name == "lungs" and cohort.classes == ("malignant", "benign")
    assert cohort.notes == {"simulated": True, "unit_name": "slides"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("colour = 1", "it also has colour"),
        ("kind = ", "valid TOML"),
        ('classes = "a,b"', "classes as a list"),
        ('kind = "guess"', "a kind among"),
        ('uncertain = "maybe"', "one of ignore, zeros, ones, smooth"),
    ],
)
def test_a_sidecar_with_a_slip_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "m.csv", TEXT)
    write(tmp_path / "m.toml", text)
    with pytest.raises(DataError, match=expected):
        read_manifest(path)


# Without a manifest


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("benign/a.png", "benign/deep/b.PNG", "malignant/c.jpg", "malignant/._c.jpg", "benign/notes.txt",
                 ".cache/d.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    cohort = read_manifest(tmp_path)
    assert cohort.table["image"].tolist() == ["benign/a.png", "benign/deep/b.PNG", "malignant/c.jpg"]
    assert cohort.table["label"].tolist() == ["benign", "benign", "malignant"]
    assert not cohort.has_splits


def test_folders_of_splits_then_classes(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "val/b/2.png", "test/a/3.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    cohort = read_manifest(tmp_path)
    assert cohort.classes == ("a", "b")
    assert cohort.split("validation").table["image"].tolist() == ["val/b/2.png"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="one folder per class with images in it"):
        read_manifest(tmp_path)
