"""What would groups of patients look like by chance? Patients exchange the groups that they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import ShapeError


def exchange_groups(
    groups: ArrayLike, units: ArrayLike, strata: ArrayLike, repeats: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Deal groups anew among units of the same stratum, several times.

    Args:
        groups: (N,) whole numbers, the group of each row.
        units: (N,) one identifier per row, such as the patient.
        strata: (N,) whole numbers, the same for all rows of a unit: units exchange with others of their stratum only.
        repeats: R exchanges.
        generator: that deals.

    Returns: (R, N) groups. The first row of a unit takes the group of the first row of the unit it drew, the second
        that of the second, and so on, from the first again where that unit has fewer rows. So where all rows of a unit
        are of one group, every group keeps its number of units.

    Raises:
        ShapeError: the three are not of one length.

    >>> dealt = exchange_groups([0, 0, 1, 1], [7, 7, 8, 8], [0, 0, 0, 0], 20, np.random.default_rng(0))
    >>> sorted(set(map(tuple, dealt.tolist())))
    [(0, 0, 1, 1), (1, 1, 0, 0)]
    """
    own, names, kinds = (np.asarray(each) for each in (groups, units, strata))
    if own.ndim != 1 or not own.shape == names.shape == kinds.shape:
        raise ShapeError(
            "Exchanging groups", "a group, a unit and a stratum per row",
            f"they have shapes {own.shape}, {names.shape} and {kinds.shape}", "Pass flat lists of one length.",
        )  # fmt: skip
    _, first, membership, sizes = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    rows = np.argsort(membership, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(own), dtype=np.int64)
    place[rows] = np.arange(len(own)) - np.repeat(starts, sizes)
    drawn = np.tile(np.arange(len(sizes)), (repeats, 1))
    for kind in np.unique(kinds[first]):
        members = np.flatnonzero(kinds[first] == kind)
        drawn[:, members] = generator.permuted(np.tile(members, (repeats, 1)), axis=1)
    giver = drawn[:, membership]
    dealt: NDArray[np.int64] = own[rows[starts[giver] + place % sizes[giver]]].astype(np.int64)
    return dealt
