"""SR-SIM against the scores and maps of the package piq, one pair at a time.

tests/golden/srsim.npz: three images of 120 x 120, results of piq 0.8.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medgraft.errors import ShapeError
from medgraft.images import sr_sim as module
from medgraft.images.sr_sim import sr_sim, sr_sim_maps, sr_sim_of_all_pairs

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "srsim.npz"))


def golden(*names: str) -> Tensor:
    return torch.from_numpy(np.stack([GOLDEN[name] for name in names]).astype(np.float64))[:, None]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
@pytest.mark.parametrize("pair", ["ab", "ba", "ac", "bc", "aa"])
def test_pairs_have_the_published_score(pair: str, kind: torch.dtype) -> None:
    one, other = (sr_sim_maps(golden(name).to(kind)) for name in pair)
    assert sr_sim(one, other).dtype == kind
    assert float(sr_sim(one, other)) == pytest.approx(float(GOLDEN[f"srsim_{pair}"]), abs=1e-6)


def test_a_pair_in_a_batch_has_the_score_it_has_alone() -> None:
    scores = sr_sim(sr_sim_maps(golden("a", "a")), sr_sim_maps(golden("b", "c")))
    assert scores.tolist() == pytest.approx(
        [float(GOLDEN[f"srsim_{pair}"]) for pair in ("ab", "ac")], abs=1e-6
    )
    assert abs(float(scores[1]) - GOLDEN["batch_bug_ab_in_batch"][1]) > 0.02


def test_all_pairs_are_the_pairs() -> None:
    maps = sr_sim_maps(golden(*"abcab", *"ccbab"))
    few = sr_sim_maps(golden(*"abc"))
    scores = sr_sim_of_all_pairs(few, maps)
    assert scores.shape == (3, 10)
    for row in range(3):
        for column in range(10):
            pair = sr_sim(few.rows(slice(row, row + 1)), maps.rows(torch.tensor([column])))
            assert float(scores[row, column]) == pytest.approx(float(pair[0]), abs=1e-12)
    assert torch.equal(sr_sim_of_all_pairs(few.enlarged(), maps), scores)


def test_maps_and_kernels_are_the_published_ones() -> None:
    images = golden("a")
    saliency = sr_sim_maps(images).enlarged().saliency[0]
    expected = torch.from_numpy(GOLDEN["saliency_a"]).double()
    torch.testing.assert_close(saliency, expected, rtol=0, atol=1e-5)

    quarter = module._resized(255 * images[:, 0], (30, 30), 0.25)[0]
    torch.testing.assert_close(quarter, torch.from_numpy(GOLDEN["imresize_quarter_a"]), rtol=0, atol=1e-4)

    kernel = GOLDEN["scharr"][0].astype(np.float64)
    parts = [ndimage.correlate(255 * images[0, 0].numpy(), k, mode="constant") for k in (kernel, kernel.T)]
    np.testing.assert_allclose(sr_sim_maps(images).gradient[0].numpy(), np.hypot(*parts), atol=1e-10)

    values = rand(1, 31, 27)
    larger = np.zeros((11, 11))
    larger[1:, 1:] = GOLDEN["gauss10"][0]
    expected_blur = ndimage.correlate(values[0].numpy(), larger, mode="constant")
    np.testing.assert_allclose(module._blurred(values)[0].numpy(), expected_blur, atol=1e-12)


# Scores of piq 0.8.0 for noise of these shapes (see `noisy_pair`): odd and even blocks, sides that no four divides.
PUBLISHED = {
    (1, 40, 57): 0.978546307,
    (3, 83, 61): 0.876406363,
    (1, 390, 384): 0.715679933,
    (3, 520, 641): 0.775120769,
}  # fmt: skip


def noisy_pair(channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two images that anybody can make again: waves and noise, and the same with one wave more."""
    down, along = torch.arange(height).double()[:, None], torch.arange(width).double()
    waves = [
        torch.sin(down / (3 + c) + along / (5 + 2 * c)) * torch.cos(along / 17 - down / 23)
        for c in range(channels)
    ]
    noise = ((12.9898 * down + 78.233 * along).sin() * 43758.5453).frac()
    one = 0.5 + 0.2 * torch.stack(waves)[None] + 0.2 * noise
    return one, (one + 0.15 * torch.sin(down * along / 900)).clamp(0, 1)


@pytest.mark.parametrize("shape", PUBLISHED)
def test_other_sizes_and_colours_have_the_published_score(shape: tuple[int, int, int]) -> None:
    one, other = noisy_pair(*shape)
    assert float(sr_sim(sr_sim_maps(one), sr_sim_maps(other))) == pytest.approx(PUBLISHED[shape], abs=1e-6)


def test_an_image_is_not_influenced_by_its_neighbours() -> None:
    images = rand(3, 1, 60, 44)
    images[1] *= 100  # out of range on purpose
    together, alone = sr_sim_maps(images), sr_sim_maps(images[:1])
    torch.testing.assert_close(together.saliency[:1], alone.saliency, rtol=0, atol=1e-14)
    torch.testing.assert_close(together.gradient[:1], alone.gradient, rtol=0, atol=1e-14)


def test_blank_images_have_a_score() -> None:
    blank, other = torch.zeros(1, 1, 48, 48), rand(1, 1, 48, 48).float()
    maps = sr_sim_maps(torch.cat([blank, other]))
    scores = sr_sim_of_all_pairs(maps, maps)
    assert float(scores[0, 0]) == pytest.approx(1.0, abs=1e-6)
    assert 0 <= float(scores[0, 1]) < 0.9


def test_more_blur_or_noise_is_less_similar() -> None:
    image = golden("a")[0, 0].numpy()
    maps = sr_sim_maps(
        torch.from_numpy(np.stack([ndimage.gaussian_filter(image, s) for s in (0, 1, 2, 4)]))[:, None]
    )
    scores = sr_sim_of_all_pairs(maps.rows(slice(1)), maps)[0].tolist()
    assert scores == sorted(scores, reverse=True) and scores[0] == pytest.approx(1.0) and scores[3] < 0.97


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    with pytest.raises(ShapeError, match="at least 40 x 40 pixels, but got 120 x 39"):
        sr_sim_maps(rand(1, 1, 120, 39))
    for wrong in (rand(1, 2, 64, 64), rand(64, 64), rand(1, 1, 64, 64).long()):
        with pytest.raises(ShapeError, match="float images"):
            sr_sim_maps(wrong)
    small, large, two = (sr_sim_maps(rand(n, 1, side, 48)) for n, side in ((1, 48), (1, 52), (2, 48)))
    for other in (large, two):
        with pytest.raises(ShapeError, match="one size"):
            sr_sim(small, other)
    with pytest.raises(ShapeError, match="one size"):
        sr_sim_of_all_pairs(small, large)
