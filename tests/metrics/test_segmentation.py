"""Overlap against naive loops and scikit-learn; empty masks by convention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from medgraft.errors import ShapeError
from medgraft.metrics.segmentation import dice, dice_per_patient, iou, iou_per_patient


def masks(seed: int = 0, shape: tuple[int, ...] = (12, 9)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 4, shape), random.integers(0, 4, shape)


@pytest.mark.parametrize("shape", [(12, 9), (3, 5, 7)])
def test_overlap_agrees_with_scikit_learn(shape: tuple[int, ...]) -> None:
    truth, predicted = masks(shape=shape)
    flat = truth.ravel(), predicted.ravel()
    np.testing.assert_allclose(dice(truth, predicted, 4), f1_score(*flat, average=None))
    np.testing.assert_allclose(iou(truth, predicted, 4), jaccard_score(*flat, average=None))


def test_overlap_agrees_with_sets_of_pixels() -> None:
    truth, predicted = masks(1)
    for label in range(4):
        a = {tuple(p) for p in np.argwhere(truth == label)}
        b = {tuple(p) for p in np.argwhere(predicted == label)}
        assert dice(truth, predicted, 4)[label] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
        assert iou(truth, predicted, 4)[label] == pytest.approx(len(a & b) / len(a | b))


def test_iou_follows_from_dice_and_both_are_symmetric() -> None:
    truth, predicted = masks(2)
    overlap = dice(truth, predicted, 5)
    np.testing.assert_allclose(iou(truth, predicted, 5), overlap / (2 - overlap))
    np.testing.assert_array_equal(overlap, dice(predicted, truth, 5))
    np.testing.assert_array_equal(dice(truth, truth, 5), np.ones(5))


@pytest.mark.parametrize("measure", [dice, iou])
def test_both_empty_is_one_and_one_empty_is_zero(measure: Callable[..., np.ndarray]) -> None:
    empty, full = np.zeros((3, 3), int), np.ones((3, 3), bool)
    assert measure(empty, empty, 2).tolist() == [1.0, 1.0]
    assert measure(empty, full, 2).tolist() == [0.0, 0.0]
    assert measure(full, empty, 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("measure", [dice, iou])
def test_ignored_pixels_count_nowhere(measure: Callable[..., np.ndarray]) -> None:
    truth, predicted = masks(3)
    marked = truth.copy()
    marked[:4] = 255
    np.testing.assert_array_equal(
        measure(marked, predicted, 4, ignore=255), measure(truth[4:], predicted[4:], 4)
    )


def test_a_patient_is_the_pool_of_all_slices() -> None:
    pairs = [masks(seed, (4 + seed, 6)) for seed in range(5)]
    patients = ["b", "a", "b", "a", "b"]
    for pooled, whole in ((dice_per_patient, dice), (iou_per_patient, iou)):
        scores = pooled((t for t, _ in pairs), (p for _, p in pairs), patients, 4)
        assert list(scores) == ["b", "a"]
        for patient, score in scores.items():
            mine = [pair for pair, owner in zip(pairs, patients) if owner == patient]
            stacked = [np.concatenate([pair[side].ravel() for pair in mine]) for side in (0, 1)]
            np.testing.assert_allclose(score, whole(*stacked, 4))


def test_empty_slices_earn_a_patient_nothing() -> None:
    truth = [np.array([[1, 1, 0, 0]]), np.zeros((1, 4), int)]
    predicted = [np.array([[1, 0, 0, 0]]), np.zeros((1, 4), int)]
    assert dice_per_patient(truth, predicted, ["a", "a"], 2)["a"][1] == pytest.approx(2 / 3)
    mean_over_slices = np.mean([dice(t, p, 2)[1] for t, p in zip(truth, predicted)])
    assert mean_over_slices == pytest.approx(5 / 6)


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_unequal_numbers_of_masks_are_told(absent: int) -> None:
    columns: list[list[object]] = [[[0, 1]] * 3, [[0, 1]] * 3, ["a"] * 3]
    columns[absent] = columns[absent][:2]
    with pytest.raises(ShapeError, match="ends after 2"):
        dice_per_patient(*columns, classes=2)  # type: ignore[arg-type]


def test_shapes_and_labels_that_do_not_fit_are_told() -> None:
    with pytest.raises(ShapeError, match="same shape"):
        dice(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(ShapeError, match="truth holds 0 to 255"):
        dice([0, 255], [0, 1], 2)
    with pytest.raises(ShapeError, match="prediction holds 0 to 2"):
        dice([0, 1], [0, 2], 2)
