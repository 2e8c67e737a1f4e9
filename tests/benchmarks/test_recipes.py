"""Recipes for published data: whole but for the paths."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.data.layouts.test_chestxray14 import chestxray14
from tests.data.layouts.test_chexpert import chexpert
from tests.data.layouts.test_medmnist import stored
from tests.data.layouts.test_rsna_embolism import ROWS, rsna_embolism
from tests.data.layouts.test_rsna_pneumonia import rsna_pneumonia
from tests.data.layouts.test_shenzhen import shenzhen
from tests.data.layouts.test_vindr_cxr import vindr_cxr

from medgraft.benchmarks.candidates import candidates, training_method
from medgraft.benchmarks.grid import HUBS, read_grid
from medgraft.benchmarks.plan import make_plan
from medgraft.cli.benchmark import replaced
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.pretraining import SimMIM
from medgraft.pretraining.views import MILD_VIEWS
from medgraft.types import Kind

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


@pytest.mark.parametrize("name", ["chest_films", "rsna_pneumonia"])
def test_chest_films_are_not_mirrored_by_pre_training(name: str) -> None:
    method = training_method(read_grid(RECIPES[0].with_name(f"{name}.toml")), "simmim", {})
    assert isinstance(method, SimMIM)
    assert method.views == MILD_VIEWS["scan"] and not method.views.flip_horizontal


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every published set that a recipe names, as it is unpacked, made small."""
    folder = tmp_path_factory.mktemp("data")
    stored(folder / "organsmnist_64.npz", (4, 4), classes=11, repeats=8)
    stored(folder / "pathmnist_64.npz", (4, 4, 3), classes=9, repeats=8)
    chestxray14(folder / "ChestX-ray14")
    chexpert(folder / "CheXpert")
    vindr_cxr(folder / "VinDr-CXR")
    shenzhen(folder / "Shenzhen")
    rsna_pneumonia(folder / "rsna-pneumonia")
    others = (row.replace("6897", "7897").replace("a2ff", "b2ff") for row in ROWS)
    rsna_embolism(folder / "rsna-pe", (*ROWS, *others))
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_they_can_be_planned_on_data_as_unpacked(
    path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(_: str, __: str | None, kind: Kind, classes: tuple[str, ...]) -> Model:
        return open_source("random/test_resnet", kind=kind, classes=classes)

    monkeypatch.setattr("medgraft.benchmarks.checks._open_source", small)  # no hub, no large networks
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    for table in values["cohorts"].values():
        for data in (table, table.get("source_data", {})):
            if data.get("data", "").startswith("data/"):
                data["data"] = str(published / data["data"].removeprefix("data/"))
        if "settings" in table:
            table["settings"]["subjects"] = 10
    few = {budget if budget == "all" else 2 for budget in values["budgets"]}
    plan = make_plan(values | {"seeds": [0], "budgets": sorted(few, key=str)})
    assert {row.cohort.split(" at ")[0] for row in plan.rows} == set(values["cohorts"])
    assert {row.method for row in plan.rows} >= set(values.get("methods", ()))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_command_in_their_head_names_every_path(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\nname = ")[0].replace("#", "")
    words = re.findall(r"--set (cohorts\.\S+)", head)
    values = replaced(path, words)
    for name, table in values["cohorts"].items():
        places = [table["data"], *([table["source_data"]["data"]] if "source_data" in table else [])]
        assert all(place.startswith(("/data/", "phantoms/")) for place in places), name


@pytest.mark.parametrize(
    ("recipe", "cohort"),
    [
        ("chest_films", "shenzhen"),
        ("popar", "shenzhen"),
        ("rsna_pneumonia", "pneumonia"),
        ("pulmonary_embolism", "embolism"),
    ],
)
def test_what_has_no_published_split_is_divided_as_published(recipe: str, cohort: str) -> None:
    grid = read_grid(RECIPES[0].with_name(f"{recipe}.toml"))
    assert grid.cohorts[cohort].shares == {"train": 0.8, "test": 0.2}
    assert {name for name, table in grid.cohorts.items() if table.shares} == {cohort}
