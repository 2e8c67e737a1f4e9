"""`medgraft rank`: a table, evidence and a page; one sentence for what is wrong."""

from __future__ import annotations

from medgraft.evidence import Evidence

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


def test_samples_are_opened_by_name(medgraft, tmp_path):
    told = medgraft("rank", "samples/nowhere", *SOURCES, "--out", tmp_path / "out")
    assert told.exit_code == 2 and "nuclei" in told.stderr
