"""check, predict, evaluate, report and methods, as words of a command line."""

from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image

from medgraft.cli.settings import parse_settings, read_toml
from medgraft.errors import SettingsError
from medgraft.evidence import Evidence

# check


def test_a_sound_table_has_no_problems(medgraft, on_disk):
    table = on_disk("classify")
    told = medgraft("check", table)
    assert told.exit_code == 0, told.output


def test_all_problems_are_listed_at_once(medgraft, on_disk):
    table = on_disk("classify")
    (table.parent / "03.png").unlink()
    (table.parent / "05.png").write_bytes(b"no image")
    told = medgraft("check", table)
    assert told.exit_code == 1
    assert "row 4" in told.stdout and "03.png" in told.stdout
    assert "row 6" in told.stdout and "05.png" in told.stdout
    assert f"{table}: 2 errors" in told.stdout
    assert "Traceback" not in told.output


# predict


def test_predictions_are_written(medgraft, trained, tmp_path):
    run, table = trained
    told = medgraft("predict", run, table.parent, "--out", tmp_path / "out", "--device", "cpu")
    assert told.exit_code == 0, told.output
    assert told.stdout.strip() == f"36 images predicted: {tmp_path / 'out' / 'predictions.csv'}"
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 36


def test_files_and_folders_may_be_mixed(medgraft, trained, tmp_path):
    run, table = trained
    single = tmp_path / "single.png"
    Image.open(table.parent / "00.png").save(single)
    medgraft("predict", run, single, table.parent, "--out", tmp_path / "out", "--quiet")
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert written["image"].iloc[:2].tolist() == [str(single), str(table.parent / "00.png")]
    assert written["p_small"][0] == written["p_small"][1]


@pytest.mark.parametrize(
    ("model", "images", "sentence"),
    [
        ("run", "nothing.png", "nothing.png, does not exist"),
        ("nowhere", "data-classify", "nowhere"),
        ("run", "empty", "holds none"),
    ],
)
def test_a_wrong_prediction_leaves_nothing(refused, trained, tmp_path, model, images, sentence):
    (tmp_path / "empty").mkdir()
    told = refused("predict", tmp_path / model, tmp_path / images, "--out", tmp_path / "out")
    assert sentence in told
    assert not (tmp_path / "out").exists()


# evaluate and report


def test_an_evaluation_prints_scores_and_leaves_evidence_and_a_page(medgraft, trained, tmp_path):
    run, table = trained
    told = medgraft("evaluate", run, table, "--out", tmp_path / "ev", "--device", "cpu")
    assert told.exit_code == 0, told.output
    evidence = Evidence.load(tmp_path / "ev" / "evidence")
    accuracy = evidence.facts.set_index("metric").loc["accuracy"]
    assert f"accuracy                         {accuracy['value']:.3f}" in told.stdout
    assert "95 % intervals over 3 patients" in told.stdout
    assert "Warning: table: 3 patients are few" in told.stderr
    assert accuracy["subject"] == "run"
    page = (tmp_path / "ev" / "report.html").read_text()
    assert "<title>run on table" in page


def test_the_model_inside_a_run_takes_the_runs_name(medgraft, trained, tmp_path):
    run, table = trained
    medgraft("evaluate", run / "model", table, "--out", tmp_path / "ev", "--quiet")
    assert set(Evidence.load(tmp_path / "ev" / "evidence").facts["subject"]) == {"run"}


def test_all_rows_are_taken_as_they_are_and_training_rows_are_pointed_out(medgraft, trained, tmp_path):
    run, table = trained
    told = medgraft("evaluate", run, table, "--split", "all", "--out", tmp_path / "ev")
    assert "rows of the split 'train' are included" in told.stderr
    pd.read_csv(table).drop(columns="split").to_csv(table, index=False)
    told = medgraft("evaluate", run, table, "--split", "all", "--out", tmp_path / "new")
    assert "divided" not in told.stderr and "'train'" not in told.stderr
    assert len(Evidence.load(tmp_path / "new" / "evidence").tables["predictions/run/0"]) == 36


