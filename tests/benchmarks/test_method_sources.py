"""Methods that start from another source than the one they are compared on."""

from __future__ import annotations

import pytest

import medgraft as mg
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError
from medgraft.models.storage import load_model

CHAIN = {"method": "fine_tune", "source": "other"}


@pytest.fixture
def two_sources(grid):
    """A grid with the trained source of the fixture and another, from which the method `chain` alone starts."""

    def make(**changes):
        made = grid(True)
        name, table = next(iter(made["sources"].items()))
        train = {"settings": {"schedule": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4}}}
        given = {"sources": {name: table, "other": {"model": table["model"], "train": train}}}
        given["methods"] = {"chain": CHAIN}
        return made | given | changes

    return make


def test_a_method_starts_from_its_own_source_and_is_compared_with_the_others(two_sources, tmp_path):
    found = mg.benchmark(two_sources(), tmp_path / "out")
    table = found.tables["grid"]
    assert set(table["state"]) == {"finished"}, found.warnings
    assert table["source"].nunique() == 1  # the source named by the method takes no turn of its own
    plan = make_plan(two_sources())
    trained = {key for key, cell in plan.cells.items() if cell.purpose == "train a source"}
    starts = {row.method: plan.cells[row.key].needs for row in plan.rows}
    assert trained == set(starts.values()) and len(trained) == 2
    assert starts["chain"] != starts["full fine-tuning"] == starts["no adaptation"]
    weights = [load_model(tmp_path / "out" / "cells" / key / "model").state_dict() for key in trained]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])
    compared = found.tables["comparisons"]
    assert {"chain", "full fine-tuning"} <= {name.split(",")[0] for name in compared["subject"]} | {
        name.split(",")[0] for name in compared["reference"]
    }


def test_what_it_forgets_of_another_source_is_not_asked(two_sources):
    plan = make_plan(two_sources())
    told = {row.method: plan.cells[row.key].scores_source for row in plan.rows}
    assert told["full fine-tuning"] and not told["chain"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"methods": {"chain": CHAIN | {"source": "othr"}}},
            "methods.chain.source needs a source of the grid",
        ),
        (
            {"methods": {"chain": CHAIN}, "sources": {"other": {"model": "random/resnet10t"}}},
            "another source",
        ),
        (
            {
                "sources": {
                    "plain": {"model": "random/resnet10t"},
                    "other": {"model": "random/resnet10t", "cohorts": ["discs"]},
                }
            },
            "methods.chain.source needs a source that takes part on all cohorts",
        ),
    ],
    ids=["unknown", "alone", "not everywhere"],
)
def test_what_is_wrong_there_is_told(two_sources, changes, told):
    with pytest.raises(GridError) as refused:
        make_plan(two_sources(**changes))
    assert any(told in problem for problem in refused.value.problems), refused.value.problems
