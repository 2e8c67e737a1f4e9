"""Tones of skin as columns of a new manifest, and the page about them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgraft.api.skin_tone import ANGLE, TYPE, measure_skin_tone
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.skin_tone import DRAWN, skin_tone_at_border
from medgraft.reports.skin_tone import skin_tone_page, tone_counts

COLOURS = {1: (240, 208, 185), 2: (222, 178, 140), 4: (186, 140, 100), 6: (100, 65, 45)}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Pictures of four colours, two patients of each, and one of blue cloth."""
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number, colour in enumerate([*2 * list(COLOURS.values()), (60, 80, 160)]):
        name = f"pictures/{number}.png"
        Image.fromarray(np.full((64, 64, 3), colour, np.uint8)).save(folder / name)
        rows.append({"image": name, "label": "ab"[number % 2], "patient": f"Anna {number}", "seen": ""})
    table = pd.DataFrame(rows)
    table["seen"] = ["1", "3", "4", "6", "1", "2", "4", "6", "-1"]
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.toml").write_text('classes = ["b", "a"]\n')
    return folder / "table.csv"


def test_the_new_table_has_the_tones_and_the_given_one_stays(manifest, tmp_path):
    before = manifest.read_bytes()
    out = tmp_path / "elsewhere" / "new.csv"
    found = measure_skin_tone(manifest, out)
    assert manifest.read_bytes() == before
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert table[TYPE].tolist() == [*2 * list(map(str, COLOURS)), ""] and table[ANGLE].iloc[-1] == ""
    angle = skin_tone_at_border(np.full((64, 64, 3), COLOURS[2], np.uint8)).angle
    assert float(table[ANGLE][1]) == pytest.approx(angle, abs=0.005)
    assert tone_counts(found)[:2] == [("type 1", 2), ("type 2", 2)] and tone_counts(found)[-1] == (
        "unknown",
        1,
    )
    moved, given = read_manifest(out), read_manifest(manifest)
    assert moved.classes == given.classes == ("b", "a"), "the sidecar goes along"
    assert moved.pixel_hashes().tolist() == given.pixel_hashes().tolist(), (
        "paths hold from where the table lies"
    )


def test_agreement_with_people_is_counted_by_hand(manifest, tmp_path):
    found = measure_skin_tone(manifest, tmp_path / "new.csv", human="seen")
    line, _ = found.tables["skin_tone_agreement"].to_dict("records")
    # of eight told ones the second differs by one step
    assert (line["exact"], line["within_one"], line["unknown"], line["n"]) == (7 / 8, 1.0, 0.0, 8)
    assert tone_counts(found)[2] == ("type 3", 0, 1)


def test_calibrated_thresholds_are_scored_on_patients_left_out(manifest, tmp_path):
    shifted = pd.read_csv(manifest, dtype=str)
    shifted["seen"] = [*2 * ["2", "3", "5", "6"], ""]  # people say one type darker, always
    shifted.to_csv(manifest, index=False)
    found = measure_skin_tone(manifest, tmp_path / "new.csv", human="seen", calibrate=True)
    lines = found.tables["skin_tone_agreement"].query("labeller == 'border'").set_index("how")
    assert lines.loc["published", "exact"] == 0.25 and lines.loc["calibrated", "n"] == 8
    assert lines.loc["calibrated", "thresholds"] != lines.loc["published", "thresholds"]
    written = pd.read_csv(tmp_path / "new.csv", dtype=str, keep_default_na=False)[TYPE]
    assert written.tolist() == [*2 * ["2", "3", "5", "6"], ""]


FRAMED = np.full((64, 64, 3), (186, 140, 100), np.uint8)
FRAMED[:, :20] = 128


def test_each_labeller_sees_a_grey_card_its_own_way_and_the_other_one_stands_beside(manifest, tmp_path):
    """Brown skin (type 4) with a grey card at the left: by the published rule the card is the lightest skin."""
    Image.fromarray(FRAMED).save(manifest.parent / "pictures" / "2.png")
    ways = {"border": {}, "border, as published": {"as_published": True}, "skin": {"labeller": "skin"}}
    for name, words in ways.items():
        out = tmp_path / f"{name}.csv"
        found = measure_skin_tone(manifest, out, human="seen", **words)
        written = pd.read_csv(out, dtype=str, keep_default_na=False)[TYPE]
        published = name.endswith("published")
        assert written[2] == ("1" if published else "4")
        assert written[8] == ("5" if published else ""), "blue cloth: arctan(-15 / -44) is 19 degrees"
        lines = found.tables["skin_tone_agreement"].set_index("labeller")
        other = "border" if name == "skin" else "skin"
        assert lines.index.tolist() == [name, other] and (lines["how"] == "published").all()
        # of eight told types people's second differs by one; the published rule also misses the card by three
        assert lines.loc[name, ["exact", "within_one"]].tolist() == (
            [6 / 8, 7 / 8] if published else [7 / 8, 1]
        )
        assert lines.loc[other, ["exact", "within_one"]].tolist() == [7 / 8, 1]
        page = skin_tone_page(found, tmp_path / "page.html").read_text("utf-8")
        assert ("Cyan" in page) == (name != "skin") and ("by the published rule" in page) == published


