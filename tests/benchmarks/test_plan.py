"""Cells: baselines that no grid goes without, and names that depend on what decides a result and nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from medgraft.benchmarks.plan import make_plan
from medgraft.methods import FineTune
from medgraft.plugins import resolve_method


def roles(plan):
    return {(row.subject, row.role) for row in plan.rows}


def keys(plan):
    return {row.key for row in plan.rows}


def test_baselines_are_added(grid):
    assert roles(make_plan(grid(True, budgets=[2, 4]))) == {
        ("pixels, 2 patients", "method"), ("pixels, 4 patients", "method"),
        ("no adaptation", "baseline"),
        ("full fine-tuning, 2 patients", "baseline"), ("full fine-tuning, 4 patients", "baseline"),
        ("from scratch, 2 patients", "baseline"), ("from scratch, 4 patients", "baseline"),
        ("full fine-tuning, all patients", "upper bound"),
    }  # fmt: skip


def test_the_example_of_the_docs_can_be_run():
    text = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text("utf-8")
    plan = make_plan(tomllib.loads(re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)[0]))
    # for each of five seeds: a source; as it is; one method, full and from scratch at three budgets
    assert len(plan.cells) == 5 * (1 + 1 + 9)


def test_a_baseline_that_the_grid_names_is_not_added_again(grid):
    methods = {"everything": {"method": "fine_tune", "settings": {"scope": "all"}}}
    found = roles(make_plan(grid(True, methods=methods, budgets=[2, "all"])))
    assert ("everything, 2 patients", "baseline") in found
    assert ("everything, all patients", "upper bound") in found
    assert not any("full" in subject for subject, _ in found)


def test_another_method_of_a_baselines_name_does_not_hide_it(grid):
    methods = {"full fine-tuning": {"method": "fine_tune", "settings": {"scope": "head"}}}
    found = roles(make_plan(grid(True, methods=methods)))
    assert {
        ("full fine-tuning, 2 patients", "method"),
        ("full fine-tuning (baseline), 2 patients", "baseline"),
    } <= found


def test_an_untrained_network_is_no_source_to_leave_as_it_is(grid):
    found = roles(make_plan(grid()))
    assert found == {
        ("pixels, 2 patients", "method"), ("full fine-tuning, 2 patients", "baseline"),
        ("full fine-tuning, all patients", "upper bound"),
    }  # fmt: skip


def test_a_source_is_trained_once_for_all_that_start_from_it(grid):
    plan = make_plan(grid(True, seeds=[0, 1]))
    trained = [cell for cell in plan.cells.values() if cell.purpose == "train a source"]
    assert len(trained) == 2 and list(plan.cells.values())[:2] == trained
    assert {cell.needs for cell in plan.cells.values() if cell not in trained} == {
        cell.key for cell in trained
    }


def test_names_and_order_decide_no_key(grid, sites):
    first = grid(
        seeds=[0, 1],
        methods={
            "a": {"method": "simple_baseline"},
            "b": {"method": "fine_tune", "settings": {"scope": "head"}},
        },
    )
    other = json.loads(json.dumps(first))
    other["name"], other["seeds"] = "another title", [1, 0]
    other["methods"] = {"head": other["methods"]["b"], "z": other["methods"]["a"]}
    other["cohorts"] = {"circles": other["cohorts"]["discs"]}
    other["sources"] = {"network": other["sources"]["net"]}
    assert keys(make_plan(first)) == keys(make_plan(other))


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [1]},
        {"budgets": [3]},
        {"select": "last"},
        {"run": {"repeats": 21, "device": "cpu"}},
        {"run": {"repeats": 20, "device": "cpu", "limit_steps": 1}},
        {"methods": {"pixels": {"method": "simple_baseline", "settings": {"side": 4}}}},
        {
            "sources": {
                "net": {"model": "random/test_resnet", "train": {"settings": {"schedule": {"lr": 0.5}}}}
            }
        },
    ],
    ids=lambda change: "-".join(change),
)
def test_what_decides_a_result_decides_the_key(grid, change):
    def key(plan):
        return next(row.key for row in plan.rows if row.method == "pixels")

    assert key(make_plan(grid(True))) != key(make_plan(grid(True, **change)))


def test_an_option_that_methods_gain_renames_no_cell(grid, monkeypatch):
    before = keys(make_plan(grid()))

    class Later(FineTune):
        """With an option more, which nobody has chosen."""

        new_option: bool = False

    monkeypatch.setattr("medgraft.methods.FineTune", Later)
    assert keys(make_plan(grid())) == before


def test_how_images_are_read_renames_no_cell(grid):
    before = make_plan(grid())
    after = make_plan(grid(run={**grid()["run"], "workers": 3, "cache": "prepared"}))
    assert keys(after) == keys(before)
    assert {cell.run.workers for cell in after.cells.values()} == {3}
    assert {cell.run.cache for cell in after.cells.values()} == {str(Path("prepared").resolve())}


def test_a_changed_pixel_changes_the_keys_of_the_cells_that_see_it(grid, sites):
    def by_method(plan):
        return {row.subject: row.key for row in plan.rows}

    def source_of(plan):
        return next(key for key, cell in plan.cells.items() if cell.purpose == "train a source")

    plan = make_plan(grid(True))
    before, source_before = by_method(plan), source_of(plan)
    test_image = sites.parent / "B23.png"  # the last row of B, a test row
    with Image.open(test_image) as picture:
        picture.putpixel((0, 0), 255 - picture.getpixel((0, 0)))
        picture.save(test_image)
    plan = make_plan(grid(True))
    assert all(before[subject] != key for subject, key in by_method(plan).items())
    assert source_of(plan) == source_before, "the source's training never saw it"


def test_trials_are_equal_for_methods_and_baselines(grid):
    search = {"schedule.lr": [1e-2, 1e-3, 1e-4, 1e-5]}
    methods = {"head": {"method": "fine_tune", "settings": {"scope": "head"}, "search": search}}
    plan = make_plan(grid(True, methods=methods, trials=3))
    tried = {row.method: [one["schedule"]["lr"] for one in plan.cells[row.key].settings] for row in plan.rows}
    assert tried.pop("no adaptation") == []
    assert {len(rates) for rates in tried.values()} == {3}
    assert tried["head"] == [1e-2, 1e-4, 1e-5], "evenly over the four"
    own = resolve_method("fine_tune").schedule.lr
    assert tried["from scratch"] == pytest.approx([own, own / 10**0.5, own * 10**0.5], rel=1e-2)


def test_a_method_without_target_labels_has_no_budget(grid, plugin):
    plan = make_plan(grid(True, methods={"u": {"method": "unlabelled"}}, budgets=[2, 4]))
    assert [(row.subject, row.budget) for row in plan.rows if row.method == "u"] == [("u", 0)]


def test_the_oracle_stands_beside_and_has_no_cell_where_it_would_see_no_more(grid):
    plan = make_plan(grid(True, oracle=True, budgets=[2, "all"]))
    beside = [(row.method, row.budget) for row in plan.rows if row.oracle]
    assert sorted(beside) == [("from scratch", 2), ("full fine-tuning", 2), ("pixels", 2)]


def test_sources_of_one_name_from_several_sites_are_told_apart(grid, sites):
    cohorts = {
        "from A": {"data": str(sites), "source": ["A"], "targets": ["B"]},
        "from B": {"data": str(sites), "source": ["B"], "targets": ["A", "B"]},
    }
    plan = make_plan(grid(True, cohorts=cohorts))
    assert {row.source for row in plan.rows} == {"net at A", "net at B"}
    assert {row.cohort for row in plan.rows} == {"from A at A", "from A at B"}, "the same data have one name"
    assert len({(row.subject, row.cohort, row.seed) for row in plan.rows}) == len(plan.rows)
    assert {row.source_split for row in plan.rows} == {
        "test",
        "test after from A at A",
        "test after from A at B",
    }
