"""Bad grids are refused before anything runs, and every problem is told at once."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

import medgraft as mg
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError


def problems(grid) -> list[str]:
    with pytest.raises(GridError) as told:
        make_plan(grid)
    return list(told.value.problems)


def test_everything_that_is_wrong_is_told_and_nothing_is_run(grid, plugin, tmp_path):
    bad = grid(
        oracel=True,
        budgets=[2, 99],
        methods={
            "a": {"method": "fine_tun"},
            "b": {"method": "fine_tune", "settings": {"schedule": {"lr": -1}}},
            "c": {"method": "boxes"},
            "d": {"method": "simple_baseline", "select": "oracle"},
        },
        sources={"net": {"model": "random/no_such_network"}},
    )
    bad["cohorts"]["nobody"] = {"data": str(tmp_path / "missing.csv")}
    bad["cohorts"]["nowhere"] = {"data": "samples/brain", "targets": ["robx"]}
    with pytest.raises(GridError) as told:
        mg.benchmark(bad, tmp_path / "out", runner="cloud")
    found = list(told.value.problems)
    beginnings = (
        "oracel needs", "cohorts.nobody.data: ", "cohorts.nowhere.targets needs", "budgets: few needs 99 patients",
        "sources.net.model: ", "methods.a: ", "methods.b: ", "methods.c: ", "methods.d.select: ", "--runner needs",
    )  # fmt: skip
    for beginning in beginnings:
        assert sum(line.startswith(beginning) for line in found) == 1, (beginning, found)
    assert len(found) == len(beginnings), found
    assert "did you mean 'fine_tune'" in str(told.value) and "did you mean 'robex'" in str(told.value)
    assert "imperfect_boxes" in next(line for line in found if line.startswith("methods.c"))
    assert "@" not in str(told.value), "cells' own words for cohorts are not the user's"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_target_with_an_empty_split_is_refused(grid, sites, split):
    table = pd.read_csv(sites)
    table[~((table["site"] == "B") & (table["split"] == split))].to_csv(sites, index=False)
    (told,) = problems(grid())
    assert told.startswith("cohorts.discs.targets needs rows of the split") and "discs at B has none" in told


def test_a_search_needs_validation_rows_and_a_rule_that_scores(grid, sites):
    search = {"statistics": ["pixels", "colour"]}
    methods = {"pixels": {"method": "simple_baseline", "search": search}}
    told = problems(grid(methods=methods, trials=2, select="last"))
    assert any(line.startswith("methods.pixels.search needs a selection rule that scores") for line in told)
    table = pd.read_csv(sites)
    table[table["split"] != "validation"].to_csv(sites, index=False)
    assert any("'validation'" in line for line in problems(grid(methods=methods, trials=2)))


def test_a_search_with_one_trial_is_refused(grid):
    methods = {"pixels": {"method": "simple_baseline", "search": {"side": [4, 8]}}}
    (told,) = problems(grid(methods=methods))
    assert told.startswith("methods.pixels: search needs trials of more than 1")


def test_a_trained_source_needs_source_sites(grid, sites):
    (told,) = problems(grid(True, cohorts={"discs": {"data": str(sites), "targets": ["B"]}}))
    assert told.startswith("cohorts.discs.source needs sites to train source models on")


def test_a_method_that_needs_source_rows_needs_source_sites(grid, sites, plugin):
    bad = grid(
        cohorts={"discs": {"data": str(sites), "targets": ["B"]}},
        methods={"adversary": {"method": "unlabelled"}},
    )
    (told,) = problems(bad)
    assert told.startswith("methods.adversary: ") and "cohorts.discs.source" in told


def test_patients_on_both_sides_are_refused_unless_allowed(grid, sites):
    table = pd.read_csv(sites)
    table.loc[(table["site"] == "B") & (table["split"] == "test"), "patient"] = "B0"
    table.to_csv(sites, index=False)
    (told,) = problems(grid())
    assert told.startswith("cohorts.discs: ") and "discs at B" in told
    assert make_plan(grid(run={"allow_leak": True})).rows


def test_a_metric_must_fit_the_cohort(grid):
    (told,) = problems(grid(metric="dice"))
    assert told.startswith("metric needs a score of the kind 'classify'") and "auroc" in told


def test_settings_of_data_that_are_not_simulated_are_refused(grid, sites):
    cohorts = {"discs": {"data": str(sites), "source": ["A"], "targets": ["B"], "settings": {"subjects": 3}}}
    assert problems(grid(cohorts=cohorts))[0].startswith(
        "cohorts.discs.data: Settings of a cohort needs data that are"
    )


def test_defaults_of_an_unknown_method_are_refused(grid):
    told = problems(grid(defaults={"fine_tuen": {}}))
    assert any(line.startswith("defaults.fine_tuen needs a method among") for line in told)


def test_ray_must_be_installed_to_be_used(grid, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GridError, match=r"pip install 'medgraft\[ray\]'"):
        mg.benchmark(grid(), tmp_path / "out", runner="ray")
