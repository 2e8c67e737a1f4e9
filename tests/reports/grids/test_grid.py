from __future__ import annotations

import pandas as pd
import pytest
from tests.reports.grid_evidence import grid_evidence

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.grids.grid import read_grid


def test_evidence_of_no_grid_has_none() -> None:
    assert read_grid(Evidence.empty()) is None


def test_a_grid_knows_its_targets_curves_and_where_it_began() -> None:
    grid = read_grid(grid_evidence(sources=(("unet", "Basel"), ("vit", "Genoa"))))
    assert grid is not None
    assert grid.targets == ["Porto", "Lyon"]
    assert grid.curves == {"full fine-tuning": 0, "first_blocks": 1, "head_then_all": 2, "linear_probe": 3}
    assert grid.sources == ["unet", "vit"]
    assert grid.no_adaptation("Lyon", "vit") == "no adaptation from vit"
    assert grid.no_adaptation("Lyon", "resnet") == ""
    assert len(grid.finished) + len(grid.failed) == len(grid.cells) and len(grid.failed) == 2
    assert "2 sources · 2 targets" in grid.summary and f"{len(grid.cells)} cells" in grid.summary


def test_one_shared_source_is_not_counted_since_methods_may_name_their_own() -> None:
    grid = read_grid(grid_evidence())
    assert grid is not None and grid.sources == ["unet"]
    assert "source" not in grid.summary


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop(columns=["peak_mib", "tried"]), "lacks tried, peak_mib"),
        (
            lambda table: table.assign(state="running"),
            "a state that is 'finished' or 'failed', but it holds 'running'",
        ),
        (lambda table: table.assign(budget=["four", *table["budget"][1:]]), "row 0 holds 'four'"),
    ],
)
def test_a_table_that_is_no_grid_gets_one_sentence(change, told) -> None:
    evidence = Evidence(tables={"grid": change(grid_evidence().tables["grid"])})
    with pytest.raises(DataError, match=told):
        read_grid(evidence)


def test_missing_texts_are_empty_and_missing_times_undefined() -> None:
    table = grid_evidence().tables["grid"].assign(error=None, gpu_seconds=None)
    grid = read_grid(Evidence(tables={"grid": table}))
    assert grid is not None
    assert set(grid.cells["error"]) == {""} and grid.cells["gpu_seconds"].isna().all()
    assert isinstance(grid.cells, pd.DataFrame)
