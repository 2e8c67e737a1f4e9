from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import grid_evidence
from tests.reports.ranking_evidence import ranking_evidence
from tests.reports.schema_check import problems
from tests.reports.selection_evidence import NO_HEAD, SATURATED, SOURCES, selection_evidence
from tests.reports.test_report import Page

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports import report, report_numbers
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.report import make_page
from medgraft.reports.selection.source_selection import TABLES

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
HOSTILE = "<script>alert('x')</script>/_&"
PARTS = (
    "Does fine-tuning tell the sources apart?", "How good is each source?", "Do scores order the sources rightly?",
    "What do the two terms of adaptability bring?", "What does a choice by a score cost?",
    "Which source each score would start from", "Is the source that was trained on the target put first?",
    "What do scores cost?",
)  # fmt: skip
LITTLE: dict[str, Any] = {"targets": ("nuclei",), "names": ("log_me", "leep"), "sources": tuple(SOURCES)[:4]}


def page_of(evidence: Evidence) -> str:
    return make_page(evidence, images=True, title="Sources")


def text_of(evidence: Evidence) -> str:
    return Page(page_of(evidence)).text


def with_table(evidence: Evidence, name: str, table: pd.DataFrame | None) -> Evidence:
    rest = {key: value for key, value in evidence.tables.items() if key != name}
    return replace(evidence, tables=rest if table is None else rest | {name: table})


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(selection_evidence())


def test_the_section_has_every_part_reliability_first(page: str) -> None:
    text = Page(page).text
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    assert text.index("Fine-tuning tells the sources apart on 3 of 4 targets") < places[0]
    for words in (
        "8 sources · 4 more trained on the target itself · 4 targets · 8 scores · 5 seeds · 20 labels",
        NO_HEAD, SATURATED, "always taking imagenet", "a source drawn blindly", "4 of 5 seeds", "size unknown",
        "no images", "any of 8", "AUROC of logistic regression on the features",
    ):  # fmt: skip
        assert words in text, words
    assert "Recorded on the way" not in text


def test_the_page_is_one_file_that_nests_and_repeats(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids)) and set(parsed.targets) <= set(parsed.ids)
    assert "http:" not in page and "https:" not in page and "script" not in parsed.tags
    assert page_of(selection_evidence()) == page


def test_targets_where_sources_are_not_told_apart_are_marked_in_every_judgement(page: str) -> None:
    judged = {
        part: page.split(f"{part}<", 1)[1].split("<h3>", 1)[0].split("<details open>", 1)[0]
        for part in (PARTS[2], PARTS[3], PARTS[5])
    }
    for part, html in judged.items():
        headings = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', html)
        marked = [heading for heading in headings if "not to be read" in heading]
        assert len(marked) == 1 and marked[0].startswith("lesions"), part
        rows = html.count('<th scope="row">')
        unread = re.findall(r'class="(?:text )?unread"', html)
        assert len(unread) == rows, part
    costs = page.split(f"{PARTS[4]}<", 1)[1].split("<h3>", 1)[0]
    assert "where told apart" in costs and "Losses on lesions, where sources are not told apart, are" in costs


def test_where_no_target_can_be_read_the_costs_are_pale_too() -> None:
    noise = selection_evidence(targets=("lesions",), names=("log_me", "linear_probe"))
    costs = page_of(noise).split(f"{PARTS[4]}<", 1)[1].split("<details", 1)[0]
    assert costs.count("not to be read") == 2 and costs.count('<td class="unread">') == 2 * 4
    assert "where told apart" not in costs


def test_other_pages_say_nothing_of_choosing_sources() -> None:
    for evidence in (grid_evidence(), ranking_evidence()):
        assert "Choosing the source" not in text_of(evidence)
        assert report_numbers(evidence)["source_selections"] == []


def test_each_budget_has_a_block_and_the_grid_tells_what_it_was() -> None:
    evidence = selection_evidence(**LITTLE, budgets=(-1, 4), baseline=None, own=False)
    text = text_of(evidence)
    assert text.count("Does fine-tuning tell the sources apart?") == 2
    assert text.index("Choosing the source with 4 labels") < text.index("Choosing the source with all labels")
    beside = text_of(grid_evidence() + evidence)
    assert "Choosing the source with 4 patients, 24 labelled images" in beside
    assert "Choosing the source with all labels, 576 labelled images" in beside
    assert "The grid" in beside and "Ranking" in beside


