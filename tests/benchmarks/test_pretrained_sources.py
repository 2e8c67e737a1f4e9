"""Sources that are trained on images alone: what they see, and that they are fine-tuned like others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medgraft.benchmarks.benchmark import benchmark
from medgraft.benchmarks.given import make_task, source_task
from medgraft.benchmarks.grid import Grid
from medgraft.benchmarks.plan import make_plan
from medgraft.cli.benchmark import replaced
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import SettingsError
from medgraft.methods import FineTune
from medgraft.pretraining import BarlowTwins
from medgraft.reports.grids.grid import read_grid
from medgraft.reports.grids.sweeps import sweep_charts
from medgraft.reports.panels import make_panels

TWINS = {
    "method": "barlow_twins",
    "settings": {"projector": [8, 8], "schedule": {"epochs": 1, "batch_size": 4, "optimizer": "adam"}},
}  # fmt: skip


def test_pretraining_sees_images_alone(sites: Path) -> None:
    rows = read_manifest(sites).at("A")
    task = source_task(rows, BarlowTwins())
    assert task.target is None and task.source is not None
    assert (task.kind, task.source.fields & {"truth"}, len(task.source)) == ("encode", frozenset(), len(rows))
    labelled = source_task(rows, FineTune())
    assert labelled.source is None and labelled.kind == "classify"


def test_the_view_without_labels_can_be_made_again(sites: Path) -> None:
    view = read_manifest(sites).at("A").unlabelled()
    again = Cohort.from_recipe(view.recipe)
    assert (again.kind, again.classes, again.fingerprint()) == ("encode", (), view.fingerprint())


def test_a_grid_compares_them_with_others(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    sources = {
        "pre-trained": {"model": "random/test_resnet", "train": TWINS},
        "untrained": {"model": "random/test_resnet"},
        "supervised": {"model": "random/test_resnet", "train": {}},
    }
    evidence = benchmark(Grid.model_validate(grid(sources=sources)), tmp_path / "out")
    table = evidence.tables["grid"]
    assert set(table["state"]) == {"finished"}
    told = {source: set(rows["method"]) for source, rows in table.groupby("source")}
    assert "full fine-tuning" in told["pre-trained"] and "from scratch" in told["pre-trained"]
    assert "no adaptation" not in told["pre-trained"] and "no adaptation" in told["supervised"]


def test_they_predict_nothing_as_they_are(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    sources = {
        "twins": {"model": "random/test_resnet", "train": TWINS},
        "net": {"model": "random/test_resnet", "train": {}},
    }
    parts = grid(sources=sources, adapt=False, methods={})
    with pytest.raises(SettingsError, match="it has learned nothing about discs"):
        benchmark(Grid.model_validate(parts), tmp_path / "out")


def sources_of_sizes(*sizes: int | None) -> dict[str, Any]:
    """The same training with so many patients, and an untrained network that takes its turn."""
    trained = {
        f"{size} patients": {"model": "random/test_resnet", "train": TWINS | {"patients": size}}
        for size in sizes
    }
    return trained | {"untrained": {"model": "random/test_resnet"}}


def by_source(*sizes: int | None) -> dict[str, Any]:
    return {f"from {size}": {"method": "fine_tune", "source": f"{size} patients"} for size in sizes}


def test_sources_see_as_many_patients_as_asked_and_more_contain_the_fewer(
    grid: Callable[..., dict[str, Any]], sites: Path
) -> None:
    sizes = (3, 5, None)
    parts = grid(sources=sources_of_sizes(*sizes), methods=by_source(*sizes))
    plan = make_plan(Grid.model_validate(parts))
    trained = [cell for cell in plan.cells.values() if cell.purpose == "train a source" and cell.seed == 0]
    assert len({cell.key for cell in trained}) == len(sizes)
    seen = []
    for cell in sorted(trained, key=lambda cell: cell.budget or 99):
        task = make_task(cell, read_manifest(sites))
        assert task.source is not None
        seen.append(set(task.source.split("train").patients.tolist()))
    everyone = set(read_manifest(sites).at("A").split("train").patients.tolist())
    assert [len(patients) for patients in seen] == [3, 5, len(everyone)] and len(everyone) > 5
    assert seen[0] < seen[1] < seen[2] == everyone


def test_more_patients_than_there_are_is_told_before_anything_runs(
    grid: Callable[..., dict[str, Any]],
) -> None:
    parts = grid(sources=sources_of_sizes(900), methods=by_source(900))
    with pytest.raises(
        SettingsError,
        match=r'sources."900 patients".train: few needs 900 patients with training images, but discs at A has',
    ):
        make_plan(Grid.model_validate(parts))


def test_the_size_of_the_set_is_drawn_as_a_curve(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    sizes = (2, 3, 5)
    parts = grid(sources=sources_of_sizes(*sizes), methods=by_source(*sizes), metric="brier")
    evidence = benchmark(Grid.model_validate(parts), tmp_path / "out")
    found, panels = read_grid(evidence), make_panels(evidence)
    assert found is not None
    (chart, *_) = sweep_charts(evidence, found, panels)
    assert "fine_tune by patients that the source was trained on" in chart.caption
    facts = evidence.facts.query("part == '' and metric == 'brier' and split == 'test'")
    for size in sizes:
        mean = facts[facts["subject"].str.startswith(f"from {size}, ")]["value"].mean()
        assert f"{size}: {mean:.3f}" in chart.description


def test_their_images_may_be_of_other_data_without_labels_or_sites(
    grid: Callable[..., dict[str, Any]], sites: Path, tmp_path: Path
) -> None:
    table = sites.parent / "unlabelled.csv"
    pd.read_csv(sites).query("site == 'A'")[["image", "patient"]].to_csv(table, index=False)
    cohorts = {
        "discs": {
            "data": str(sites), "targets": ["B"], "source_data": {"data": str(table), "kind": "encode"},
        }
    }  # fmt: skip
    sources = {"twins": {"model": "random/test_resnet", "train": TWINS}}
    evidence = benchmark(Grid.model_validate(grid(cohorts=cohorts, sources=sources)), tmp_path / "out")
    assert set(evidence.tables["grid"]["state"]) == {"finished"}

    supervised = {"net": {"model": "random/test_resnet", "train": {}}}
    with pytest.raises(SettingsError, match="train sources on their images alone"):
        benchmark(Grid.model_validate(grid(cohorts=cohorts, sources=supervised)), tmp_path / "other")


def test_parts_of_a_file_are_replaced_on_the_command_line(tmp_path: Path, sites: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        'name = "x"\nseeds = [0]\nbudgets = [2]\n[cohorts.discs]\ndata = "nowhere.csv"\ntargets = ["B"]\n'
        '[sources.net]\nmodel = "random/test_resnet"\n[methods.pixels]\nmethod = "simple_baseline"\n'
    )
    values = replaced(tmp_path / "grid.toml", [f"cohorts.discs.data={sites}", "seeds=[3, 4]"])
    assert values["cohorts"]["discs"] == {"data": str(sites), "targets": ["B"]}
    assert (values["seeds"], values["name"]) == ([3, 4], "x")
    assert Grid.model_validate(values).cohorts["discs"].data == str(sites)
