"""`medgraft evaluate --bias`: which patients a model is worse for, by words of a command line."""

from __future__ import annotations

import json

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


def test_a_report_of_two_audits_tells_what_differs(medgraft, with_cameras, tmp_path):
    run, path = with_cameras
    for name in ("first", "second", "third"):
        rows = "test" if name == "third" else "all"
        words = ("--split", rows, "--bias", "camera", "--name", name, "--quiet", "--out", tmp_path / name)
        assert medgraft("evaluate", run, path, *words).exit_code == 0
    page, numbers = tmp_path / "page.html", tmp_path / "page.json"
    two = (tmp_path / "first", tmp_path / "second")
    told = medgraft("report", *two, "--out", page, "--json", numbers)
    assert told.exit_code == 0, told.output
    assert "Against first: AUROC" in page.read_text("utf-8")
    second = json.loads(numbers.read_text("utf-8"))["cohorts"][0]["subjects"][1]
    whole = next(one for one in second["audit_differences"] if one["part"] == "all")
    assert (whole["reference"], whole["difference"], whole["low"], whole["high"]) == ("first", 0, 0, 0)
    # measured on other rows: a page without these intervals
    told = medgraft("report", tmp_path / "first", tmp_path / "third", "--out", page)
    assert told.exit_code == 0 and "without intervals of what differs" in told.stderr


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
