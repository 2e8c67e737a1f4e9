"""What the first source sees: dots in the colours of the legend, numbers beside them, and what they do not show."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from tests.reports.ranking_evidence import SOURCES, ranking_evidence
from tests.reports.schema_check import problems
from tests.reports.test_report import Page

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports import report_numbers
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.ranking.projections import make_projections
from medgraft.reports.ranking.source_ranking import read_rankings
from medgraft.reports.report import make_page

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
ALL = {"before": 1280, "after": 1024, "nca": 50, "lda": 2}
FIRST = next(iter(SOURCES))


def page_of(evidence: Evidence) -> str:
    return make_page(evidence, images=True, title="A ranking")


def section(evidence: Evidence) -> str:
    return Page(page_of(evidence)).text.split("What the first source sees")[1].split("Time")[0]


def test_every_stage_has_its_picture_number_and_warning() -> None:
    text = section(ranking_evidence(stages=ALL, fine_tuned=2))
    for words in (
        f"240 labelled images as {FIRST} sees them", "connective", "inflammatory", "neoplastic",
        "Before fine-tuning", "After fine-tuning", "Under NCA", "Under LDA", "0.61 of neighbours agree",
        "0.91 of neighbours agree", "1,280", "Such pictures deceive", "By chance: 0.33",
        "fitted to the very labels that colour the dots, and fine-tuning has trained on them", "over-fitted",
    ):  # fmt: skip
        assert words in text, words
    assert "one dimension" not in text.replace("one or two dimensions", "") and "nothing to show" not in text


def test_without_fine_tuning_three_stages_are_shown_and_nothing_is_said_of_training() -> None:
    text = section(ranking_evidence(stages={"before": 512, "nca": 50, "lda": 2}))
    assert "After fine-tuning" not in text and "has trained on them" not in text and "Under LDA" in text


def test_dots_have_the_colour_of_their_class_in_every_chart() -> None:
    evidence = ranking_evidence(stages=ALL)
    (ranking,) = read_rankings(evidence)
    found = make_projections(evidence, ranking, "salt")
    assert found is not None and [key.name for key in found.legend] == [
        "connective",
        "inflammatory",
        "neoplastic",
    ]
    for stage in found.stages:
        assert stage.chart is not None
        for key in found.legend:
            assert len(re.findall(f"<use [^>]*fill: {key.colour.lower()}", stage.chart.svg)) == 80
        assert "240 dots" in stage.chart.description and stage.agreement in stage.chart.description


def test_places_are_those_of_the_evidence() -> None:
    evidence = ranking_evidence(stages={"before": 40, "lda": 1}, classes=("benign", "malignant"))
    (ranking,) = read_rankings(evidence)
    found = make_projections(evidence, ranking, "salt")
    assert found is not None and found.flat.startswith("Under LDA: one dimension only")
    table = evidence.tables["ranking_projections"]
    for stage, name in zip(found.stages, ("before", "lda"), strict=True):
        own = table[table["stage"] == name].sort_values("label", kind="stable")
        assert stage.chart is not None
        drawn = [float(x) for x in re.findall(r'<use [^>]* x="([^"]*)"', stage.chart.svg)]
        assert len(drawn) == 240
        assert pd.Series(drawn).corr(own["x"].reset_index(drop=True)) == pytest.approx(1)
    rows = [float(y) for y in re.findall(r'<use [^>]* y="([^"]*)"', found.stages[1].chart.svg)]  # type: ignore[union-attr]
    assert max(rows[:120]) < min(rows[120:]), "a row for each class"


def test_fewer_dots_than_images_are_said() -> None:
    evidence = ranking_evidence(stages=ALL)
    entry = dict(evidence.provenance[0], data={**evidence.provenance[0]["data"], "rows": 5000})
    assert "240 of 5,000 labelled images, drawn by class" in section(replace(evidence, provenance=(entry,)))


def test_what_is_undefined_has_its_reason() -> None:
    text = section(ranking_evidence(stages={"before": 9, "nca": 9, "lda": 0}))
    assert "Under LDA there is nothing to show. LDA needs more." in " ".join(text.split())
    nothing = section(ranking_evidence(stages={"before": 0, "nca": 0, "lda": 0}))
    assert (
        "NCA needs more." in nothing and "Such pictures deceive" not in nothing and "By chance" not in nothing
    )


def test_each_ranking_shows_its_own_and_evidence_added_twice_changes_nothing() -> None:
    evidence = ranking_evidence(stages=ALL, cohorts=("H&E nuclei", "tissue"), seeds=(0, 1))
    page = page_of(evidence)
    assert page.count("What the first source sees") == 4 and page_of(evidence + evidence) == page
    ids = Page(page).ids
    assert len(ids) == len(set(ids))
    assert "What the first source sees" not in page_of(ranking_evidence())


def test_hostile_names_of_classes_are_shown_and_not_run() -> None:
    page = page_of(ranking_evidence(stages=ALL, classes=("<script>alert(1)</script>", "b&_/")))
    assert "<script" not in page and "<script>alert(1)</script>" in Page(page).text


@pytest.mark.parametrize("stages", [{}, ALL, {"before": 12, "nca": 0, "lda": 0}])
def test_numbers_fit_the_schema(stages: dict[str, int]) -> None:
    made = report_numbers(ranking_evidence(stages=stages))
    assert problems(made, SCHEMA, SCHEMA) == []
    (ranking,) = made["source_rankings"]
    assert [one["stage"] for one in ranking["projections"]] == list(stages)
    for one in ranking["projections"]:
        assert (one["neighbours"] is None) == (one["dimensions"] == 0) == bool(one["reason"])


def test_tables_of_another_form_get_one_sentence() -> None:
    evidence = ranking_evidence(stages=ALL)
    for name, column in (("ranking_projections", "label"), ("ranking_projection_scores", "neighbours")):
        spoilt = evidence.tables | {name: evidence.tables[name].drop(columns=column)}
        with pytest.raises(DataError, match=f"The table '{name}' needs the columns .* but it lacks {column}"):
            page_of(replace(evidence, tables=spoilt))
