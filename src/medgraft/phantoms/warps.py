"""Smooth, invertible deformations of space: how one subject differs from another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.phantoms.fields import Field, draw_field

SIDE, SPACING_MM = 33, 8.0
"""Grid on which velocities live: a cube of 256 mm."""
SQUARINGS = 6
COARSE_MM, FINE_MM = 24.0, 12.0
"""Smoothness of the two parts of a velocity field."""
LEAST_JACOBIAN = 0.1


class Warp(NamedTuple):
    """A map from a subject's space to the template's.

    matrix: (3, 3) rotation and scale about `centre`.
    shift: (3,) mm, added after it.
    centre: (3,) mm.
    displacement: what is added last, mm.
    """

    matrix: Tensor
    shift: Tensor
    centre: Tensor
    displacement: Field

    def apply(self, points: Tensor) -> Tensor:
        """(N, 3) mm in the subject to (N, 3) mm in the template."""
        placed = (points - self.centre) @ self.matrix.T + self.shift
        return placed + self.displacement.at(placed).T + self.centre


def draw_warp(
    generator: np.random.Generator,
    centre: tuple[float, float, float],
    *,
    strength_mm: float,
    tilt_degrees: float,
    shift_mm: float,
    scale: float,
) -> Warp:
    """A random warp: another size, another position in the scanner, other shapes.

    Args:
        generator: source of numbers.
        centre: (x, y, z) mm, what is turned and scaled about.
        strength_mm: standard deviation of the velocity field's coarse part; the fine one has a third of it.
        tilt_degrees, shift_mm, scale: standard deviations of the angle about each axis, of the place along each axis,
            and of the logarithm of the size along each axis (half of it common to all).

    Returns: a warp without folds: where the velocity is too strong for that, it is weakened until the Jacobian
        determinant is above 0.1 everywhere.

    Source: stationary velocity fields by scaling and squaring, Arsigny et al. 2006.
    """
    angles = np.deg2rad(generator.normal(0.0, tilt_degrees, 3).clip(-3 * tilt_degrees, 3 * tilt_degrees))
    sizes = np.exp(generator.normal(0.0, scale / 2) + generator.normal(0.0, scale / 2, 3))
    shift = generator.normal(0.0, shift_mm, 3)
    velocity = draw_velocity(generator, strength_mm)
    displacement = integrate(velocity)
    while smallest_jacobian(displacement) < LEAST_JACOBIAN:
        velocity = velocity._replace(values=velocity.values * 0.8)
        displacement = integrate(velocity)
    matrix = rotation(angles) / sizes  # from subject to template: larger subjects are shrunk
    affine = [torch.tensor(array, dtype=torch.float32) for array in (matrix, shift, centre)]
    return Warp(affine[0], affine[1], affine[2], displacement)


def draw_velocity(generator: np.random.Generator, strength_mm: float) -> Field:
    """(3, X, Y, Z) mm per unit of time, smooth, and nothing at the border of its cube."""
    coarse = draw_field(generator, 3, SIDE, SPACING_MM, COARSE_MM)
    fine = draw_field(generator, 3, SIDE, SPACING_MM, FINE_MM)
    window = torch.hann_window(SIDE, periodic=False).sqrt()
    taper = window[:, None, None] * window[:, None] * window
    return coarse._replace(values=strength_mm * (coarse.values + fine.values / 3) * taper)


def integrate(velocity: Field) -> Field:
    """The displacement after following a stationary velocity for one unit of time.

    Source: Arsigny et al. 2006: start with v / 2**n and compose the displacement with itself n times.
    """
    points = velocity.grid_points()
    moved = velocity._replace(values=velocity.values / 2**SQUARINGS)
    for _ in range(SQUARINGS):
        there = moved.at(points + moved.values.flatten(1).T)
        moved = moved._replace(values=moved.values + there.view_as(moved.values))
    return moved


def smallest_jacobian(displacement: Field) -> float:
    """The smallest Jacobian determinant of a displacement, at all corners of all cells of its grid.

    >>> still = Field(torch.zeros(3, 4, 4, 4), (0.0, 0.0, 0.0), 1.0)
    >>> smallest_jacobian(still)
    1.0
    """
    values = displacement.values
    smallest = float("inf")
    for corner in range(8):
        sides = [(corner >> axis) & 1 for axis in range(3)]
        columns = []
        for axis in range(3):
            slopes = values.diff(dim=axis + 1) / displacement.spacing
            for other in range(3):  # every cell's slope along the edge that meets this corner
                if other != axis:
                    slopes = slopes.narrow(other + 1, sides[other], values.shape[other + 1] - 1)
            columns.append(slopes)
        x, y, z = [slope + torch.eye(3)[axis].view(3, 1, 1, 1) for axis, slope in enumerate(columns)]
        smallest = min(smallest, float((x * torch.linalg.cross(y, z, dim=0)).sum(dim=0).min()))
    return smallest


def rotation(angles: np.ndarray) -> np.ndarray:
    """(3, 3) turn about x, then y, then z, by angles in radians."""
    turns = []
    for axis, angle in enumerate(angles):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return turns[2] @ turns[1] @ turns[0]
