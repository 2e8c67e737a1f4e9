"""VinDr-CXR as it is downloaded, made small; and what may be wrong with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.dicom_files import write_dicom

from medgraft.data.checks import check
from medgraft.data.layouts.vindr_cxr import FINDINGS
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

IDS = [f"{number:032x}" for number in (11, 12, 13)]
# seen by each reader, image after image as the readers of one may be apart
TRAIN = (
    (IDS[0], "R10", {"Aortic enlargement", "ILD", "Other diseases"}),
    (IDS[1], "R1", {"No finding"}),
    (IDS[0], "R8", {"Aortic enlargement", "Other diseases"}),
    (IDS[0], "R9", {"Aortic enlargement", "Nodule/Mass"}),
    (IDS[1], "R2", {"No finding"}),
    (IDS[1], "R3", {"No finding"}),
)
TEST = ((IDS[2], "", {"Tuberculosis", "Other disease"}),)


def vindr_cxr(folder: Path) -> Path:
    (folder / "annotations").mkdir(parents=True)
    for part, rows in (("train", TRAIN), ("test", TEST)):
        columns = [*FINDINGS, "No finding"]
        if part == "test":  # published with this spelling, and another order
            columns = ["Other disease" if name == "Other diseases" else name for name in columns][::-1]
        header = ["image_id", *(["rad_id"] if part == "train" else []), *columns]
        lines = [",".join(header)]
        (folder / part).mkdir()
        for number, (name, reader, seen) in enumerate(rows):
            cells = [str(int(column in seen)) for column in columns]
            lines.append(",".join([name, *([reader] if reader else []), *cells]))
            array = np.random.default_rng([len(rows), number]).integers(0, 4000, (8, 9)).astype(np.uint16)
            write_dicom(folder / part / f"{name}.dicom", array)
        (folder / "annotations" / f"image_labels_{part}.csv").write_text("\n".join(lines) + "\n")
        (folder / "annotations" / f"annotations_{part}.csv").write_text("image_id,class_name\n")
    return folder


def test_readers_decide_by_majority_and_their_disagreement_is_counted(tmp_path: Path) -> None:
    cohort = read_manifest(vindr_cxr(tmp_path / "vindr-cxr"))
    assert cohort.kind == "multilabel" and cohort.classes == FINDINGS and len(FINDINGS) == 27
    found = [{FINDINGS[place] for place in np.flatnonzero(row)} for row in cohort.labels]
    assert found == [{"Aortic enlargement", "Other diseases"}, set(), {"Tuberculosis", "Other diseases"}]
    # of image 1: two readers of three, one, one
    assert cohort.table["disagreements"].tolist() == ["3", "0", ""]
    assert cohort.table["split"].tolist() == ["train", "train", "test"]
    assert "two or more of its three" in cohort.notes["labels"] and "PhysioNet" in cohort.notes["licence"]
    assert cohort.picture(2).array.shape[:2] == (8, 9)


def test_a_whole_set_has_no_error(tmp_path: Path) -> None:
    told = [problem for problem in check(vindr_cxr(tmp_path / "v")) if problem.severity == "error"]
    assert told == []


def test_a_part_alone_opens_and_a_missing_table_is_named(tmp_path: Path) -> None:
    folder = vindr_cxr(tmp_path / "v")
    (folder / "annotations" / "image_labels_train.csv").unlink()
    with pytest.raises(DataError, match=r"needs the table annotations/image_labels_train\.csv .* Copy it"):
        read_manifest(folder)
    shutil.rmtree(folder / "train")
    assert read_manifest(folder).table["split"].tolist() == ["test"]


@pytest.mark.parametrize(
    ("part", "before", "after", "expected"),
    [
        ("train", ",ILD,", ",Other,", r"it has no ILD\. Download"),
        ("train", "R10,1,0", "R10,2,0", r"needs 0 or 1 in 'Aortic enlargement', but row 1 has '2'"),
        ("train", "R10,1,0", "R10,,0", r"needs 0 or 1 in 'Aortic enlargement', but row 1 has ''"),
        ("train", ",R8,", ",R10,", r"each reader once .* row 3 has 'R10' a second time\. Remove"),
        (
            "train",
            f"{IDS[0]},R8",
            f"{IDS[1]},R8",
            r"3 readers of each image, but the image of row 1 has 2\. ",
        ),
        ("train", f"{IDS[1]},R3", f"{'f' * 32},R3", r"its images in train/, but 1 of 3 .* first in row 6\. "),
        ("train", f"{IDS[1]},R3", "../R,R3", r"dots and hyphens in 'image_id', but row 6 has none or others"),
        ("test", IDS[2], IDS[1], r"test\.csv needs its images in test/, but 1 of 1 .* row 1\. Unpack or"),
        ("test", f"\n{IDS[2]}", f"\n{IDS[2]}" + ",0" * 28 + f"\n{IDS[2]}", r"row 2 has that of row 1"),
    ],
)
def test_tables_that_do_not_do_are_refused_in_one_sentence(
    tmp_path: Path, part: str, before: str, after: str, expected: str
) -> None:
    folder = vindr_cxr(tmp_path / "v")
    file = folder / "annotations" / f"image_labels_{part}.csv"
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert file.name in str(caught.value) and "\n" not in str(caught.value)
    assert [problem.severity for problem in check(folder)] == ["error"]


@pytest.mark.parametrize("part", ["annotations/image_labels_test.csv", "annotations", "train"])
def test_its_parts_name_the_folder_to_pass(tmp_path: Path, part: str) -> None:
    folder = vindr_cxr(tmp_path / "v")
    with pytest.raises(DataError, match=rf"Opening VinDr-CXR .* Pass the folder {folder}"):
        read_manifest(folder / part)
