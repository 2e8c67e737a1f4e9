"""`medgraft evaluate --bias`: which patients a model is worse for, by words of a command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.evidence import Evidence


@pytest.fixture
def with_cameras(trained):
    """A run, and its table with a camera that nearly goes with the label among training rows."""
    run, path = trained
    table = pd.read_csv(path)
    goes = np.where(table["label"] == table["label"].iloc[0], "old", "new")
    table["camera"] = np.where((table["split"] == "train") & (table.index % 5 > 0), goes, ["old", "new"] * 18)
    table.to_csv(path, index=False)
    return run, path


def test_training_rows_are_those_of_the_manifest_unless_others_are_named(medgraft, with_cameras, tmp_path):
    run, path = with_cameras
    own, other = tmp_path / "own", tmp_path / "other"
    told = medgraft("evaluate", run, path, "--split", "all", "--bias", "camera", "--out", own)
    assert told.exit_code == 0, told.output
    assert "auroc, camera: conflicting" in told.stdout and "auroc, camera: gap" in told.stdout
    reference = path.with_name("reference.csv")
    pd.read_csv(path).drop(columns="split").to_csv(reference, index=False)
    words = ("--bias", "camera", "--reference", reference, "--beside", run, "--name", "ours", "--quiet")
    assert medgraft("evaluate", run, path, *words, "--out", other).exit_code == 0
    rows = [
        Evidence.load(each / "evidence").provenance[-1]["bias"]["reference"]["rows"] for each in (own, other)
    ]
    assert rows == [int((pd.read_csv(path)["split"] == "train").sum()), 36]
    probes = Evidence.load(other / "evidence").tables["bias_probes"]
    assert set(probes["subject"]) == {"ours", "run"}
    assert "Who is it worse for? By camera" in (other / "report.html").read_text("utf-8")


def test_without_training_rows_groups_are_scored_all_the_same(medgraft, with_cameras, tmp_path):
    run, path = with_cameras
    pd.read_csv(path).drop(columns="split").to_csv(path, index=False)
    words = ("--split", "all", "--bias", "camera", "--quiet")
    assert medgraft("evaluate", run, path, *words, "--out", tmp_path / "out").exit_code == 0
    parts = set(Evidence.load(tmp_path / "out" / "evidence").tables["bias"]["part"])
    assert "group" in parts and "conflicting" not in parts


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--bias", "kamera"), "there is none of that name"),
        (("--beside", "model"), "--bias with --reference and --beside"),
        (("--bias", "camera", "--reference", "nowhere.csv"), "does not exist"),
    ],
)
def test_wrong_words_leave_nothing(refused, with_cameras, tmp_path, words, sentence):
    run, path = with_cameras
    assert sentence in refused("evaluate", run, path, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
