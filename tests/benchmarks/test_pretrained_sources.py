"""Sources that are trained on images alone: what they see, and that they are fine-tuned like others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medgraft.benchmarks.benchmark import benchmark
from medgraft.benchmarks.given import source_task
from medgraft.benchmarks.grid import Grid
from medgraft.cli.benchmark import replaced
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import SettingsError
from medgraft.methods import FineTune
from medgraft.pretraining import BarlowTwins

TWINS = {
    "method": "barlow_twins",
    "settings": {"projector": [8, 8], "schedule": {"epochs": 1, "batch_size": 8, "optimizer": "adam"}},
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
