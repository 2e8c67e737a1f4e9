"""Alignment: a known stretch and shift is found again; fine structure agrees with itself only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from medgraft.data.alignment import align, compare_structure, place
from medgraft.data.samples import load_samples
from medgraft.data.signatures import shrink

SIDE = 48
NOWHERE = np.zeros((1, 4), np.float32)


def picture(row: int) -> np.ndarray:
    """(1, 48, 48): a histology tile, mean 0, deviation 1."""
    found = shrink(load_samples("nuclei_tiles").picture(row).array, SIDE)
    assert found is not None
    return found[None]


def where(placement: np.ndarray) -> np.ndarray:
    """(2, S, S): the rows and columns at which samples are taken, from the definition."""
    middle = (SIDE - 1) / 2
    down, right = np.mgrid[:SIDE, :SIDE].astype(float)
    return np.stack(
        [
            middle + (down - middle) * (1 + placement[0]) + placement[1],
            middle + (right - middle) * (1 + placement[2]) + placement[3],
        ]
    )


def sample(one: np.ndarray, placement: np.ndarray) -> np.ndarray:
    samples: np.ndarray = map_coordinates(one[0], where(placement), order=1, mode="nearest")
    return samples[None]


@pytest.mark.parametrize(
    "placement",
    [(0, 0, 0, 0), (0.1, 0, 0, 0), (0, 2.5, 0, -1.25), (-0.08, 1, 0.12, -3), (0.15, -3.8, 0.15, 3.8)],
)
def test_placing_is_linear_interpolation(placement: tuple[float, ...]) -> None:
    at = np.array([placement])
    samples, inside = place(picture(0), at.astype(np.float32))
    expected = where(at[0])
    within = ((expected > -0.5) & (expected < SIDE - 0.5)).all(0)
    assert np.array_equal(inside[0] > 0, within) and set(np.unique(inside)) <= {0.0, 1.0}
    assert np.abs(samples - sample(picture(0), at[0]))[0][within].max() < 1e-4


@pytest.mark.parametrize(
    "placement",
    [(0.05, 0, 0.05, 0), (-0.06, 0, -0.06, 0), (0, 1.7, 0, -2.2), (0.04, -1, -0.05, 1.5), (0.09, 2, 0.09, 2)],
)
def test_a_known_stretch_and_shift_are_found_again(placement: tuple[float, ...]) -> None:
    second = picture(3)
    found = align(sample(second, np.array(placement)), second)
    apart = np.abs(found.stretch_shift[0] - placement)
    assert apart[[0, 2]].max() < 0.003 and apart[[1, 3]].max() < 0.08
    assert found.correlation[0] > 0.995


def test_each_picture_of_a_batch_is_aligned_for_itself() -> None:
    placements = np.array([(0.05, 1, 0, 0), (0, 0, -0.05, -1)])
    seconds = [picture(1), picture(2)]
    firsts = [sample(one, placement) for one, placement in zip(seconds, placements)]
    both = align(np.concatenate(firsts), np.concatenate(seconds))
    for index in range(2):
        alone = align(firsts[index], seconds[index])
        assert np.abs(both.stretch_shift[index] - alone.stretch_shift[0]).max() < 1e-4
    assert np.abs(both.stretch_shift - placements).max() < 0.08


def test_the_result_is_no_worse_than_the_start() -> None:
    for first, second in ((0, 7), (4, 5), (2, 9)):
        before = align(picture(first), picture(second), steps=0)
        after = align(picture(first), picture(second))
        assert np.array_equal(before.stretch_shift, NOWHERE)
        assert after.correlation[0] >= before.correlation[0]


def test_what_is_found_stays_within_reach() -> None:
    second = picture(3)
    for placement in ((0, 9, 0, 0), (0.3, 0, 0.3, 0), (0, -9, 0.3, 9)):
        found = align(sample(second, np.array(placement)), second, steps=20).stretch_shift[0]
        assert (
            np.abs(found[[0, 2]]).max() <= 0.15 + 1e-6 and np.abs(found[[1, 3]]).max() <= 0.08 * SIDE + 1e-6
        )


def naive_structure(first: np.ndarray, second: np.ndarray, blur: float) -> tuple[float, float]:
    """Agreement and richness of two pictures that lie on each other, pixel by pixel."""
    bends = []
    for one in (first[0], second[0]):
        one = gaussian_filter((one - one.mean()) / one.std(), blur)
        slope = np.gradient(one)
        (down_down, mixed), (_, right_right) = np.gradient(slope[0]), np.gradient(slope[1])
        bend = np.zeros_like(one)
        for row in range(SIDE):
            for column in range(SIDE):
                at = row, column
                along = np.array([-slope[1][at], slope[0][at]])  # the contour line
                second_derivatives = np.array([[down_down[at], mixed[at]], [mixed[at], right_right[at]]])
                bend[at] = along @ second_derivatives @ along / (along @ along + 1e-4)
        bends.append(bend)
    agreement = (bends[0] * bends[1]).sum() / np.sqrt((bends[0] ** 2).sum() * (bends[1] ** 2).sum())
    richness = []
    for bend in bends:
        roots = [
            np.sqrt((bend[top : top + 8, left : left + 8] ** 2).sum())
            for top in range(0, SIDE, 8)
            for left in range(0, SIDE, 8)
        ]
        richness.append(sum(roots) ** 2 / (len(roots) * sum(root**2 for root in roots)))
    return float(agreement), float(min(richness))


@pytest.mark.parametrize("rows", [(0, 0), (0, 1), (5, 8)])
def test_structure_is_that_of_a_naive_computation(rows: tuple[int, int]) -> None:
    first, second = picture(rows[0]), picture(rows[1]) * 3 + 1
    agreement, richness = compare_structure(first, second, NOWHERE)
    expected = naive_structure(first.astype(float), second.astype(float), 1.5)
    assert np.allclose((agreement[0], richness[0]), expected, atol=1e-3)


def test_structure_agrees_with_itself_and_not_with_another() -> None:
    agreement, richness = compare_structure(picture(0), picture(0), NOWHERE)
    assert agreement[0] == pytest.approx(1, abs=1e-5) and 0.5 < richness[0] <= 1
    others = [compare_structure(picture(0), picture(row), NOWHERE)[0][0] for row in range(1, 12)]
    assert np.abs(others).max() < 0.3


def test_straight_edges_agree_in_brightness_but_have_no_structure_in_common() -> None:
    right = np.arange(SIDE) + np.zeros((SIDE, 1))
    edge = np.tanh((right - 23.5) / 3)[None]
    random = np.random.default_rng(0)
    one, other = (edge + random.normal(scale=0.05, size=edge.shape) for _ in range(2))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    assert abs(compare_structure(one, other, NOWHERE)[0][0]) < 0.3


def test_structure_in_one_corner_is_poor() -> None:
    corner = np.zeros((1, SIDE, SIDE))
    corner[0, :8, :8] = np.random.default_rng(1).normal(size=(8, 8))
    agreement, richness = compare_structure(corner, corner, NOWHERE)
    assert agreement[0] == pytest.approx(1, abs=1e-5)
    assert richness[0] < 4 / 36  # a block of 36, and a little of its neighbours


def test_pictures_without_structure_agree_in_nothing() -> None:
    flat = np.ones((1, SIDE, SIDE))
    agreement, richness = compare_structure(flat, flat, NOWHERE)
    assert abs(agreement[0]) < 1e-6 and np.isfinite(richness).all()
