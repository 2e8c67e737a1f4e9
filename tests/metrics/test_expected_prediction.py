"""LEEP's arithmetic against recorded values and a loop, for arrays and tensors alike.

tests/golden/leep_pixel.npz: made from the equations of Nguyen et al. 2020.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medgraft.metrics.expected_prediction import expected_predictions, labels_given_source

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "leep_pixel.npz"))
MAPS, LABELS = GOLDEN["source_probs"], GOLDEN["labels"]


def test_equals_the_recorded_values() -> None:
    given = labels_given_source(GOLDEN["joint"])
    np.testing.assert_allclose(given, GOLDEN["cond"], rtol=0, atol=1e-9)
    expected = expected_predictions(MAPS, LABELS, given)
    np.testing.assert_allclose(np.log(expected), GOLDEN["pixel_log_eep"], rtol=0, atol=1e-9)


def test_tensors_and_arrays_give_the_same() -> None:
    given = labels_given_source(torch.from_numpy(GOLDEN["joint"]))
    expected = expected_predictions(torch.from_numpy(MAPS), torch.from_numpy(LABELS), given)
    arrays = expected_predictions(MAPS, LABELS, labels_given_source(GOLDEN["joint"]))
    np.testing.assert_allclose(expected.numpy(), arrays, rtol=1e-14)


def test_equals_a_loop_over_pixels_labels_and_source_classes() -> None:
    joint = np.zeros((3, 4))
    for place in np.ndindex(LABELS.shape):
        for z in range(4):
            joint[LABELS[place], z] += MAPS[place][z]
    found = expected_predictions(MAPS, LABELS, labels_given_source(joint))
    for place in np.ndindex(LABELS.shape):
        by_hand = sum(
            MAPS[place][z] * joint[LABELS[place], z] / sum(joint[y, z] for y in range(3)) for z in range(4)
        )
        assert found[place] == pytest.approx(by_hand, rel=1e-12)


def test_a_source_class_without_mass_foretells_nothing() -> None:
    joint = np.array([[2.0, 0.0], [2.0, 0.0]])
    assert labels_given_source(joint).tolist() == [[0.5, 0.0], [0.5, 0.0]]
