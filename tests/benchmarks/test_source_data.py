"""Sources in other data than the target, with other classes."""

from __future__ import annotations

import pandas as pd
import pytest
from tests.benchmarks.conftest import write_sites

import medgraft as mg
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError

MIXED = {
    "min_target": 1,
    "augmentation": "none",
    "schedule": {"epochs": 2, "steps_per_epoch": 1, "batch_size": 4},
}


@pytest.fixture
def other(tmp_path):
    """As the fixture `sites`, but the classes have other names, and the source is called C."""
    table = write_sites(tmp_path / "other", "classify", sites="C")
    rows = pd.read_csv(table)
    rows["label"] = rows["label"].map({"small": "round", "large": "square"})
    rows["patient"] = "other " + rows["patient"].astype(str)
    rows.to_csv(table, index=False)
    return table


def cohorts(sites, other, **changes):
    table = {"data": str(sites), "source": ["C"], "targets": ["B"], "source_data": {"data": str(other)}}
    return {"discs": table | changes}


def test_methods_see_the_source_and_its_own_classes(grid, sites, other, tmp_path):
    asked = grid(True, cohorts=cohorts(sites, other), methods={"MMTL": {"method": "mmtl", "settings": MIXED}})
    plan = make_plan(asked)
    trained = next(cell for cell in plan.cells.values() if cell.purpose == "train a source")
    found = mg.benchmark(asked, tmp_path / "out")
    assert set(found.tables["grid"]["state"]) == {"finished"}, found.warnings
    assert set(found.tables["grid"]["source_cohort"]) == {"source of discs at C"}
    assert "no adaptation" not in set(found.tables["grid"]["method"])  # it has none of the target's classes
    assert set(found.facts["cohort"]) == {"discs at B"}  # nor can anything be scored on the source's
    assert str(tmp_path) not in str(found.provenance)  # names of folders are nobody's business
    from medgraft.models.storage import load_model

    source = load_model(tmp_path / "out" / "cells" / trained.key / "model")
    assert source.spec.classes == ("round", "square")


def test_the_sources_data_decide_the_key(grid, sites, other):
    def keys(plan):
        return {row.key for row in plan.rows if row.method == "full fine-tuning"}

    before = keys(make_plan(grid(True, cohorts=cohorts(sites, other))))
    rows = pd.read_csv(other)
    rows.loc[0, "label"] = "square" if rows.loc[0, "label"] == "round" else "round"
    rows.to_csv(other, index=False)
    assert not keys(make_plan(grid(True, cohorts=cohorts(sites, other)))) & before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": ["D"]}, "cohorts.discs.source needs sites of the cohort (C)"),
        ({"source_data": {"data": "nowhere.csv"}}, "cohorts.discs.source_data"),
    ],
    ids=["site", "missing"],
)
def test_what_is_wrong_there_is_told(grid, sites, other, changes, told):
    with pytest.raises(GridError) as refused:
        make_plan(grid(True, cohorts=cohorts(sites, other, **changes)))
    assert any(told in problem for problem in refused.value.problems), refused.value.problems


def test_another_kind_is_refused(grid, sites, tmp_path):
    masks = write_sites(tmp_path / "masks", "segment", sites="C")
    with pytest.raises(GridError) as refused:
        make_plan(grid(True, cohorts=cohorts(sites, masks)))
    assert any("data of the kind 'classify'" in problem for problem in refused.value.problems)
