"""What a subject is made of, point by point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor


class Composition(NamedTuple):
    """What lies at N points.

    tissues: name to share of the volume, (N,) in [0, 1]; they sum to at most 1, and the rest is air.
    regions: name to share that belongs to a structure, (N,) in [0, 1]: the truth.
    texture: (N,) factor of the signal around 1: no tissue is uniform.
    """

    tissues: Mapping[str, Tensor]
    regions: Mapping[str, Tensor]
    texture: Tensor


class Anatomy(Protocol):
    """A subject that can be asked what lies anywhere.

    coil_place: (x, y, z) mm, where a surface coil would lie.
    """

    coil_place: tuple[float, float, float]

    def at(self, points: Tensor) -> Composition:
        """What lies at points (N, 3) in mm: x to the right, y to the front, z to the head."""
        ...


def inside(distance: Tensor, softness_mm: float = 0.5) -> Tensor:
    """Share of a small volume that lies inside a border, from the signed distance in mm, negative inside."""
    return (-distance / softness_mm).sigmoid()
