from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.reports.saved_models import SPEC, evaluated, saved_model
from tests.reports.test_report import Page

from medgraft.errors import DataError, ModelError
from medgraft.evidence import Evidence
from medgraft.reports import model_card
from medgraft.reports.cards.card import make_card
from medgraft.reports.cards.model_files import read_saved_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved_model(tmp_path / "runs" / "porto")


def text_of(model: Path, evidence: Evidence | None = None) -> str:
    path = model_card(model, model.parents[1] / "card.html", evidence)
    return Page(path.read_text("utf-8")).text


def test_a_card_says_what_for_from_what_how_good_and_where_not(model: Path) -> None:
    text = text_of(model, evaluated(model))
    for words in (
        "Model card: porto", "tells which one of benign and malignant an image shows", "no medical device",
        "resized to 96 × 96 pixels", "It began as packaged/efficientnet_lite0, trained on ImageNet-1k",
        "adapted by fine_tune, seed 1, epoch chosen by the rule 'target_validation'", "lungs at Porto", "1,240",
        "Its last training took 6 min 12 s", "balanced accuracy", "0.910 (0.870 to 0.940)", "61 patients",
        "Results by class", "malignant", "Subgroups", "It was not measured by sex, age, scanner",
        "lungs at Lyon: the images are simulated.", "3 images are copies of others", "and nowhere else",
        "efefef", "torch 2.10.0",
    ):  # fmt: skip
        assert words in text, words


def test_other_models_in_the_evidence_are_left_out(model: Path) -> None:
    assert "0.710" not in text_of(model, evaluated(model))  # the other model's score in Porto
    rows = {
        row[2].split()[0] for row in make_card(read_saved_model(model), evaluated(model)).sections[2].rows
    }
    assert rows == {"0.910", "0.940", "0.870", "0.900"}


def test_evidence_of_other_models_only_is_refused(model: Path) -> None:
    evidence = evaluated(model)
    facts = evidence.facts.query("subject == 'other'")
    with pytest.raises(DataError, match="evidence about porto, but this evidence is about other"):
        text_of(model, replace(evidence, facts=facts))


def test_the_oracle_is_no_result(model: Path) -> None:
    evidence = evaluated(model)
    twins = evidence.facts.assign(selection="oracle", value=0.999)
    text = text_of(model, replace(evidence, facts=twins.merge(evidence.facts, how="outer")))
    assert "0.999" not in text and "0.910" in text


def test_without_evidence_nothing_is_claimed(model: Path) -> None:
    text = text_of(model)
    assert "This model was not evaluated" in text and "Nothing is known about how good it is." in text
    assert "There are no results by subgroup" in text


def test_one_set_of_data_makes_no_subgroups(model: Path) -> None:
    assert "There are no results by subgroup: one set of data was measured." in text_of(
        model, evaluated(model, cohorts=("lungs at Porto",))
    )


def test_groups_of_patients_are_told_where_they_were_measured(model: Path) -> None:
    evidence = evaluated(model)
    line = {"cohort": "lungs at Porto", "split": "", "attribute": "sex", "metric": "balanced_accuracy"}
    groups = pd.DataFrame(
        [
            {**line, "subject": subject, "seed": seed, "group": group, "value": value, "low": value - 0.05,
             "high": value + 0.05, "n": n, "unit": "patients"}
            for subject, seed, group, value, n in (
                ("porto", 1, "F", 0.93, 31), ("porto", 1, "M", 0.84, 30), ("porto", 7, "F", 0.55, 31),
                ("other", 0, "F", 0.66, 31),
            )
        ]
    )  # fmt: skip
    groups["split"] = evidence.facts["split"].iloc[0]
    text = " ".join(text_of(model, replace(evidence, tables={"subgroups": groups})).split())
    assert "Measured by sex." in text and "It was not measured" not in text
    assert "sex: F balanced accuracy 0.930 (0.880 to 0.980) 31 patients" in text
    assert "sex: M balanced accuracy 0.840" in text
    assert "0.550" not in text and "0.660" not in text, "another seed, another model"


def test_no_patient_and_no_path_of_a_manifest_is_named(model: Path) -> None:
    spec = copy.deepcopy(SPEC)
    spec["provenance"]["adapted"][0]["source"]["name"] = "/home/anna/models/chexpert"
    other = saved_model(model.parents[1] / "again", spec)
    for text in (text_of(model, evaluated(model)), text_of(other)):
        assert "Anna" not in text and "/home" not in text
    assert "models/chexpert was adapted" in text_of(other)


def test_a_run_folder_will_do_and_a_copied_model_says_what_it_lacks(model: Path, tmp_path: Path) -> None:
    assert read_saved_model(model.parent) == read_saved_model(model)
    copied = tmp_path / "models" / "chest"
    copied.mkdir(parents=True)
    (copied / "model.json").write_bytes((model / "model.json").read_bytes())
    text = text_of(copied)
    assert "Model card: chest" in text and "run.json of its run, which is not here" in text


def test_markdown_holds_the_same_and_takes_names_literally(model: Path) -> None:
    path = model_card(model, model.parent / "card.md", evaluated(model))
    text = path.read_text("utf-8")
    assert text.startswith("# Model card: porto\n\n## Intended use\n")
    assert "| lungs at Porto, test | balanced accuracy | 0.910 (0.870 to 0.940) | 61 patients |" in text
    assert "fine\\_tune" in text and "## Limits" in text
    hostile = copy.deepcopy(SPEC) | {"classes": ["<b>a|b</b>", "c"]}
    text = model_card(saved_model(model.parents[1] / "x", hostile), model.parent / "x.md").read_text("utf-8")
    assert "\\<b\\>a\\|b\\</b\\>" in text and "<b>" not in text


def test_hostile_names_are_shown_and_not_run(model: Path) -> None:
    hostile = copy.deepcopy(SPEC) | {"classes": ["<script>alert(1)</script>", "c"]}
    other = saved_model(model.parents[1] / "x", hostile)
    page = model_card(other, model.parent / "x.html").read_text("utf-8")
    assert "<script" not in page and "<script>alert(1)</script>" in Page(page).text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("segment", "outlines b in an image"),
        ("encode", "turns an image into features"),
        ("detect", "finds a and b"),
    ],
)
def test_every_kind_of_model_has_its_sentence(tmp_path: Path, kind: str, words: str) -> None:
    spec = SPEC | {
        "kind": kind,
        "classes": ["a", "b"],
        "preparation": {"dimensions": 3, "spacing": [2, 1, 1]},
    }
    text = text_of(saved_model(tmp_path / "runs" / kind, spec))
    assert words in text and "Input: volumes" in text and "2 × 1 × 1 mm" in text


def test_what_is_no_model_gets_one_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder with model\.json"):
        model_card(tmp_path, tmp_path / "card.html")
    with pytest.raises(DataError, match=r"ends in \.html or \.md"):
        model_card(model, tmp_path / "card.pdf")
    (model / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json cannot be read"):
        model_card(model, tmp_path / "card.html")
    (model / "model.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ModelError, match="format 1"):
        model_card(model, tmp_path / "card.html")
    assert not (tmp_path / "card.html").exists()
