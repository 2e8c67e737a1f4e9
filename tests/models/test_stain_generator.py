"""The network that colours grey tiles and the one that judges it: sizes, independence of images, published numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medgraft.errors import ModelError, ShapeError
from medgraft.models.stain_generator import PatchDiscriminator, StainGenerator


def grey(*sides: int) -> torch.Tensor:
    return torch.rand(2, 1, *sides, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("sides", [(48, 48), (33, 50), (1, 7)])
def test_any_size_comes_back_as_it_was(depth: int, sides: tuple[int, int]) -> None:
    colours = StainGenerator(width=2, depth=depth)(grey(*sides))
    assert colours.shape == (2, 3, *sides)
    assert colours.min() >= 0 and colours.max() <= 1


def test_an_odd_tile_is_padded_by_its_edge() -> None:
    generator, tile = StainGenerator(width=4, depth=3).eval(), grey(13, 16)
    padded = torch.cat([tile[:, :, :1], tile, tile[:, :, -1:], tile[:, :, -1:]], dim=2)
    torch.testing.assert_close(generator(tile), generator(padded)[:, :, 1:14])


def test_the_published_network_is_the_default() -> None:
    generator = StainGenerator()
    assert (generator.width, generator.depth, generator.dropout) == (64, 8, 0.5)
    encoder = [layer.out_channels for layer in generator.down.modules() if isinstance(layer, nn.Conv2d)]
    decoder = [
        layer.out_channels for layer in generator.up.modules() if isinstance(layer, nn.ConvTranspose2d)
    ]
    assert encoder == [64, 128, 256, 512, 512, 512, 512, 512]
    assert decoder == [512, 512, 512, 512, 256, 128, 64, 3]
    dropped = [any(isinstance(layer, nn.Dropout) for layer in part) for part in generator.up]  # type: ignore[arg-type]
    assert dropped == [True] * 3 + [False] * 5
    normed = [any(isinstance(layer, nn.InstanceNorm2d) for layer in part) for part in generator.down]  # type: ignore[arg-type]
    assert normed == [False, *[True] * 6, False]
    judge = [layer.out_channels for layer in PatchDiscriminator(4).modules() if isinstance(layer, nn.Conv2d)]
    assert judge == [64, 128, 256, 512, 512, 1]


def test_dropout_acts_while_training_only_and_in_deep_networks_only() -> None:
    tiles = grey(64, 64)
    deep, shallow = StainGenerator(width=2, depth=6), StainGenerator(width=2, depth=5)
    assert not torch.equal(deep.train()(tiles), deep(tiles))
    assert torch.equal(deep.eval()(tiles), deep(tiles))
    assert torch.equal(shallow.train()(tiles), shallow.eval()(tiles))


def test_images_of_a_batch_do_not_matter_to_one_another() -> None:
    tiles = grey(20, 20)
    for network, images in ((StainGenerator(4, 3), tiles), (PatchDiscriminator(1, 4, 2), tiles)):
        both, alone = network(images), network(images[:1])
        torch.testing.assert_close(both[:1], alone)


@pytest.mark.parametrize(("depth", "seen"), [(3, 70), (4, 142)])
def test_a_logit_sees_so_many_pixels(depth: int, seen: int) -> None:
    judge = PatchDiscriminator(channels=3, width=2, depth=depth)
    for number, layer in enumerate(judge.layers):
        if isinstance(layer, nn.InstanceNorm2d):  # which looks at the whole tile
            judge.layers[number] = nn.Identity()
    tile = torch.zeros(1, 3, 256, 256, requires_grad=True)
    logits = judge(tile)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert tile.grad is not None
    places = tile.grad[0].abs().sum(0).nonzero()
    assert (places.amax(0) - places.amin(0) + 1).tolist() == [seen, seen]


def test_what_does_not_fit_is_refused() -> None:
    for wrong in ({"width": 0}, {"depth": 0}, {"dropout": 1.0}):
        with pytest.raises(ModelError, match="Change these settings"):
            StainGenerator(**wrong)
    with pytest.raises(ShapeError, match="Take their luminance"):
        StainGenerator(2, 2)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match="at least 32 pixels"):
        PatchDiscriminator(3, 2, 4)(torch.zeros(1, 3, 31, 64))
    assert PatchDiscriminator(3, 2, 4)(torch.zeros(1, 3, 32, 47)).shape == (1, 1, 2, 2)
