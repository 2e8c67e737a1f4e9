"""Groups are dealt anew among units of a stratum, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import ShapeError
from medgraft.statistics.exchange import exchange_groups

UNITS = np.array([3, 1, 3, 2, 2, 2, 4, 1, 5])
STRATA = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1])


def test_every_row_takes_the_group_that_a_naive_loop_gives_it():
    groups = np.array([10, 20, 11, 30, 31, 32, 40, 21, 50])
    members = {unit: np.flatnonzero(unit == UNITS) for unit in (1, 2, 3, 4, 5)}
    dealt = exchange_groups(groups, UNITS, STRATA, 200, np.random.default_rng(0))
    seen = set()
    for row in dealt:
        # which unit gave is told by the tens of what was given
        givers = {unit: int(row[rows[0]]) // 10 for unit, rows in members.items()}
        givers = {unit: {1: 3, 2: 1, 3: 2, 4: 4, 5: 5}[tens] for unit, tens in givers.items()}
        assert sorted(givers[unit] for unit in (1, 2, 3)) == [1, 2, 3], "each gives once"
        assert {givers[4], givers[5]} == {4, 5}
        for unit, rows in members.items():
            given = groups[members[givers[unit]]]
            assert row[rows].tolist() == [given[place % len(given)] for place in range(len(rows))]
        seen.add(tuple(givers.values()))
    assert len(seen) == 12, "all six ways of the first stratum with both of the second"


def test_groups_keep_their_number_of_units():
    units, groups = np.repeat(np.arange(30), 3), np.repeat(np.arange(30) % 4, 3)
    dealt = exchange_groups(groups, units, np.zeros(90), 50, np.random.default_rng(1))
    for row in dealt:
        assert (row.reshape(30, 3) == row[::3, None]).all()
        assert np.bincount(row).tolist() == np.bincount(groups).tolist()
    assert len(np.unique(dealt, axis=0)) == 50


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ShapeError, match="one length"):
        exchange_groups([0, 1], [0, 1, 2], [0, 0, 0], 1, np.random.default_rng(0))