def test_what_is_missing_is_left_out() -> None:
    evidence = selection_evidence(**LITTLE, own=False, baseline=None)
    text = text_of(evidence)
    for words in (
        "two terms of adaptability",
        "trained on the target",
        "Hollow",
        "always taking",
        "Bold: the mean",
    ):
        assert words not in text, words
    only = replace(evidence, tables={"selection_performance": evidence.tables["selection_performance"]})
    assert "How good is each source?" in text_of(only) and PARTS[2] not in text_of(only)
    assert problems(report_numbers(only), SCHEMA, SCHEMA) == []


def test_everything_that_failed_still_has_a_page() -> None:
    evidence = selection_evidence(**LITTLE)
    performance = evidence.tables["selection_performance"].assign(value=np.nan)
    text = text_of(with_table(evidence, "selection_performance", performance))
    assert "0 of 5 seeds" in text


def test_hostile_names_are_shown_and_not_run() -> None:
    evidence = selection_evidence(**LITTLE)
    tables = {}
    for name in TABLES:
        table = evidence.tables[name].copy()
        for column in {"cohort", "source", "score", "reason", "chosen", "best_source"} & set(table.columns):
            table[column] = HOSTILE + table[column].astype(str)
        tables[name] = table
    page = page_of(replace(evidence, tables=tables))
    assert "<script" not in page and HOSTILE in Page(page).text


@pytest.mark.parametrize(
    "options", [{}, LITTLE, {**LITTLE, "seeds": 1, "budgets": (-1, 4)}], ids=["all", "little", "one"]
)
def test_numbers_fit_the_schema(options: dict[str, Any]) -> None:
    made = report_numbers(selection_evidence(**options))
    assert problems(made, SCHEMA, SCHEMA) == []
    assert len(json.dumps(made, allow_nan=False)) > 1000


def test_numbers_are_those_of_the_evidence() -> None:
    evidence = selection_evidence()
    (made,) = report_numbers(evidence)["source_selections"]
    assert (made["budget"], made["metric"]) == (20, "auroc")
    assert [target["cohort"] for target in made["targets"] if not target["tells_apart"]] == ["lesions"]
    performance = evidence.tables["selection_performance"]
    for target in made["targets"]:
        for source in target["sources"]:
            rows = performance.query("cohort == @target['cohort'] and source == @source['source']")
            assert source["values"] == rows["value"].dropna().tolist()
            assert source["mean"] == pytest.approx(rows["value"].mean())
            assert source["own"] == source["source"].endswith("itself")
        taus = evidence.tables["selection_taus"].query("cohort == @target['cohort']")
        expected = [None if np.isnan(tau) else tau for tau in taus["tau"]]
        assert [one["tau"] for one in target["taus"]] == expected
    assert [one["score"] for one in made["regret"]] == evidence.tables["selection_regret"]["score"].tolist()
    assert (
        report_numbers(selection_evidence(**LITTLE, budgets=(-1,)))["source_selections"][0]["budget"] == "all"
    )


def test_tables_of_another_form_or_of_two_grids_are_refused() -> None:
    evidence = selection_evidence(**LITTLE)
    regret = evidence.tables["selection_regret"]
    with pytest.raises(DataError, match=r"'selection_regret' needs .* it lacks tau_low.*medgraft benchmark"):
        page_of(with_table(evidence, "selection_regret", regret.drop(columns="tau_low")))
    with pytest.raises(DataError, match="one grid that chooses sources"):
        page_of(with_table(evidence, "selection_regret", pd.concat([regret, regret.assign(tau=0.1)])))


def test_a_selection_needs_no_torch(tmp_path: Path) -> None:
    evidence = selection_evidence(**LITTLE)
    evidence.save(tmp_path / "evidence")
    code = (
        "import sys; from medgraft.reports import report, write_numbers; "
        f"report({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.html')!r}); "
        f"write_numbers({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.json')!r}); "
        "heavy = {'torch', 'timm', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    again = report(evidence, tmp_path / "again.html")
    assert (tmp_path / "r.html").read_bytes() == again.read_bytes()
