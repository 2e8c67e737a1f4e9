"""Blur, noise and sharpness against torchvision, one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from scipy import ndimage
from torch import Tensor

from medgraft.images.distortions import blur, noise, sharpness


def batch(channels: int = 3) -> Tensor:
    return torch.rand(4, channels, 20, 18, generator=torch.Generator().manual_seed(0))


def test_blur_agrees_with_torchvision_for_each_image() -> None:
    images, sigmas = batch(), [0.0, 0.4, 1.0, 2.2]
    blurred = blur(images, torch.tensor(sigmas))
    assert torch.equal(blurred[0], images[0])
    for row in (1, 2, 3):
        size = 2 * math.ceil(3 * sigmas[row]) + 1
        expected = reference.gaussian_blur(images[row], [size, size], [sigmas[row]] * 2)
        torch.testing.assert_close(blurred[row], expected, atol=1e-6, rtol=1e-5)


def test_blur_of_an_image_does_not_depend_on_its_batch() -> None:
    images = batch()
    torch.testing.assert_close(
        blur(images, torch.tensor([0.4, 0.0, 0.0, 3.0]))[:1], blur(images[:1], torch.tensor([0.4]))
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 9)])
def test_blur_of_tiny_images_keeps_their_mean_level(shape: tuple[int, int]) -> None:
    flat = torch.full((1, 2, *shape), 0.3)
    torch.testing.assert_close(blur(flat, torch.tensor([4.0])), flat)


def test_noise_has_the_asked_spread_and_repeats_from_its_seed() -> None:
    images = torch.full((3, 1, 80, 80), 0.5)
    noisy = noise(images, torch.tensor([0.1, 0.0, 0.3]), torch.tensor([5, 6, 5]))
    assert torch.equal(noisy[1], images[1])
    assert float((noisy[0] - 0.5).std()) == pytest.approx(0.1, rel=0.03)
    torch.testing.assert_close((noisy[2] - 0.5) / 3, noisy[0] - 0.5)
    alone = noise(images[:1], torch.tensor([0.1]), torch.tensor([5]))
    assert torch.equal(alone[0], noisy[0])
    assert (images == 0.5).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_agrees_with_torchvision_for_each_image(channels: int) -> None:
    images, factors = batch(channels), [1.0, 0.0, 0.5, 1.8]
    changed = sharpness(images, torch.tensor(factors))
    torch.testing.assert_close(changed[0], images[0])
    for row in range(4):
        expected = reference.adjust_sharpness(images[row], factors[row])
        torch.testing.assert_close(changed[row], expected, atol=1e-6, rtol=1e-5)


def test_sharpness_leaves_images_too_small_for_its_kernel() -> None:
    assert torch.equal(sharpness(torch.ones(1, 1, 2, 5), torch.tensor([0.0])), torch.ones(1, 1, 2, 5))


def test_blur_of_volumes_agrees_with_scipy_along_all_three_axes() -> None:
    volumes, sigmas = torch.rand(3, 2, 9, 11, 8, generator=torch.Generator().manual_seed(3)), [0.0, 0.5, 1.3]
    blurred = blur(volumes, torch.tensor(sigmas))
    assert torch.equal(blurred[0], volumes[0])
    for row in (1, 2):
        for channel in range(2):
            expected = ndimage.gaussian_filter(
                volumes[row, channel].double().numpy(),
                sigmas[row],
                mode="mirror",
                radius=math.ceil(3 * sigmas[row]),
            )
            np.testing.assert_allclose(blurred[row, channel].numpy(), expected, atol=1e-6)


def test_a_single_slice_is_blurred_within_itself_only() -> None:
    images, sigma = batch(), torch.tensor([0.0, 0.4, 1.0, 2.2])
    torch.testing.assert_close(blur(images[:, :, None], sigma)[:, :, 0], blur(images, sigma))


def test_sharpness_of_volumes_is_that_of_their_slices() -> None:
    volumes, factor = (
        torch.rand(2, 1, 4, 6, 5, generator=torch.Generator().manual_seed(3)),
        torch.tensor([0.2, 1.8]),
    )
    sharp = sharpness(volumes, factor)
    for index in range(4):
        assert torch.equal(sharp[:, :, index], sharpness(volumes[:, :, index], factor))


def test_noise_of_volumes_has_the_asked_spread_in_every_slice() -> None:
    noisy = noise(torch.zeros(2, 1, 3, 80, 80), torch.tensor([0.1, 0.0]), torch.tensor([5, 6]))
    assert noisy[0].std(dim=(0, 2, 3)).tolist() == pytest.approx([0.1] * 3, rel=0.05)
    assert not torch.equal(noisy[0, 0, 0], noisy[0, 0, 1]) and not noisy[1].any()
