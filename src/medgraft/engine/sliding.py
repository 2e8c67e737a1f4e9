"""Segmentation of volumes by a sliding window, in memory that does not grow with the number of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.images.preparation import Preparer
from medgraft.images.resampling import Resampling

Predict = Callable[[Tensor], Tensor]
"""Network input (B, C, *spatial) to probabilities (B, K, *spatial)."""

OVERLAP = 0.5
MEMORY = 3 * 2**29
"""Bytes for the probabilities of the slab in work."""


class Segmented(NamedTuple):
    """labels: (D, H, W) uint8, int32 above 256 classes; confidence: (D, H, W) float32."""

    labels: np.ndarray
    confidence: np.ndarray


def segment_volume(
    predict: Predict,
    preparer: Preparer,
    volume: Tensor,
    shape: Sequence[int],
    classes: int,
    *,
    overlap: float = OVERLAP,
    batch_size: int = 4,
    memory: int = MEMORY,
) -> Segmented:
    """Segment one volume and bring the result back to its stored resolution.

    The windows lie on a grid over the whole prepared volume; where they overlap, probabilities are averaged with
    Gaussian weights. Probabilities are kept for a slab only: as soon as no window to come touches a stored slice, they
    are interpolated to it and the likeliest class is written down. `memory` decides how many rows are worked on at a
    time, never the result.

    Args:
        predict: network input to probabilities on the CPU.
        preparer: of the model.
        volume: (c, d, h, w) from `Preparer.volume`.
        shape: (D, H, W) as stored.
        classes: K.
        overlap: share of a window that the next one covers, in [0, 1).
        batch_size: windows per forward pass.
        memory: bytes for probabilities.

    Source: windows and weights as in MONAI's sliding_window_inference (Cardoso et al. 2022) and nnU-Net (Isensee et
    al. 2021), sigma an eighth of the window. Differs: probabilities are averaged, not raw outputs.
    """
    plan = _Plan.of(preparer, tuple(volume.shape[1:]), tuple(shape), classes, overlap, batch_size)
    labels = np.empty(shape, np.uint8 if classes <= 256 else np.int32)
    confidence = np.empty(shape, np.float32)
    for start, stop in plan.tiles(memory):
        for index, best, label in _segment_rows(predict, preparer, volume, plan, start, stop):
            confidence[index, start:stop], labels[index, start:stop] = best.numpy(), label.numpy()
    return Segmented(labels, confidence)


class _Plan(NamedTuple):
    """Where windows lie, and how stored voxels depend on prepared ones."""

    size: tuple[int, ...]
    shape: tuple[int, ...]
    window: tuple[int, ...]
    starts: tuple[list[int], ...]
    axes: tuple[Resampling, ...]
    classes: int
    batch_size: int

    @classmethod
    def of(
        cls,
        preparer: Preparer,
        size: tuple[int, ...],
        shape: tuple[int, ...],
        classes: int,
        overlap: float,
        batch_size: int,
    ) -> _Plan:
        patch = preparer.preparation.patch or size[-preparer.preparation.dimensions :]
        wanted = (1, *patch) if preparer.preparation.dimensions == 2 else patch
        window = tuple(min(pair) for pair in zip(wanted, size))
        starts = tuple(window_starts(n, w, overlap) for n, w in zip(size, window))
        axes = tuple(Resampling.between(n, s) for n, s in zip(size, shape))
        return cls(size, shape, window, starts, axes, classes, batch_size)

    def groups(self) -> list[list[int]]:
        """Window starts along the first axis, as many together as fill a batch."""
        together = max(1, self.batch_size // (len(self.starts[1]) * len(self.starts[2])))
        depths = self.starts[0]
        return [depths[first : first + together] for first in range(0, len(depths), together)]

    @property
    def depth(self) -> int:
        """Prepared slices that probabilities are kept for at a time."""
        span = max(group[-1] - group[0] for group in self.groups())
        return min(self.size[0], span + self.window[0] + self.axes[0].weights.shape[1])

    def tiles(self, memory: int) -> Iterator[tuple[int, int]]:
        """Ranges of stored rows whose probabilities fit into memory."""
        row = 4 * self.classes * self.depth * self.size[2] * self.size[1] / self.shape[1]
        rows = max(1, min(self.shape[1], int(memory / row)))
        count = -(-self.shape[1] // rows)
        edges = np.linspace(0, self.shape[1], count + 1).round().astype(int).tolist()
        yield from pairwise(edges)


class _Slab:
    """Weighted sums of probabilities for some consecutive prepared slices and rows."""

    def __init__(self, plan: _Plan, rows: tuple[int, int]) -> None:
        self.rows, self.base = rows, 0
        self.total = torch.zeros(plan.classes, plan.depth, rows[1] - rows[0], plan.size[2])
        self.weight = torch.zeros(self.total.shape[1:])
        self.importance = importance_map(plan.window)

    def add(self, corner: Sequence[int], probabilities: Tensor) -> None:
        """Add a window's (K, d, h, w), cut to the rows of the slab."""
        depth, top, left = corner
        _, deep, high, wide = probabilities.shape
        first, last = max(top, self.rows[0]), min(top + high, self.rows[1])
        here = (
            slice(depth - self.base, depth - self.base + deep),
            slice(first - self.rows[0], last - self.rows[0]),
            slice(left, left + wide),
        )
        inner = slice(first - top, last - top)
        weight = self.importance[:, inner]
        self.total[:, *here].addcmul_(probabilities[:, :, inner], weight)
        self.weight[here] += weight

    def mean(self, start: int, stop: int) -> Tensor:
        """Probabilities of prepared slices [start, stop): (K, stop - start, rows, w)."""
        there = slice(start - self.base, stop - self.base)
        return self.total[:, there] / self.weight[there]

    def drop_before(self, start: int) -> None:
        """Make room: slices before `start` are done."""
        kept, gone = self.weight.shape[0] - (start - self.base), start - self.base
        if gone <= 0:
            return
        for sums in (*self.total, self.weight):  # class by class, so that the copy is small
            if kept > 0:
                sums[:kept] = sums[gone:].clone()
            sums[max(0, kept) :] = 0
        self.base = start


