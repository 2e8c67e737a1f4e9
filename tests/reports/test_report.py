from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.evidence import Evidence, fact
from medgraft.reports import report
from medgraft.reports import report as report_function
from medgraft.reports.report import make_page

VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script>&\"$%s"


class Page(HTMLParser):
    """Checks that tags nest, and collects ids, resources, elements and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.resources: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "srcset", "poster", "data", "action") or (
                name == "href" and tag in ("link", "image")
            ):
                self.resources.append(str(value))
            if name == "href" and str(value).startswith("#"):
                self.targets.append(str(value)[1:])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def page(evidence: Evidence) -> str:
    return make_page(evidence, images=True, title="A demo")


def small(**changes: object) -> Evidence:
    row = fact(subject="probe", cohort="Porto", metric="auroc", value=0.8)
    return Evidence(pd.DataFrame([row | changes]))  # type: ignore[operator]


def test_the_page_is_one_well_formed_file(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.targets) <= set(parsed.ids)
    assert parsed.tags.count("section") == 3


def test_nothing_is_loaded_from_outside(page: str) -> None:
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert all(resource.startswith("data:image/") for resource in Page(page).resources)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "script" not in Page(page).tags
    assert "default-src 'none'" in page


def test_a_report_is_small_and_the_same_each_time(page: str, evidence: Evidence) -> None:
    assert len(page) < 1_000_000
    assert make_page(evidence, images=True, title="A demo") == page


def test_every_part_is_there(page: str) -> None:
    text = Page(page).text
    for words in (
        "Read this before the numbers", "the truth is silver", "27 blocks of one slide, not patients",
        "Is the difference real?", "full fine-tuning minus 12x12 pixels: +0.010 in balanced accuracy "
        "(95 % interval −0.040 to 0.060), over 3 seeds and 27 blocks of one slide: no difference shown.",
        "All scores", "Recall by class", "Which class is taken for which", "ROC curves",
        "Can the confidence be believed?", "Examples, worst cases first", "Training", "What was done",
        "train 120 · validation 60 · test 420", "medgraft demo --out medgraft-demo", "9f" * 32, "6 min 12 s",
        "310 loaded, 1 dropped, 2 new tensors", "torch 2.10.0",
    ):  # fmt: skip
        assert words in text, words


def test_without_images_no_picture_remains_and_the_page_says_so(evidence: Evidence) -> None:
    pictures = replace(evidence, images=evidence.images | {"overlay": np.zeros((5, 5, 3), np.uint8)})
    without = make_page(pictures, images=False, title="x")
    assert "data:image" not in without and "img" not in Page(without).tags
    assert f"{len(pictures.images)} pictures of the evidence are left out" in Page(without).text
    assert "svg" in Page(without).tags
    assert "data:image" in make_page(pictures, images=True, title="x")


def test_hostile_names_are_shown_and_not_run() -> None:
    rows = [
        fact(
            subject=HOSTILE,
            cohort=HOSTILE,
            metric=m,
            part=p,
            seed=s,
            value=0.5,
            low=0.4,
            high=0.6,
            n=9,
            unit=HOSTILE,
        )
        for s in range(2)
        for m, p in (("accuracy", ""), (HOSTILE, ""), ("recall", HOSTILE))
    ]
    table = pd.DataFrame(
        {"row": [1, 2], "truth": [0, 1], "predicted": [0, 0], "p_0": [0.9, 0.6], "p_1": [0.1, 0.4]}
    )
    example = {"image": HOSTILE, "subject": HOSTILE, "row": HOSTILE, "truth": HOSTILE, "predicted": HOSTILE}
    nasty = Evidence(
        pd.DataFrame(rows),
        ({"what": HOSTILE, "subject": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}, "versions": {HOSTILE: HOSTILE}},),
        {
            f"predictions/{HOSTILE}/0": table,
            f"history/{HOSTILE}/0": pd.DataFrame({"epoch": [0, 1], "loss": [1.0, 0.5]}),
            f"classes/{HOSTILE}": pd.DataFrame({"index": [0, 1], "name": [HOSTILE, HOSTILE + "2"]}),
            f"plan/{HOSTILE}": pd.DataFrame([[HOSTILE] * 4], columns=["tensor", "outcome", "from", "to"]),
            "comparisons": pd.DataFrame(
                [
                    {
                        "subject": HOSTILE,
                        "reference": HOSTILE,
                        "metric": HOSTILE,
                        "difference": 0,
                        "low": -1,
                        "high": 1,
                    }
                ]
            ),
            "examples": pd.DataFrame([example]),
            HOSTILE: pd.DataFrame({HOSTILE: [HOSTILE]}),
        },
        {HOSTILE: np.zeros((4, 4, 3), np.uint8), HOSTILE + "2": np.zeros((4, 4, 3), np.uint8)},
        (HOSTILE,),
    )
    text = make_page(nasty, images=True, title=HOSTILE)
    parsed = Page(text)
    assert "script" not in parsed.tags and "<script" not in text
    assert parsed.text.count("<script>alert('x')</script>&\"$%s") > 15


def test_the_report_needs_no_torch(tmp_path: Path) -> None:
    small().save(tmp_path / "evidence")
    code = (
        "import sys; from medgraft.reports import report; "
        f"report({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.html')!r}); "
        "heavy = {'torch', 'timm', 'sklearn', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "0.800" in (tmp_path / "r.html").read_text("utf-8")


def test_writing_makes_folders_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.html"
    assert report(small(), path) == path
    report(small(value=0.9), str(path), title="Second")
    assert "0.900" in path.read_text("utf-8") and "<h1>Second</h1>" in path.read_text("utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["r.html"]


def test_a_failing_report_leaves_the_earlier_one(tmp_path: Path) -> None:
    report(small(), tmp_path / "r.html")
    with pytest.raises(DataError, match="needs evidence with facts"):
        report_function(Evidence.empty(), tmp_path / "r.html")
    assert "0.800" in (tmp_path / "r.html").read_text("utf-8")


def test_a_folder_as_path_or_a_folder_without_evidence_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder\. Add a name"):
        report(small(), tmp_path)
    with pytest.raises(DataError, match="the folder does not exist"):
        report(tmp_path / "nowhere", tmp_path / "r.html")


def test_groups_of_patients_stand_side_by_side(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert "Balanced accuracy by scanner" in text and "old (11 blocks) not told (4 blocks)" in text
    assert "Each group is scored by itself" in text
    assert "subgroups" not in text, "the table is not shown twice"


def test_one_number_is_enough_for_a_report() -> None:
    text = Page(make_page(small(), images=True, title="x")).text
    assert "probe reaches a AUROC" not in text
    assert "AUROC of probe: 0.800 (no interval)." in text
    assert "Left out here: intervals (the facts have none); confusion, calibration and ROC curves" in text
    assert "example images" in text
    assert "The evidence does not tell how it was made." in text


def test_undefined_scores_are_said_to_be_undefined() -> None:
    text = Page(make_page(small(value=np.nan), images=True, title="x")).text
    assert "No subject has a defined AUROC." in text
    assert "undefined" in text


def test_segmentation_is_compared_by_patient() -> None:
    rows = [
        fact(subject=s, cohort="Porto", metric=m, part=p, seed=seed, value=v, low=v - 0.1, high=v + 0.05, n=4,
             unit="patients")
        for s, v in (("all", 0.9), ("scratch", 0.5))
        for m in ("dice", "iou")
        for p in ("", "liver", "tumour")
        for seed in (0, 1)
    ]  # fmt: skip
    scores = pd.DataFrame(
        {
            "cohort": "Porto",
            "split": "test",
            "unit": [0, 0, 1, 1],
            "part": ["liver", "tumour"] * 2,
            "dice": [0.9, 0.7, 1, 0.4],
            "iou": 0.5,
        }
    )
    tables = {f"scores/{s}/{seed}": scores for s in ("all", "scratch") for seed in (0, 1)}
    text = Page(make_page(Evidence(pd.DataFrame(rows), tables=tables), images=True, title="x")).text
    assert "The highest Dice is that of all: 0.900 (95 % interval 0.800 to 0.950)" in text
    assert "Dice by class" in text and "IoU by class" in text and "Unit by unit" in text
    assert "0.750 0.700 to 0.800" in text  # medians of the two patients, whose means are 0.8 and 0.7
    assert "confusion" not in text


def test_several_labels_per_image_are_counted_by_label() -> None:
    table = pd.DataFrame(
        {
            "row": [1, 2, 3], "truth_0": [1, 0, np.nan], "truth_1": [0, 1, 1], "predicted_0": [1, 1, 0],
            "predicted_1": [0, 0, 1], "p_0": [0.9, 0.6, 0.2], "p_1": [0.1, 0.4, 0.7],
        }
    )  # fmt: skip
    tables = {
        "predictions/probe/0": table,
        "classes/Porto": pd.DataFrame({"index": [0, 1], "name": ["mass", "edema"]}),
    }
    text = Page(make_page(replace(small(), tables=tables), images=True, title="x")).text
    assert "mass 1 0 1 0 100 % 0 %" in text
    assert "edema 1 1 0 1 50 % 100 %" in text


def test_two_cohorts_get_a_panel_each_with_their_own_predictions(evidence: Evidence) -> None:
    table = pd.DataFrame(
        {
            "cohort": "grey",
            "split": "test",
            "row": [1, 2],
            "truth": [0, 1],
            "predicted": [0, 0],
            "p_0": [0.9, 0.6],
            "p_1": [0.1, 0.4],
        }
    )
    second = Evidence(
        pd.DataFrame([fact(subject="linear probe", cohort="grey", metric="accuracy", value=0.5)]),
        tables={"predictions/linear probe/0": table},
    )
    both = Page(make_page(evidence + second, images=True, title="x"))
    assert both.tags.count("section") == 4
    assert "class 0" in both.text  # the second cohort's classes have no names
    assert "test · 1 subject · 1 seed · 2 images" in both.text
    assert "5 subjects · 3 seeds · 420 images" in both.text


def test_tables_of_runs_are_shown_without_columns_of_patients() -> None:
    recorded = pd.DataFrame(
        {"cluster": range(20), "patient": "Anna Schmidt", "unit": "A. S.", "size": 0.123456}
    )
    text = Page(make_page(replace(small(), tables={"clusters": recorded}), images=True, title="x")).text
    assert "clusters" in text and "0.1235" in text and "8 more rows" in text
    assert "Anna" not in text and "A. S." not in text
