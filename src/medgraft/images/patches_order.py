"""Cut images into a grid of patches, change their order, and put them back."""

from __future__ import annotations

import torch
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError


def cut(images: Tensor, side: int) -> Tensor:
    """Cut images into square patches that do not overlap.

    Args:
        images: (B, C, H, W), any dtype; H and W multiples of `side`.
        side: of a patch in pixels.

    Returns: (B, P, C, side, side) with P = (H / side) (W / side), row by row from the top left.

    Raises:
        SettingsError: the side is below 1.
        ShapeError: these are no images, or the patches do not fill them.

    >>> cut(torch.arange(16).reshape(1, 1, 4, 4), side=2)[0, 1, 0]
    tensor([[2, 3],
            [6, 7]])
    """
    rows, columns = grid(images, side)
    batch, channels = images.shape[:2]
    patches = images.reshape(batch, channels, rows, side, columns, side)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels, side, side)


def join(patches: Tensor, rows: int, columns: int) -> Tensor:
    """Lay patches side by side: `cut` undone.

    Args:
        patches: (B, rows * columns, C, side, side), row by row from the top left.
        rows: patches from top to bottom.
        columns: patches from left to right.

    Returns: (B, C, rows * side, columns * side).

    Raises:
        ShapeError: these are no square patches, or another number of them.

    >>> images = torch.rand(2, 3, 4, 6)
    >>> torch.equal(join(cut(images, side=2), rows=2, columns=3), images)
    True
    """
    if patches.ndim != 5 or patches.shape[1] != rows * columns or patches.shape[3] != patches.shape[4]:
        raise ShapeError(
            "join", f"patches (B, {rows * columns}, C, side, side)", f"got {tuple(patches.shape)}",
            "Give the patches of `cut`, and its rows and columns.",
        )  # fmt: skip
    batch, _, channels, side, _ = patches.shape
    images = patches.reshape(batch, rows, columns, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return images.reshape(batch, channels, rows * side, columns * side)


def grid(images: Tensor, side: int) -> tuple[int, int]:
    """How many patches there are from top to bottom and from left to right.

    Args:
        images: (B, C, H, W); H and W multiples of `side`.
        side: of a patch in pixels.

    Raises:
        SettingsError: the side is below 1.
        ShapeError: these are no images, or the patches do not fill them.

    >>> grid(torch.zeros(1, 1, 64, 96), side=32)
    (2, 3)
    """
    if side < 1:
        raise SettingsError("Patches", "a side of at least 1 pixel", f"got {side}", "Take 16 or 32.")
    if images.ndim != 4:
        raise ShapeError(
            "Patches", "images (B, C, H, W)", f"got {tuple(images.shape)}", "Add the missing axes."
        )
    height, width = images.shape[2:]
    if height % side or width % side or not height or not width:
        raise ShapeError(
            "Patches", f"images whose height and width are multiples of {side}", f"these are {height} x {width}",
            f"Prepare to such a size, as {_multiple(height, side)} x {_multiple(width, side)}, or take another side.",
        )  # fmt: skip
    return height // side, width // side


def _multiple(length: int, side: int) -> int:
    return max(side, length // side * side)


def permute_patches(images: Tensor, order: Tensor, side: int) -> Tensor:
    """Put patch `order[l]` of each image where patch l was.

    Args:
        images: (B, C, H, W), any dtype; H and W multiples of `side`.
        order: (B, P) whole numbers, each row a permutation of 0 .. P - 1.
        side: of a patch in pixels.

    Returns: like `images`, a new tensor.

    Raises:
        SettingsError: the side is below 1.
        ShapeError: the patches do not fill the images, or the order is not of them.

    Source: Pang et al. 2022 (POPAR), section 3; what a network shall say of place l is `order[l]`, from 0.

    >>> permute_patches(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([[3, 0, 1, 2]]), side=1)
    tensor([[[[4, 1],
              [2, 3]]]])
    """
    return _rearrange("permute_patches", images, order, side, inverse=False)


def restore_patches(images: Tensor, order: Tensor, side: int) -> Tensor:
    """Put every patch back to its place: `permute_patches` undone. Arguments, result and errors are as there.

    >>> images, order = torch.rand(1, 1, 4, 4), torch.tensor([[1, 2, 3, 0]])
    >>> torch.equal(restore_patches(permute_patches(images, order, side=2), order, side=2), images)
    True
    """
    return _rearrange("restore_patches", images, order, side, inverse=True)


def draw_orders(count: int, patches: int, generator: torch.Generator, identity: float = 0.5) -> Tensor:
    """Draw the order of patches of each image: as they are, or any permutation, all equally likely.

    Args:
        count: images.
        patches: of each image.
        generator: on the CPU.
        identity: probability, in [0, 1], that an image's patches stay where they are on purpose; the permutations of
            the others may be the identity by chance, of one in P! images.

    Returns: (count, patches) int64 on the CPU. Each image's comes from draws of its own: those of the first images are
        the same however many follow, and whatever `identity` is, an image that is permuted is permuted alike.

    Raises:
        SettingsError: the probability is outside [0, 1], or there are no patches.

    Source: Pang et al. 2022 (their code): identity with probability 0.5.

    >>> draw_orders(2, 4, torch.Generator().manual_seed(1), identity=0.0).sort(1).values
    tensor([[0, 1, 2, 3],
            [0, 1, 2, 3]])
    """
    if not 0 <= identity <= 1 or patches < 1:
        raise SettingsError(
            "draw_orders", "a probability in [0, 1] and at least one patch",
            f"got identity={identity} and {patches} patches", "Take identity=0.5, as published.",
        )  # fmt: skip
    drawn = torch.rand(count, 1 + patches, generator=generator, dtype=torch.float64)
    return torch.where(drawn[:, :1] < identity, torch.arange(patches), drawn[:, 1:].argsort(1))


def is_permuted(order: Tensor) -> Tensor:
    """Whether any patch of an image is elsewhere: (B, P) orders to (B,) bool.

    >>> is_permuted(torch.tensor([[0, 1, 2], [0, 2, 1]]))
    tensor([False,  True])
    """
    return (order != torch.arange(order.shape[1], device=order.device)).any(1)


def _rearrange(who: str, images: Tensor, order: Tensor, side: int, inverse: bool) -> Tensor:
    rows, columns = grid(images, side)
    if not _are_permutations(order, (len(images), rows * columns)):
        raise ShapeError(
            who, f"for {len(images)} images an order (B, {rows * columns}), each row a permutation",
            f"got {order.dtype} {tuple(order.shape)}", "Draw it with `draw_orders`.",
        )  # fmt: skip
    order = (order.argsort(1) if inverse else order).to(images.device)
    image = torch.arange(len(images), device=images.device)[:, None]
    return join(cut(images, side)[image, order], rows, columns)


def _are_permutations(order: Tensor, shape: tuple[int, int]) -> bool:
    if tuple(order.shape) != shape or order.is_floating_point() or order.dtype == torch.bool:
        return False
    return bool((order.sort(1).values == torch.arange(shape[1], device=order.device)).all())
