"""Grids that adapt nothing: trainings compared by how their models do elsewhere."""

from __future__ import annotations

import pytest

import medgraft as mg
from medgraft.benchmarks.claims import judge
from medgraft.benchmarks.grid import ClaimTable
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError

SOURCES = {
    name: {
        "model": "random/test_resnet",
        "train": {"settings": {"schedule": {"epochs": 2, "optimizer": optimizer, "lr": lr}}},
    }
    for name, optimizer, lr in (("by sgd", "sgd", 1e-2), ("by avagrad", "avagrad", 0.1))
}
CLAIM = {"sentence": "s", "source": "p", "published": "0", "method": "by avagrad", "reference": "by sgd"}


def trainings(grid, **changes):
    return grid(True, **({"adapt": False, "methods": {}, "sources": SOURCES, "seeds": [0, 1]} | changes))


def test_sources_are_compared_with_the_first(grid, tmp_path):
    found = mg.benchmark(trainings(grid, run={"record_updates": True}), tmp_path / "out")
    cells = found.tables["grid"]
    assert set(cells["subject"]) == {"by sgd", "by avagrad"} and set(cells["budget"]) == {0}
    assert set(found.tables["comparisons"]["subject"]) == {"by avagrad"}
    assert set(found.tables["comparisons"]["reference"]) == {"by sgd"}
    updates = found.tables["updates/by avagrad/1"]
    assert (updates["update"] > 0).any() and set(updates["epoch"]) == {0, 1}
    (told,) = judge(ClaimTable(**CLAIM), "accuracy", found)
    line = found.tables["comparisons"].iloc[0]
    assert told.difference == pytest.approx(line["difference"]) and told.seeds == 2
    assert told.labels == "none"
    mg.report(found, tmp_path / "report.html")
    assert "How far layers move" in (tmp_path / "report.html").read_text()


def test_nothing_but_sources_and_no_budget_decides_a_cell(grid):
    plan = make_plan(trainings(grid, claims=[CLAIM]))
    assert {cell.purpose for cell in plan.cells.values()} == {"train a source", "as it is"}
    assert [row.role for row in plan.rows] == ["baseline"] * 2 + ["method"] * 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": {"pixels": {"method": "simple_baseline"}}}, "methods needs a grid that adapts"),
        ({"ranking": {}}, "ranking needs a grid that adapts"),
        ({"sources": {"by sgd": SOURCES["by sgd"]}}, "it has 1"),
        ({"sources": SOURCES | {"blank": {"model": "random/test_resnet"}}}, "it has learned nothing about"),
        ({"claims": [CLAIM | {"method": "full fine-tuning"}]}, "one of by sgd, by avagrad"),
    ],
    ids=["methods", "ranking", "lonely", "blank", "claim"],
)
def test_what_does_not_belong_there_is_refused(grid, changes, told):
    with pytest.raises(GridError) as refused:
        make_plan(trainings(grid, **changes))
    assert any(told in problem for problem in refused.value.problems), refused.value.problems
