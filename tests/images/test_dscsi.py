"""The index of colour similarity, against loops over windows with angles, and what gradients make of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.errors import ShapeError
from medgraft.images.cielab import lab_to_rgb, rgb_to_lab
from medgraft.images.dscsi import colour_similarity, dscsi


def random_images(seed: int, count: int = 2, height: int = 12, width: int = 10) -> Tensor:
    drawn = torch.rand(
        count, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return 0.1 + 0.8 * drawn


def window() -> np.ndarray:
    """7 x 7 weights of a Gaussian of standard deviation 1."""
    weights = np.array([[math.exp(-(i**2 + j**2) / 2) for j in range(-3, 4)] for i in range(-3, 4)])
    return weights / weights.sum()


def by_loops(one: Tensor, other: Tensor, pooling: int) -> list[float]:
    """The six comparisons of one pair, window by window, hues as angles."""
    labs = [rgb_to_lab(image[None])[0].numpy() for image in (one, other)]
    weights = window()
    maps: list[list[float]] = [[] for _ in range(6)]
    for row in range(labs[0].shape[1] - 6):
        for column in range(labs[0].shape[2] - 6):
            mean_hue, dispersion, mean_chroma, sd_chroma, sd_light, light = [], [], [], [], [], []
            for lab in labs:
                patch = lab[:, row : row + 7, column : column + 7]
                hue, chroma = np.arctan2(patch[2], patch[1]), np.hypot(patch[1], patch[2])
                cosine, sine = (weights * np.cos(hue)).sum(), (weights * np.sin(hue)).sum()
                mean_hue.append(math.atan2(sine, cosine) % (2 * math.pi))
                dispersion.append(1 - math.hypot(sine, cosine))
                mean_chroma.append((weights * chroma).sum())
                sd_chroma.append(math.sqrt((weights * (chroma - mean_chroma[-1]) ** 2).sum()))
                light.append(patch[0] - (weights * patch[0]).sum())
                sd_light.append(math.sqrt((weights * light[-1] ** 2).sum()))
            apart = (math.pi - abs(math.pi - abs(mean_hue[0] - mean_hue[1]))) / math.pi
            counts = 0.5 + 0.5 * math.tanh((min(mean_chroma) - 10) / 2.5)
            unlike = 0.5 + 0.5 * math.tanh((apart - 0.2) / 0.07)
            spread = (0.0008 + 2 * dispersion[0] * dispersion[1]) / (
                0.0008 + dispersion[0] ** 2 + dispersion[1] ** 2
            )
            together = (weights * light[0] * light[1]).sum()
            for values, value in zip(
                maps,
                (
                    1 - unlike * counts,
                    1 - (1 - spread) * counts,
                    1 / (0.0008 * (mean_chroma[0] - mean_chroma[1]) ** 2 + 1),
                    (16 + 2 * sd_chroma[0] * sd_chroma[1]) / (16 + sd_chroma[0] ** 2 + sd_chroma[1] ** 2),
                    (0.8 + 2 * sd_light[0] * sd_light[1]) / (0.8 + sd_light[0] ** 2 + sd_light[1] ** 2),
                    (0.8 + together) / (0.8 + sd_light[0] * sd_light[1]),
                ),
            ):
                values.append(value)
    return [1 - np.mean(np.abs(1 - np.array(values)) ** pooling) ** (1 / pooling) for values in maps]


@pytest.mark.parametrize("pooling", [1, 2])
def test_equals_loops_over_windows(pooling: int) -> None:
    one = random_images(0)
    other = (0.7 * one + 0.3 * random_images(1)).flip(1)[:, [1, 0, 2]]
    expected = np.array([by_loops(*pair, pooling) for pair in zip(one, other)])
    assert expected.min() > 0.02 and expected[:, :5].max() < 0.999  # nothing is trivially 0 or 1
    found = torch.stack(colour_similarity(one, other, pooling), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    product = expected[:, :4].prod(1) ** 0.8 * expected[:, 4] * expected[:, 5]
    np.testing.assert_allclose(dscsi(one, other, pooling), product, atol=1e-5)
    np.testing.assert_allclose(dscsi(one.float(), other.float(), pooling), product, atol=1e-3)


def plain(lightness: float, chroma: float, degrees: float) -> Tensor:
    """One colour everywhere, in which sRGB does not clip."""
    angle = math.radians(degrees)
    lab = torch.tensor([lightness, chroma * math.cos(angle), chroma * math.sin(angle)], dtype=torch.float64)
    return lab_to_rgb(lab.view(1, 3, 1, 1).expand(1, 3, 8, 8))


def test_plain_colours_by_hand() -> None:
    same = plain(60, 30, 350)
    turned = colour_similarity(
        same, plain(60, 30, 26)
    )  # 36 degrees across 0 are a fifth of half a turn: half alike
    assert turned.hue.item() == pytest.approx(0.5, abs=1e-3)
    assert [part.item() for part in turned[1:]] == pytest.approx([1] * 5, abs=1e-3)
    paler = colour_similarity(same, plain(60, 20, 350))
    assert paler.chroma.item() == pytest.approx(1 / 1.08, abs=1e-3)
    assert paler.hue.item() == pytest.approx(1 - 0.5 * (1 - math.tanh(0.2 / 0.07)), abs=1e-4)
    grey = colour_similarity(plain(60, 1, 0), plain(60, 1, 180))
    assert grey.hue.item() > 0.999  # of opposite hue, but nobody sees it


def test_gradients_are_finite_where_there_is_no_slope() -> None:
    black, white = torch.zeros(1, 3, 9, 9), torch.ones(1, 3, 9, 9)
    half = torch.full((1, 3, 9, 9), 0.5)
    tile = random_images(2, 1, 9, 9).float()
    for one in (black, white, half, tile):
        for other in (black, white, half, tile):
            for pooling in (1, 2):
                changed = other.clone().requires_grad_(True)
                dscsi(one, changed, pooling).sum().backward()
                assert changed.grad is not None and changed.grad.isfinite().all()
                assert changed.grad.abs().max() < 1e4


def test_descending_on_it_finds_the_colours() -> None:
    wanted = random_images(3, 1, 12, 12).float()
    found = random_images(4, 1, 12, 12).float().requires_grad_(True)
    before = dscsi(wanted, found).item()
    optimizer = torch.optim.Adam([found], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        (1 - dscsi(wanted, found, 1).mean()).backward()
        optimizer.step()
        found.data.clamp_(0, 1)
    assert before < 0.2 and dscsi(wanted, found).item() > 0.8


def test_what_cannot_be_compared_is_refused() -> None:
    for one, other in (
        ((1, 3, 8, 8), (1, 3, 8, 9)),
        ((1, 3, 6, 8), (1, 3, 6, 8)),
        ((1, 1, 8, 8), (1, 1, 8, 8)),
    ):
        with pytest.raises(ShapeError):
            dscsi(torch.zeros(one), torch.zeros(other))
