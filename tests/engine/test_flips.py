"""Averages over mirrored views, against a loop written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.engine.flips import flipped_probabilities
from medgraft.engine.predict import predict_labels, predict_masks
from medgraft.errors import SettingsError
from medgraft.testing import make_cohort, make_model


def test_masks_are_mirrored_back_before_they_are_averaged() -> None:
    model = make_model("segment").eval()
    images = torch.randn(2, 1, 12, 16)
    views = [
        model(images).softmax(1),
        model(images.flip(2)).softmax(1).flip(2),
        model(images.flip(3)).softmax(1).flip(3),
        model(images.flip((2, 3))).softmax(1).flip((2, 3)),
    ]
    expected = sum(views) / 4
    torch.testing.assert_close(flipped_probabilities(model, images, ("height", "width")), expected)
    both_ways = flipped_probabilities(model, images.flip(3), ("width",)).flip(3)
    torch.testing.assert_close(flipped_probabilities(model, images, ("width",)), both_ways)


def test_without_axes_nothing_changes() -> None:
    model, cohort = make_model("segment"), make_cohort("segment", patients=6)
    plain, averaged = next(predict_masks(model, cohort)), next(predict_masks(model, cohort, flips=()))
    np.testing.assert_array_equal(plain.confidence, averaged.confidence)


@pytest.mark.parametrize("kind", ["classify", "multilabel"])
def test_labels_follow_the_averaged_probabilities(kind: str) -> None:
    model, cohort = make_model(kind), make_cohort(kind, patients=6)  # type: ignore[arg-type]
    plain, mirrored = predict_labels(model, cohort), predict_labels(model, cohort, flips=("width",))
    assert not np.allclose(plain.probabilities, mirrored.probabilities, atol=1e-6)
    if kind == "classify":
        np.testing.assert_array_equal(mirrored.labels, mirrored.probabilities.argmax(1))
    else:
        np.testing.assert_array_equal(mirrored.labels, mirrored.probabilities > 0.5)


def test_an_axis_that_images_lack_is_refused_before_anything_is_predicted() -> None:
    with pytest.raises(SettingsError, match="height, width"):
        next(predict_masks(make_model("segment"), make_cohort("segment"), flips=("depth",)))
