from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from medgraft.errors import ShapeError
from medgraft.models.discriminator import Discriminator


def test_parameters_are_those_of_the_published_layers() -> None:
    by_hand = 0
    for inputs, outputs in ((2, 64), (64, 128), (128, 256), (256, 512), (512, 1)):
        by_hand += inputs * outputs * 4 * 4 + outputs
    assert by_hand == 2_763_713
    assert sum(weight.numel() for weight in Discriminator(channels=2).parameters()) == by_hand
    of_volumes = Discriminator(channels=3, width=2, dimensions=3)
    channels = (3, 2, 4, 8, 16, 1)
    assert sum(weight.numel() for weight in of_volumes.parameters()) == sum(
        inputs * outputs * 4**3 + outputs for inputs, outputs in itertools.pairwise(channels)
    )


def test_outputs_are_those_of_five_convolutions_with_leaky_units_between() -> None:
    torch.manual_seed(0)
    network, inner = Discriminator(channels=3, width=4), torch.rand(2, 3, 64, 40)
    weights = list(network.parameters())
    maps = inner
    for layer in range(5):
        inner = functional.conv2d(inner, weights[2 * layer], weights[2 * layer + 1], stride=2, padding=1)
        if layer < 4:
            inner = torch.where(inner > 0, inner, 0.2 * inner)
    torch.testing.assert_close(network(maps), inner)


@pytest.mark.parametrize(
    ("sides", "left"),
    [((32, 32), (1, 1)), ((63, 32), (1, 1)), ((64, 96), (2, 3)), ((32, 64, 33), (1, 2, 1))],
)
def test_every_side_becomes_a_thirty_second(sides: tuple[int, ...], left: tuple[int, ...]) -> None:
    network = Discriminator(channels=2, width=1, dimensions=len(sides))
    assert network(torch.rand(1, 2, *sides)).shape == (1, 1, *left)


@pytest.mark.parametrize("sides", [(31, 64), (64, 64, 16)])
def test_small_maps_are_refused(sides: tuple[int, ...]) -> None:
    network = Discriminator(channels=2, width=1, dimensions=len(sides))
    with pytest.raises(ShapeError, match=f"{len(sides)} sides of at least 32 pixels, but the images are"):
        network(torch.rand(1, 2, *sides))
