"""Coordinates in an eigenbasis that is never formed, against one that is."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.ranking.scores.eigen_coordinates import eigen_coordinates


def matrix_of_rank(size, rank, seed=0):
    factors = np.random.default_rng(seed).normal(size=(rank, size)) * np.linspace(0.1, 3, size)
    return factors.T @ factors


@pytest.mark.parametrize(
    ("size", "rank", "count"), [(1, 1, 2), (2, 2, 1), (3, 3, 4), (60, 60, 3), (130, 130, 40), (70, 20, 3)]
)
def test_coordinates_are_those_along_the_eigenvectors(size, rank, count):
    matrix, vectors = matrix_of_rank(size, rank), np.random.default_rng(1).normal(size=(size, count))
    expected, directions = np.linalg.eigh(matrix)
    values, coordinates = eigen_coordinates(matrix.copy(), vectors)
    np.testing.assert_allclose(values, expected[-rank:], rtol=1e-9)
    by_hand = directions[:, -rank:].T @ vectors
    signs = np.sign((coordinates * by_hand).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(coordinates, signs * by_hand, atol=1e-9)


def test_vectors_and_their_lengths_stay():
    vectors = np.random.default_rng(1).normal(size=(90, 5))
    before = vectors.copy()
    _, coordinates = eigen_coordinates(matrix_of_rank(90, 90), vectors)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_allclose(coordinates.T @ coordinates, vectors.T @ vectors, atol=1e-10)


def test_equal_eigenvalues_and_empty_directions_are_handled():
    matrix = np.zeros((40, 40))
    matrix[:10, :10] = 2 * np.eye(10)
    values, coordinates = eigen_coordinates(matrix, np.arange(40.0)[:, None])
    assert values.tolist() == [2.0] * 10
    assert (coordinates**2).sum() == pytest.approx((np.arange(10.0) ** 2).sum())


def test_a_matrix_of_zeros_has_no_directions():
    values, coordinates = eigen_coordinates(np.zeros((5, 5)), np.ones((5, 2)))
    assert values.shape == (0,) and coordinates.shape == (0, 2)
