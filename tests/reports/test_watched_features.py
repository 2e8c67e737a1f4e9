from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.reports.schema_check import problems
from tests.reports.test_report import Page

from medgraft.evidence import Evidence, fact
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.report import make_page
from medgraft.reports.training_numbers import training_numbers
from medgraft.reports.watched_features import feature_charts, feature_courses, feature_planes


def looks(first: float, last: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 10], "effective_rank": [9.0, 4.0],
            "neighbours_balanced_accuracy": [0.5, 0.6], "neighbours_auroc": [0.5, 0.7],
            "linear_balanced_accuracy": [0.5, 0.7], "linear_auroc": [first, last],
        }
    )  # fmt: skip


@pytest.fixture
def evidence() -> Evidence:
    history = pd.DataFrame(
        {"epoch": [0, 1], "loss": [2.0, 1.0], "effective_rank": [9.0, 5.0], "uniformity": [-1.0, -2.0]}
    )
    return Evidence(
        pd.DataFrame([fact(subject="twins", cohort="Porto", metric="auroc", value=0.5)]),
        tables={
            "watched/twins/0": looks(0.5, 0.8), "watched/twins/1": looks(0.6, 0.9),
            "history/twins/0": history, "history/masks/0": history,
        },
    )  # fmt: skip


def test_a_chart_tells_the_probe_before_and_after(evidence: Evidence) -> None:
    twins, masks = feature_charts(evidence)
    told = "twins: the linear probe's AUROC is 0.550 before it and 0.850 at its end, a mean over 2 seeds."
    assert twins.caption == told
    assert all(word in twins.svg for word in ("AUROC", "effective rank", "uniformity"))
    assert "alignment" not in twins.svg
    assert masks.caption.startswith("masks: features of its batches")
    assert "AUROC" not in masks.svg


def test_what_is_painted_stands_beside_the_median() -> None:
    history = pd.DataFrame({"epoch": [0, 1], "loss": [2.0, 1.0], "median_instead": [1.5, 1.5]})
    evidence = Evidence(tables={"history/squares/0": history})
    (chart,) = feature_charts(evidence)
    (course,) = feature_courses(evidence)
    assert "error of squares" in chart.svg and "effective rank" not in chart.svg
    assert course.batches[["loss", "median_instead"]].to_numpy().tolist() == [[2.0, 1.5], [1.0, 1.5]]
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    assert (
        problems(training_numbers(evidence)["features"][0], schema["$defs"]["feature_course"], schema) == []
    )


def test_the_page_and_the_numbers_have_it_once(evidence: Evidence) -> None:
    text = Page(make_page(evidence, images=True, title="x")).text
    assert text.count("What features are worth") == 1 and "linear_auroc" not in text
    first, *_ = training_numbers(evidence)["features"]
    assert [look["linear_auroc"] for look in first["looks"]] == [0.5, 0.8]
    assert [batch["epoch"] for batch in first["batches"]] == [1, 2]
    plain = Evidence(evidence.facts)
    assert "What features are worth" not in Page(make_page(plain, images=True, title="x")).text


def test_pictures_before_and_after_stand_beside_the_probe(evidence: Evidence) -> None:
    random = np.random.default_rng(0)
    plane = pd.DataFrame(
        {"epoch": np.repeat([0, 10], 30), "x": random.normal(size=60), "y": random.normal(size=60),
         "label": ["cyst", "tumour"] * 30}
    )  # fmt: skip
    tables = {f"watched_planes/twins/{seed}": plane for seed in (0, 1)}
    (found,) = feature_planes(evidence + Evidence(tables=tables))
    assert [key.name for key in found.legend] == ["cyst", "tumour"]
    assert [(moment.title, moment.probe) for moment in found.moments] == [
        ("before training", "linear probe 0.500"), ("after 10 epochs", "linear probe 0.800"),
    ]  # fmt: skip
    text = Page(make_page(evidence + Evidence(tables=tables), images=True, title="x")).text
    assert text.count("What twins sees") == 1 and "After 10 epochs" in text
    assert feature_planes(evidence) == []