def test_images_stay_at_home_where_asked(medgraft, trained, tmp_path):
    run, table = trained
    medgraft("evaluate", run, table, "--out", tmp_path / "ev", "--no-images", "--name", "ours", "--quiet")
    evidence = Evidence.load(tmp_path / "ev" / "evidence")
    assert evidence.images == {} and set(evidence.facts["subject"]) == {"ours"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--split", "best"), "one of train, validation, test, but it got 'best'"),
        (("--at", "Nowhere"), "but it got 'Nowhere'"),
        (("--device", "tpu"), "it got 'tpu'"),
        (("--kind", "encode"), "rows with truth"),
        (("--classes", "a,b"), "a model with the classes of table (a, b)"),
    ],
)
def test_a_wrong_evaluation_leaves_nothing(refused, trained, tmp_path, words, sentence):
    run, table = trained
    assert sentence in refused("evaluate", run, table, "--out", tmp_path / "ev", *words)
    assert not (tmp_path / "ev").exists()


def test_a_file_for_a_folder_is_refused(refused, trained):
    run, table = trained
    before = table.read_bytes()
    assert "is a file" in refused("evaluate", run, table, "--out", table)
    assert "is a file" in refused("predict", run, table, "--out", table)
    assert table.read_bytes() == before


def test_one_page_from_several_evaluations_and_runs(medgraft, trained, tmp_path):
    run, table = trained
    for name in ("first", "second"):
        medgraft("evaluate", run, table, "--out", tmp_path / name, "--name", name, "--quiet")
    told = medgraft(
        "report", tmp_path / "first", tmp_path / "second" / "evidence", run, "--out", tmp_path / "both.html",
        "--title", "Two of a kind",
    )  # fmt: skip
    assert told.stdout.strip() == f"Report: {tmp_path / 'both.html'}"
    page = (tmp_path / "both.html").read_text()
    assert all(word in page for word in ("Two of a kind", "first", "second"))


def test_a_report_needs_evidence(refused, trained, tmp_path):
    assert "nowhere" in refused("report", tmp_path / "nowhere", "--out", tmp_path / "page.html")
    assert "evidence with facts" in refused("report", trained[0], "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# methods


def test_methods_are_listed_with_what_they_need(medgraft):
    told = medgraft("methods").stdout
    assert "fine_tune            Train a source model on the target's labelled images." in told
    assert "needs target.images, target.truth; for classify, multilabel, segment" in told


LABELLED = {"colorization", "fine_tune", "l2_sp", "mmtl", "octl", "simple_baseline", "spottunet"}
UNLABELLED = {"ada_bn", "adapt_seg_net"}
UNSEEN = {"dscsi_gan", "fourier", "normalise_stain", "stst"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--have", "target.images,target.truth"),
            LABELLED - {"mmtl"} | {"ada_bn"},
        ),
        (
            ("--have", "target.truth", "--kind", "segment"),
            LABELLED - {"mmtl", "simple_baseline"} | {"ada_bn"},
        ),
        (("--kind", "classify"), LABELLED | UNSEEN | {"ada_bn"}),
        (("--have", "target.images"), {"ada_bn"}),
        (("--have", "target.images,source.truth"), UNLABELLED | UNSEEN),
        (("--have", "source.images", "--have", "source.truth"), UNSEEN),
    ],
)
def test_only_what_works_with_what_one_has_is_listed(medgraft, words, expected):
    told = medgraft("methods", *words).stdout
    assert {line.split()[0] for line in told.splitlines() if line[:1].strip()} & (
        LABELLED | UNLABELLED | UNSEEN
    ) == expected


def test_a_methods_settings_are_explained(medgraft):
    told = medgraft("methods", "fine_tune").stdout
    assert "\nscope = all\n" in told and "\nschedule.lr = " in told
    assert "    Keep the source's running statistics in batch norm while training." in told


def test_a_wrong_question_about_methods_is_one_sentence(refused):
    assert "(did you mean 'fine_tune'?)" in refused("methods", "finetune")
    assert "it got 'target.foo'" in refused("methods", "--have", "target.foo")
    assert "it got 'x'" in refused("methods", "--kind", "x")


# settings


def test_words_become_settings_as_toml_would():
    words = ["a.b=1", "a.c=[1, 2]", "name=plain text", 'quoted="1"', "flag=true", "nothing=None", "a.b=2"]
    assert parse_settings(words) == {
        "a": {"b": 2, "c": [1, 2]}, "name": "plain text", "quoted": "1", "flag": True, "nothing": None,
    }  # fmt: skip


def test_a_folder_is_no_toml_file(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_toml(tmp_path)