def _segment_rows(
    predict: Predict, preparer: Preparer, volume: Tensor, plan: _Plan, start: int, stop: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Stored rows [start, stop) of one slice after the other: its index, (rows, W) confidence and labels."""
    along_depth, along_height, along_width = plan.axes
    rows = along_height.needed(start, stop)
    tops = [top for top in plan.starts[1] if top < rows[1] and top + plan.window[1] > rows[0]]
    slab, done, groups = _Slab(plan, rows), 0, plan.groups()
    for number, group in enumerate(groups):
        corners = list(product(group, tops, plan.starts[2]))
        for first in range(0, len(corners), plan.batch_size):
            batch = corners[first : first + plan.batch_size]
            probabilities = predict(torch.stack([_cut(preparer, volume, plan, corner) for corner in batch]))
            for corner, one in zip(batch, probabilities):
                slab.add(corner, one if one.ndim == 4 else one[:, None])
        finished = groups[number + 1][0] if number + 1 < len(groups) else plan.size[0]
        while done < plan.shape[0]:
            low, high = along_depth.needed(done, done + 1)
            if high > finished:
                break
            scores = along_depth.apply(slab.mean(low, high), 1, done, done + 1, low)[:, 0]
            scores = along_height.apply(scores, 1, start, stop, rows[0])
            best, label = along_width.apply(scores, 2, 0, plan.shape[2]).max(dim=0)
            yield done, best, label
            done += 1
        if done < plan.shape[0]:
            slab.drop_before(along_depth.needed(done, done + 1)[0])


def _cut(preparer: Preparer, volume: Tensor, plan: _Plan, corner: Sequence[int]) -> Tensor:
    """Network input of the window at a corner."""
    depth, top, left = corner
    wanted = plan.window
    inside = volume[:, :, top : top + wanted[1], left : left + wanted[2]]
    return preparer.to_input(
        inside[:, neighbours(depth, wanted[0], plan.size[0], preparer.preparation.slices)]
    )


def neighbours(start: int, count: int, size: int, slices: int) -> Tensor:
    """Indices of `count` slices from `start` on with those around them, the edge repeated.

    >>> neighbours(0, 1, 10, 3).tolist()
    [0, 0, 1]
    """
    half = slices // 2
    return torch.arange(start - half, start + count + half).clamp(0, size - 1)


def window_starts(size: int, window: int, overlap: float = OVERLAP) -> list[int]:
    """Where windows begin along an axis: as far apart as the overlap allows, the last one at the end.

    >>> window_starts(10, 4)
    [0, 2, 4, 6]
    >>> window_starts(9, 4)
    [0, 2, 4, 5]
    """
    step = max(1, int(window * (1 - overlap)))
    return [*range(0, size - window, step), size - window]


def importance_map(window: Sequence[int]) -> Tensor:
    """Weights of a window's voxels: a Gaussian of an eighth of its size, never below 0.001; one number per voxel."""
    weights = torch.ones(1)
    for size in window:
        places = torch.arange(size) - (size - 1) / 2
        weights = weights[..., None] * torch.exp(-0.5 * (places / (size / 8)) ** 2)
    return weights[0].clamp(min=1e-3)
