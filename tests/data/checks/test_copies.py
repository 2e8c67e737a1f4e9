"""Copies, in the data set and in what came before: told by row, as errors where they spoil scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.checks import Problem, check
from medgraft.data.cohort import Cohort
from medgraft.data.samples import FOLDER, load_samples

SPLITS = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2


def tiles(number: int = 16) -> np.ndarray:
    """(N, 96, 96, 3): parts of a slide that do not touch."""
    slide = np.asarray(Image.open(FOLDER / "nest.jpg"))
    corners = [(120 * (one // 12), 120 * (one % 12)) for one in range(number)]
    return np.stack([slide[top : top + 96, left : left + 96] for top, left in corners])


def cohort_of(
    images: np.ndarray, name: str = "now", split: Sequence[str] | None = SPLITS, **columns: list
) -> Cohort:
    patients = columns.pop("patients", [f"SECRET{name}{one}" for one in range(len(images))])
    labels = np.array(columns.pop("labels", [0, 1] * (len(images) // 2)))
    return Cohort.from_arrays(
        images,
        labels,
        kind="classify",
        classes=("a", "b"),
        patients=patients,
        split=split,
        name=name,
        **columns,
    )


def changed(image: np.ndarray) -> np.ndarray:
    return (image[:, ::-1] * 0.7 + 30).astype(np.uint8)


def told(problems: list[Problem]) -> list[tuple[str, int, str]]:
    assert not any("SECRET" in part for problem in problems for part in map(str, problem))
    assert all("\n" not in problem.message and problem.message.endswith(".") for problem in problems)
    return [(problem.severity, problem.row, problem.message) for problem in problems]


def test_a_near_copy_in_another_split_is_an_error_and_within_one_a_warning() -> None:
    images = tiles(8)
    images[7], images[3] = changed(images[2]), changed(images[0])
    found = told(check(cohort_of(images)))
    assert [(severity, row) for severity, row, _ in found] == [("error", 8), ("warning", 4)]
    across, within = (message for _, _, message in found)
    reason = "mirrored left to right, another brightness or contrast; similarity 0.9"
    assert across.startswith(f"The image looks like a copy of row 3 ({reason}")
    assert "which is in another split ('train'): look at both and keep one." in across
    assert within.startswith("The image looks like a copy of row 1 (") and "split" not in within


def test_exact_copies_are_told_once_and_not_as_near_ones_too() -> None:
    images = tiles(8)
    images[6], images[2] = images[0], images[1]
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    found = told(check(cohort_of(images, labels=labels)))
    assert found == [
        ("error", 3, "The pixels are those of row 2, which has another label ('b'): correct one."),
        (
            "error",
            7,
            "The pixels are those of row 1, which is in another split ('train'): keep one of the two.",
        ),
    ]


def test_of_several_copies_each_is_told_once() -> None:
    images = tiles(8)
    images[5], images[6] = images[0, ::-1], images[0, :, ::-1]
    found = told(check(cohort_of(images)))
    assert [(severity, row) for severity, row, _ in found] == [("error", 6), ("error", 7)]


def test_copies_of_one_patient_are_not_told_unless_the_pixels_are_the_same() -> None:
    images = tiles(8)
    images[1] = changed(images[0])
    patients = ["SECRET", "SECRET", *"cdefgh"]
    assert told(check(cohort_of(images, patients=patients))) == []
    images[1] = images[0]
    ((severity, row, message),) = told(check(cohort_of(images, patients=patients, labels=[0, 0, 1, 1] * 2)))
    assert (severity, row) == (
        "warning",
        2,
    ) and message == "The pixels are those of row 1: remove one of the two."


def test_slices_of_one_scan_under_different_names_are_told_in_one_sentence() -> None:
    scan = load_samples("brain").at("colin27")
    slices = np.stack([scan.picture(position).array for position in range(20)])
    split = ["train", "test"] * 10
    (one,) = told(check(cohort_of(slices, split=split)))
    severity, row, message = one
    assert (severity, row) == ("warning", 0)
    assert "resemble several others so much" in message and "give them one patient" in message
    assert told(check(cohort_of(slices, split=["train"] * 20, patients=["SECRET"] * 20)))[0][2].startswith(
        "The class 'a' has 1 patient"
    )


def test_overlap_with_pretraining_is_told_by_patient_by_pixels_and_as_a_copy() -> None:
    every = tiles(16)
    now, before = every[:8], every[8:].copy()
    before[3], before[5] = now[6], changed(now[7])
    patients = [f"SECRET{one}" for one in range(8)]
    pretraining = cohort_of(before, "before", None, patients=[*"abcdef", "SECRET5", "h"])
    found = told(check(cohort_of(now, patients=patients), pretraining=pretraining))
    of = "of the pre-training data (before)"
    do = "leave it out of validation and test."
    assert found == [
        ("error", 6, f"The patient has the same name as in row 7 {of}: {do}"),
        ("error", 7, f"The pixels are those of row 4 {of}: {do}"),
        ("error", 8, f"The image looks like a copy of row 6 {of} (mirrored left to right, another brightness or "
         f"contrast): {do}"),
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "validation", "test", None])
def test_overlap_spoils_scores_and_not_training(split: str | None) -> None:
    images = tiles(16)
    images[8], images[9] = images[0], changed(images[1])
    splits = None if split is None else [split] * 8
    problems = check(cohort_of(images[:8], split=splits), pretraining=cohort_of(images[8:], "before", None))
    severities = {row: severity for severity, row, _ in told(problems) if row}
    assert severities == dict.fromkeys((1, 2), "warning" if split == "train" else "error")
    if split == "train":
        assert all(
            "keep its patient out of validation and test" in one.message for one in problems if one.row
        )


def test_a_row_seen_in_several_ways_is_told_for_each() -> None:
    now = tiles(8)
    before = cohort_of(now[:2], "before", None, patients=["SECRETnow0", "other"])
    found = [(row, message[:12]) for _, row, message in told(check(cohort_of(now), pretraining=before))]
    assert found == [(1, "The patient "), (1, "The pixels a"), (2, "The pixels a")]


def test_no_overlap_is_no_problem_and_every_image_is_counted() -> None:
    every = tiles(16)
    calls: list[None] = []
    pretraining = cohort_of(every[8:], "before", None)
    assert check(cohort_of(every[:8]), pretraining=pretraining, advance=lambda: calls.append(None)) == []
    assert len(calls) == 8 + 8 + 8  # and those at hand once more, to be compared


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for one, image in enumerate(tiles(10)):
        Image.fromarray(image).save(tmp_path / f"{one}.png")
    rows = [f"{one}.png,{'ab'[one % 2]},SECRET{one},{split}" for one, split in enumerate(SPLITS)]
    (tmp_path / "now.csv").write_text("\n".join(["image,label,patient,split", *rows]))
    return tmp_path


def test_pretraining_data_that_cannot_be_opened_are_one_problem_beside_all_others(files: Path) -> None:
    (files / "7.png").unlink()
    found = told(check(files / "now.csv", pretraining=files / "none.csv"))
    assert [(severity, row) for severity, row, _ in found] == [("error", 0), ("error", 8)]
    assert "none.csv does not exist" in found[0][2] and "7.png does not exist" in found[1][2]


def test_unreadable_images_hide_no_overlap_of_the_others(files: Path) -> None:
    (files / "6.png").write_bytes((files / "6.png").read_bytes()[:90])
    (files / "before.csv").write_text("image,patient\nlost.png,SECRET4\n9.png,x\ngone.png,y\n7.png,SECRET6\n")
    found = told(check(files / "now.csv", pretraining=files / "before.csv"))
    assert [(severity, row) for severity, row, _ in found] == [
        ("error", 5), ("error", 7), ("error", 7), ("error", 8), ("warning", 0),
    ]  # fmt: skip
    messages = [message for *_, message in found]
    assert "The patient has the same name as in row 1" in messages[0]
    assert "6.png" in messages[1] and "The patient has the same name as in row 4" in messages[2]
    assert "The pixels are those of row 4" in messages[3]
    assert messages[4].startswith(
        "2 of 4 images of the pre-training data (before) cannot be read, the first in row 1:"
    )


def test_patients_are_compared_only_where_both_tell_them() -> None:
    every = tiles(16)
    named = cohort_of(every[:8], patients=list("abcdefgh"))
    silent = Cohort.from_arrays(every[8:], kind="encode", name="before")
    assert check(named, pretraining=silent) == []
    nameless = cohort_of(every[8:], "before", None, patients=["", *"ijklmno"])
    gap = cohort_of(every[:8], patients=["", *"bcdefgh"])
    assert [
        problem.row for problem in check(gap, pretraining=nameless) if "pre-training" in problem.message
    ] == []
