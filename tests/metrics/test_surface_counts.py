"""Sums over the images of a patient equal naive loops over all their border elements."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medgraft.metrics.borders import Elements, extract_borders
from medgraft.metrics.surface import compare_surfaces, surface_scores
from medgraft.metrics.surface_counts import SurfaceCounts

SPACINGS = [(1.0, 0.7), (2.0, 2.0), (0.3, 1.1)]


def blobs(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    base, one, other = (gaussian_filter(random.normal(size=shape), 1.5) for _ in range(3))
    return base + one / 2 > 0.05, base + other / 2 > 0.05


def patient(by: Elements, tolerance: float) -> tuple[SurfaceCounts, list]:
    """Slices of different sizes and spacings, one without truth, one without anything; and what they are."""
    slices = [(*blobs((14 + 3 * seed, 17), seed), SPACINGS[seed]) for seed in range(3)]
    nothing = np.zeros((9, 9), bool)
    extra = np.pad(np.ones((2, 3), bool), 3)
    slices += [(np.zeros_like(extra), extra, (1.0, 1.0)), (nothing, nothing, (1.0, 1.0))]
    counts = [compare_surfaces(truth, guess, tolerance, spacing, by) for truth, guess, spacing in slices]
    return reduce(add, counts), slices


def border_points(mask: np.ndarray, other: np.ndarray, spacing: tuple[float, ...], by: Elements):
    """Places in mm and sizes of the true border's elements; the extraction itself is tested elsewhere."""
    borders = extract_borders(mask, other, np.array(spacing), by)
    for border in (borders.truth, borders.predicted):
        yield borders._points(border.where), border.weights(border.where)


@pytest.mark.parametrize("by", ["area", "voxel"])
@pytest.mark.parametrize("tolerance", [0.0, 0.7, 2.0])
def test_a_patients_slices_pool_to_what_a_loop_over_all_elements_gives(by, tolerance):
    pooled, slices = patient(by, tolerance)
    within = total = 0.0
    far: list[list[tuple[float, float]]] = [[], []]
    for truth, guess, spacing in slices:
        (one, one_sizes), (other, other_sizes) = border_points(truth, guess, spacing, by)
        for side, (here, sizes, there) in enumerate(((one, one_sizes, other), (other, other_sizes, one))):
            total += sizes.sum()
            for point, size in zip(here, sizes):
                if len(there):
                    distance = min(np.linalg.norm(point - place) for place in there)
                    within += size * (distance <= tolerance + 1e-9)
                    far[side].append((distance, size))
    assert pooled.dice() == pytest.approx(within / total)
    means = [sum(d * s for d, s in side) / sum(s for _, s in side) for side in far]
    assert pooled.means() == pytest.approx(means)
    for percent in (50.0, 95.0, 100.0):
        expected = []
        for side in far:
            ordered = sorted(side)
            if by == "voxel":
                expected.append(np.percentile([distance for distance, _ in ordered], percent))
                continue
            reached, whole = 0.0, sum(size for _, size in ordered)
            for distance, size in ordered:
                reached += size
                if reached >= percent / 100 * whole - 1e-9:
                    expected.append(distance)
                    break
        assert pooled.percentile(percent) == pytest.approx(max(expected))
    assert (pooled.images, pooled.undefined) == (5, 1)


@pytest.mark.parametrize("by", ["area", "voxel"])
def test_one_image_gives_the_scores_of_one_image_and_order_does_not_matter(by):
    pairs = [blobs((11, 13, 9), seed) for seed in range(2)]
    one, other = (compare_surfaces(*pair, 1.0, (2.0, 1.0, 0.7), by) for pair in pairs)
    scores = surface_scores(*pairs[0], 1.0, (2.0, 1.0, 0.7), by)
    assert (one.dice(), *one.means(), one.percentile(95)) == pytest.approx(tuple(scores))
    ahead, behind = one + other, other + one
    assert ahead.means() == pytest.approx(behind.means())
    assert ahead.percentile(95) == behind.percentile(95)
    assert ahead.dice() == pytest.approx(behind.dice())
    twice = one + one
    assert twice.means() == pytest.approx(one.means()) and twice.percentile(95) == one.percentile(95)


def test_what_is_kept_does_not_grow_with_the_borders():
    small, large = (
        compare_surfaces(np.pad(np.ones((side,) * 2), 9), np.pad(np.ones((side,) * 2), 9), 1.0, 1.0)
        for side in (5, 200)
    )
    assert len(small.there.values) == len(large.there.values) == 1
    shifted = compare_surfaces(
        np.pad(np.ones((200, 200)), 9), np.pad(np.ones((200, 198)), ((9, 9), (10, 10))), 1, 1
    )
    many = reduce(add, [shifted] * 20)
    assert len(many.there.values) == len(shifted.there.values) < 10


def test_empty_masks_follow_the_convention_when_pooled():
    full, empty = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    nothing = compare_surfaces(empty, empty, 1.0, 1.0)
    missed = compare_surfaces(full, empty, 1.0, 1.0)
    found = compare_surfaces(full, full, 1.0, 1.0)
    assert (nothing.dice(), nothing.means(), nothing.percentile(95), nothing.undefined) == (
        1.0,
        (0.0, 0.0),
        0.0,
        0,
    )
    assert missed.dice() == 0.0 and missed.undefined == 1
    assert np.isnan(missed.means()).all() and np.isnan((missed + nothing).percentile(95))
    both = found + missed
    assert both.dice() == pytest.approx(2 / 3)  # two of three equal borders
    assert both.means() == (0.0, 0.0) and (both.undefined, both.images) == (1, 2)
