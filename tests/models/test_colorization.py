"""Colorization modules: they start as replicated grey in the backbone's range, and their layers are those of DE2CO."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.images.preparation import Preparer
from medgraft.models.colorization import DECONV, ColorModule, ColorU, PixelShuffle, one_channel
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import from_tree, tree
from medgraft.types import Preparation

IMAGENET = Preparation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL: list[tuple[type[ColorModule], dict[str, int]]] = [
    (DECONV, {"width": 4, "blocks": 2}),
    (PixelShuffle, {"width": 4, "blocks": 2}),
    (ColorU, {"width": 4, "depth": 2}),
]


def small(cls: type[ColorModule], settings: dict[str, int]) -> ColorModule:
    torch.manual_seed(0)
    return cls(None, **settings)  # type: ignore[arg-type]


def grey(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def trained(module: ColorModule) -> ColorModule:
    """With weights and batch statistics as if it had learned something."""
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


# the start


@pytest.mark.parametrize(("cls", "settings"), SMALL)
@pytest.mark.parametrize("size", [(48, 48), (45, 37), (4, 9), (1, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_an_untrained_module_puts_out_the_grey_image_exactly(cls, settings, size, training) -> None:
    module = small(cls, settings).train(training)
    images = grey(2, 1, *size)
    assert torch.equal(module(images), images.repeat(1, 3, 1, 1))


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_the_start_equals_what_the_backbones_own_preparation_makes_of_a_grey_file(cls, settings) -> None:
    stored = (grey(33, 41, 1) * 255).to(torch.uint8).numpy()
    module = small(cls, settings).in_front_of(IMAGENET)
    given = Preparer(one_channel(IMAGENET)).image(stored)
    assert given.shape == (1, 33, 41)
    assert torch.equal(module(given[None])[0], Preparer(IMAGENET).image(stored))


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_what_was_learned_is_added_whatever_the_size(cls, settings) -> None:
    module = trained(small(cls, settings)).eval()
    for size in ((48, 48), (45, 37), (5, 50)):
        images = grey(2, 1, *size)
        colours, added = module(images), module.residual(images)
        assert colours.shape == added.shape == (2, 3, *size)
        assert added.abs().mean() > 1e-3
        assert torch.equal(colours, images.repeat(1, 3, 1, 1) + added)


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_at_the_start_the_layer_that_is_zero_learns_and_then_all_do(cls, settings) -> None:
    module = small(cls, settings)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    moved = []
    for _ in range(2):
        optimizer.zero_grad()
        module(grey(2, 1, 16, 16)).square().mean().backward()
        moved.append({name for name, p in module.named_parameters() if p.grad is not None and p.grad.any()})
        optimizer.step()
    last = "unet.head" if cls is ColorU else "colours"
    assert moved[0] == {f"{last}.weight", f"{last}.bias"}
    assert moved[1] == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_padding_is_cut_off_where_it_was_put(cls, settings) -> None:
    """An image whose edges are repeated by hand gives the same colours inside."""
    module = trained(small(cls, settings)).eval()
    images = grey(1, 1, 45, 38)  # 48 x 40: one row above, two below; one column on either side
    by_hand = functional.pad(images, (1, 1, 1, 2), mode="replicate")
    torch.testing.assert_close(module(images), module(by_hand)[:, :, 1:46, 1:39])


# layers, as the card lists those of DE2CO


def test_the_layers_of_deconv_are_those_of_de2co() -> None:
    module = DECONV()
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert shapes["trunk.0.weight"] == (64, 1, 7, 7)
    assert shapes["colours.weight"] == (3, 64, 1, 1)
    assert shapes["enlarge.weight"] == (3, 1, 8, 8)
    assert [name for name, shape in shapes.items() if shape == (64, 64, 3, 3)] == [
        f"trunk.{place}.{part}.weight" for place in range(4, 12) for part in ("first", "second")
    ]
    by_hand = 64 * 49 + 128 + 8 * 2 * (64 * 64 * 9 + 128) + (3 * 64 + 3) + 3 * 64
    assert sum(p.numel() for p in module.parameters()) == by_hand == 595_523
    slopes = {layer.negative_slope for layer in module.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.01}
    inner = module.trunk(torch.zeros(1, 1, 228, 228))
    assert inner.shape == (1, 64, 57, 57) and module.enlarge(module.colours(inner)).shape == (1, 3, 228, 228)


def test_a_residual_block_is_its_formula() -> None:
    block = trained(small(DECONV, {"width": 4, "blocks": 1})).eval().trunk[4]  # type: ignore[index]
    inner = grey(1, 4, 6, 5) - 0.5

    def normed(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        shape = (1, -1, 1, 1)
        scaled = (values - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
        return scaled * norm.weight.view(shape) + norm.bias.view(shape)

    def leaky(values: Tensor) -> Tensor:
        return torch.where(values > 0, values, 0.02 * values)

    between = leaky(normed(functional.conv2d(inner, block.first.weight, padding=1), block.first_norm))
    after = normed(functional.conv2d(between, block.second.weight, padding=1), block.second_norm)
    torch.testing.assert_close(block(inner), leaky(inner + after))


def test_the_enlargement_starts_as_linear_interpolation() -> None:
    coarse = grey(2, 3, 6, 7)
    fine = DECONV(width=4, blocks=1).enlarge(coarse)
    expected = functional.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # outside the image counts as zero
    torch.testing.assert_close(fine[inside], expected[inside])


@pytest.mark.parametrize("learned", [True, False])
def test_the_enlargement_is_learned_only_where_asked(learned: bool) -> None:
    module = DECONV(width=4, blocks=1, learned=learned)
    assert ("enlarge.weight" in dict(module.named_parameters())) is learned
    assert "enlarge.weight" in module.state_dict()


def test_the_other_modules_count_as_many_parameters_as_their_layers_have() -> None:
    trunk = 64 * 49 + 128 + 8 * 2 * (64 * 64 * 9 + 128)
    assert sum(p.numel() for p in PixelShuffle().parameters()) == trunk + 64 * 48 * 9 + 48
    pairs = [(1, 16), (16, 32), (32, 64), (64, 128), (128, 64), (64, 32), (32, 16)]
    convolutions = sum(9 * (a * b + b * b) + 4 * b for a, b in pairs)
    enlargements = sum(4 * a * a // 2 + a // 2 for a in (128, 64, 32))
    assert sum(p.numel() for p in ColorU().parameters()) == convolutions + enlargements + 16 * 3 + 3


def test_pixel_shuffle_lays_out_channels_as_neighbouring_pixels() -> None:
    module = small(PixelShuffle, {"width": 4, "blocks": 1})
    with torch.no_grad():
        module.colours.bias.copy_(torch.arange(48.0))  # type: ignore[union-attr]
    added = module.residual(torch.zeros(1, 1, 8, 8))
    for channel in range(3):
        tile = (torch.arange(16.0) + 16 * channel).view(4, 4)
        assert torch.equal(added[0, channel], tile.repeat(2, 2))


# other backbones, files, refusals


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_in_front_of_another_backbone_it_adds_the_same(cls, settings) -> None:
    module = trained(small(cls, settings)).eval()
    moved = module.in_front_of(IMAGENET)
    images = grey(1, 1, 20, 20)
    assert torch.equal(moved.residual(images), module.residual(images))
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (IMAGENET.mean, IMAGENET.std))
    assert torch.equal(moved.replicate(images), (images - mean) / std)
    assert torch.equal(module.replicate(images), images.repeat(1, 3, 1, 1))
    assert moved.spec.preparation == one_channel(IMAGENET)


@pytest.mark.parametrize(("cls", "settings"), SMALL)
def test_a_module_is_rebuilt_from_its_config(cls, settings) -> None:
    module = trained(small(cls, settings)).in_front_of(IMAGENET).eval()
    rebuilt = from_tree(tree(module)).eval()
    assert {n: t.shape for n, t in rebuilt.state_dict().items()} == {
        n: t.shape for n, t in module.state_dict().items()
    }
    rebuilt.load_state_dict(module.state_dict())
    images = grey(2, 1, 30, 30)
    assert torch.equal(rebuilt(images), module(images))


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"images of shape \(B, 1, H, W\), but got \(2, 3, 8, 8\)"):
        DECONV(width=4, blocks=1)(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ModelError, match="images of one channel, but the spec has 3"):
        ColorU(ModelSpec(kind="encode"), width=4)
    with pytest.raises(ModelError, match="three means and three positive"):
        PixelShuffle(width=4, mean=(0.5,), std=(0.2,))
