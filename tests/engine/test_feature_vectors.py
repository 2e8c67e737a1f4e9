"""Vectors of whole inner maps, and where extraction takes its images from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from medgraft.data.cohort import Cohort
from medgraft.engine.features import extract_features, feature_vectors
from medgraft.engine.loading import Loader
from medgraft.engine.randomness import seeded
from medgraft.errors import ShapeError
from medgraft.models.model import Model, evaluation_mode
from medgraft.testing import make_cohort, make_model
from medgraft.types import Batch, Preparation

LAYER = "bottleneck.first_norm"


def model() -> Model:
    with seeded("features"):
        return make_model("segment")


def test_a_map_is_flattened_channel_by_channel_whatever_the_batch_size() -> None:
    network, cohort = model(), make_cohort("segment")
    images = Loader(cohort, network.spec.preparation)(np.arange(len(cohort))).images
    with evaluation_mode(network), torch.no_grad():
        maps = network.activations(images, [LAYER])[1][LAYER]
    for batch_size in (5, 100):
        found = extract_features(network, cohort, at=LAYER, batch_size=batch_size)
        torch.testing.assert_close(found, maps.reshape(len(cohort), -1), rtol=1e-4, atol=1e-5)
    assert network.training and found.dtype == torch.float32


def test_without_a_layer_vectors_are_the_models_features_and_gradients_flow() -> None:
    network, images = model(), torch.rand(2, 1, 32, 32, requires_grad=True)
    with evaluation_mode(network):
        torch.testing.assert_close(feature_vectors(network, images), network.features(images))
        feature_vectors(network, images, LAYER).square().sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


class Counting(Loader):
    def __init__(self, cohort: Cohort, preparation: Preparation) -> None:
        super().__init__(cohort, preparation)
        self.given: list[int] = []

    def __call__(self, rows: Sequence[int] | np.ndarray) -> Batch:
        self.given += [int(row) for row in rows]
        return super().__call__(rows)


def test_a_loader_that_remembers_is_used() -> None:
    network, cohort = model(), make_cohort("segment")
    loader = Counting(cohort, network.spec.preparation)
    found = extract_features(network, cohort, loader=loader, batch_size=7)
    assert loader.given == list(range(len(cohort)))
    assert torch.equal(found, extract_features(network, cohort, batch_size=7))


def test_maps_of_different_size_are_refused() -> None:
    network = model()
    cohort = make_cohort("segment")

    class Growing(Loader):
        def __call__(self, rows: Sequence[int] | np.ndarray) -> Batch:
            side = 32 if rows[0] == 0 else 48
            return Batch(torch.rand(len(rows), 1, side, side), None, np.asarray(rows))

    with pytest.raises(ShapeError, match=r"1024 numbers at .*some with 2304"):
        extract_features(
            network, cohort, at=LAYER, batch_size=12, loader=Growing(cohort, network.spec.preparation)
        )
