"""`medgraft adapt` from several sites to one: on the command line, in files, in the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.conftest import write_sites

QUICK = (
    "--source",
    "random/test_resnet",
    "--limit-epochs",
    "1",
    "--limit-steps",
    "1",
    "--device",
    "cpu",
    "--quiet",
)


@pytest.fixture
def table(tmp_path) -> Path:
    return write_sites(tmp_path / "three", "classify", sites="ABC")


def sites_of(folder: Path) -> dict[str, list[list[str]]]:
    """What each side of the recorded task was taken at."""
    task = json.loads((folder / "run.json").read_text())["task"]
    return {
        side: [sites for name, sites in task[side]["recipe"]["operations"] if name == "at"]
        for side in ("source", "target")
        if task[side] is not None
    }


def test_several_source_sites_stand_against_one_target(medgraft, table, tmp_path):
    words = ("--source-at", "A", "--source-at", "B", "--at", "C", "--select", "source_validation")
    told = medgraft("adapt", table, *QUICK, *words, "--out", tmp_path / "run")
    assert told.exit_code == 0, told.output
    assert sites_of(tmp_path / "run") == {"source": [["A", "B"]], "target": [["C"]]}


def test_a_file_may_list_them(medgraft, table, tmp_path):
    (tmp_path / "run.toml").write_text(
        f'manifest = "{table}"\nsource_at = ["B", "A"]\nat = ["C"]\nout = "{tmp_path / "run"}"\n'
    )
    told = medgraft("adapt", "--config", tmp_path / "run.toml", *QUICK)
    assert told.exit_code == 0, told.output
    assert sites_of(tmp_path / "run") == {"source": [["B", "A"]], "target": [["C"]]}


def test_a_source_model_is_trained_on_several_sites_together(medgraft, table, tmp_path):
    told = medgraft("adapt", table, *QUICK, "--at", "A", "--at", "B", "--out", tmp_path / "source")
    assert told.exit_code == 0, told.output
    assert sites_of(tmp_path / "source") == {"target": [["A", "B"]]}


def test_a_site_that_is_not_there_is_named(refused, table, tmp_path):
    line = refused("adapt", table, *QUICK, "--source-at", "A", "--source-at", "Z", "--out", tmp_path / "run")
    assert "a site that the manifest names (A, B, C), but it got 'Z'" in line
