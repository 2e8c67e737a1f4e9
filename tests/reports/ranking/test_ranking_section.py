from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import grid_evidence
from tests.reports.ranking_evidence import NO_HEAD, SOURCES, ranking_evidence
from tests.reports.schema_check import problems
from tests.reports.test_report import Page, small

from medgraft.evidence import Evidence
from medgraft.reports import report_numbers
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.report import make_page

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
FIRST, SECOND = list(SOURCES)[:2]
HOSTILE = "<script>alert('x')</script>/_&"


def text_of(evidence: Evidence) -> str:
    return Page(make_page(evidence, images=True, title="A ranking")).text


@pytest.mark.parametrize("fine_tuned", [0, 4])
def test_a_ranking_has_every_part(fine_tuned: int) -> None:
    text = text_of(ranking_evidence(regret=True, fine_tuned=fine_tuned))
    for words in (
        "LogME puts packaged/efficientnet_lite0 first among 6 sources", "Which source for H&E nuclei",
        "6 sources · 4 scores · 240 labelled images · seed 0", "Sources and scores", "rank 1 (1 to 2)", "decides",
        "over resampled patients", "Scores that say nothing", NO_HEAD, "How sure is the order?", "Ranks by LEEP",
        "not resampled", "Do the scores agree?", "Weighted Kendall tau", "Forward passes took 34 s",
        "What such choices cost elsewhere", "decides here", "more than always taking ImageNet",
        "how probable the labels are under a Bayesian linear model",
    ):  # fmt: skip
        assert words in text, words
    for words in (
        "Did it come true?",
        "would start from",
        "Line: least squares",
        "a realised regret of 0.030",
    ):
        assert (words in text) == (fine_tuned > 0), words
    assert "Recorded on the way" not in text


def test_the_reliability_stands_above_the_realised_regret() -> None:
    for noise in (0.01, 0.3):
        evidence = ranking_evidence(fine_tuned=4, tunings=5, noise=noise)
        sentence = evidence.tables["ranking_reliability"]["sentence"].iloc[0]
        assert ("hardly" in sentence) == (noise > 0.1)
        text = text_of(evidence)
        part = text.split("Did it come true?")[1]
        assert sentence in part.split("gives away")[0]
        assert "after fine-tuning, the mean of 5 seeds, with its interval" in part
        assert "Recorded on the way" not in text
    once = text_of(ranking_evidence(fine_tuned=4)).split("Did it come true?")[1]
    assert "How far fine-tuning itself tells these sources apart was not measured." in once
    assert "the mean of" not in once


def test_the_page_is_one_file_that_nests_and_repeats() -> None:
    options = {"cohorts": ("H&E nuclei", "tissue"), "seeds": (0, 1), "fine_tuned": 3, "regret": True}
    page = make_page(ranking_evidence(**options), images=True, title="x")
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids)) and set(parsed.targets) <= set(parsed.ids)
    assert "http:" not in page and "https:" not in page and "script" not in parsed.tags
    assert make_page(ranking_evidence(**options), images=True, title="x") == page
    assert (
        "Which source for tissue, seed 1" in parsed.text and parsed.text.count("choices cost elsewhere") == 2
    )


def test_other_reports_say_nothing_of_sources() -> None:
    for evidence in (small(), grid_evidence()):
        assert "Which source" not in text_of(evidence) and "choices cost" not in text_of(evidence)


def test_a_ranking_stands_beside_a_grid_and_other_results() -> None:
    text = text_of(grid_evidence() + ranking_evidence(fine_tuned=2))
    assert "The grid" in text and "Which source for H&E nuclei" in text and "Did it come true?" in text
    assert "No line: it takes three sources whose scores differ." in text


def test_hostile_names_of_sources_and_scores_are_shown_and_not_run() -> None:
    sources = {f"{HOSTILE}{place}": value for place, value in enumerate((0.8, 0.7, 0.6))}
    evidence = ranking_evidence(sources=sources, names=("log_me", HOSTILE), cohorts=(HOSTILE,), fine_tuned=3)
    page = make_page(evidence, images=True, title="x")
    assert "<script" not in page and "script" not in Page(page).tags
    assert f"LogME puts {HOSTILE}0 first" in Page(page).text


