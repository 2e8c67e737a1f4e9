"""Masks, token, head and loss of SimMIM. tests/golden/simmim.npz: the authors' code at commit d3e29bc."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medgraft.errors import SettingsError, ShapeError
from medgraft.models.masked_images import (
    MaskToken,
    ReconstructionHead,
    draw_masks,
    masked_l1_loss,
    masked_units,
    spread_masks,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "simmim.npz")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_matches_the_authors_code() -> None:
    restored, images, masks = (torch.from_numpy(GOLDEN[name]) for name in ("x_rec", "x", "mask"))
    loss = masked_l1_loss(restored, images, spread_masks(masks, 64, 64))
    assert float(loss) == pytest.approx(float(GOLDEN["loss"]), abs=1e-6)


def test_masks_are_those_of_the_authors_for_their_permutations() -> None:
    permutations = np.random.RandomState(int(GOLDEN["mask_seed_np"]))
    golden = torch.from_numpy(GOLDEN["mask"])
    # Units that hold the golden mask: 16 patches along a side, 4 units of 16 pixels.
    for mask in golden:
        hidden = permutations.permutation(16)[: masked_units(64, 64, unit=16)]
        units = torch.zeros(16, dtype=mask.dtype)
        units[hidden] = 1
        assert torch.equal(spread_masks(units.reshape(1, 4, 4), 16, 16)[0], mask)


@pytest.mark.parametrize("row", range(5))
def test_as_many_units_are_hidden_as_in_the_authors_code(row: int) -> None:
    side, unit, masked, total = GOLDEN["mask_counts_img_patch_masked_total"][row].tolist()
    masks = draw_masks(3, side, side, seeded(), unit)
    assert masks[0].numel() == total
    assert masks.sum((1, 2)).tolist() == [masked] * 3 == [masked_units(side, side, unit)] * 3


def test_counts_round_up_but_not_for_rounding_errors() -> None:
    assert 0.55 * 100 > 55  # what a computer says
    assert masked_units(320, 320, ratio=0.55) == 55
    assert [masked_units(32, 320, ratio=ratio) for ratio in (0.01, 0.1, 0.11, 0.89, 0.9)] == [1, 1, 2, 9, 9]


def test_masks_repeat_from_the_seed_hide_every_unit_alike_and_ignore_later_images() -> None:
    masks = draw_masks(2000, 96, 128, seeded(1))
    assert masks.shape == (2000, 3, 4) and masks.dtype == torch.bool
    assert torch.equal(masks, draw_masks(2000, 96, 128, seeded(1)))
    assert not torch.equal(masks, draw_masks(2000, 96, 128, seeded(2)))
    assert torch.equal(masks[:3], draw_masks(3, 96, 128, seeded(1)))
    assert masks.double().mean(0).flatten().tolist() == pytest.approx([8 / 12] * 12, abs=0.04)


@pytest.mark.parametrize("patch", [4, 16, 32])
def test_masks_of_units_spread_to_any_grid_in_them(patch: int) -> None:
    masks = draw_masks(2, 64, 96, seeded(), unit=32)
    tokens = spread_masks(masks, 64 // patch, 96 // patch)
    for image in range(2):
        for y in range(64 // patch):
            for x in range(96 // patch):
                assert tokens[image, y, x] == masks[image, y * patch // 32, x * patch // 32]
    assert torch.equal(spread_masks(tokens, 64, 96), spread_masks(masks, 64, 96))


@pytest.mark.parametrize("channels", [1, 3])
def test_loss_matches_a_loop_over_hidden_pixels(channels: int) -> None:
    restored, images = torch.randn(2, 2, channels, 4, 6, generator=seeded(), dtype=torch.float64)
    masks = torch.rand(2, 4, 6, generator=seeded(1)) < 0.4
    total, hidden = 0.0, 0
    for image in range(2):
        for y in range(4):
            for x in range(6):
                if masks[image, y, x]:
                    hidden += 1
                    for channel in range(channels):
                        pixel = image, channel, y, x
                        total += abs(float(restored[pixel]) - float(images[pixel]))
    loss = masked_l1_loss(restored, images, masks)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(total / (hidden * channels), rel=1e-6)


def test_visible_pixels_do_not_matter_and_no_mask_costs_nothing() -> None:
    images, masks = torch.rand(1, 3, 4, 4, generator=seeded()), torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    restored = torch.zeros(1, 3, 4, 4, requires_grad=True)
    other = restored.detach().clone()
    other[..., 2:, :] = torch.inf
    loss = masked_l1_loss(restored, images, masks)
    loss.backward()
    assert torch.equal(masked_l1_loss(other, images, masks), loss)
    assert restored.grad is not None
    torch.testing.assert_close(restored.grad[..., :2, :], torch.full((1, 3, 2, 4), -1 / (8 * 3)))
    assert not restored.grad[..., 2:, :].any()
    assert float(masked_l1_loss(other, images, torch.zeros_like(masks))) == 0
    assert masked_l1_loss(restored.half(), images.half(), masks).dtype == torch.float32


def test_the_head_fills_each_place_from_its_own_features() -> None:
    head, features = (
        ReconstructionHead(5, stride=4, image_channels=2),
        torch.randn(2, 5, 3, 2, generator=seeded()),
    )
    images = head(features)
    assert images.shape == (2, 2, 12, 8)
    weight, bias = head[0].weight.flatten(1), head[0].bias
    for y in range(12):
        for x in range(8):
            for channel in range(2):
                output = channel * 16 + (y % 4) * 4 + x % 4
                expected = features[:, :, y // 4, x // 4] @ weight[output] + bias[output]
                torch.testing.assert_close(images[:, channel, y, x], expected)


@pytest.mark.parametrize("places", [(6,), (2, 3)])
def test_the_token_stands_at_hidden_places_only_and_learns(places: tuple[int, ...]) -> None:
    token, tokens = MaskToken(4), torch.randn(2, *places, 4, generator=seeded())
    masks = torch.rand(2, *places, generator=seeded(1)) < 0.5
    filled = token(tokens, masks)
    assert torch.equal(filled[~masks], tokens[~masks])
    assert torch.equal(filled[masks], token.token.expand(int(masks.sum()), 4))
    filled.sum().backward()
    assert token.token.grad.tolist() == [float(masks.sum())] * 4
    assert token(tokens.half(), masks).dtype == torch.float16
    many = MaskToken(4000).token.detach()
    assert float(many.std()) == pytest.approx(0.02, rel=0.05)


def test_sizes_and_ratios_that_cannot_be_masked_are_told() -> None:
    for ratio in (0.0, 1.0, -0.5, 1.2, float("nan")):
        with pytest.raises(SettingsError, match="a ratio above 0 and below 1"):
            draw_masks(1, 64, 64, seeded(), ratio=ratio)
    with pytest.raises(SettingsError, match="units of at least 1 pixel"):
        masked_units(64, 64, unit=0)
    with pytest.raises(ShapeError, match="at least 32 x 32 pixels, the mask unit, but these are 64 x 28"):
        draw_masks(1, 64, 28, seeded())
    with pytest.raises(ShapeError, match=r"multiples of the mask unit 32.*Prepare to 64 x 64"):
        draw_masks(1, 64, 70, seeded())
    with pytest.raises(ShapeError, match="one unit that is left to see"):
        draw_masks(1, 32, 32, seeded())


def test_shapes_that_do_not_fit_are_told() -> None:
    for rows, columns in ((7, 8), (8, 6)):
        with pytest.raises(ShapeError, match="spread_masks needs"):
            spread_masks(torch.ones(1, 4, 4), rows, columns)
    images, masks = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4)
    for arguments in (
        (images[:, :1], images, masks),
        (images, images, masks[None]),
        (images[0], images[0], masks),
    ):
        with pytest.raises(ShapeError, match="masked_l1_loss needs"):
            masked_l1_loss(*arguments)
    with pytest.raises(ShapeError, match="MaskToken needs"):
        MaskToken(4)(torch.zeros(1, 6, 4), torch.zeros(1, 2, 3))
