"""`medgraft evaluate` of a segmentation: surface scores where spacings are known."""

from __future__ import annotations

import pandas as pd
import pytest

from medgraft.evidence import Evidence
from medgraft.testing import make_model

SETTINGS = ("--split", "all", "--classes", "background,disc", "--device", "cpu")


@pytest.fixture
def segmented(on_disk, tmp_path):
    """A table of images with masks, and a model that has never seen any."""
    return on_disk("segment"), make_model("segment").save(tmp_path / "model")


def test_the_tolerance_is_chosen_on_the_command_line(medgraft, segmented, tmp_path):
    table, model = segmented
    rows = pd.read_csv(table).assign(spacing_mm=1.5)
    rows.to_csv(table, index=False)
    words = ("evaluate", model, table, *SETTINGS, "--out", tmp_path / "out")
    result = medgraft(*words, "--tolerance-mm", "3")
    assert result.exit_code == 0, result.output
    facts = Evidence.load(tmp_path / "out" / "evidence").facts
    assert {"surface_dice_3mm", "hd95_mm", "dice"} <= set(facts["metric"])
    assert (
        "surface_dice_3mm" in result.output
        and "surface Dice at 3 mm" in (tmp_path / "out/report.html").read_text()
    )


def test_without_spacings_one_warning_says_what_is_missing(medgraft, segmented, tmp_path):
    table, model = segmented
    words = ("evaluate", model, table, *SETTINGS, "--out", tmp_path / "out")
    result = medgraft(*words)
    told = [line for line in result.stderr.splitlines() if "surface" in line]
    assert len(told) == 1 and "the column 'spacing_mm' of the manifest may" in told[0]


def test_a_negative_tolerance_is_refused(medgraft, segmented, tmp_path):
    table, model = segmented
    result = medgraft("evaluate", model, table, "--out", tmp_path / "out", "--tolerance-mm", "-1")
    assert result.exit_code == 2 and "tolerance-mm" in result.stderr


def test_groups_are_named_on_the_command_line(medgraft, segmented, tmp_path):
    table, model = segmented
    rows = pd.read_csv(table)
    rows.assign(scanner=["old", "new"] * (len(rows) // 2)).to_csv(table, index=False)
    words = ("evaluate", model, table, *SETTINGS, "--out", tmp_path / "out", "--by")
    result = medgraft(*words, "scanner", "--by", "site")
    assert result.exit_code == 0, result.output
    assert "dice, scanner several" in result.output and "dice, site A" in result.output
    assert "Dice by scanner" in (tmp_path / "out/report.html").read_text()
    wrong = medgraft(*words, "scannr")
    assert wrong.exit_code == 2 and "there is none of that name" in wrong.stderr
