"""The section about stains, from tables written by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.reports.schema_check import problems
from tests.reports.test_report import Page

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports import report_numbers
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.report import make_page
from medgraft.reports.stains import SITE_COLOURS, stain_comparisons

SITES = ("Basel", "Porto", "Lyon")
OVERLAPS = {"before": (0.1, 0.3), "after": (0.7, 0.9)}
AGREEMENTS = {"before": (0.4, 0.4), "after": (0.5, 0.7)}


def stains(sites: tuple[str, ...] = SITES, seed: int = 0, agreements: dict | None = None) -> Evidence:
    count, about = len(sites), {"cohort": "tiles", "reference": sites[0], "seed": seed}
    numbers = {"saturation_mean": 0.5, "saturation_sd": 0.1, "value_mean": 0.7, "value_sd": 0.05}
    spread = pd.DataFrame(
        {"site": sites, "tiles": 9, "hue_mean": [355.0, 5.0, *[300.0] * (count - 2)], "hue_sd": 4.0}
    )
    spread = spread.assign(**numbers, lab_distance=np.arange(count) * 7.25)
    rng = np.random.default_rng(seed)
    planes, overlaps = [], []
    for subject in OVERLAPS:
        for place, site in enumerate(sites):
            xy = rng.uniform(size=(6, 2))
            labels = ["tumour", "stroma"] * 3
            planes.append(
                pd.DataFrame(
                    {"subject": subject, "site": site, "label": labels, "x": xy[:, 0], "y": xy[:, 1]}
                )
            )
            known = place - 1 if place else None
            overlap = np.nan if known is None else OVERLAPS[subject][known % 2]
            agreement = 0.8 if known is None else (agreements or AGREEMENTS)[subject][known % 2]
            overlaps.append(
                {"subject": subject, "site": site, "balanced_accuracy": 1 - overlap / 2, "overlap": overlap}
                | {"class_agreement": agreement, "reason": ""}
            )
    names = [f"stain_gallery/{site}/{how}" for site in sites for how in ("as it is", "Reinhard")]
    gallery = pd.DataFrame(
        {"site": np.repeat(sites, 2), "normaliser": ["as it is", "Reinhard"] * count, "image": names}
    ).assign(changed=[False, True] * (count - 1) + [False, False])
    scores = [
        {
            "subject": subject,
            "cohort": "tiles",
            "split": "test",
            "seed": 0,
            "attribute": "site",
            "group": site,
        }
        | {"metric": metric, "value": value, "low": value, "high": value, "n": 4, "unit": "patients"}
        for subject in OVERLAPS
        for site in sites
        for metric, value in (("balanced_accuracy", 0.61), ("auroc", 0.92))
    ]
    tables = {
        "stain_spread": spread, "stain_gallery": gallery, "stain_features": pd.concat(planes, ignore_index=True),
        "stain_overlap": pd.DataFrame(overlaps),
    }  # fmt: skip
    tables = {name: table.assign(**about) for name, table in tables.items()}
    pixels = {name: np.full((8, 8, 3), 7 * place, np.uint8) for place, name in enumerate(names)}
    return Evidence(tables=tables | {"subgroups": pd.DataFrame(scores)}, images=pixels)


def test_words_come_first_which_laboratory_is_farthest_and_the_overlap_before_and_after() -> None:
    (found,) = stain_comparisons(stains())
    assert found.sentences == [
        "Of 2 laboratories, Lyon is farthest from Basel in mean colour (14.5 units of CIELAB) and Porto nearest (7.2).",
        "In features, the other laboratories overlap with Basel by 0.20 for before, then 0.80 for after on average (0: "
        "always told apart, 1: never).",
        "The share of nearest neighbours there that are of the same class is 0.40 for before, then 0.60 for after.",
    ]  # fmt: skip
    page = Page(make_page(stains(), images=True, title="x"))
    assert page.text.index("Lyon is farthest") < page.text.index("Colours of each laboratory")


def test_more_overlap_with_less_class_agreement_is_called_no_gain() -> None:
    (found,) = stain_comparisons(stains(agreements={"before": (0.6, 0.6), "after": (0.4, 0.4)}))
    assert found.sentences[-1].endswith("such overlap is no gain.")


def test_the_tables_hold_the_numbers_of_every_laboratory() -> None:
    (found,) = stain_comparisons(stains())
    assert found.rows[1] == ("Porto", ["5° ± 4°", "0.50 ± 0.10", "0.70 ± 0.05", "7.2", "9"])
    assert found.overlap_headings == ["overlap", "class agreement", "balanced accuracy", "AUROC"]
    assert found.overlap_rows[0] == ("Basel", ["–", "0.80", "0.61", "0.92"] * 2)
    assert found.overlap_rows[2] == ("Lyon", ["0.30", "0.40", "0.61", "0.92", "0.90", "0.70", "0.61", "0.92"])
    assert found.chance == "0.50"


def test_hues_on_both_sides_of_red_stand_side_by_side() -> None:
    """355 and 5 degrees: the axis goes on beyond 360 and says 0 again."""
    (found,) = stain_comparisons(stains(SITES[:2]))
    ticks = [int(text) for text in re.findall(r">(\d+)</text>", found.charts[0].svg)]
    assert ticks == sorted(ticks, key=lambda degrees: (degrees + 180) % 360)
    assert 0 in ticks and min(ticks) < 10 and 350 < max(ticks) < 360


def test_colours_tell_laboratories_and_markers_classes() -> None:
    sites = tuple(f"site {number}" for number in range(11))
    (found,) = stain_comparisons(stains(sites))
    drawn = [key.colour for key in found.sites]
    assert len(set(drawn[:9])) == 9 and drawn[1:9] == list(SITE_COLOURS) and drawn[9] == drawn[10]
    assert [key.name for key in found.classes] == ["stroma", "tumour"]
    assert len({key.marker for key in found.classes}) == 2
    assert "66 tiles" in found.planes[0].chart.description


def test_pictures_are_dropped_where_none_may_be_shown() -> None:
    evidence = stains()
    page, plain = (make_page(evidence, images=images, title="x") for images in (True, False))
    assert page.count("data:image/png") == 6 and "too little tissue: as it is" in page
    assert "data:image" not in plain and "What normalisers make" not in plain and "Reinhard" in page
    for text in (page, plain):
        shown = Page(text)
        assert "Recorded on the way" not in shown.text and len(shown.ids) == len(set(shown.ids))
    assert "6 pictures of the evidence are left out" in Page(plain).text


def test_two_comparisons_have_a_section_each() -> None:
    found = stain_comparisons(stains() + stains(seed=1))
    assert [one.anchor for one in found] == ["stains", "stains-2"]
    page = Page(make_page(stains() + stains(seed=1), images=True, title="x"))
    assert len(page.ids) == len(set(page.ids))


def test_numbers_fit_the_schema() -> None:
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    numbers = report_numbers(stains())
    assert problems(numbers, schema, schema) == []
    assert numbers["stain_overlaps"][1]["overlap"] == 0.1 and numbers["stain_overlaps"][0]["overlap"] is None
    assert numbers["stain_spreads"][2]["lab_distance"] == 14.5


def test_a_table_of_another_form_is_refused_and_none_is_nothing() -> None:
    tables = {"stain_spread": stains().tables["stain_spread"].drop(columns="hue_sd")}
    with pytest.raises(DataError, match="'stain_spread' needs the column 'hue_sd'"):
        stain_comparisons(Evidence(tables=tables))
    assert stain_comparisons(Evidence()) == []
