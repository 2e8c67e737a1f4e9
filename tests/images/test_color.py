"""Every change of intensity against torchvision, one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor

from medgraft.images.color import autocontrast, brightness, contrast, equalise, exp_, gamma, log

FACTORS = torch.tensor([1.0, 0.3, 1.7, 0.0])


def batch(channels: int = 3) -> Tensor:
    images = torch.rand(4, channels, 20, 18, generator=torch.Generator().manual_seed(0))
    return images * 0.7 + 0.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightness, reference.adjust_brightness),
        (contrast, reference.adjust_contrast),
        (gamma, reference.adjust_gamma),
    ],
)
def test_each_image_has_its_own_strength(ours: object, theirs: object, channels: int) -> None:
    images = batch(channels)
    factors = FACTORS if ours is not gamma else FACTORS + 0.5
    changed = ours(images, factors)  # type: ignore[operator]
    for row in range(4):
        expected = theirs(images[row], float(factors[row]))  # type: ignore[operator]
        # torchvision rounds the weight of red to 0.2989.
        tolerance = 1e-4 if ours is contrast and channels == 3 else 1e-6
        torch.testing.assert_close(changed[row], expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("change", [brightness, contrast, gamma])
def test_strength_one_changes_nothing(change: object) -> None:
    torch.testing.assert_close(change(batch(), torch.ones(4)), batch())  # type: ignore[operator]


def test_contrast_of_five_channels_uses_their_mean() -> None:
    images = batch(5)
    changed = contrast(images, torch.full((4,), 0.5))
    middle = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, 0.5 * images + 0.5 * middle)


def test_autocontrast_stretches_channels_and_leaves_constant_ones() -> None:
    images = batch()
    images[1, 2] = 0.4
    changed = autocontrast(images)
    for row in range(4):
        torch.testing.assert_close(changed[row], reference.autocontrast(images[row]), atol=1e-6, rtol=1e-5)
    assert (changed[1, 2] == 0.4).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_equalise_agrees_with_torchvision_on_bytes(channels: int) -> None:
    images = (batch(channels) ** 2 * 255).round() / 255
    changed = equalise(images)
    for row in range(4):
        expected = reference.equalize((images[row] * 255).round().to(torch.uint8)) / 255
        torch.testing.assert_close(changed[row], expected)


def test_equalise_takes_any_number_of_channels() -> None:
    images = batch(5)
    alone = equalise(images[:, 3:4])
    assert torch.equal(equalise(images)[:, 3:4], alone)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", [brightness, contrast, gamma])
def test_a_volume_changes_as_one_picture_of_all_its_slices(
    change: Callable[[Tensor, Tensor], Tensor], channels: int
) -> None:
    volumes = torch.rand(4, channels, 5, 6, 7, generator=torch.Generator().manual_seed(2))
    pictures = volumes.flatten(2, 3)
    torch.testing.assert_close(change(volumes, FACTORS).flatten(2, 3), change(pictures, FACTORS))


@pytest.mark.parametrize("change", [autocontrast, equalise])
def test_a_volume_is_stretched_as_one_picture_of_all_its_slices(change: Callable[[Tensor], Tensor]) -> None:
    volumes = torch.rand(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(2)) ** 2 * 0.6
    assert torch.equal(change(volumes).flatten(2, 3), change(volumes.flatten(2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithms_and_powers_are_those_of_torch(dtype: torch.dtype) -> None:
    values = torch.rand(3, 100, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 1.1 - 0.1
    values[0, :2] = torch.tensor([0.0, 1e-30])
    before = values.clone()
    torch.testing.assert_close(log(values), before.log(), equal_nan=True)
    torch.testing.assert_close(log(values.T).T, before.log(), equal_nan=True)
    assert values.equal(before)
    assert log(values, out=values) is values
    torch.testing.assert_close(values, before.log(), equal_nan=True)
    torch.testing.assert_close(exp_(before.clone(), -0.7), (-0.7 * before).exp())


def test_logarithms_can_be_differentiated() -> None:
    values = torch.tensor([0.5, 2.0], requires_grad=True)
    exp_(log(values) * 1.0, 2.0).sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([1.0, 4.0]))