def test_balanced_calibration_keeps_the_rare_dark_type(manifest, tmp_path):
    """One picture of type 6 in the colour of two of type 4: by number the colour is type 4, by share 6."""
    colours = [COLOURS[4], COLOURS[4], COLOURS[4], COLOURS[1], COLOURS[4], COLOURS[4], COLOURS[4], COLOURS[1]]
    for number, colour in enumerate(colours):
        Image.fromarray(np.full((64, 64, 3), colour, np.uint8)).save(
            manifest.parent / f"pictures/{number}.png"
        )
    seen = ["4", "4", "6", "4", "4", "4", "6", "4", "-1"]
    pd.read_csv(manifest, dtype=str).assign(seen=seen).to_csv(manifest, index=False)
    for balanced, darkest in ((False, "4"), (True, "6")):
        out = tmp_path / f"{balanced}.csv"
        found = measure_skin_tone(manifest, out, human="seen", calibrate=True, balanced=balanced)
        assert pd.read_csv(out, dtype=str)[TYPE][:8].tolist() == [
            darkest if c == COLOURS[4] else "4" for c in colours
        ]
        assert found.provenance[0]["balanced"] is balanced


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"human": "seen", "balanced": True}, "nothing is calibrated"),
        ({"labeller": "face"}, "'border' or 'skin', but got 'face'"),
        ({"labeller": "skin", "as_published": True}, "no other rule"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(manifest, tmp_path, words, told):
    with pytest.raises(SettingsError, match=told):
        measure_skin_tone(manifest, tmp_path / "new.csv", **words)
    assert not (tmp_path / "new.csv").exists()


def test_the_page_shows_the_patch_and_no_name(manifest, tmp_path):
    found = measure_skin_tone(manifest, tmp_path / "new.csv", human="seen")
    assert len(found.images) == 9 and "Anna" not in str(found.tables)
    framed = [(picture == DRAWN).all(axis=2).any() for picture in found.images.values()]
    assert framed == [True] * 8 + [False]
    found.save(tmp_path / "evidence")
    page = skin_tone_page(tmp_path / "evidence", tmp_path / "page.html").read_text("utf-8")
    text = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "Of 9 images, 8 tell a tone" in text and "type 1, 66.4°; people: 1" in text
    assert "Images by Fitzpatrick type: type 1: 2, 2" in page
    bare = skin_tone_page(found, tmp_path / "bare.html", images=False).read_text("utf-8")
    assert "data:image" not in bare


@pytest.mark.parametrize("cells", [["7", *8 * ["1"]], ["dark", *8 * ["1"]], 9 * [""], ["2.5", *8 * ["1"]]])
def test_other_words_of_people_are_refused(manifest, tmp_path, cells):
    pd.read_csv(manifest, dtype=str).assign(seen=cells).to_csv(manifest, index=False)
    with pytest.raises(DataError, match="types from 1 to 6") as told:
        measure_skin_tone(manifest, tmp_path / "new.csv", human="seen")
    assert "dark" not in str(told.value) and not (tmp_path / "new.csv").exists()


def test_grey_pictures_are_refused_by_row(manifest, tmp_path):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(manifest.parent / "pictures" / "4.png")
    with pytest.raises(ShapeError, match="row 5") as told:
        measure_skin_tone(manifest, tmp_path / "new.csv")
    assert "grey" in str(told.value) and not (tmp_path / "new.csv").exists()


def test_nothing_that_is_there_is_changed(manifest, tmp_path):
    for out in (manifest, manifest.parent, tmp_path / "new.txt"):
        with pytest.raises(DataError, match="Choose another name"):
            measure_skin_tone(manifest, out)
    with pytest.raises(SettingsError, match="no column is named"):
        measure_skin_tone(manifest, tmp_path / "new.csv", calibrate=True)
    with pytest.raises(DataError, match="none of that name"):
        measure_skin_tone(manifest, tmp_path / "new.csv", human="said")
    measure_skin_tone(manifest, tmp_path / "new.csv")
    with pytest.raises(DataError, match="no column of these names"):
        measure_skin_tone(tmp_path / "new.csv", tmp_path / "newer.csv")


def test_a_page_needs_measured_tones(tmp_path):
    from medgraft.evidence import Evidence

    with pytest.raises(DataError, match="measured tones"):
        skin_tone_page(Evidence(), tmp_path / "page.html")
