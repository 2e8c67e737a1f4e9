"""The most similar of many points, without comparing each with each."""

from __future__ import annotations

import numpy as np

PROBED = 16
"""Cells that are searched for each point."""
AT_ONCE = 4_000_000
"""Distances held in memory at a time."""


def find_neighbours(points: np.ndarray, groups: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The nearest points of other groups.

    Points are sorted into as many cells as the root of their number, each around one of them; only the cells nearest
    to a point are searched, so that the effort grows with the number to the power of 1.5. Exact up to 256 points;
    beyond, a neighbour in a cell that was not searched is missed, which near ones rarely are.

    Args:
        points: (N, D) float.
        groups: (N,) integers; points of one group are not neighbours.
        count: how many are wanted.
        seed: which points become the middles of cells.

    Returns: (N, count) integers, -1 where there are no more, nearest first.

    >>> points = np.array([[0.0], [0.1], [5.0], [5.2]])
    >>> find_neighbours(points, np.array([0, 0, 1, 2]), count=1).ravel().tolist()
    [2, 2, 3, 2]
    """
    points = np.ascontiguousarray(points, np.float32)
    number = len(points)
    found = np.full((number, count), -1)
    distances = np.full((number, count), np.inf, np.float32)
    if number == 0:
        return found
    cells = int(np.ceil(np.sqrt(number)))
    middles = points[np.random.default_rng(seed).choice(number, cells, replace=False)]
    probed = _nearest_cells(points, middles)
    order = np.argsort(probed[:, 0], kind="stable")
    bounds = np.searchsorted(probed[order, 0], np.arange(cells + 1))
    askers, asked = np.divmod(np.argsort(probed, axis=None, kind="stable"), probed.shape[1])
    asker_bounds = np.searchsorted(probed[askers, asked], np.arange(cells + 1))
    for cell in range(cells):
        members = order[bounds[cell] : bounds[cell + 1]]
        if not len(members):
            continue
        asking = askers[asker_bounds[cell] : asker_bounds[cell + 1]]
        step = max(1, AT_ONCE // len(members))
        for start in range(0, len(asking), step):
            _search(points, groups, asking[start : start + step], members, distances, found)
    return found


def _nearest_cells(points: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """(N, P) integers: cells by distance, the own one first."""
    wanted = min(PROBED, len(middles))
    blocks = []
    step = max(1, AT_ONCE // len(middles))
    for start in range(0, len(points), step):
        apart = _squared_distances(points[start : start + step], middles)
        chosen = np.argpartition(apart, wanted - 1, axis=1)[:, :wanted]
        by_distance = np.argsort(np.take_along_axis(apart, chosen, 1), axis=1)
        blocks.append(np.take_along_axis(chosen, by_distance, 1).astype(np.int32))
    return np.concatenate(blocks)


def _search(
    points: np.ndarray,
    groups: np.ndarray,
    asking: np.ndarray,
    members: np.ndarray,
    distances: np.ndarray,
    found: np.ndarray,
) -> None:
    """Keep for each asking point the nearest of those known and the members of this cell."""
    apart = _squared_distances(points[asking], points[members])
    apart[groups[asking][:, None] == groups[members]] = np.inf
    count = found.shape[1]
    if len(members) > count:
        chosen = np.argpartition(apart, count - 1, axis=1)[:, :count]
        apart = np.take_along_axis(apart, chosen, 1)
    else:
        chosen = np.broadcast_to(np.arange(len(members)), apart.shape)
    both = np.concatenate([distances[asking], apart], axis=1)
    names = np.concatenate([found[asking], members[chosen]], axis=1)
    order = np.argsort(both, axis=1, kind="stable")[:, :count]
    distances[asking] = np.take_along_axis(both, order, 1)
    found[asking] = np.where(np.isinf(distances[asking]), -1, np.take_along_axis(names, order, 1))


def _squared_distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(A, B) float32; those of equal points may be a little off zero."""
    squares: np.ndarray = (some * some).sum(1)[:, None] + (others * others).sum(1)
    squares -= 2 * (some @ others.T)
    return squares
