"""Where do two masks have their border, and how far is each from the other?

One extraction serves every surface metric, in 2-D and 3-D. Both masks are cut to the box around their union and laid
into a frame of background, so that a mask touching the edge of the image has a border there and a step to a
neighbour is a step in a flat array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.metrics.surfels import surfel_sizes

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]
Elements = Literal["area", "voxel"]

_REACH = 3  # voxels along each axis that are looked up one by one; beyond, a tree is searched
_LOOK_UPS = 123  # as many as a ball of that radius holds at equal spacing
ROUNDING = 1 + 1e-6  # 3 * 0.1 mm is within 0.3 mm


@dataclass(frozen=True)
class Border:
    """The border of one mask.

    Args:
        present: (cells,) does a border element lie here? The frame, flattened.
        codes: (cells,) uint8 that say which size each element has.
        sizes: size of an element for every code: mm^2, mm, or 1 for a voxel.
        where: (n,) flat places of the elements.
    """

    present: Bools
    codes: NDArray[np.uint8]
    sizes: Floats
    where: Places

    def weights(self, places: Places) -> Floats:
        """Sizes of the elements at these places."""
        return np.asarray(self.sizes[self.codes[places]])

    @property
    def size(self) -> float:
        """Area (mm^2), length (mm) or number of voxels of the whole border."""
        return float(self.weights(self.where).sum())


class Borders(NamedTuple):
    """Borders of two masks in one frame of this shape, whose elements lie `spacing` mm apart."""

    truth: Border
    predicted: Border
    shape: tuple[int, ...]
    spacing: Floats

    def distances(self) -> tuple[Floats, Floats]:
        """From each element of the true border to the nearest predicted one, mm, and the other way round."""
        return self._nearest(self.truth, self.predicted), self._nearest(self.predicted, self.truth)

    def sizes_within(self, tolerance: float) -> tuple[float, float]:
        """How much of the true border lies within `tolerance` mm of the other, and the other way round."""
        return (
            self.truth.size - self._size_beyond(self.truth, self.predicted, tolerance),
            self.predicted.size - self._size_beyond(self.predicted, self.truth, tolerance),
        )

    def _nearest(self, here: Border, there: Border) -> Floats:
        apart = ~there.present[here.where]
        distances = np.zeros(len(here.where))
        distances[apart] = self._search(here.where[apart], there.where)
        return distances

    def _size_beyond(self, here: Border, there: Border, tolerance: float) -> float:
        if not len(there.where):
            return here.size
        left = here.where
        steps, complete = _steps_within(tolerance, self.spacing)
        strides = [int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape))]
        for step in steps @ np.array(strides):
            left = left[~there.present[left + step]]
        if not complete:
            left = left[self._search(left, there.where, tolerance * ROUNDING) > tolerance * ROUNDING]
        return float(here.weights(left).sum())

    def _search(self, here: Places, there: Places, limit: float = np.inf) -> Floats:
        """Distance to the nearest place, mm; infinite beyond the limit or when there is none."""
        from scipy.spatial import KDTree

        if not len(here) or not len(there):
            return np.full(len(here), np.inf)
        tree = KDTree(self._points(there), leafsize=32, compact_nodes=False, balanced_tree=False)
        return np.asarray(tree.query(self._points(here), distance_upper_bound=limit)[0])

    def _points(self, places: Places) -> Floats:
        return np.stack(np.unravel_index(places, self.shape), axis=-1) * self.spacing


def extract_borders(truth: Bools, predicted: Bools, spacing: Floats, by: Elements) -> Borders:
    """Find the border elements of two masks.

    Args:
        truth: (H, W) or (D, H, W).
        predicted: same shape.
        spacing: (2,) or (3,) mm.
        by: "voxel": voxels of the mask with a background voxel beside them (face to face), each of size 1;
            "area": cells between voxel centres through which the surface runs, each of its area or length.

    >>> square = np.pad(np.ones((3, 3), bool), 1)
    >>> borders = extract_borders(square, square, np.ones(2), "voxel")
    >>> borders.truth.size, borders.sizes_within(0)
    (8.0, (8.0, 8.0))
    """
    margin = _REACH + 1  # of background; a look-up never leaves the frame
    box = _box(truth | predicted)
    shape = tuple(part.stop - part.start + 2 * margin for part in box)
    inner = (slice(margin, -margin),) * truth.ndim
    find = _find_voxels if by == "voxel" else _find_surfels
    sizes = np.array([0.0, 1.0]) if by == "voxel" else surfel_sizes(tuple(float(side) for side in spacing))
    found = []
    for mask in (truth, predicted):
        frame = np.zeros(shape, np.uint8)
        frame[inner] = mask[box]
        present, codes = find(frame)
        found.append(Border(present, codes, sizes, np.flatnonzero(present)))
    return Borders(found[0], found[1], shape, spacing)


def _find_voxels(frame: NDArray[np.uint8]) -> tuple[Bools, NDArray[np.uint8]]:
    flat = frame.ravel()
    core = flat.copy()
    for stride in frame.strides:
        core[stride:] &= flat[:-stride]
        core[:-stride] &= flat[stride:]
    border = flat ^ core
    return border.view(np.bool_), border


def _find_surfels(frame: NDArray[np.uint8]) -> tuple[Bools, NDArray[np.uint8]]:
    flat = frame.ravel()
    codes = np.zeros_like(flat)
    joined = flat
    for axis, stride in enumerate(reversed(frame.strides)):
        joined = joined[:-stride] | (joined[stride:] << np.uint8(1 << axis))
    codes[: len(joined)] = joined
    everywhere = np.uint8(2 ** (2**frame.ndim) - 1)
    return (codes - np.uint8(1)) < everywhere - np.uint8(1), codes  # 0 wraps round to 255


def _box(mask: Bools) -> tuple[slice, ...]:
    """The smallest box that holds the mask; nothing when it is empty."""
    seen = [
        mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis))
        for axis in range(mask.ndim)
    ]
    places = [np.flatnonzero(line) for line in seen]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0) for at in places)


def _steps_within(radius: float, spacing: Floats) -> tuple[NDArray[np.intp], bool]:
    """Steps (n, axes) of at most this length in mm, the shortest first, and whether these are all."""
    reach = np.arange(-_REACH, _REACH + 1)
    steps = np.stack(np.meshgrid(*[reach] * len(spacing), indexing="ij"), axis=-1).reshape(-1, len(spacing))
    lengths = np.linalg.norm(steps * spacing, axis=-1)
    steps = steps[np.argsort(lengths, kind="stable")][: int((lengths <= radius * ROUNDING).sum())]
    complete = len(steps) <= _LOOK_UPS and bool((radius * ROUNDING < (_REACH + 1) * spacing).all())
    return steps[:_LOOK_UPS], complete
