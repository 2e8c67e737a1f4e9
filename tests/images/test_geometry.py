"""Every movement against torchvision, one image at a time."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor

from medgraft.errors import ShapeError
from medgraft.images.geometry import affine, flip, turn

WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])


def batch(count: int = 4, height: int = 21, width: int = 34) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_flips_touch_only_the_chosen_images() -> None:
    images = batch()
    flipped = flip(images, torch.tensor([1, 0, 1, 0]).bool(), torch.tensor([0, 1, 1, 0]).bool())
    expected = [
        reference.hflip(images[0]),
        reference.vflip(images[1]),
        reference.vflip(reference.hflip(images[2])),
        images[3],
    ]
    assert torch.equal(flipped, torch.stack(expected))


def test_quarter_turns_go_counter_clockwise_like_rotate() -> None:
    images = batch(height=16, width=16)
    turned = turn(images, torch.tensor([0, 1, 2, 7]))
    for row, angle in enumerate([0, 90, 180, 270]):
        assert torch.equal(turned[row], reference.rotate(images[row], angle))


def test_odd_turns_need_square_images() -> None:
    with pytest.raises(ShapeError, match="21 x 34"):
        turn(batch(), torch.tensor([0, 1, 0, 0]))
    assert torch.equal(turn(batch(), torch.full((4,), 2)), batch().flip(-1, -2))


@pytest.mark.parametrize("kind", ["float", "mask"])
def test_affine_agrees_with_torchvision_for_each_image(kind: str) -> None:
    images = batch()
    angle = torch.tensor([0.0, 20.0, -75.0, 10.0])
    moves = torch.tensor([[2, -3], [0, 4], [-5, 1], [0, 0]])  # whole pixels, down and right
    shear = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, -12.0], [5.0, 8.0]])
    zoom = torch.tensor([1.0, 0.8, 1.3, 1.1])
    values = images if kind == "float" else (images[:, 0] * 5).long()
    mode = reference.InterpolationMode.BILINEAR if kind == "float" else reference.InterpolationMode.NEAREST
    ours = affine(
        values, angle, moves / torch.tensor([21, 34]), shear, zoom, WHOLE.repeat(4, 1), outside="zero"
    )
    assert ours.dtype == values.dtype
    for row in range(4):
        down, right = moves[row].tolist()
        arguments = (float(angle[row]), [right, down], float(zoom[row]), shear[row].tolist(), mode)
        alone = values[row] if kind == "float" else values[row][None].float()
        theirs = reference.affine(alone, *arguments)
        theirs = theirs if kind == "float" else theirs[0].long()
        # Masks may differ where a wanted pixel falls on the border of two stored ones.
        assert float(((ours[row] - theirs).abs() > 1e-4).float().mean()) <= (0.0 if kind == "float" else 0.01)


def test_crops_agree_with_resized_crop_away_from_the_crop_border() -> None:
    images = batch(2, 24, 40)
    crop = torch.tensor([[6 / 24, 10 / 40, 12 / 24, 20 / 40], [0, 0, 18 / 24, 32 / 40]])
    none = torch.zeros(2, 2)
    ours = affine(images, torch.zeros(2), none, none, torch.ones(2), crop)
    for row, box in enumerate([(6, 10, 12, 20), (0, 0, 18, 32)]):
        theirs = reference.resized_crop(images[row], *box, size=[24, 40], antialias=False)
        torch.testing.assert_close(ours[row][:, 2:-2, 2:-2], theirs[:, 2:-2, 2:-2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("outside", ["reflect", "edge", "zero"])
def test_identity_parameters_change_nothing(outside: str) -> None:
    images = batch()
    none = torch.zeros(4, 2)
    same = affine(images, torch.zeros(4), none, none, torch.ones(4), WHOLE.repeat(4, 1), outside)  # type: ignore[arg-type]
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    mask = (images[:, 0] * 9).long()
    assert torch.equal(affine(mask, torch.zeros(4), none, none, torch.ones(4), WHOLE.repeat(4, 1)), mask)


def test_outside_is_what_was_asked_for() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    half, none, one = torch.tensor([[0.0, 0.5]]), torch.zeros(1, 2), torch.ones(1)
    for outside, expected in [("reflect", [2, 1, 1, 2]), ("edge", [1, 1, 1, 2]), ("zero", [0, 0, 1, 2])]:
        moved = affine(row, torch.zeros(1), half, none, one, WHOLE[None], outside)  # type: ignore[arg-type]
        assert moved.flatten().tolist() == pytest.approx(expected)


def test_rotation_is_about_square_pixels_in_an_oblong_image() -> None:
    images = torch.zeros(1, 1, 20, 40)
    images[..., 10:, 20:] = 1.0
    turned = affine(
        images, torch.tensor([90.0]), torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), WHOLE[None]
    )
    # Clockwise: the lower right quarter comes to the lower left; a stretched rotation would mix them.
    assert float(turned[0, 0, 15, 15]) == pytest.approx(1.0, abs=1e-4)
    assert float(turned[0, 0, 15, 25]) == pytest.approx(0.0, abs=1e-4)
    assert math.isclose(float(turned[0, 0, 5, 15]), 0.0, abs_tol=1e-4)
