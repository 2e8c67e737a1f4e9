"""Signatures: what they keep of an image, and what does not matter to them."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.data.samples import load_samples
from medgraft.data.signatures import middle_planes, shrink, sign


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """(96, 80, 3) uint8: a histology tile, not square."""
    array: np.ndarray = load_samples("nuclei_tiles").picture(0).array[:96, :80]
    return array


def steps(array: np.ndarray) -> np.ndarray:
    signature = sign(array)
    assert signature is not None
    return signature.astype(int)


def triangle_weights(length: int, side: int) -> np.ndarray:
    """(side, length): each small pixel is a mean of those around, weighted by nearness."""
    scale = length / side
    weights = np.zeros((side, length))
    for small in range(side):
        for pixel in range(length):
            apart = abs((pixel + 0.5) - (small + 0.5) * scale)
            weights[small, pixel] = max(0.0, 1 - apart / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


def test_shrinking_is_grey_clipped_averaged_and_standardised(image: np.ndarray) -> None:
    grey = image.astype(float) @ [0.299, 0.587, 0.114]
    low, high = np.sort(grey.ravel())[[38, -39]]  # 0.5 percent of 7680 pixels
    clipped = np.clip(grey, low, high)
    small = triangle_weights(96, 32) @ clipped @ triangle_weights(80, 32).T
    expected = (small - small.mean()) / small.std()
    found = shrink(image, 32)
    assert found is not None and found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.01
    assert np.abs(steps(image)[0] - np.rint(found * 31.75)).max() == 0


@pytest.mark.parametrize(("gain", "offset"), [(1, 900), (0.3, 20), (12.5, -1000), (1e-4, 0)])
def test_gain_and_offset_do_not_matter(image: np.ndarray, gain: float, offset: float) -> None:
    assert np.abs(steps(image.astype(float) * gain + offset) - steps(image)).max() <= 1


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_the_dtype_does_not_matter(image: np.ndarray, dtype: str) -> None:
    assert np.abs(steps(image.astype(dtype)) - steps(image)).max() <= 1


def test_a_negative_has_the_negative_signature(image: np.ndarray) -> None:
    assert np.abs(steps(255 - image) + steps(image)).max() <= 1


def test_mirrored_images_have_mirrored_signatures(image: np.ndarray) -> None:
    assert np.abs(steps(image[:, ::-1]) - steps(image)[:, :, ::-1]).max() <= 1


def test_a_burnt_in_marker_does_not_set_the_scale(image: np.ndarray) -> None:
    marked = image.astype(float)
    marked[2:8, 3:8] = 60_000  # 30 of 7680 pixels: less than half a percent
    apart = np.abs(steps(marked) - steps(image))[0]
    apart[:4, :5] = 0  # where the marker lies
    assert apart.max() <= 4
    scaled_by_it = np.abs(steps(marked)).max()
    assert scaled_by_it < 127  # unclipped, all else would be one flat shade


def test_a_volume_is_signed_by_its_three_middle_planes() -> None:
    volume = np.random.default_rng(0).random((10, 40, 50, 1))
    assert [plane.shape for plane in middle_planes(volume)] == [(40, 50, 1), (10, 50, 1), (10, 40, 1)]
    found = sign(volume)
    assert found is not None and found.shape == (3, 32, 32) and found.dtype == np.int8
    for one, plane in zip(found, (volume[5], volume[:, 20], volume[:, :, 25])):
        assert np.array_equal(one, steps(plane)[0])


def test_what_has_nothing_to_compare_has_no_signature() -> None:
    picture = np.random.default_rng(1).random((20, 20, 1))
    holed, endless, flat = picture.copy(), picture.copy(), np.full((20, 20, 1), 7.3)
    holed[3, 3], endless[4, 4] = np.nan, np.inf
    assert sign(holed) is None and sign(endless) is None and sign(flat) is None
    volume = np.random.default_rng(2).random((8, 8, 8, 1))
    volume[:, 4] = 0
    assert sign(volume) is None
    assert sign(picture) is not None


def test_one_bright_spot_on_black_still_has_a_signature() -> None:
    spot = np.zeros((200, 200, 1))
    spot[100:103, 50:53] = 1  # fewer pixels than are clipped: nothing would be left
    found = sign(spot)
    assert found is not None and found[0, 16, 8] == 127
    assert (found[0] > 0).sum() < 16
