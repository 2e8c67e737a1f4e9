"""`medgraft report`: page, numbers and card from the command line."""

from __future__ import annotations

import json

import pytest
from tests.reports.grid_evidence import grid_evidence
from tests.reports.saved_models import evaluated, saved_model


@pytest.fixture
def folder(tmp_path):
    grid_evidence(seeds=1, targets=("Porto",)).save(tmp_path / "grid" / "evidence")
    return tmp_path


def test_a_grid_gives_a_page_and_its_numbers(medgraft, folder):
    told = medgraft("report", folder / "grid", "--out", folder / "r.html", "--json", folder / "r.json")
    assert told.exit_code == 0 and "Report: " in told.stdout and "Numbers: " in told.stdout
    assert "Critical difference" in (folder / "r.html").read_text("utf-8")
    assert json.loads((folder / "r.json").read_text("utf-8"))["schema"] == "medgraft.report/1"


def test_a_card_is_written_with_and_without_evidence(medgraft, folder):
    model = saved_model(folder / "runs" / "porto")
    evaluated(model).save(folder / "results")
    medgraft("report", "--card", model, "--out", folder / "card.html")
    assert "not evaluated" in (folder / "card.html").read_text("utf-8")
    medgraft("report", folder / "results", "--card", model, "--out", folder / "card.md")
    assert "0.910" in (folder / "card.md").read_text("utf-8")


def test_what_cannot_be_reported_ends_in_one_sentence(refused, folder):
    assert "a folder of evidence, but none was named" in refused("report")
    assert "--card or --json" in refused("report", "--card", folder, "--json", folder / "r.json")
    assert "a folder with model.json" in refused("report", "--card", folder)