@pytest.mark.parametrize(
    "options",
    [
        {}, {"regret": True, "fine_tuned": 4, "cohorts": ("a", "b"), "seeds": (0, 3)},
        {"fine_tuned": 3, "tunings": 5, "noise": 0.01}, {"fine_tuned": 3, "tunings": 2, "noise": 0.0},
        {"resampled": False, "names": ("log_me",), "fine_tuned": 1},
    ],
    ids=["plain", "all", "seeds", "seeds alike", "little"],
)  # fmt: skip
def test_numbers_of_rankings_fit_the_schema(options: dict) -> None:
    assert problems(report_numbers(ranking_evidence(**options)), SCHEMA, SCHEMA) == []


def test_numbers_are_those_of_the_evidence() -> None:
    evidence = ranking_evidence(regret=True, fine_tuned=4)
    made = report_numbers(evidence)
    (ranking,) = made["source_rankings"]
    assert [one["source"] for one in ranking["sources"]] == evidence.provenance[0]["order"]
    rows = evidence.tables["ranking"].set_index(["source", "score"])
    for one in ranking["sources"]:
        for score in one["scores"]:
            row = rows.loc[(one["source"], score["score"])]
            for name in ("value", "rank", "low", "high", "seconds"):
                expected = None if np.isnan(row[name]) else row[name]
                assert score[name] == expected
            assert score["reason"] == row["reason"]
    assert (ranking["decides"], ranking["images"], ranking["unit"]) == ("log_me", 240, "patients")
    assert ranking["realised"]["choices"][0] == {
        "score": "log_me",
        "chosen": [FIRST],
        "regret": pytest.approx(0.03),
    }
    assert [line["score"] for line in ranking["realised"]["lines"]] == [
        "log_me", "leep", "nearest_neighbours", "linear_probe",
    ]  # fmt: skip
    assert made["expected_regret"][0]["against_best"] == 0.0218 and made["expected_regret"][-1]["tau"] is None
    none = report_numbers(small())
    assert none["source_rankings"] == [] and none["expected_regret"] == []


def test_numbers_of_several_seeds_are_those_of_the_evidence() -> None:
    evidence = ranking_evidence(fine_tuned=3, tunings=5, noise=0.01)
    told = report_numbers(evidence)["source_rankings"][0]["realised"]
    row = evidence.tables["ranking_reliability"].iloc[0]
    assert told["reliability"] == {
        name: row[name] for name in row.index if name not in ("cohort", "seed", "metric")
    }
    assert told["leaders"][1]["seeds"] == evidence.facts.query(f"subject == {SECOND!r}")["value"].tolist()
    assert (
        report_numbers(ranking_evidence(fine_tuned=3))["source_rankings"][0]["realised"]["reliability"]
        is None
    )
    exact = ranking_evidence(fine_tuned=3, tunings=2)
    assert report_numbers(exact)["source_rankings"][0]["realised"]["reliability"]["f"] is None  # infinite


def test_where_no_score_ranks_the_page_still_says_why() -> None:
    evidence = ranking_evidence()
    table = evidence.tables["ranking"].assign(
        value=np.nan, rank=np.nan, low=np.nan, high=np.nan, reason="One class."
    )
    empty = {"ranking_agreement": evidence.tables["ranking_agreement"].assign(tau=np.nan, sources=0)}
    silent = replace(
        evidence,
        tables=evidence.tables | {"ranking": table} | empty,
        provenance=({**evidence.provenance[0], "decides": ""},),
    )
    text = text_of(silent)
    assert (
        "No score tells these 6 sources apart" in text and "One class." in text and "of all sources" in text
    )
    assert "decides" not in text.split("What was done")[0] and "How sure" not in text
    assert problems(report_numbers(silent), SCHEMA, SCHEMA) == []
    assert report_numbers(silent)["source_rankings"][0]["decides"] is None


def test_a_ranking_needs_no_torch(tmp_path: Path) -> None:
    ranking_evidence(fine_tuned=4, regret=True).save(tmp_path / "evidence")
    code = (
        "import sys; from medgraft.reports import report, write_numbers; "
        f"report({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.html')!r}); "
        f"write_numbers({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.json')!r}); "
        "heavy = {'torch', 'timm', 'sklearn', 'scipy', 'statsmodels'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    fresh = ranking_evidence(fine_tuned=4, regret=True)
    assert (tmp_path / "r.html").read_text("utf-8") == make_page(fresh, images=True, title="medgraft report")
    assert isinstance(fresh.tables["ranking_regret"].index, pd.RangeIndex)
