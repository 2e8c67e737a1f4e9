"""Two subjects are compared on the same patients, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import DataError, SettingsError
from medgraft.evaluation.compare import compare
from medgraft.evaluation.evaluate import evaluate
from medgraft.statistics.bootstrap import paired_difference

PATIENTS = ["a", "a", "b", "b", "c", "c", "d", "d"]
TRUTH = np.array([0, 1, 0, 1, 0, 1, 0, 1])
RIGHT = np.where(np.eye(2)[TRUTH] == 1, 0.9, 0.1)


def answers(right: list[int]) -> np.ndarray:
    """Probabilities that are right where `right` is 1."""
    return np.where(np.asarray(right)[:, None] == 1, RIGHT, 1 - RIGHT)


OURS = [1, 1, 1, 1, 1, 1, 0, 1]
THEIRS = [1, 0, 1, 0, 1, 1, 0, 1]


def measured(written, subject, right, *, seed=0, name="skin", patients=PATIENTS, truth=TRUTH, split="test"):
    model, cohort = written.labels(
        answers(right), truth, ("a", "b"), patients=patients, name=name, split=[split] * 8
    )
    return evaluate(model, cohort, subject=subject, seed=seed, repeats=5, examples=0)


def test_the_difference_is_that_of_the_same_rows(written):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS)
    (row,) = (
        compare(evidence, "ours", "theirs", "accuracy", repeats=200).tables["comparisons"].to_dict("records")
    )
    # ours is right on 7 of 8, theirs on 5 of 8
    assert row["difference"] == pytest.approx(7 / 8 - 5 / 8)
    ours, theirs = np.asarray(OURS), np.asarray(THEIRS)
    expected = paired_difference(
        lambda rows: ours[rows].mean(),
        lambda rows: theirs[rows].mean(),
        [0, 0, 1, 1, 2, 2, 3, 3],
        repeats=200,
    )
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["low"] == 0 and row["high"] == pytest.approx(0.5)
    assert (row["n"], row["seeds"], row["cohort"], row["split"]) == (4, 1, "skin", "test")
    assert (row["subject"], row["reference"], row["metric"]) == ("ours", "theirs", "accuracy")


def test_p_is_that_of_exchanging_the_two_per_patient(written):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS)
    row = compare(evidence, "ours", "theirs", "accuracy").tables["comparisons"].iloc[0]
    # Of the four patients a and b have a difference: both signs agree in two of four ways.
    assert row["p"] == 0.5
    assert row["test"].startswith("permutation. With 2 units the smallest p this test can give is 0.5:")


def test_a_patient_of_many_images_weighs_as_they_do_in_p(written):
    patients = ["a", "a", "a", "a", "a", "b", "c", "d"]
    ours, theirs = [1, 1, 1, 1, 1, 0, 1, 1], [1, 0, 0, 0, 0, 1, 0, 1]
    evidence = measured(written, "ours", ours, patients=patients) + measured(
        written, "theirs", theirs, patients=patients
    )
    row = compare(evidence, "ours", "theirs", "accuracy").tables["comparisons"].iloc[0]
    # Patients gain 4, -1 and 1 images: |4 - 1 + 1| is reached by all signs of the last two but the two of one sign
    # against the first, which give 2.
    assert row["difference"] == pytest.approx(4 / 8)
    assert row["p"] == pytest.approx(6 / 8)


def test_scores_that_are_no_means_have_no_p(written):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS)
    row = compare(evidence, "ours", "theirs", "auroc").tables["comparisons"].iloc[0]
    assert np.isnan(row["p"]) and row["test"] == ""
    brier = compare(evidence, "ours", "theirs", "brier").tables["comparisons"].iloc[0]
    assert brier["p"] == 0.5


def test_turning_the_two_round_turns_the_sign(written):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS)
    one = compare(evidence, "ours", "theirs", "auroc").tables["comparisons"].iloc[0]
    other = compare(evidence, "theirs", "ours", "auroc").tables["comparisons"].iloc[0]
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["low"] == pytest.approx(-other["high"])


def test_seeds_are_averaged(written):
    evidence = (
        measured(written, "ours", OURS, seed=0)
        + measured(written, "ours", [1] * 8, seed=1)
        + measured(written, "theirs", THEIRS)
    )
    row = compare(evidence, "ours", "theirs", "accuracy").tables["comparisons"].iloc[0]
    assert row["difference"] == pytest.approx((7 / 8 + 1) / 2 - 5 / 8)
    assert row["seeds"] == 1


def test_each_cohort_and_split_has_its_line(written):
    evidence = (
        measured(written, "ours", OURS)
        + measured(written, "theirs", THEIRS)
        + measured(written, "ours", OURS, name="lung")
        + measured(written, "theirs", OURS, name="lung")
        + measured(written, "ours", OURS, split="validation")
    )
    lines = compare(evidence, "ours", "theirs", "accuracy").tables["comparisons"]
    assert lines[["cohort", "split"]].values.tolist() == [["skin", "test"], ["lung", "test"]]
    assert lines["difference"].tolist() == pytest.approx([0.25, 0])


@pytest.mark.parametrize(
    "other",
    [
        {"patients": ["a", "a", "a", "b", "c", "c", "d", "d"]},
        {"truth": TRUTH[::-1].copy()},
    ],
)
def test_different_patients_or_truth_are_refused(written, other):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS, **other)
    with pytest.raises(
        DataError, match="measured on the same rows of skin, but their rows, units or truth differ"
    ):
        compare(evidence, "ours", "theirs", "accuracy")


def test_no_common_cohort_is_refused(written):
    evidence = measured(written, "ours", OURS) + measured(written, "theirs", THEIRS, name="lung")
    with pytest.raises(DataError, match="the evidence has no such pair"):
        compare(evidence, "ours", "theirs", "accuracy")


def test_an_unknown_subject_or_metric_is_refused(written):
    evidence = measured(written, "ours", OURS)
    with pytest.raises(DataError, match=r"accuracy of 'teirs', but the evidence has it of: ours"):
        compare(evidence, "ours", "teirs", "accuracy")
    with pytest.raises(SettingsError, match="got 'f1'"):
        compare(evidence, "ours", "ours", "f1")


def test_overlaps_are_compared_per_patient(written):
    truth = np.array([[[1, 1], [2, 2]], [[1, 1], [0, 2]]])
    worse = np.array([[[1, 0], [2, 2]], [[1, 1], [0, 2]]])

    def segmented(subject, guess):
        model, cohort = written.masks(
            guess, truth, ("background", "x", "y"), patients=["a", "b"], name="liver"
        )
        return evaluate(model, cohort, subject=subject, repeats=5, examples=0)

    evidence = segmented("ours", truth) + segmented("theirs", worse)
    row = compare(evidence, "ours", "theirs", "dice", repeats=100).tables["comparisons"].iloc[0]
    # patient a: x overlaps by 2 * 1 / (2 + 1), y wholly; patient b: both wholly
    gain = 1 - (2 / 3 + 1) / 2
    assert row["difference"] == pytest.approx(gain / 2)
    assert row["p"] == 1.0  # one patient without, one with a difference
    assert (row["low"], row["high"]) == pytest.approx((0, gain))
    assert row["n"] == 2
