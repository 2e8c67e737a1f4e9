"""Neighbours: all of them for few points, nearly all of the near ones for many."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.data.neighbours import find_neighbours


def brute_force(points: np.ndarray, groups: np.ndarray, count: int) -> list[list[int]]:
    found = []
    for one in range(len(points)):
        others = [other for other in range(len(points)) if groups[other] != groups[one]]
        others.sort(key=lambda other: float(((points[one] - points[other]) ** 2).sum()))
        found.append((others + [-1] * count)[:count])
    return found


@pytest.mark.parametrize("number", [2, 3, 17, 100, 256])
@pytest.mark.parametrize("members", [1, 4])
def test_few_points_have_exactly_the_neighbours_of_brute_force(number: int, members: int) -> None:
    random = np.random.default_rng(number)
    points, groups = random.normal(size=(number, 5)), random.permutation(number) // members
    expected = brute_force(points, groups, 8)
    for seed in (0, 1):
        assert find_neighbours(points, groups, 8, seed).tolist() == expected


def test_near_points_among_many_are_found() -> None:
    random = np.random.default_rng(0)
    originals = random.normal(size=(1500, 12))
    points = np.concatenate([originals, originals + random.normal(scale=0.02, size=originals.shape)])
    found = find_neighbours(points, np.arange(3000), 1)[:, 0]
    partners = np.concatenate([np.arange(1500, 3000), np.arange(1500)])
    assert (found == partners).mean() > 0.999


def test_most_of_the_nearest_among_many_are_those_of_brute_force() -> None:
    random = np.random.default_rng(1)
    points, groups = random.normal(size=(1000, 4)), np.arange(1000) // 2
    squared = ((points[:, None] - points) ** 2).sum(2)
    squared[groups[:, None] == groups] = np.inf
    expected = np.argsort(squared, axis=1)[:, :4]
    found = find_neighbours(points, groups, 4)
    assert np.mean([len(set(one) & set(other)) / 4 for one, other in zip(found, expected)]) > 0.98
    apart = np.take_along_axis(squared, found, 1)
    assert np.isfinite(apart).all() and (np.diff(apart, axis=1) >= 0).all()
    assert all(len(set(one)) == 4 for one in found.tolist())


def test_equal_points_are_neighbours_of_each_other() -> None:
    points = np.repeat(np.random.default_rng(2).normal(size=(400, 6)), 2, axis=0)
    found = find_neighbours(points, np.arange(800), 1)[:, 0]
    assert np.array_equal(found, np.arange(800) ^ 1)


def test_where_there_are_no_others_there_are_no_neighbours() -> None:
    assert find_neighbours(np.zeros((0, 3)), np.zeros(0, int), 2).shape == (0, 2)
    assert find_neighbours(np.zeros((1, 3)), np.zeros(1, int), 2).tolist() == [[-1, -1]]
    assert (
        find_neighbours(np.random.default_rng(3).normal(size=(300, 3)), np.zeros(300, int), 2) == -1
    ).all()
    assert find_neighbours(np.zeros((2, 3)), np.arange(2), 3).tolist() == [[1, -1, -1], [0, -1, -1]]
