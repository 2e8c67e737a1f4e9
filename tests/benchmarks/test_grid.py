"""Grid files: what belongs in them, and what is told of what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgraft.benchmarks.grid import Grid, over, parse_grid, read_grid
from medgraft.benchmarks.problems import GridError
from medgraft.errors import SettingsError

SMALL = """
name = "freezing order"
seeds = [0, 1]
budgets = [4, "all"]
[cohorts.brain]
data = "samples/brain"
source = ["colin27"]
targets = ["robex"]
[sources.unet]
model = "random/unet"
train = {method = "fine_tune", settings = {schedule = {epochs = 3}}}
[methods."full fine-tuning"]
method = "fine_tune"
search = {"schedule.lr" = [1e-3, 1e-4]}
"""


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "grid.toml").write_text(text)
    return tmp_path / "grid.toml"


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(GridError) as told:
        read_grid(written(tmp_path, text))
    return list(told.value.problems)


def test_a_file_becomes_frozen_data(tmp_path):
    grid = read_grid(written(tmp_path, SMALL))
    assert grid.seeds == (0, 1) and grid.budgets == (4, "all")
    assert grid.methods["full fine-tuning"].search == {"schedule.lr": (1e-3, 1e-4)}
    assert grid.cohorts["brain"].data == "samples/brain" and grid.sources["unet"].model == "random/unet"
    with pytest.raises(ValueError, match="frozen"):
        grid.seeds = (3,)  # type: ignore[misc]


def test_paths_are_relative_to_the_file(tmp_path):
    text = SMALL.replace("samples/brain", "data/sites.csv").replace("random/unet", "models/a")
    grid = read_grid(written(tmp_path, text))
    assert grid.cohorts["brain"].data == str(tmp_path / "data" / "sites.csv")
    assert grid.sources["unet"].model == str(tmp_path / "models" / "a")


def test_every_wrong_key_and_value_is_told_with_its_place(tmp_path):
    text = SMALL.replace("seeds = [0, 1]", 'seeds = [0, "x", 0]\nbudget = [3]').replace("targets", "target")
    text = text.replace('method = "fine_tune"\nsearch', 'methods = "fine_tune"\nsearch')
    told = problems(tmp_path, text)
    assert len(told) == 5, told
    assert any(
        line.startswith("budget needs to be one of the keys") and "did you mean 'budgets'" in line
        for line in told
    )
    assert any(line.startswith("cohorts.brain.target ") and "did you mean 'targets'" in line for line in told)
    assert any(line.startswith('methods."full fine-tuning".methods ') for line in told)
    assert any(line.startswith("methods.\"full fine-tuning\" needs the key 'method'") for line in told)
    assert any(line.startswith("seeds.1 needs") and "'x'" in line for line in told)


@pytest.mark.parametrize("wrong", ["[4, 4]", "[0]", "[]", '["some"]', "4"])
def test_budgets_are_different_positive_numbers_or_all(tmp_path, wrong):
    (told,) = problems(tmp_path, SMALL.replace('[4, "all"]', wrong))
    assert told.startswith("budgets")


def test_what_is_right_survives_what_is_wrong(tmp_path):
    known, told = parse_grid(written(tmp_path, SMALL.replace("seeds", "sedes")))
    assert len(told) == 1 and isinstance(known, Grid)
    assert known.budgets == (4, "all") and known.seeds == (0, 1, 2, 3, 4)


def test_a_grid_without_cohorts_is_not_a_grid(tmp_path):
    known, told = parse_grid(written(tmp_path, 'name = "nothing"'))
    assert known is None
    assert sorted(str(line) for line in told) == [
        "The file needs the key 'cohorts', but it is missing. Add it.",
        "The file needs the key 'sources', but it is missing. Add it.",
    ]


@pytest.mark.parametrize(("text", "sentence"), [("a = ", "valid TOML"), (None, "does not exist")])
def test_what_is_no_toml_file_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "grid.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        read_grid(path)


def test_settings_go_over_defaults_group_by_group_and_change_neither():
    defaults = {"schedule": {"lr": 0.1, "epochs": 3}, "scope": "all"}
    assert over(defaults, {"schedule": {"lr": 0.2}, "scope": "head"}) == {
        "schedule": {"lr": 0.2, "epochs": 3},
        "scope": "head",
    }
    assert defaults == {"schedule": {"lr": 0.1, "epochs": 3}, "scope": "all"}
