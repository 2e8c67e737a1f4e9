"""Amplitude swap against the published code's results, a full transform written by hand, and what must hold.

tests/golden/fda.npz: results of the authors' code for the circle and of FDA's NumPy code for the square.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.fourier import (
    Output,
    Region,
    low_amplitude,
    low_frequencies,
    swap_amplitude,
    swap_low_frequencies,
)

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "fda.npz"))


def golden(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name])[None, None]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_full_transform(
    image: NDArray[np.float64], donor: NDArray[np.float64], beta: float, region: Region
) -> NDArray[np.float64]:
    """One image, frequency by frequency."""
    spectrum, amplitude = np.fft.fft2(image), np.abs(np.fft.fft2(donor))
    radius = beta * min(image.shape)
    for row, up in enumerate(np.fft.fftfreq(image.shape[0], 1 / image.shape[0]).round()):
        for column, right in enumerate(np.fft.fftfreq(image.shape[1], 1 / image.shape[1]).round()):
            far = np.hypot(up, right) if region == "circle" else max(abs(up), abs(right))
            if far < radius if region == "circle" else far <= np.floor(radius):
                spectrum[row, column] = amplitude[row, column] * np.exp(1j * np.angle(spectrum[row, column]))
    back = np.fft.ifft2(spectrum)
    assert np.abs(back.imag).max() < 1e-12
    return back.real


@pytest.mark.parametrize("size", ["even", "odd"])
@pytest.mark.parametrize("beta", ["0.02", "0.05", "0.1", "0.2"])
def test_the_circle_is_that_of_the_authors(size: str, beta: str) -> None:
    images, donors, name = golden(f"content_{size}"), golden(f"style_{size}"), f"circ_{size}_beta{beta}"
    outputs: dict[str, Output] = {"real": "real", "absmax": "abs_max"}
    for ending, output in outputs.items():
        swapped = swap_low_frequencies(images, donors, float(beta), "circle", output)
        torch.testing.assert_close(swapped, golden(f"{name}_{ending}"), rtol=0, atol=1e-10)
    assert len(low_frequencies(images.shape[-2:], float(beta))) == GOLDEN[f"{name}_ncoef"]


@pytest.mark.parametrize("size", ["even", "odd"])
@pytest.mark.parametrize("beta", ["0.01", "0.05", "0.1"])
def test_the_square_is_that_of_fda(size: str, beta: str) -> None:
    swapped = swap_low_frequencies(golden(f"content_{size}"), golden(f"style_{size}"), float(beta), "square")
    torch.testing.assert_close(swapped, golden(f"rect_{size}_L{beta}"), rtol=0, atol=1e-10)


def test_mean_amplitudes_of_two_donors_can_be_swapped() -> None:
    blocks = low_amplitude(torch.cat([golden("style_even"), golden("style_even_b")]), 0.1)
    swapped = swap_amplitude(golden("content_even"), blocks.mean(0, keepdim=True), 0.1)
    expected = golden("circ_even_beta0.1_two_styles_avgamp_real")
    torch.testing.assert_close(swapped, expected, rtol=0, atol=1e-10)


def test_the_published_counts_of_coefficients() -> None:
    counts = {(182, 0.005): 1, (182, 0.01): 9, (182, 0.015): 21, (182, 0.025): 69}
    counts |= {(256, 0.005): 5, (256, 0.01): 21, (256, 0.015): 45, (256, 0.025): 129}
    for (side, beta), count in counts.items():
        assert len(low_frequencies((side + 36, side), beta)) == count
    assert len(low_frequencies((256, 300), 0.01, "square")) == 25
    assert low_frequencies((9, 9), 0.0).shape == (0, 2)


@pytest.mark.parametrize("region", ["circle", "square"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 12), (12, 7), (16, 16), (15, 15), (10, 33)])
def test_any_size_and_beta_equals_the_full_transform(region: Region, shape: tuple[int, int]) -> None:
    images, donors = rand(2, 2, *shape) - 0.3, rand(2, 2, *shape, seed=1)
    for beta in (1e-9, 0.07, 0.13, 0.31, 0.5):
        swapped = swap_low_frequencies(images, donors, beta, region).numpy()
        for row in range(2):
            for channel in range(2):
                image, donor = images[row, channel].numpy(), donors[row, channel].numpy()
                expected = by_full_transform(image, donor, beta, region)
                np.testing.assert_allclose(swapped[row, channel], expected, rtol=0, atol=1e-12)


def test_a_block_of_a_greater_beta_or_of_the_square_serves_too() -> None:
    images, donors = rand(3, 1, 24, 31), rand(1, 1, 24, 31, seed=1)
    expected = swap_low_frequencies(images, donors, 0.1)
    for block in (low_amplitude(donors, 0.5), low_amplitude(donors, 0.5, "square")):
        torch.testing.assert_close(swap_amplitude(images, block, 0.1), expected)


def test_what_is_kept_of_donors_is_small_and_begins_with_their_mean() -> None:
    donors = rand(2, 3, 64, 48)
    block = low_amplitude(donors, 0.1)  # radius 4.8
    assert block.shape == (2, 3, 9, 5)
    torch.testing.assert_close(block[..., 4, 0], donors.mean((-2, -1)))
    full = torch.fft.fft2(donors).abs() / (64 * 48)
    torch.testing.assert_close(block[..., 4:, :], full[..., :5, :5])
    torch.testing.assert_close(block[..., :4, :], full[..., -4:, :5])


@pytest.mark.parametrize("output", ["real", "abs_max"])
@pytest.mark.parametrize("beta", [0.0, -0.1])
def test_no_beta_changes_nothing(output: Output, beta: float) -> None:
    images = rand(2, 1, 9, 9).float() - 0.5
    swapped = swap_low_frequencies(images, rand(2, 1, 9, 9, seed=1).float(), beta, output=output)
    assert torch.equal(swapped, images)


def test_an_image_that_is_its_own_donor_stays() -> None:
    images = rand(2, 3, 23, 30) - 0.5
    torch.testing.assert_close(swap_low_frequencies(images, images, 0.4), images, rtol=0, atol=1e-14)


def test_a_beta_just_above_zero_matches_the_mean_alone() -> None:
    images, donors = rand(2, 1, 20, 30), 3 * rand(2, 1, 20, 30, seed=1)
    swapped = swap_low_frequencies(images, donors, 1e-6)
    moved = donors.mean((-2, -1), keepdim=True) - images.mean((-2, -1), keepdim=True)
    torch.testing.assert_close(swapped, images + moved)


def test_the_histogram_comes_nearer_to_the_donors_where_gain_and_bias_differ() -> None:
    place = torch.linspace(-1, 1, 64, dtype=torch.float64)
    radius = torch.hypot(place[:, None], place)
    anatomy = [((radius < size) * 0.5 + (radius < size / 2) * 0.3)[None, None] for size in (0.8, 0.7)]
    source, other = (image + 0.02 * rand(1, 1, 64, 64, seed=seed) for seed, image in enumerate(anatomy))
    target = 0.5 * other + 0.3

    def distance(image: Tensor) -> float:
        return float((image.flatten().sort().values - source.flatten().sort().values).abs().mean())

    mean_only, more = (swap_low_frequencies(target, source, beta) for beta in (1e-6, 0.05))
    assert distance(mean_only) < 0.95 * distance(target)
    assert distance(more) < 0.7 * distance(target)


def test_single_precision_is_close_to_double() -> None:
    images, donors = rand(2, 1, 256, 200), rand(2, 1, 256, 200, seed=1) / 3
    exact = swap_low_frequencies(images, donors, 0.1)
    swapped = swap_low_frequencies(images.float(), donors.float(), 0.1)
    assert swapped.dtype == torch.float32
    torch.testing.assert_close(swapped.double(), exact, rtol=0, atol=2e-6)
    half = swap_low_frequencies(images.half(), donors.half(), 0.1)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=2e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(swap_low_frequencies(images.float(), donors.float(), 0.1), swapped)


def test_neighbours_in_a_batch_do_not_matter_and_the_input_is_kept() -> None:
    images, donors = rand(3, 2, 21, 18), rand(3, 2, 21, 18, seed=1)
    before = images.clone()
    for output in ("real", "abs_max"):
        together = swap_low_frequencies(images, donors, 0.2, output=output)
        alone = swap_low_frequencies(images[1:2], donors[1:2], 0.2, output=output)
        torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-14)
        shared = swap_low_frequencies(images, donors[:1], 0.2, output=output)
        torch.testing.assert_close(shared[:1], together[:1], rtol=0, atol=1e-14)
    assert torch.equal(images, before)


def test_blank_images_stay_blank_and_flat_ones_flat() -> None:
    donors = rand(1, 1, 33, 40)
    blank = torch.zeros(1, 1, 33, 40, dtype=torch.float64)
    for output in ("real", "abs_max"):
        assert torch.equal(swap_low_frequencies(blank, donors, 0.2, output=output), blank)
        assert torch.equal(swap_low_frequencies(blank, blank, 0.2, output=output), blank)
    for kind in (torch.float32, torch.float64):
        flat = torch.full((1, 1, 33, 40), 0.7, dtype=kind)
        swapped = swap_low_frequencies(flat, donors.to(kind), 0.2)
        torch.testing.assert_close(swapped, donors.to(kind).mean().expand_as(flat), rtol=1e-5, atol=0)
    # black donors take the low frequencies away
    swapped = swap_low_frequencies(donors, blank, 0.2)
    assert float(low_amplitude(swapped, 0.05).max()) < 1e-15


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    images = rand(2, 1, 24, 30)
    with pytest.raises(ShapeError, match="one size, but got 24 x 30 and 24 x 31"):
        swap_low_frequencies(images, rand(2, 1, 24, 31), 0.1)
    with pytest.raises(ShapeError, match="float images"):
        swap_low_frequencies(images, images[0], 0.1)
    with pytest.raises(ShapeError, match="float images"):
        low_amplitude(images.long(), 0.1)
    with pytest.raises(ShapeError, match="up to frequency 4, but the donor block ends at 2"):
        swap_amplitude(images, low_amplitude(images, 0.1), 0.2)
    for block in (rand(2, 3, 5, 3), rand(3, 1, 5, 3), rand(5, 3)):
        with pytest.raises(ShapeError, match="one donor per image"):
            swap_amplitude(images, block, 0.1)
    for beta in (0.51, float("nan")):
        with pytest.raises(SettingsError, match="beta of at most"):
            swap_low_frequencies(images, images, beta)
    with pytest.raises(SettingsError, match="above 0"):
        low_amplitude(images, 0.0)
