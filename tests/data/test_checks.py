"""Checks: every planted problem is found at once, with row and file; a clean data set has none."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import Problem, check
from medgraft.data.cohort import Cohort


def save(path: Path, seed: int, shape: tuple[int, ...] = (8, 8)) -> np.ndarray:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(array).save(path)
    return array


def found(problems: list[Problem], row: int) -> str:
    return " ".join(problem.message for problem in problems if problem.row == row)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    lines = ["image,label,patient,split"]
    for index in range(8):
        save(tmp_path / f"{index}.png", index)
        split = "train" if index < 4 else "test"
        lines.append(f"{index}.png,{'ab'[index % 2]},SECRET{index},{split}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.csv"


def test_a_clean_manifest_has_no_problems(clean: Path) -> None:
    assert check(clean) == []


def test_all_problems_are_listed_at_once(clean: Path) -> None:
    folder = clean.parent
    first = np.asarray(Image.open(folder / "0.png"))
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "text.png").write_text("no picture")
    bad = first.astype(np.float32)
    bad[0, :2] = np.nan, np.inf
    np.save(folder / "nan.npy", bad)
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(folder / "flat.png")
    Image.fromarray(first).save(folder / "copy.tif")
    save(folder / "rgb.png", 50, (8, 8, 3))
    np.save(folder / "volume.npy", np.random.default_rng(0).random((3, 8, 8, 1)))
    with clean.open("a") as file:
        file.write("none.png,a,SECRET20,train\ncut.png,a,SECRET21,train\ntext.png,a,SECRET22,train\n")
        file.write("nan.npy,a,SECRET23,train\nflat.png,a,SECRET24,train\ncopy.tif,a,SECRET25,test\n")
        file.write(
            "rgb.png,a,SECRET0,test\n4.png,,SECRET4,test\n,a,SECRET26,train\nvolume.npy,a,SECRET27,holdout\n"
        )
        file.write("0.png,a,SECRET0,train\n5.png,c,,test\n")
    problems = check(clean)
    expected = {
        9: "does not exist", 10: "cannot be read", 11: "no image of this format", 12: "2 NaN or infinite values",
        13: "is constant", 14: "pixels are those of row 1, which is in another split ('train')",
        15: "The patient of this row is in 'test', but in 'train' in row 1", 16: "The label '' is not one of a, b, c",
        17: "The cell 'image' is empty", 18: "The split 'holdout' is not one of train, validation, test",
        19: "repeats an earlier one", 20: "which has another label ('b')",
    }  # fmt: skip
    for row, sentence in expected.items():
        assert sentence in found(problems, row), row
    assert "has 3 channels, most have 1" in found(problems, 15)
    assert "which has another label ('a')" in found(problems, 16)
    assert "volume of 3 slices" in found(problems, 18)
    assert "The cell 'patient' is empty" in found(problems, 20)
    assert "The class 'c' has 1 patient" in found(problems, 0)
    assert not any(problem.row in range(1, 9) for problem in problems)
    severities = [problem.severity for problem in problems]
    assert severities == sorted(severities) and {"error", "warning"} == set(severities)
    assert {p.row: p.file for p in problems if p.row in (9, 14)} == {9: "none.png", 14: "copy.tif"}
    assert not any("SECRET" in part for problem in problems for part in map(str, problem))
    assert all("\n" not in problem.message and problem.message.endswith(".") for problem in problems)


def test_masks_that_do_not_fit_are_found_even_beside_unreadable_images(tmp_path: Path) -> None:
    lines = ["image,mask,patient,split"]
    masks = {"good": np.eye(8), "small": np.eye(6), "wrong": np.eye(8) * 9, "colour": None, "lost": None}
    for index, (name, mask) in enumerate(masks.items()):
        save(tmp_path / f"{name}.png", index)
        if mask is not None:
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{name}_mask.png")
        lines.append(f"{name}.png,{name}_mask.png,{index},train")
    save(tmp_path / "colour_mask.png", 3, (8, 8, 3))
    lines.append("absent.png,wrong_mask.png,7,train")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    problems = check(tmp_path / "m.csv", classes=["background", "cell"])
    assert found(problems, 1) == ""
    assert "The mask is (6, 6) and its image (8, 8)" in found(problems, 2)
    assert "The mask holds 9, but the classes (background, cell) allow 0 to 1" in found(problems, 3)
    assert "one channel of labels" in found(problems, 4)
    assert "lost_mask.png does not exist" in found(problems, 5)
    assert "absent.png does not exist" in found(problems, 6) and "holds 9" in found(problems, 6)
    rare = check(tmp_path / "m.csv", classes=["background", "cell", "rare"])
    assert "The class 'rare' has 0 patients" in found(rare, 0)


def test_labels_and_boxes_that_do_not_fit_are_found(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    save(tmp_path / "b.png", 1)
    (tmp_path / "l.csv").write_text("image,label:x,patient,split\na.png,yes,1,train\nb.png,1,2,test\n")
    problems = check(tmp_path / "l.csv")
    assert "'label:x' is 'yes' and not 1, 0, -1 or empty" in found(problems, 1)
    assert "The class 'x' has 1 patient:" in found(problems, 0)
    cells = ['"[[0, 0, 9, 5, ""n""]]"', '"[[0, 0, 4]]"']
    (tmp_path / "b.csv").write_text(
        "image,boxes,patient,split\n" + f"a.png,{cells[0]},1,train\nb.png,{cells[1]},2,test\n"
    )
    problems = check(tmp_path / "b.csv")
    assert "A box lies outside the image of 8 x 8 pixels" in found(problems, 1)
    assert "needs JSON such as" in found(problems, 2)


@pytest.mark.parametrize("column", ["label", "mask"])
def test_a_site_that_nobody_annotated_is_told_once(tmp_path: Path, column: str) -> None:
    lines = [f"image,{column},site,patient,split"]
    for index in range(8):
        save(tmp_path / f"{index}.png", index)
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "m.png")
        cell = "m.png" if column == "mask" else "ab"[index % 2]
        cell = cell if index < 4 else ""
        lines.append(f"{index}.png,{cell},{'Basel' if index < 4 else 'Porto'},p{index},train")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    problems = check(tmp_path / "m.csv")
    assert not [problem for problem in problems if problem.severity == "error"]
    told = [problem.message for problem in problems if "Nobody annotated" in problem.message]
    assert told == ["Nobody annotated the site Porto: its images serve methods without labels only."]
    lines[1] = lines[1].replace("m.png" if column == "mask" else ",a,", "" if column == "mask" else ",,")
    (tmp_path / "m.csv").write_text("\n".join(lines))  # one cell of an annotated site
    assert any(problem.severity == "error" and problem.row == 1 for problem in check(tmp_path / "m.csv"))


def test_what_cannot_be_opened_is_one_problem(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "none.csv")
    assert problem.severity == "error" and problem.row == 0 and "does not exist" in problem.message


def test_missing_columns_are_told_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    (tmp_path / "m.csv").write_text("image\na.png\n")
    text = found(check(tmp_path / "m.csv"), 0)
    for sentence in ("no column label", "no column 'patient'", "no column 'split'"):
        assert text.count(sentence) == 1


def test_images_are_not_kept(tmp_path: Path) -> None:
    for index in range(96):
        save(tmp_path / f"{index}.png", index, (256, 256))

    def peak_of(number: int) -> int:
        lines = [f"{index}.png,{index}" for index in range(number)]
        (tmp_path / "m.csv").write_text("\n".join(["image,patient", *lines]))
        seen: list[None] = []
        tracemalloc.start()
        check(tmp_path / "m.csv", advance=lambda: seen.append(None))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(seen) == number
        return peak

    peak_of(48)  # imports and caches
    assert peak_of(96) - peak_of(48) < 12 * 256 * 256  # a quarter of the pixels that came on top


def test_a_cohort_in_memory_is_checked_too() -> None:
    images = np.random.default_rng(0).random((4, 5, 5, 1))
    images[2] = 0.5
    cohort = Cohort.from_arrays(images, np.array([0, 1, 0, 1]), kind="classify", classes=("a", "b"))
    assert "is constant" in found(check(cohort), 3)
