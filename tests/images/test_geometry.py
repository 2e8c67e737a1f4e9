"""Every movement against torchvision, one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from scipy import ndimage
from torch import Tensor

from medgraft.errors import ShapeError
from medgraft.images.geometry import affine, affine_volume, flip, turn

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


def volumes(count: int = 3, depth: int = 7, height: int = 12, width: int = 9) -> Tensor:
    return torch.rand(count, 2, depth, height, width, generator=torch.Generator().manual_seed(1))


def drawn_moves(count: int, seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    corner = between(0.0, 0.2, 2)
    return {
        "angle": between(-40, 40),
        "shift": between(-0.2, 0.2, 2),
        "shear": between(-20, 20, 2),
        "zoom": between(0.7, 1.4),
        "crop": torch.cat([corner, between(0.6, 0.8, 2)], 1),
    }


def test_volumes_are_turned_flipped_and_moved_like_each_of_their_slices() -> None:
    images = volumes(height=9)
    mask = (images[:, 0] * 5).long()
    moves, chosen = drawn_moves(3), torch.tensor([True, False, True])
    for outside in ("reflect", "edge", "zero"):
        moved = affine(images, **moves, outside=outside)  # type: ignore[arg-type]
        labels = affine(mask, **moves, outside=outside)  # type: ignore[arg-type]
        assert labels.dtype == torch.int64
        for index in range(images.shape[2]):
            assert torch.equal(moved[:, :, index], affine(images[:, :, index], **moves, outside=outside))  # type: ignore[arg-type]
            assert torch.equal(labels[:, index], affine(mask[:, index], **moves, outside=outside))  # type: ignore[arg-type]
    turned, flipped = turn(images, torch.tensor([0, 1, 3])), flip(images, chosen, ~chosen)
    for index in range(images.shape[2]):
        assert torch.equal(turned[:, :, index], turn(images[:, :, index], torch.tensor([0, 1, 3])))
        assert torch.equal(flipped[:, :, index], flip(images[:, :, index], chosen, ~chosen))


def test_a_flip_along_depth_reverses_the_slices_of_the_chosen_volumes() -> None:
    images, none = volumes(), torch.zeros(3, dtype=torch.bool)
    flipped = flip(images, none, none, torch.tensor([False, True, False]))
    assert torch.equal(flipped[1], images[1].flip(1))
    assert torch.equal(flipped[[0, 2]], images[[0, 2]])
    assert torch.equal(
        flip(images[:, 0], none, none, torch.tensor([False, True, False])), flipped[:, 0]
    )  # masks


def test_without_tilt_and_depth_the_resampling_of_volumes_equals_that_of_slices() -> None:
    images, moves = volumes(), drawn_moves(3)
    deep = affine_volume(images, **moves, tilt=torch.zeros(3, 2), zoom_depth=torch.ones(3), outside="edge")
    torch.testing.assert_close(deep, affine(images, **moves, outside="edge"), atol=1e-5, rtol=0)


def test_volumes_are_tilted_and_zoomed_as_scipy_resamples_them() -> None:
    images, moves = volumes().double(), drawn_moves(3)
    moves["crop"] = WHOLE.repeat(3, 1)
    tilt = torch.tensor([[20.0, 0.0], [0.0, -30.0], [12.0, 25.0]])
    zoom_depth = torch.tensor([1.0, 0.8, 1.3])
    ours = affine_volume(images, **moves, tilt=tilt, zoom_depth=zoom_depth, outside="zero")
    for row in range(3):
        # axes in the order of the array: depth, height, width
        angle, along_x, along_y, lean_x, lean_y = np.deg2rad(
            [moves["angle"][row], *moves["shear"][row], *tilt[row]]
        )
        shear_x, shear_y = np.eye(3), np.eye(3)
        shear_x[2, 1], shear_y[1, 2] = -math.tan(along_x), -math.tan(along_y)
        turned = np.array(
            [
                [1, 0, 0],
                [0, math.cos(angle), math.sin(angle)],
                [0, -math.sin(angle), math.cos(angle)],
            ]
        )
        bottom_to_deep = np.array(
            [
                [math.cos(lean_x), math.sin(lean_x), 0],
                [-math.sin(lean_x), math.cos(lean_x), 0],
                [0, 0, 1],
            ]
        )
        right_to_deep = np.array(
            [
                [math.cos(lean_y), 0, math.sin(lean_y)],
                [0, 1, 0],
                [-math.sin(lean_y), 0, math.cos(lean_y)],
            ]
        )
        zoom = float(moves["zoom"][row])
        scale = np.diag([float(zoom_depth[row]), zoom, zoom])
        forward = right_to_deep @ bottom_to_deep @ turned @ shear_y @ shear_x @ scale
        backward = np.linalg.inv(forward)
        centre = (np.array(images.shape[2:]) - 1) / 2
        moved = np.array([0, *moves["shift"][row].tolist()]) * images.shape[2:]
        offset = centre - backward @ (centre + moved)
        for channel in range(2):
            theirs = ndimage.affine_transform(
                images[row, channel].numpy(), backward, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(ours[row, channel].numpy(), theirs, atol=1e-6)


def test_a_quarter_of_a_turn_out_of_the_plane_only_permutes_voxels_and_labels() -> None:
    cube = (volumes(2, 6, 6, 6)[:, 0] * 9).long()
    still = {"angle": torch.zeros(2), "shift": torch.zeros(2, 2), "shear": torch.zeros(2, 2)}
    rest = {"zoom": torch.ones(2), "crop": WHOLE.repeat(2, 1), "zoom_depth": torch.ones(2)}
    tilted = affine_volume(cube, **still, **rest, tilt=torch.tensor([[90.0, 0.0], [0.0, 90.0]]))
    assert torch.equal(tilted[0], cube[0].rot90(-1, (0, 1)))
    assert torch.equal(tilted[1], cube[1].rot90(-1, (0, 2)))
