"""Fitzpatrick17k as it is downloaded, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import check
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError
from medgraft.evaluation.subgroups import groups_of

# as the published table begins
HEADER = (
    "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,"
    "url,url_alphanum"
)
ROWS = (
    "5e82a45bc5d78bd24ae9202d194423f8,3,3,psoriasis,inflammatory,non-neoplastic,,https://a.example/1.jpg,1jpg.jpg",
    "fa2911a9b13b6f8af79cb700937cc14f,1,2,acne,inflammatory,non-neoplastic,1 Diagnostic,https://a.example/2.jpg,2jpg.jpg",
    "d2bac3c9e4499032ca8e9b07c7d3bc40,-1,3,dermatofibroma,benign dermal,benign,,https://a.example/3.jpg,3jpg.jpg",
    "0a94359e7eaacd7178e06b2823777789,2,-1,syringoma,benign dermal,benign,,https://a.example/4.jpg,4jpg.jpg",
    "45f7fe0e10214e32e890cad9d29d4811,6,5,kaposi sarcoma,malignant dermal,malignant,,https://a.example/5.jpg,5jpg.jpg",
    "b87804452f60aa162a6d29c0f66a2466,4,4,melanoma,malignant melanoma,malignant,,,",
)


def fitzpatrick17k(folder: Path, rows: tuple[str, ...] = ROWS, images: str = "images") -> Path:
    (folder / images).mkdir(parents=True)
    (folder / "fitzpatrick17k.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    for number, row in enumerate(rows):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / images / f"{row[:32]}.jpg")
    return folder


def test_rows_partitions_skin_types_and_all_other_columns(tmp_path: Path) -> None:
    cohort = read_manifest(fitzpatrick17k(tmp_path / "fitzpatrick17k"))
    assert cohort.kind == "classify" and cohort.classes == ("benign", "malignant", "non-neoplastic")
    table = cohort.table
    assert cohort.labels.tolist() == [2, 2, 0, 0, 1, 1]
    assert table["fitzpatrick"].tolist() == ["3", "1", "", "2", "6", "4"]
    assert table["fitzpatrick_centaur"].tolist() == ["3", "2", "3", "", "5", "4"]
    assert table["condition"].tolist()[-1] == "melanoma"
    assert table["nine_partition_label"].tolist()[2] == "benign dermal"
    assert table["qc"].tolist()[1] == "1 Diagnostic" and table["url"].tolist()[0] == "https://a.example/1.jpg"
    assert "three_partition_label" not in table  # is the label already
    assert "attributes" in cohort.fields and "patients" not in cohort.fields
    assert groups_of(cohort, "fitzpatrick").tolist() == ["3", "1", "not told", "2", "6", "4"]
    assert cohort.picture(5).array.shape == (8, 9, 3) and "BY-NC-SA" in cohort.notes["licence"]


def test_neoplastic_rows_alone_tell_malignant_from_benign(tmp_path: Path) -> None:
    cohort = read_manifest(fitzpatrick17k(tmp_path / "f", ROWS[2:]))
    assert cohort.classes == ("benign", "malignant") and cohort.labels.tolist() == [0, 0, 1, 1]


def test_only_missing_patients_and_splits_are_warned_of(tmp_path: Path) -> None:
    told = [problem.message for problem in check(fitzpatrick17k(tmp_path / "f"))]
    assert [message.split(":")[0] for message in told] == [
        "There is no column 'patient'", "There is no column 'split'"
    ]  # fmt: skip


@pytest.mark.parametrize("images", [".", "images", "data/finalfitz17k"])
def test_photographs_are_found_in_the_folder_or_below_it(tmp_path: Path, images: str) -> None:
    cohort = read_manifest(fitzpatrick17k(tmp_path / "f", images=images))
    assert cohort.picture(0).array.shape == (8, 9, 3)


def test_columns_that_the_user_adds_stay_and_a_split_is_one(tmp_path: Path) -> None:
    folder = fitzpatrick17k(tmp_path / "f")
    lines = (folder / "fitzpatrick17k.csv").read_text().splitlines()
    added = ["split,reader_1", "train,1", "train,0", "val,1", "train,0", "test,0", "test,1"]
    (folder / "fitzpatrick17k.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, added)))
    cohort = read_manifest(folder)
    assert cohort.table["reader_1"].tolist() == ["1", "0", "1", "0", "0", "1"]
    assert len(cohort.split("validation")) == 1 and len(cohort.split("test")) == 2


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("three_partition_label", "partition", r"it has no three_partition_label\. Download"),
        (
            "423f8,3,3",
            "423f8,7,3",
            r"needs skin types 1 to 6, or -1, in 'fitzpatrick_scale', but row 1 has '7'",
        ),
        ("423f8,3,3", "423f8,3,light", r"row 1 has 'light' in 'fitzpatrick_centaur'\. Correct"),
        (
            ",malignant,,,",
            ",cancer,,,",
            r"needs benign, malignant, non-neoplastic in .* but row 6 has 'cancer'",
        ),
        (
            "0a94359e7eaacd7178e06b2823777789",
            ROWS[2][:32],
            r"one row for each image, but row 4 has that of row 3",
        ),
        (
            "0a94359e",
            "0a94359f",
            r"1 of 6 are not there, the first is 0a94359f\w*\.jpg in row 4\. Unpack or download",
        ),
        (",malignant,,,", ",malignant", r"a cell for every column, but row 6 has fewer"),
        (",qc,", ",condition,", r"no column of its own called condition, which medgraft makes"),
        (",qc,", ",url,", r"a name of its own for each column, but it has 'url' twice"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    folder = fitzpatrick17k(tmp_path / "f")
    text = (folder / "fitzpatrick17k.csv").read_text()
    assert text.count(before) == 1
    (folder / "fitzpatrick17k.csv").write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "fitzpatrick17k.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


def test_two_copies_and_its_table_alone_are_named(tmp_path: Path) -> None:
    folder = fitzpatrick17k(tmp_path / "f")
    with pytest.raises(DataError, match=r"Opening Fitzpatrick17k .* one of its tables\. Pass the folder"):
        read_manifest(folder / "fitzpatrick17k.csv")
    (folder / "small").mkdir()
    name = f"{ROWS[0][:32]}.jpg"
    (folder / "small" / name).write_bytes((folder / "images" / name).read_bytes())
    with pytest.raises(
        DataError, match=r"needs one copy of each image, but 5e82\w*\.jpg lies in images/ and in"
    ):
        read_manifest(folder)
