"""`medgraft rank`: a table, evidence and a page; one sentence for what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.reports.ranking_evidence import ranking_evidence

from medgraft.api.ranking import Ranked
from medgraft.cli.cohorts import open_cohort
from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.ranking.rank import Ranking

SOURCES = ("random/test_resnet", "random/test_vit")


def test_sources_are_told_best_first(medgraft, on_disk, tmp_path):
    out = tmp_path / "out"
    words = (
        "rank",
        on_disk("classify"),
        *SOURCES,
        "--out",
        out,
        "--by",
        "log_me",
        "--by",
        "nearest_neighbours",
    )
    told = medgraft(*words, "--device", "cpu", "--resamples", "12")
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[0].split() == ["source", "log_me", "nearest_neighbours"]
    assert {line.split()[0] for line in lines[1:3]} == set(SOURCES)
    evidence = Evidence.load(out / "evidence")
    assert evidence.tables["ranking"].query("place == 0")["source"].iloc[0] == lines[1].split()[0]
    assert "LogME" in (out / "report.html").read_text("utf-8")


def test_layouts_can_be_left_out(medgraft, on_disk, tmp_path):
    words = (
        "rank",
        on_disk("classify"),
        *SOURCES,
        "--by",
        "log_me",
        "--resamples",
        "0",
        "--device",
        "cpu",
        "--quiet",
    )
    for option, there in (((), True), (("--no-projections",), False)):
        told = medgraft(*words, "--out", tmp_path / "out", *option)
        assert told.exit_code == 0, told.output
        assert (
            "What the first source sees" in (tmp_path / "out" / "report.html").read_text("utf-8")
        ) is there


def test_what_is_wrong_is_told_before_a_model_is_opened(medgraft, on_disk, tmp_path):
    table = on_disk("classify")
    for words, said in (
        ((*SOURCES, "--by", "logme"), "it got 'logme'"),
        ((SOURCES[0],), "two sources or more"),
        (("models/*", SOURCES[0]), "nothing matches models/*"),
        ((SOURCES[0], "nowhere/model"), "nowhere/model"),
    ):
        told = medgraft("rank", table, *words, "--out", tmp_path / "out")
        assert told.exit_code == 2 and said in told.stderr, told.stderr
    assert not (tmp_path / "out" / "evidence").exists()


@pytest.mark.parametrize(("group", "known"), [("samples", "nuclei"), ("phantoms", "chest_film")])
def test_what_is_shipped_or_simulated_is_opened_by_name(medgraft, tmp_path, monkeypatch, group, known):
    told = medgraft("rank", f"{group}/nowhere", *SOURCES, "--out", tmp_path / "out")
    assert told.exit_code == 2 and known in told.stderr
    monkeypatch.setattr("medgraft.data.samples.load_samples", lambda name: ("samples", name))
    monkeypatch.setattr("medgraft.phantoms.load_phantom", lambda name: ("phantoms", name))
    assert open_cohort(Path(group) / known, None, None) == (group, known)
    monkeypatch.chdir(tmp_path)
    (tmp_path / group / known).mkdir(parents=True)
    with pytest.raises(DataError, match=known):  # a folder of that name comes first
        open_cohort(Path(group) / known, None, None)


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_whether_leaders_are_told_apart_is_said_once(medgraft, on_disk, tmp_path, monkeypatch, noise):
    evidence = ranking_evidence(fine_tuned=3, tunings=5, noise=noise)
    row = evidence.tables["ranking_reliability"].iloc[0]
    assert row["tells_apart"] == (noise < 0.1)
    scores, order = evidence.tables["ranking"], tuple(evidence.provenance[0]["order"])
    ranking = Ranking(scores, scores, scores, order, "log_me", ())
    warnings = () if row["tells_apart"] else (row["sentence"],)  # as `with_reliability` gives it
    asked = {}

    def answer(*_, **options):
        asked.update(options)
        return Ranked(ranking, {}, replace(evidence, warnings=warnings))

    monkeypatch.setattr("medgraft.api.ranking.rank", answer)
    words = ("rank", on_disk("classify"), *SOURCES, "--out", tmp_path / "out")
    said = medgraft(*words, "--finetune-top", "3", "--finetune-seeds", "5")
    assert said.exit_code == 0, said.output
    assert (asked["finetune_top"], asked["finetune_seeds"]) == (3, 5)
    places = (said.stdout, said.stderr) if row["tells_apart"] else (said.stderr, said.stdout)
    assert [text.count(row["sentence"]) for text in places] == [1, 0]


def test_seeds_without_leaders_are_refused(medgraft, on_disk, tmp_path):
    words = ("rank", on_disk("classify"), *SOURCES, "--out", tmp_path / "out")
    for seeds, said in (("0", "--finetune-seeds"), ("5", "more than 1 only with finetune_top")):
        told = medgraft(*words, "--finetune-seeds", seeds)
        assert told.exit_code == 2 and said in told.stderr, told.stderr
