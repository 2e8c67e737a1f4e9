"""Which patients are shown before and after adaptation without labels, and that their pictures travel with a grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import medgraft as mg
from medgraft.benchmarks.patient_pictures import choose_patients


def test_the_worst_are_shown_and_for_every_method_who_lost_most():
    scores = pd.DataFrame(
        {
            "one": [0.9, 0.3, 0.6, 0.5, 0.7, 0.7],
            "none": [0.8, 0.1, 0.7, 0.3, 0.9, 0.2],
            "two": [0.9, 0.9, 0.9, 0.9, 0.9, 0.9],
            "three": [0.8, 0.0, 0.7, 0.3, 0.9, 0.2],
        }
    )
    assert choose_patients(scores, "none") == {
        1: "worst without adaptation", 5: "worst without adaptation", 3: "worst without adaptation",
        4: "lost most by one",  # two harmed nobody; whom three harmed is shown already
    }  # fmt: skip
    assert choose_patients(scores, "absent") == {}
    assert choose_patients(scores[["none"]].iloc[:1], "none") == {0: "worst without adaptation"}


@pytest.fixture
def of_masks(grid, masks):
    quick = {"size": [16, 16], "schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 8}}
    return grid(
        metric="dice",
        seeds=[0, 1],
        cohorts={"discs": {"data": str(masks), "source": ["A"], "targets": ["B"]}},
        sources={"net": {"model": "random/unet_width4", "train": {}}},
        methods={"AdaBN": {"method": "ada_bn"}},
        defaults={"fine_tune": {"settings": quick}},
    )


def test_a_grid_keeps_pictures_of_methods_without_labels_only(of_masks, tmp_path):
    evidence = mg.benchmark(of_masks, tmp_path / "out")
    table = evidence.tables["patient_pictures"]
    assert set(table["subject"]) == {"no adaptation", "AdaBN"}  # neither fine-tuning nor from scratch
    assert set(table["cohort"]) == {"discs at B"} and set(table["source"]) == {"net"}
    assert set(table["image"]) == set(evidence.images) and len(table) == 2 * table["unit"].nunique()
    assert (
        table.groupby("unit")["row"].nunique() == 1
    ).all()  # the same image of a patient for every subject
    scores = evidence.tables["scores/no adaptation/0"]
    at_target = scores[scores["cohort"] == "discs at B"].groupby("unit")["dice"].mean()
    worst = at_target.sort_values(kind="stable").index[:3]
    first = table[table["why"] == "worst without adaptation"]["unit"].drop_duplicates()
    assert first.tolist() == worst.tolist()
    for picture in evidence.images.values():
        assert picture.dtype == np.uint8 and picture.shape[-1] == 3
    again = mg.benchmark(of_masks, tmp_path / "out")  # everything is there
    assert again.tables["patient_pictures"].equals(table)
    saved = mg.load_evidence(tmp_path / "out" / "evidence")
    assert set(saved.images) == set(evidence.images)


def test_a_grid_of_labelled_methods_keeps_none(of_masks, tmp_path):
    labelled = of_masks | {"methods": {"first": {"method": "fine_tune", "settings": {"scope": "first"}}}}
    evidence = mg.benchmark(labelled | {"seeds": [0]}, tmp_path / "out")
    assert "patient_pictures" not in evidence.tables and not evidence.images
