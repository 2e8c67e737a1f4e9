"""`medgraft adapt`: from words or files to a run, and back again; wrong words leave nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgraft.cli.adapt import stopped_by_sigterm
from medgraft.engine.run import Shared
from medgraft.models.storage import load_model

SOURCE = ("--source", "random/test_resnet")
SHORT = ("--limit-epochs", "1", "--limit-steps", "2", "--device", "cpu", "--quiet")


def recipe(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def table(on_disk) -> Path:
    return on_disk("classify")


def test_words_become_a_run(medgraft, table, tmp_path):
    out = tmp_path / "run"
    words = ("--set", "schedule.lr=0.01", "--set", "scope=head_then_all", "--set", "augmentation=none")
    told = medgraft(
        "adapt", table, *SOURCE, *words, "--out", out, "--seed", 7, "--few", 4, "--at", "A", "--select", "last",
        "--limit-epochs", 1, "--limit-steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    made = recipe(out)
    assert made["method"]["settings"]["schedule"]["lr"] == 0.01
    assert made["method"]["settings"]["scope"] == "head_then_all"
    assert made["method"]["settings"]["augmentation"] is None
    assert (made["run"]["seed"], made["run"]["limit"]) == (7, {"epochs": 1, "steps": 2})
    assert made["task"]["target"]["recipe"]["operations"] == [
        ["at", ["A"]],
        ["few", {"n": 4, "by": "image", "seed": 7}],
    ]
    assert made["command"][0] == "medgraft"
    assert load_model(out / "model").spec.classes == ("large", "small")
    assert f"Model: {out / 'model'}" in told.stdout and "Epoch kept by: last" in told.stdout


def test_classes_are_put_in_the_order_that_is_asked_for(medgraft, table, tmp_path):
    told = medgraft("adapt", table, *SOURCE, *SHORT, "--classes", "small,large", "--out", tmp_path / "run")
    assert told.exit_code == 0, told.output
    assert load_model(tmp_path / "run" / "model").spec.classes == ("small", "large")
    assert told.output == ""


def test_a_file_gives_what_the_words_leave_open(medgraft, table, tmp_path):
    (tmp_path / "lungs.toml").write_text(
        f'manifest = "{table}"\nsource = "random/test_resnet"\nseed = 5\nat = "A"\nlimit_epochs = 1\n'
        'limit_steps = 2\nclasses = ["small", "large"]\ndevice = "cpu"\n'
        '[settings]\nscope = "last"\nblocks = 2\n[settings.schedule]\nlr = 0.01\nbatch_size = 8\n'
    )
    out = tmp_path / "run"
    told = medgraft(
        "adapt", "--config", tmp_path / "lungs.toml", "--set", "schedule.lr=0.02", "--seed", 6, "--out", out
    )
    assert told.exit_code == 0, told.output
    made = recipe(out)
    settings = made["method"]["settings"]
    assert (settings["scope"], settings["blocks"]) == ("last", 2)
    assert (settings["schedule"]["lr"], settings["schedule"]["batch_size"]) == (0.02, 8)
    assert made["run"]["seed"] == 6 and made["task"]["target"]["classes"] == ["small", "large"]


@pytest.mark.parametrize("name", ["run.json", ""])
def test_a_record_is_repeated_to_the_byte(medgraft, table, tmp_path, name):
    medgraft("adapt", table, *SOURCE, *SHORT, "--out", tmp_path / "run", "--seed", 3)
    told = medgraft("adapt", "--config", tmp_path / "run" / name, "--out", tmp_path / "again", "--quiet")
    assert told.exit_code == 0, told.output
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_workers_and_cache_change_no_byte(medgraft, table, tmp_path):
    plain, kept, again = (tmp_path / name for name in ("plain", "kept", "again"))
    for out, words in ((plain, ("--workers", 0)), (kept, ("--workers", 2, "--cache", tmp_path / "cache"))):
        told = medgraft("adapt", table, *SOURCE, *SHORT, "--out", out, *words)
        assert told.exit_code == 0, told.output
    entries = sorted((tmp_path / "cache").rglob("*.arrays"))
    told = medgraft(
        "adapt", "--config", plain, "--out", again, "--cache", tmp_path / "cache", "--workers", 1, "--quiet"
    )
    assert told.exit_code == 0, told.output
    assert weights(plain) == weights(kept) == weights(again)
    assert entries and sorted((tmp_path / "cache").rglob("*.arrays")) == entries
    assert not {"workers", "cache"} & set(recipe(kept)["run"])  # they do not decide the result


def test_the_same_command_again_says_the_same_and_does_nothing(medgraft, table, tmp_path):
    words = ("adapt", table, *SOURCE, *SHORT[:-1], "--out", tmp_path / "run")
    first = medgraft(*words)
    written = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert medgraft(*words).stdout == first.stdout
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == written


def test_a_table_without_splits_is_divided_and_that_is_said(medgraft, table, tmp_path):
    pd.read_csv(table).drop(columns="split").to_csv(table, index=False)
    words = (*SOURCE, "--method", "simple_baseline", "--device", "cpu", "--out", tmp_path / "run")
    told = medgraft("adapt", table, *words)
    assert told.exit_code == 0, told.output
    assert "its patients are divided 70/15/15" in told.stderr
    assert recipe(tmp_path / "run")["task"]["target"]["recipe"]["operations"][0][0] == "split_by_patient"
    told = medgraft("adapt", "--config", tmp_path / "run", "--out", tmp_path / "again", "--quiet")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_the_callers_answer_to_sigterm_comes_back():
    before, shared = signal.getsignal(signal.SIGTERM), Shared()
    with stopped_by_sigterm(shared):
        signal.raise_signal(signal.SIGTERM)
    assert shared.stop and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--method", "finetune"), "it got 'finetune' (did you mean 'fine_tune'?)"),
        (("--method", "no.such:Class"), "'no.such:Class' gave ModuleNotFoundError"),
        (("--set", "scop=head"), "'scop' is not one of them (did you mean 'scope'?)"),
        (("--set", "schedule.epoch=3"), "'schedule.epoch' is not one of those of Schedule"),
        (("--set", "blocks=many"), "'blocks': input should be a valid integer"),
        (("--set", "schedule.lr=-1"), "'schedule.lr': input should be greater than 0, and it got -1"),
        (("--set", "scope"), "--set needs KEY=VALUE, but it got 'scope'"),
        (("--set", 'scope=["stage9"]'), "it names 'stage9'"),
        (("--seed", "many"), "Invalid value for '--seed'"),
        (("--device", "tpu"), "a device among auto, cpu and cuda, but it got 'tpu'"),
        (("--precision", "8"), "a precision among 32-true"),
        (("--select", "best"), "(last, target_validation), but it is 'best'"),
        (("--few", "99"), "99 training images of class 'large', but table has 12"),
        (("--few", "1", "--few-by", "site"), "it got 'site'"),
        (("--at", "Nowhere"), "a site that the manifest names (A), but it got 'Nowhere'"),
        (("--kind", "picture"), "it is 'picture'"),
        (("--classes", "small"), "at least two classes"),
        (("--classes", "benign,malignant"), "labels among benign, malignant, but row"),
        (("--classes", "small,,large"), "--classes needs different names"),
        (("--source", "rando/x"), "Check the name or the path."),
        (("--architecture", "resnet18"), "a source that is a file of weights"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_leaves_nothing(refused, table, tmp_path, words, sentence):
    told = refused("adapt", table, *SOURCE, *SHORT, "--out", tmp_path / "run", *words)
    assert sentence in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source = \n", "needs valid TOML, but it is not: Invalid value (at line 1"),
        ('sorce = "x"\n', "it has 'sorce' (did you mean 'source'?)"),
        ("settings = 3\n", "settings as a table"),
        ('seed = "many"\n', "Invalid value for '--seed'"),
        ("", "needs --source, but it is missing"),
    ],
)
def test_a_wrong_file_is_one_sentence(refused, tmp_path, text, sentence):
    (tmp_path / "wrong.toml").write_text(text)
    assert sentence in refused("adapt", "--config", tmp_path / "wrong.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_or_word_is_named(refused, table, tmp_path):
    assert "no.toml does not exist" in refused("adapt", "--config", tmp_path / "no.toml", "--out", "x")
    assert "no.json does not exist" in refused("adapt", "--config", tmp_path / "no.json", "--out", "x")
    assert "no.csv does not exist" in refused(
        "adapt", tmp_path / "no.csv", *SOURCE, "--out", tmp_path / "run"
    )
    assert "needs --out" in refused("adapt", table, *SOURCE)
    assert "needs MANIFEST" in refused("adapt", *SOURCE, "--out", tmp_path / "run")


def test_a_record_decides_everything_else(refused, medgraft, trained, tmp_path):
    run, table = trained
    for words in (("--seed", 3), ("--set", "side=3"), ("--device", "cpu"), ("--few-by", "patient")):
        told = refused("adapt", "--config", run / "run.json", "--out", tmp_path / "again", *words)
        assert f"it got {words[0]} too" in told
    assert "manifest too" in refused("adapt", table, "--config", run, "--out", tmp_path / "again")


def test_another_run_is_refused_and_kept(refused, trained):
    run, table = trained
    before = weights(run)
    told = refused("adapt", table, *SOURCE, *SHORT, "--out", run)
    assert f"{run} holds a run that differs in method.method" in told
    assert weights(run) == before


def test_a_file_for_a_folder_is_refused(refused, table):
    assert "is a file" in refused("adapt", table, *SOURCE, *SHORT, "--out", table)


def damaged(table: Path, how: str) -> Path:
    frame = pd.read_csv(table)
    image = table.parent / frame["image"][3]
    if how == "empty":
        frame = frame.iloc[:0]
    elif how == "no image column":
        frame = frame.rename(columns={"image": "picture"})
    elif how == "missing image":
        image.unlink()
    elif how == "truncated image":
        image.write_bytes(image.read_bytes()[:60])
    elif how == "other size":
        Image.fromarray(np.zeros((40, 20), np.uint8)).save(image)
    elif how == "no label":
        frame.loc[3, "label"] = ""
    elif how == "unknown split":
        frame.loc[3, "split"] = "trian"
    elif how == "one class":
        frame["label"] = "small"
    elif how == "a class with one image":
        frame = frame.drop(columns=["split", "patient"])
        frame["label"] = ["rare", *["common"] * (len(frame) - 1)]
    frame.to_csv(table, index=False)
    return table


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("empty", "at least one row"),
        ("no image column", "a column 'image', but it has: picture, label"),
        ("missing image", "03.png"),
        ("truncated image", "03.png"),
        ("other size", "--set size=[224,224]"),
        ("no label", "row 4"),
        ("unknown split", "'trian'"),
        ("one class", "at least two classes"),
        ("a class with one image", "'rare' has 1 (the first in row 1)"),
    ],
)
def test_wrong_data_are_one_sentence_and_leave_nothing(refused, table, tmp_path, how, sentence):
    told = refused("adapt", damaged(table, how), *SOURCE, *SHORT, "--out", tmp_path / "run")
    assert sentence in told
    assert not (tmp_path / "run").exists()
