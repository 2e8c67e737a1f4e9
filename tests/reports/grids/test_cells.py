from __future__ import annotations

import pytest
from tests.reports.grid_evidence import ERROR, grid_evidence

from medgraft.reports.grids.cells import costs, failures
from medgraft.reports.grids.grid import Grid, read_grid


def grid(**options) -> Grid:
    found = read_grid(grid_evidence(**options))
    assert found is not None
    return found


def test_every_cell_has_its_row_and_every_subject_a_mean() -> None:
    made = grid()
    found = costs(made)
    assert len(found.by_cell) == len(made.cells) and len(found.by_subject) == 2 * 14
    row = next(row for row in found.by_subject if row.subject == "first_blocks, 16 patients")
    assert (row.seeds, row.state, row.peak) == ("seeds 0, 1, 2", "finished", "964 MiB")
    assert row.seconds == "37 s"  # 36.2 s, and 2 % more with each seed
    assert row.settings == "schedule.lr 0.01; schedule.lr 0.001"


def test_gpu_time_is_shown_where_it_is_known() -> None:
    assert not costs(grid()).gpu
    found = costs(grid(gpu=True))
    assert found.gpu and all(row.gpu for row in found.by_subject)


def test_a_failed_cell_keeps_its_sentence_and_its_row() -> None:
    made = grid()
    (failure,) = failures(made)
    assert failure == ("linear_probe, 4 patients", "Lyon", "seed 0", ERROR)
    row = next(row for row in costs(made).by_cell if row.state == "failed")
    assert (row.seconds, row.peak, row.gpu) == ("", "", "")
    row = next(row for row in costs(made).by_subject if row.state != "finished")
    assert row.state == "2 of 3 finished"


def test_the_same_error_of_several_seeds_is_told_once() -> None:
    made = grid()
    table = made.cells.assign(state="failed", error=ERROR)
    one = Grid(table[table["subject"] == "first_blocks, 4 patients"])
    assert [(failure.cohort, failure.seeds) for failure in failures(one)] == [
        ("Porto", "seeds 0, 1, 2"),
        ("Lyon", "seeds 0, 1, 2"),
    ]


def test_all_seconds_are_added() -> None:
    made = grid(seeds=1, targets=("Porto",), failures=False)
    minutes, rest = divmod(round(made.cells["seconds"].sum()), 60)
    assert costs(made).seconds == f"{minutes} min {rest} s"
    assert made.cells["seconds"].sum() == pytest.approx(made.finished["seconds"].sum())
