"""Recipes for published data: whole but for the paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medgraft.benchmarks.candidates import candidates, training_method
from medgraft.benchmarks.grid import HUBS, read_grid
from medgraft.cli.benchmark import replaced

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def test_there_are_some() -> None:
    assert {path.stem for path in RECIPES} >= {"organs_and_colon", "chest_films", "pulmonary_embolism"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_their_methods_and_settings_are_known(path: Path) -> None:
    grid = read_grid(path)
    assert candidates(grid)[0]
    for name, table in grid.sources.items():
        assert table.model.startswith(HUBS), name
        if table.train is not None:
            assert training_method(grid, table.train.method, table.train.settings).needs.source == {"images"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_command_in_their_head_names_every_path(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\nname = ")[0].replace("#", "")
    words = re.findall(r"--set (cohorts\.\S+)", head)
    values = replaced(path, words)
    for name, table in values["cohorts"].items():
        places = [table["data"], *([table["source_data"]["data"]] if "source_data" in table else [])]
        assert all(place.startswith(("/data/", "phantoms/")) for place in places), name
