"""Sums over images are in double precision, whatever the blocks, and nothing of the caller's changes."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.ranking.scores import gram as module
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.gram import centred_image_gram, double_blocks, gram

FEATURES = np.random.default_rng(0).normal(3, 1, size=(23, 4)).astype(np.float32)


@pytest.mark.parametrize("numbers", [1, 8, 20, 2**22])
def test_blocks_change_nothing(numbers, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", numbers)
    before = FEATURES.copy()
    expected = np.zeros((4, 4))
    for row in FEATURES.astype(float):
        expected += np.outer(row - [1, 2, 3, 4], row - [1, 2, 3, 4])
    np.testing.assert_allclose(gram(FEATURES, np.array([1.0, 2, 3, 4])), expected, rtol=1e-13)
    np.testing.assert_allclose(
        gram(FEATURES.T), FEATURES.astype(float) @ FEATURES.T.astype(float), rtol=1e-13
    )
    labels = np.arange(23) % 3
    sums = [FEATURES[labels == label].astype(float).sum(axis=0) for label in range(3)]
    np.testing.assert_allclose(class_sums(FEATURES, labels, 3), sums, rtol=1e-13)
    np.testing.assert_array_equal(FEATURES, before)


def test_every_row_is_in_one_block(monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 20)
    blocks = list(double_blocks(FEATURES))
    assert [len(block) for _, block in blocks] == [5, 5, 5, 5, 3]
    assert (np.concatenate([FEATURES[rows] for rows, _ in blocks]) == FEATURES).all()


def test_sums_are_in_double_precision():
    # In single precision 2**24 + 1 is 2**24: the ones would be lost.
    features = np.array([[2.0**12]] + [[1.0]] * 9, dtype=np.float32)
    assert gram(features)[0, 0] == 2.0**24 + 9
    assert (
        class_sums(np.array([[2.0**24], [1.0]], dtype=np.float32), np.array([0, 0]), 1)[0, 0] == 2.0**24 + 1
    )


def test_the_gram_matrix_of_images_is_centred():
    centred = FEATURES.astype(float) - FEATURES.mean(axis=0, dtype=float)
    np.testing.assert_allclose(centred_image_gram(FEATURES), centred @ centred.T, atol=1e-12)
