"""Pixel LEEP against recorded values, a loop over pixels, and the two ends of its range.

tests/golden/leep_pixel.npz: made from the equations of Nguyen et al. 2020.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medgraft.engine.features import sample_pixels
from medgraft.engine.randomness import seeded
from medgraft.errors import DataError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.cc_fv import cc_fv
from medgraft.ranking.scores.pixel_leep import pixel_leep
from medgraft.testing import make_cohort, make_model

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "leep_pixel.npz"))
MAPS, LABELS = GOLDEN["source_probs"], GOLDEN["labels"]


def test_the_score_is_the_recorded_one() -> None:
    assert pixel_leep(MAPS, LABELS) == pytest.approx(float(GOLDEN["leep_score"]), abs=1e-9)
    assert float(GOLDEN["leep_score"]) == pytest.approx(GOLDEN["pixel_log_eep"].mean())


def test_pixels_may_come_in_any_shape_and_order() -> None:
    order = np.random.default_rng(0).permutation(LABELS.size)
    flat = pixel_leep(MAPS.reshape(-1, 4)[order], LABELS.ravel()[order])
    assert flat == pytest.approx(pixel_leep(MAPS, LABELS), rel=1e-12)
    volumes = pixel_leep(MAPS[:, None], LABELS[:, None])
    assert volumes == pytest.approx(pixel_leep(MAPS, LABELS), rel=1e-12)


def test_a_source_that_knows_nothing_gets_minus_the_entropy_of_the_labels() -> None:
    shares = np.bincount(LABELS.ravel()) / LABELS.size
    same = np.full((*LABELS.shape, 4), 0.25)
    assert pixel_leep(same, LABELS) == pytest.approx(float((shares * np.log(shares)).sum()))


def test_a_source_that_names_other_classes_but_the_same_regions_is_perfect() -> None:
    assert pixel_leep(np.eye(7)[LABELS + 2], LABELS) == pytest.approx(0, abs=1e-12)


def test_sources_are_ordered_by_how_often_they_are_right() -> None:
    rng = np.random.default_rng(0)
    labels, other = rng.integers(0, 3, (4, 20, 20)), rng.integers(0, 3, (4, 20, 20))
    noise = rng.random(labels.shape)
    scores = [
        pixel_leep(0.8 * np.eye(3)[np.where(noise < wrong, other, labels)] + 0.2 / 3, labels)
        for wrong in (0.0, 0.2, 0.4, 0.7, 1.0)
    ]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5


def test_pixels_of_a_network_feed_both_segmentation_scores() -> None:
    cohort = make_cohort("segment")
    with seeded("source"):  # of some draws the tiny decoder is dead
        model = make_model("segment")
    found = sample_pixels(model, cohort, per_class=200)
    assert -np.log(2) - 1e-6 < pixel_leep(found.probabilities, found.labels) < 0
    assert np.isfinite(cc_fv(found.features, found.labels, found.images))


def test_wrong_shapes_and_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="source's classes last"):
        pixel_leep(np.moveaxis(MAPS, -1, 1), LABELS)
    with pytest.raises(DataError, match="softmax"):
        pixel_leep(MAPS * 3, LABELS)
    with pytest.raises(UndefinedError, match="one"):
        pixel_leep(MAPS, np.zeros_like(LABELS))
