"""Grids whose source is several sites together and whose target is another."""

from __future__ import annotations

import pytest
from tests.benchmarks.conftest import write_sites

import medgraft as mg
from medgraft.benchmarks.given import make_task
from medgraft.benchmarks.grid import called
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.rows import open_data
from medgraft.errors import SettingsError


@pytest.fixture
def pooled(tmp_path):
    """Sites A, B and C: A and B are the source, C is the target."""
    table = write_sites(tmp_path / "pooled", "classify", sites="ABC")
    return {"discs": {"data": str(table), "source": ["A", "B"], "targets": ["C"]}}


def test_the_source_is_trained_on_all_of_its_sites_and_on_no_other(grid, pooled):
    plan = make_plan(grid(True, cohorts=pooled))
    cell = next(cell for cell in plan.cells.values() if cell.purpose == "train a source")
    cohort = open_data(cell.data)
    rows = make_task(cell, cohort).target
    assert sorted(set(rows.sites)) == ["A", "B"]
    assert len(rows) == len(cohort.at("A")) + len(cohort.at("B"))


def test_a_method_that_asks_for_source_rows_is_given_those_of_every_site(grid, pooled, plugin):
    plan = make_plan(grid(True, cohorts=pooled, methods={"blind": {"method": "unlabelled"}}))
    cell = next(cell for cell in plan.cells.values() if cell.method == "unlabelled")
    task = make_task(cell, open_data(cell.data))
    assert set(task.source.sites) == {"A", "B"} and set(task.target.sites) == {"C"}


def test_the_order_of_sites_is_told_and_sites_that_are_not_there_are_refused(grid, pooled):
    assert called("discs", tuple(pooled["discs"]["source"])) == "discs at A, B"
    pooled["discs"]["source"] = ["A", "Z"]
    with pytest.raises(SettingsError, match=r"cohorts\.discs\.source.*sites of the cohort \(A, B, C\).*'Z'"):
        make_plan(grid(True, cohorts=pooled))


def test_scores_and_forgetting_are_measured_on_the_target_and_on_all_source_sites(grid, pooled, tmp_path):
    evidence = mg.benchmark(
        grid(True, cohorts=pooled, methods={}, budgets=["all"]), tmp_path / "out", workers=1
    )
    facts = evidence.facts
    full = facts[(facts["subject"] == "full fine-tuning, all patients") & (facts["metric"] == "accuracy")]
    assert list(zip(full["cohort"], full["split"])) == [
        ("discs at C", "test"), ("discs at A, B", "test")
    ]  # fmt: skip
    table = mg.read_manifest(pooled["discs"]["data"])
    people = [len(set(table.at(*sites).split("test").patients)) for sites in ("C", "AB")]
    assert full["n"].tolist() == people and people[1] == 2 * people[0]
