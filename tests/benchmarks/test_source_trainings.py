"""What the trainings of a grid's sources logged and warned of stays with the grid, and its report shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reports.schema_check import problems
from tests.reports.test_numbers import SCHEMA

import medgraft as mg
from medgraft.benchmarks.given import make_task, method_of
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.store import EVIDENCE
from medgraft.data.manifest import read_manifest
from medgraft.engine.records import read_records
from medgraft.evidence import Evidence
from medgraft.reports.numbers import report_numbers

TWINS = {"projector": [8, 8], "schedule": {"epochs": 2, "batch_size": 8, "optimizer": "adam"}}
TRAINED = {"model": "random/test_resnet", "train": {"method": "barlow_twins", "settings": TWINS}}


def pretrained(grid: Callable[..., dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Pre-trained under one name that takes its turn, and under another that one method starts from."""
    return grid(
        **{
            "sources": {"blank": {"model": "random/test_resnet"}, "twins": TRAINED},
            "methods": {"from twins": {"method": "fine_tune", "source": "twins"}},
            "seeds": [0, 1],
        }
        | changes
    )


def test_the_last_epoch_of_every_source_is_kept_and_shown(
    grid: Callable[..., dict[str, Any]], sites: Path, tmp_path: Path
) -> None:
    evidence = mg.benchmark(pretrained(grid), tmp_path / "out")
    table = evidence.tables["source_trainings"]
    assert set(table["source"]) == {"twins"} and set(table["source_cohort"]) == {"discs at A"}
    assert set(table["epochs"]) == {2} and set(table["seed"]) == {0, 1}
    assert not table.duplicated(["source", "seed", "part", "name"]).any()
    assert not {"seconds", "lr", "step", "epoch", "score"} & set(table["name"])

    losses = {}
    for cell in make_plan(pretrained(grid)).cells.values():
        if cell.purpose == "train a source":
            alone = tmp_path / f"alone {cell.seed}"
            run = mg.Run(alone, seed=cell.seed, device="cpu", workers=0)
            mg.adapt("random/test_resnet", make_task(cell, read_manifest(sites)), method_of(cell), run)
            losses[cell.seed] = read_records(alone).tables["history"]["loss"].iloc[-1]
    found = table[table["name"] == "loss"].set_index("seed")["value"]
    assert found.to_dict() == pytest.approx(losses)

    numbers = report_numbers(evidence)
    assert problems(numbers, SCHEMA, SCHEMA) == []
    (shown,) = (line for line in numbers["grid"]["source_trainings"] if line["name"] == "loss")
    low, high = sorted(losses.values())
    assert (shown["source"], shown["seeds"], shown["epochs"]) == ("twins", 2, 2)
    assert (shown["mean"], shown["low"], shown["high"]) == pytest.approx(((low + high) / 2, low, high))
    mg.report(evidence, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "How the sources were trained" in page and f"{low:.3g} to {high:.3g}" in page


def test_cells_that_kept_no_history_are_collected_without(
    grid: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    parts, out = pretrained(grid, seeds=[0]), tmp_path / "out"
    whole = mg.benchmark(parts, out)
    for cell in out.glob(f"cells/*/{EVIDENCE}"):
        kept = Evidence.load(cell)
        tables = {name: table for name, table in kept.tables.items() if not name.startswith("history/")}
        Evidence(kept.facts, kept.provenance, tables, kept.images, kept.warnings).save(cell)
    again = mg.benchmark(parts, out)
    assert set(whole.tables) - set(again.tables) == {"source_trainings"}
    assert again.tables["grid"].equals(whole.tables["grid"])  # nothing was computed anew
    mg.report(again, tmp_path / "report.html")
    assert "How the sources were trained" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("adapt", [True, False])
def test_what_the_training_of_a_source_warned_of_is_told_once(
    grid: Callable[..., dict[str, Any]], plugin: None, tmp_path: Path, adapt: bool
) -> None:
    train = {"method": "wait", "settings": {"warning": "it has collapsed"}}
    sources = {name: {"model": "random/test_resnet", "train": train} for name in ("net", "other")}
    changes = {} if adapt else {"adapt": False, "methods": {}}
    evidence = mg.benchmark(grid(sources=sources, seeds=[0, 1], **changes), tmp_path / "out")
    found = {warning for warning in evidence.warnings if "collapsed" in warning}
    assert found == {f"{name}, trained on discs at A: it has collapsed" for name in sources}
