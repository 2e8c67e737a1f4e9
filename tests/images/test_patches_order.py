"""Patches are cut, permuted and put back exactly. tests/golden/popar_loss.npz: a permutation by POPAR's formula."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.patches_order import (
    cut,
    draw_orders,
    grid,
    is_permuted,
    join,
    permute_patches,
    restore_patches,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "popar_loss.npz")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_permuting_matches_the_published_order() -> None:
    images, order = (torch.from_numpy(GOLDEN[name]) for name in ("shuffle_in", "shuffle_perm"))
    assert torch.equal(permute_patches(images, order, side=4), torch.from_numpy(GOLDEN["shuffle_out"]))


def test_permuting_matches_a_loop_over_patches_of_an_oblong_image() -> None:
    images, order, side = torch.rand(3, 2, 8, 12, generator=seeded()), draw_orders(3, 6, seeded(), 0.0), 4
    permuted = permute_patches(images, order, side)
    for image in range(3):
        for place, patch in enumerate(order[image].tolist()):
            there, here = (
                (
                    slice(index // 3 * side, index // 3 * side + side),
                    slice(index % 3 * side, index % 3 * side + side),
                )
                for index in (place, patch)
            )
            assert torch.equal(permuted[image][:, *there], images[image][:, *here])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_putting_back_undoes_permuting_exactly(dtype: torch.dtype) -> None:
    images = (100 * torch.rand(4, 3, 12, 8, generator=seeded())).to(dtype)
    order = draw_orders(4, 6, seeded(1), identity=0.0)
    permuted = permute_patches(images, order, side=4)
    assert not torch.equal(permuted, images) and permuted.dtype == dtype
    assert torch.equal(restore_patches(permuted, order, side=4), images)
    assert torch.equal(permute_patches(restore_patches(images, order, side=4), order, side=4), images)


def test_joining_undoes_cutting() -> None:
    images = torch.rand(2, 3, 6, 9, generator=seeded())
    patches = cut(images, side=3)
    assert patches.shape == (2, 6, 3, 3, 3) and grid(images, side=3) == (2, 3)
    assert torch.equal(patches[1, 4], images[1, :, 3:, 3:6])
    assert torch.equal(join(patches, 2, 3), images)


def test_half_of_the_images_keep_their_order_and_permutations_are_equally_likely() -> None:
    orders = draw_orders(12_000, 3, seeded())
    kept = float((~is_permuted(orders)).double().mean())
    assert kept == pytest.approx(0.5 + 0.5 / 6, abs=0.02)  # by chance one of 3! is the identity
    orders = draw_orders(6_000, 3, seeded(), identity=0.0)
    for order in permutations(range(3)):
        found = int((orders == torch.tensor(order)).all(1).sum())
        assert found == pytest.approx(1000, abs=150)
    assert not is_permuted(draw_orders(50, 3, seeded(), identity=1.0)).any()


def test_orders_repeat_from_the_seed_and_ignore_later_images_and_the_chance() -> None:
    orders = draw_orders(8, 16, seeded(3))
    assert torch.equal(orders, draw_orders(8, 16, seeded(3)))
    assert not torch.equal(orders, draw_orders(8, 16, seeded(4)))
    assert torch.equal(orders[:3], draw_orders(3, 16, seeded(3)))
    moved = is_permuted(orders)
    assert 0 < int(moved.sum()) < 8
    assert torch.equal(orders[moved], draw_orders(8, 16, seeded(3), identity=0.0)[moved])


def test_an_image_is_permuted_the_same_alone() -> None:
    images, orders = torch.rand(4, 1, 8, 8, generator=seeded()), draw_orders(4, 4, seeded(2), identity=0.0)
    together = permute_patches(images, orders, side=4)
    assert torch.equal(permute_patches(images[2:3], orders[2:3], side=4), together[2:3])


@pytest.mark.parametrize("shape", [(1, 1, 30, 32), (1, 1, 32, 30), (1, 1, 8, 8), (1, 16, 16), (1, 1, 0, 16)])
def test_patches_must_fill_the_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="Patches needs images"):
        cut(torch.zeros(shape), side=16)


def test_wrong_sides_orders_chances_and_patches_are_told() -> None:
    images = torch.zeros(1, 1, 4, 4)
    with pytest.raises(SettingsError, match="at least 1 pixel"):
        cut(images, side=0)
    wrong = [[[0, 1, 2]], [[0, 1, 2, 2]], [[1, 2, 3, 4]], [[0.0, 1.0, 2.0, 3.0]], [[0, 1, 2, 3]] * 2]
    for order in wrong:
        for change in (permute_patches, restore_patches):
            with pytest.raises(ShapeError, match=f"{change.__name__} needs for 1 images an order"):
                change(images, torch.tensor(order), 2)
    for identity, patches in ((-0.1, 4), (1.1, 4), (0.5, 0)):
        with pytest.raises(SettingsError, match="a probability in"):
            draw_orders(1, patches, seeded(), identity)
    with pytest.raises(ShapeError, match="join needs patches"):
        join(torch.zeros(1, 4, 1, 2, 2), rows=2, columns=3)
