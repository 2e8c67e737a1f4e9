"""How much surface, or contour, passes through the space between neighbouring voxels?

Eight neighbouring voxel centres span a cell. Which of them lie inside the mask (the cell's code) decides how the
surface runs through it: along polygons whose corners halve the edges between an inner and an outer voxel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, ...]  # voxels; a cell's corners are 0 and 1 along each axis

_AROUND = ((0, 0), (0, 1), (1, 1), (1, 0))  # corners of a square, neighbours next to each other


def surfel_sizes(spacing: tuple[float, ...]) -> Floats:
    """Tell the size of the surface in a cell, for every code the cell may have.

    Args:
        spacing: distance of neighbouring voxels along each of 2 or 3 axes, mm, > 0.

    Returns: (16,) contour lengths in mm or (256,) areas in mm^2. Bit i of a code is set when corner i lies inside;
        corners are counted with the last axis fastest.

    Source: Nikolov et al. 2018 (arXiv 1809.04430), surface elements of marching cubes (Lorensen & Cline 1987) with
        corners at edge midpoints. Their published table follows from two rules, found by us: a cell with more than
        half of its corners inside is treated as its complement, and where a polygon is not flat, the triangulation
        with the largest area at equal spacing is taken.

    >>> surfel_sizes((2.0, 1.0))[[0b0001, 0b0011, 0b0101]]  # a corner; an upper edge; a left edge
    array([1.11803399, 1.        , 2.        ])
    """
    if len(spacing) == 2:
        codes, pieces = _segments_of_squares()
        edge = (pieces[:, 1] - pieces[:, 0]) * spacing
        return _sum_per_code(codes, np.linalg.norm(edge, axis=-1), 16)
    codes, pieces = _triangles_of_cubes()
    return _sum_per_code(codes, _areas(pieces * np.asarray(spacing)), 256)


def _sum_per_code(codes: NDArray[np.intp], sizes: Floats, count: int) -> Floats:
    return np.asarray(np.bincount(codes, sizes, minlength=count), np.float64)


def _areas(triangles: Floats) -> Floats:
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray(np.linalg.norm(np.cross(first, second), axis=-1) / 2)


@lru_cache
def _segments_of_squares() -> tuple[NDArray[np.intp], Floats]:
    """Codes (n,) of squares and the line pieces (n, 2, 2) that the contour makes in them."""
    corners = list(product((0.0, 1.0), repeat=2))
    found = [
        (code, segment)
        for code in range(1, 15)
        for segment in _cut_square(_AROUND, {corner for bit, corner in enumerate(corners) if code >> bit & 1})
    ]
    return np.array([code for code, _ in found]), np.array([segment for _, segment in found])


@lru_cache
def _triangles_of_cubes() -> tuple[NDArray[np.intp], Floats]:
    """Codes (n,) of cubes and the triangles (n, 3, 3) that the surface makes in them."""
    corners = list(product((0.0, 1.0), repeat=3))
    codes: list[int] = []
    triangles: list[Floats] = []
    for count in range(1, 5):
        for bits in combinations(range(8), count):
            code = sum(1 << bit for bit in bits)
            new = np.concatenate([_triangulate(loop) for loop in _loops({corners[bit] for bit in bits})])
            for same in {code, 255 - code} if count < 4 else {code}:
                codes.extend([same] * len(new))
                triangles.append(new)
    return np.array(codes), np.concatenate(triangles)


def _cut_square(square: tuple[Point, ...], inside: set[Point]) -> list[tuple[Point, Point]]:
    """Line pieces that part the inner corners of a square from the outer ones, between midpoints of its edges."""
    held = [corner in inside for corner in square]
    middles = [_middle(square[i], square[(i + 1) % 4]) for i in range(4)]  # i follows corner i
    if sum(held) == 2 and held[0] == held[2]:  # two opposite corners: each is cut off by itself
        return [(middles[i - 1], middles[i]) for i in range(4) if held[i]]
    cut = [middles[i] for i in range(4) if held[i] != held[(i + 1) % 4]]
    return [(cut[0], cut[1])] if cut else []


def _middle(one: Point, other: Point) -> Point:
    return tuple((a + b) / 2 for a, b in zip(one, other))


def _faces() -> Iterator[tuple[Point, ...]]:
    for axis, side in product(range(3), (0.0, 1.0)):
        yield tuple((*corner[:axis], side, *corner[axis:]) for corner in _AROUND)


def _loops(inside: set[Point]) -> Iterator[list[Point]]:
    """Closed polygons around the inner corners of a cube: the line pieces of its faces, joined."""
    neighbours: dict[Point, list[Point]] = {}
    for face in _faces():
        for one, other in _cut_square(face, inside):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    while neighbours:
        loop = [next(iter(neighbours))]
        while ahead := [point for point in neighbours.pop(loop[-1]) if point in neighbours]:
            loop.append(ahead[0])
        yield loop


def _triangulate(loop: list[Point]) -> Floats:
    """Triangles (n, 3, 3) of the largest total area on a polygon's corners."""
    points = np.array(loop)
    choices = [points[np.array(choice)] for choice in _triangulations(0, len(loop) - 1)]
    return max(choices, key=lambda triangles: float(_areas(triangles).sum()))


def _triangulations(first: int, last: int) -> list[list[tuple[int, int, int]]]:
    """Every way to cut the polygon of corners first..last into triangles."""
    if last - first < 2:
        return [[]]
    return [
        [*before, (first, middle, last), *after]
        for middle in range(first + 1, last)
        for before in _triangulations(first, middle)
        for after in _triangulations(middle, last)
    ]
