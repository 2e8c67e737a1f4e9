"""Memory order changes speed, never values, whatever mixture of filters a module has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medgraft.engine.memory_order import channels_last, put_channels_last
from medgraft.engine.predict import placed
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.types import Preparation


def volume_network() -> UNet:
    torch.manual_seed(0)
    preparation = Preparation(dimensions=3, channels=2)
    spec = ModelSpec(kind="segment", classes=("rest", "lesion"), channels=2, preparation=preparation)
    return UNet(spec, width=4, depth=2)


def test_filters_of_images_and_volumes_in_one_module_are_each_put_channels_last() -> None:
    mixed = nn.ModuleList([nn.Conv2d(4, 6, 3), nn.Conv3d(4, 6, 3), nn.Linear(4, 6)])
    before = [parameter.clone() for parameter in mixed.parameters()]
    put_channels_last(mixed)
    assert mixed[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert mixed[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert mixed[2].weight.is_contiguous()
    assert all(torch.equal(old, new) for old, new in zip(before, mixed.parameters()))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_inputs_keep_their_values(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    ordered = channels_last(images)
    assert torch.equal(ordered, images)
    assert len(shape) == 2 or ordered.stride(1) == 1


def test_a_volume_network_predicts_in_this_order_and_is_put_back() -> None:
    model = volume_network().eval()
    images = torch.randn(1, 2, 4, 9, 8)
    expected = model(images)
    filters = model.get_parameter("encoder2.first.weight")
    before = filters.stride()
    with placed(model, "cpu"):
        assert filters.stride(1) == 1
        torch.testing.assert_close(model(channels_last(images)), expected, atol=1e-5, rtol=1e-5)
    assert filters.stride() == before
