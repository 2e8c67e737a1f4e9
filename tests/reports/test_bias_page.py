"""What an audit measured, as the page tells it: in words first, never the gap alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from tests.reports.bias_evidence import audited, compared, line
from tests.reports.schema_check import problems

from medgraft.evidence import Evidence
from medgraft.reports import report, report_numbers
from medgraft.reports.bias import bias_views, reader_points, readers_shown
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.panels import make_panels


def view(evidence: Evidence):
    (found,) = bias_views(evidence, make_panels(evidence)[0], "panel 1")
    return found


def test_the_first_sentence_tells_all_of_it():
    assert view(audited()).sentences == [
        "AUROC is 0.81 for all, 0.60 where attribute and label go against what it was trained on, 0.95 where they go "
        "with it; worst group: tone dark, 0.70 (0.60 to 0.80); gap between the best and the worst group: 0.20 "
        "(0.10 to 0.30)."
    ]


def test_a_gap_that_shrinks_because_good_groups_became_worse_is_called_damage():
    found = view(audited(("plain", "blunted", "helped")))
    by_name = {sentence.split(",")[0]: sentence for sentence in found.changes}
    assert "that is damage" in by_name["blunted"] and "damage" not in by_name["helped"]
    assert by_name["helped"] == (
        "helped, beside plain: AUROC \N{MINUS SIGN}0.01 for all, +0.15 against training, +0.08 in the worst group and "
        "\N{MINUS SIGN}0.14 in the gap."
    )


def test_differences_have_intervals_where_patients_were_resampled_for_both():
    found = view(compared(audited(("plain", "blunted", "helped"))))
    assert found.first == "plain"
    by_name = {sentence.split(",")[0]: sentence for sentence in found.changes}
    assert "Intervals without 0: against training and in the gap; the others hold 0." in by_name["helped"]
    assert "Intervals without 0: for all and in the gap; the others hold 0." in by_name["blunted"]
    narrow = view(compared(audited(("plain", "helped")), all=0.001, worst=0.01))
    assert narrow.changes[0].endswith("for all, against training, in the worst group and in the gap.")
    ((name, table),) = found.differences
    assert name == "AUROC"
    assert table.headings == ["all", "against training", "with training", "worst group", "gap"]
    assert {name: cells[1].shown for name, cells in table.rows} == {"blunted": "0.020", "helped": "0.150"}
    assert table.rows[0][1][4].interval == "\N{MINUS SIGN}0.240 to \N{MINUS SIGN}0.040"
    wide = view(compared(audited(("plain", "helped")), conflicting=0.5, gap=0.5))
    assert "Every interval of these differences holds 0: they may be chance." in wide.changes[0]
    assert view(audited(("plain", "helped"))).differences == []


def test_the_gap_by_chance_stands_beside_it():
    evidence = audited()
    table = evidence.tables["bias"]
    chance = [
        line("plain", "gap_by_chance", 0.12, metric=metric) for metric in ("auroc", "balanced_accuracy")
    ]
    found = view(
        replace(evidence, tables=evidence.tables | {"bias": pd.concat([table, pd.DataFrame(chance)])})
    )
    assert found.sentences[0].endswith(
        "0.20 (0.10 to 0.30); by chance alone it would be 0.12 (0.02 to 0.22)."
    )
    assert found.tables[0][1].headings[-2:] == ["gap", "gap by chance"]


def test_the_gap_never_stands_alone():
    for _, table in view(audited(reference=False)).tables:
        assert table.headings == ["all", "worst group", "gap"]
    assert view(audited()).tables[0][1].headings == [
        "all",
        "against training",
        "with training",
        "worst group",
        "gap",
    ]


def test_without_training_rows_the_page_says_what_is_not_known():
    assert "Training data were not named" in view(audited(reference=False)).training
    assert "Cramér's V of 0.65" in view(audited()).training
    weak = audited()
    weak.tables["bias"].loc[weak.tables["bias"]["part"] == "association", "value"] = 0.05
    assert "differ by chance" in view(weak).training


@pytest.mark.parametrize("beside", [True, False])
def test_a_probe_is_said_to_prove_nothing_alone(beside):
    found = view(audited(beside=beside))
    assert "Alone this proves nothing" in found.probe_words
    assert ("Only what differs from fair" in found.probe_words) is beside
    assert ("No unbiased model stands beside" in found.probe_words) is not beside
    assert [name for name, _ in found.probes.rows] == ["plain", *(["fair (beside)"] if beside else [])]


def test_groups_that_are_not_scored_are_named_and_have_no_curve():
    found = view(audited())
    assert found.left_out == ["pale (one class only)"]
    assert [chart.caption for chart in found.rocs] == ["tone light, 50 images", "tone dark, 50 images"]
    assert "dark: 0.700" in found.groups[0].description and "pale" not in found.groups[0].description


def test_readers_stand_in_the_curves_of_what_they_read():
    evidence = audited()
    panel = make_panels(evidence)[0]
    assert reader_points(evidence, panel, 1) == [pytest.approx((0.3, 0.9))]
    assert reader_points(evidence, panel, 1, "tone", "dark") == [pytest.approx((0.5, 0.6))]
    assert reader_points(evidence, panel, 1, "tone", "light") == [], "an undefined point is not drawn"
    (reader,) = readers_shown(evidence, panel)
    assert (reader.name, reader.images, reader.sensitivity.interval) == ("A", 100, "0.80 to 1.00")
    charts = [chart.description for chart in view(evidence).rocs]
    assert charts[1].endswith("and 1 operating point of readers.") and "operating" not in charts[0]


def test_a_page_is_made_from_the_file_alone(tmp_path):
    audited(("plain", "blunted")).save(tmp_path / "evidence")
    page = report(tmp_path / "evidence", tmp_path / "page.html").read_text("utf-8")
    text = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    for words in (
        "Who is it worse for? By tone",
        "proves nothing",
        "What readers said",
        "ROC curves of groups",
    ):
        assert words in text
    assert "These differences have no intervals" in text
    page = report(compared(audited(("plain", "blunted"))), tmp_path / "page.html").read_text("utf-8")
    assert "Against plain: AUROC" in page and "These differences have no intervals" not in page
    assert "Recorded on the way" not in text + page, "the tables have a place of their own"


def test_without_an_audit_nothing_of_it_is_shown(tmp_path):
    evidence = audited(readers=False)
    for name in ("bias", "bias_groups", "bias_probes"):
        del evidence.tables[name]
    page = report(evidence, tmp_path / "page.html").read_text("utf-8")
    assert "worse for" not in page and "What readers said" not in page


def test_the_numbers_hold_all_of_an_audit():
    found = report_numbers(audited(("plain", "helped")))
    audits = {each["subject"]: each["audits"] for each in found["cohorts"][0]["subjects"]}
    told = {(one["part"], one["group"]): one["value"] for one in audits["helped"] if one["metric"] == "auroc"}
    assert told == {
        ("all", ""): 0.80, ("conflicting", ""): 0.75, ("aligned", ""): 0.84, ("worst", ""): 0.78,
        ("gap", ""): pytest.approx(0.06), ("group", "light"): 0.9, ("group", "dark"): 0.7,
    }  # fmt: skip
    assert audits["plain"] and not found["cohorts"][0]["subjects"][0]["audit_differences"]
    found = report_numbers(compared(audited(("plain", "helped"))))
    told = {each["subject"]: each["audit_differences"] for each in found["cohorts"][0]["subjects"]}
    assert told["plain"] == [] and len(told["helped"]) == 5
    assert told["helped"][1]["reference"] == "plain" and told["helped"][1]["part"] == "conflicting"
    assert told["helped"][1]["difference"] == pytest.approx(0.15)
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    assert problems(json.loads(json.dumps(found, allow_nan=False)), schema, schema) == []
