"""`medgraft pretrain`: one data set or several, watched or not, repeated and refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from medgraft.cli.main import app
from medgraft.data.manifest import read_manifest
from medgraft.models.model import Model
from medgraft.models.storage import load_model

SHORT = [
    "--set",
    "projector=[8, 8]",
    "--set",
    "schedule.batch_size=8",
    "--limit-epochs",
    "1",
    "--limit-steps",
    "1",
]


def data_set(folder: Path, count: int = 8) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    lines = ["image,label,patient"]
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]},p{number}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["pretrain", *map(str, words), "--device", "cpu", "--workers", "0"])


def test_an_encoder_is_left_and_what_was_watched(tmp_path: Path) -> None:
    table, out = data_set(tmp_path / "a"), tmp_path / "run"
    done = call(table, "--out", out, "--source", "random/test_resnet", "--watch", table, *SHORT)
    assert done.exit_code == 0, done.output
    assert "Trained on 8 rows of manifest with barlow_twins" in done.output
    assert load_model(out / "model").spec.kind == "encode"
    watched = pd.read_parquet(out / "records" / "watched.parquet")
    assert watched["epoch"].tolist() == [0, 1]
    again = call(table, "--out", out, "--source", "random/test_resnet", "--watch", table, *SHORT)
    assert again.exit_code == 0, again.output


def test_a_folder_of_images_needs_no_classes(tmp_path: Path) -> None:
    data_set(tmp_path / "films", 8).unlink()
    inner = tmp_path / "films" / "more" / "inner"
    inner.mkdir(parents=True)
    for number in range(4):
        (tmp_path / "films" / f"{number}.png").rename(inner / f"{number}.png")
    done = call(tmp_path / "films", "--out", tmp_path / "run", "--source", "random/test_resnet", *SHORT)
    assert done.exit_code == 0, done.output
    assert "Trained on 8 rows of films" in done.output
    assert len(set(read_manifest(tmp_path / "films", kind="encode").patients)) == 8  # each file its own
    (tmp_path / "films").rename(tmp_path / "train")
    (tmp_path / "sets" / "test").mkdir(parents=True)
    (tmp_path / "train").rename(tmp_path / "sets" / "train")
    (tmp_path / "sets" / "train" / "7.png").rename(tmp_path / "sets" / "test" / "7.png")
    split = read_manifest(tmp_path / "sets", kind="encode").table["split"]
    assert split.value_counts().to_dict() == {"train": 7, "test": 1}
    (tmp_path / "empty").mkdir()
    empty = call(tmp_path / "empty", "--out", tmp_path / "none", "--source", "random/test_resnet", *SHORT)
    assert empty.exit_code != 0 and "images in it, at any depth" in " ".join(empty.output.split())


def test_it_compiles_where_asked_and_says_so_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compiled(model: Model, device: torch.device) -> nullcontext[None]:
        asked.append(device.type)
        return nullcontext()

    monkeypatch.setattr("medgraft.engine.loop.compiled", compiled)
    for words in ([], ["--compile"]):
        out = tmp_path / f"run{len(words)}"
        table = tmp_path / "a" / "manifest.csv" if words else data_set(tmp_path / "a")
        done = call(table, "--out", out, "--source", "random/test_resnet", *SHORT, *words)
        assert done.exit_code == 0, done.output
        assert json.loads((out / "run.json").read_text())["run"]["compile"] == bool(words)
    assert asked == ["cpu"]


def test_labels_and_their_names_are_left_alone(tmp_path: Path) -> None:
    """A file beside the table names kind and classes of what is not asked for here; test rows train nothing."""
    table = data_set(tmp_path / "a", 10)
    rows = pd.read_csv(table).assign(split=["train"] * 8 + ["test"] * 2)
    rows.to_csv(table, index=False)
    table.with_suffix(".toml").write_text('kind = "classify"\nclasses = ["a", "b"]\n')
    done = call(table, "--out", tmp_path / "run", "--source", "random/test_resnet", *SHORT)
    assert done.exit_code == 0, done.output
    assert "Trained on 8 rows" in done.output
    page = tmp_path / "run.html"
    reported = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--out", str(page)])
    assert reported.exit_code == 0, reported.output
    assert "Learning curves" in page.read_text() or "training loss" in page.read_text()


def test_several_sets_are_pooled_beside_the_run(tmp_path: Path) -> None:
    tables = data_set(tmp_path / "a", 4), data_set(tmp_path / "bb", 8)
    out = tmp_path / "deep" / "run"
    words = [*tables, "--out", out, "--source", "random/test_resnet", "--weight", 1, "--weight", 1, *SHORT]
    done = call(*words)
    assert done.exit_code == 0, done.output
    pooled = pd.read_csv(tmp_path / "deep" / "run.images.csv")
    assert len(pooled) == 16 and pooled["site"].value_counts().tolist() == [8, 8]
    recipe = json.loads((out / "run.json").read_text())
    assert recipe["task"]["source"]["rows"] == 16 and recipe["task"]["target"] is None
    repeated = CliRunner().invoke(app, ["adapt", "--config", str(out), "--out", str(tmp_path / "again")])
    assert repeated.exit_code == 0, repeated.output
    weights = [
        json.loads((folder / "run.json").read_text())["weights_sha256"]
        for folder in (out, tmp_path / "again")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("shared", ["patient", "pixels"])
def test_what_stands_on_both_sides_of_a_split_is_refused_unless_allowed(
    tmp_path: Path, shared: str, pooled: bool
) -> None:
    table, other = data_set(tmp_path / "a", 10), data_set(tmp_path / "bb", 8)
    rows = pd.read_csv(table).assign(split=["train"] * 8 + ["test"] * 2)
    if shared == "patient":
        rows.loc[9, "patient"] = rows.loc[3, "patient"]
    else:  # of a pool, also those of different sets
        trained = tmp_path / "bb" / "3.png" if pooled else tmp_path / "a" / "3.png"
        (tmp_path / "a" / "9.png").write_bytes(trained.read_bytes())
    rows.to_csv(table, index=False)
    tables, out = [table, other][: 1 + pooled], tmp_path / "run"
    words = [*tables, "--out", out, "--source", "random/test_resnet", *SHORT]
    wrong = call(*words)
    assert wrong.exit_code != 0 and not out.exists()
    assert f"the same {shared} on one side only, but 1 is on both" in wrong.output
    allowed = call(*words, "--allow-leak")
    assert allowed.exit_code == 0, allowed.output
    assert f"Trained on {16 if pooled else 8} rows" in allowed.output
    assert f"Leaks were allowed: the same {shared}" in " ".join(
        json.loads((out / "run.json").read_text())["warnings"]
    )


def test_a_pool_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    tables = data_set(tmp_path / "a", 4), data_set(tmp_path / "bb", 4)
    (tmp_path / "bb" / "2.png").unlink()
    wrong = call(*tables, "--out", tmp_path / "run", "--source", "random/test_resnet", *SHORT)
    assert wrong.exit_code != 0 and "(row 7, image" in wrong.output
    assert {path.name for path in tmp_path.iterdir()} == {"a", "bb"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--weight", "1", "--weight", "1"], "one weight above 0 for each of 1 data sets"),
        (["--method", "fine_tune"], "a method that learns from images alone ("),
        (["--watch", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--set", "views=xray"], "views among scan, tissue, dermoscopy, photograph"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, words: list[str], told: str
) -> None:
    table = data_set(tmp_path / "a")
    wrong = call(table, "--out", tmp_path / "run", "--source", "random/test_resnet", *words)
    assert wrong.exit_code != 0
    assert told in wrong.output + str(wrong.exception)
    assert not (tmp_path / "run").exists()
