"""`medgraft skin-tone`, as words of a command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

SKIN = ((240, 208, 185), (222, 178, 140), (222, 178, 140), (100, 65, 45))


@pytest.fixture
def table(tmp_path):
    for number, colour in enumerate(SKIN):
        Image.fromarray(np.full((40, 40, 3), colour, np.uint8)).save(tmp_path / f"{number}.png")
    pd.DataFrame(
        {"image": [f"{n}.png" for n in range(4)], "label": list("abab"), "seen": [1, 2, 3, 6]}
    ).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_histogram_and_agreement_are_printed_and_a_page_is_written(medgraft, table, tmp_path):
    words = ("--out", tmp_path / "new.csv", "--human", "seen", "--page", tmp_path / "page.html")
    told = medgraft("skin-tone", table, *words)
    assert told.exit_code == 0, told.output
    assert "type 2        2  " + 40 * "#" + "   people: 1" in told.stdout
    assert "exact 0.75, within one type 1.00, unknown 0.00, 4 images" in told.stdout
    assert (tmp_path / "page.html").read_text("utf-8").count("data:image") == 4
    assert pd.read_csv(tmp_path / "new.csv")["fitzpatrick_ita"].tolist() == [1, 2, 2, 6]


def test_quiet_says_nothing_and_the_manifest_is_never_written(medgraft, refused, table, tmp_path):
    assert medgraft("skin-tone", table, "--out", tmp_path / "new.csv", "--quiet").output == ""
    assert "the manifest itself" in refused("skin-tone", table, "--out", table)


def test_labellers_and_calibration_are_chosen_by_words(medgraft, refused, table, tmp_path):
    """On a picture with a grey card at the left the published rule says type 1; skin itself is brown (4)."""
    picture = np.full((40, 40, 3), (186, 140, 100), np.uint8)
    picture[:, :12] = 128
    Image.fromarray(picture).save(tmp_path / "0.png")
    for words, kind in ((["--as-published"], 1), (["--labeller", "skin"], 4), ([], 4)):
        told = medgraft("skin-tone", table, "--out", tmp_path / "new.csv", "--human", "seen", *words)
        assert told.exit_code == 0, told.output
        assert pd.read_csv(tmp_path / "new.csv")["fitzpatrick_ita"][0] == kind
        assert told.stdout.count("people, skin, published") == 1 == told.stdout.count("people, border")
    words = ("skin-tone", table, "--out", tmp_path / "other.csv")
    assert "no other rule" in refused(*words, "--labeller", "skin", "--as-published")
    assert "nothing is calibrated" in refused(*words, "--human", "seen", "--balanced")
    told = medgraft(*words, "--human", "seen", "--calibrate", "--balanced")
    assert told.exit_code == 0 and "calibrated thresholds" in told.stdout
