"""Numbers of trainings in the report's JSON, against tables worked by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import PATIENTS, grid_evidence
from tests.reports.schema_check import problems

from medgraft.evidence import Evidence
from medgraft.reports import report_numbers
from medgraft.reports.numbers import SCHEMA_FILE

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
LISTS = ("layer_updates", "policies", "feature_separations", "transfer_risks", "alignments")


def moved(*sizes: float) -> pd.DataFrame:
    """Two layers in two epochs."""
    layers = {"group": ["context", "head"] * 2, "tensor": ["encoder1.weight", "head.weight"] * 2}
    return pd.DataFrame({"epoch": [0, 0, 1, 1], **layers, "update": sizes, "cohort": "Porto"})


def policy(cohort: str, *tuned: float) -> pd.DataFrame:
    layers = {"layer": ["encoder1.first", "head"], "block": ["encoder1", "head"], "level": [2, 1]}
    return pd.DataFrame({**layers, "tuned": tuned, "cohort": cohort})


def risk() -> pd.DataFrame:
    rows = [("background", 0.75, 0.5, -0.5), ("lesion", 0.0, math.nan, math.nan)]
    return pd.DataFrame(rows, columns=["of", "share_of_pixels", "mean_risk", "leep"])


def alignment() -> pd.DataFrame:
    """Clusters were found in the first of two epochs."""
    measured = {"supervised": [0.5, 0.4], "alignment": [0.8, 0.2], "alignment_weight": 2.0, "seconds": 10.0}
    clustered = {"clustering_seconds": [0.5, 0.0], "matching_distance": [7.0, math.nan]}
    return pd.DataFrame({"epoch": [0, 1], **measured, **clustered, "cohort": "Porto"})


def separations() -> pd.DataFrame:
    told = {"epoch": [0, 15], "pair": "target train and target test", "balanced_accuracy": [0.5, math.nan]}
    about = {"subject": "mmtl", "cohort": "Porto", "seed": 3}
    return pd.DataFrame({**told, "reason": ["", "It needs two patients, but there is one."], **about})


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    tables = {
        "updates/sgd/0": moved(1e-4, 2e-4, 3e-4, 6e-4), "updates/sgd/1": moved(5e-4, 0, 7e-4, 0),
        "updates/sgd/0/from scratch": moved(1e-4, 1e-4, 1e-4, 3e-4),
        "policy/spot/0": pd.concat([policy("Porto", 0.25, 1.0), policy("Lyon", 0.0, 0.5)]),
        "policy/spot/1": policy("Porto", 0.75, 0.5),
        "risk/fine_tune/lr 0.1": risk(), "risk/odd": risk()[["of"]], "feature_separation": separations(),
        "alignment/AIVA/2": alignment(),
    }  # fmt: skip
    return grid_evidence() + Evidence(tables=tables)


@pytest.fixture(scope="module")
def numbers(evidence: Evidence) -> dict[str, Any]:
    return report_numbers(evidence)


def test_they_fit_the_schema_and_become_json(numbers: dict[str, Any]) -> None:
    assert all(numbers[name] for name in LISTS)
    assert problems(numbers, SCHEMA, SCHEMA) == []
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_steps_are_means_over_epochs_and_seeds(numbers: dict[str, Any]) -> None:
    both, part = numbers["layer_updates"]
    assert (both["subject"], both["part"], part["part"]) == ("sgd", "", "from scratch")
    assert [(layer["group"], layer["tensor"]) for layer in both["layers"]] == [
        ("context", "encoder1.weight"), ("head", "head.weight"),
    ]  # fmt: skip
    assert [layer["update"] for layer in both["layers"]] == pytest.approx([4e-4, 2e-4])
    assert [layer["update"] for layer in part["layers"]] == pytest.approx([1e-4, 2e-4])


def test_tuned_layers_are_means_over_seeds_of_each_target(numbers: dict[str, Any]) -> None:
    lyon, porto = sorted(numbers["policies"], key=lambda one: str(one["cohort"]))
    assert (porto["subject"], porto["part"], porto["cohort"]) == ("spot", "", "Porto")
    assert porto["layers"] == [
        {"layer": "encoder1.first", "block": "encoder1", "level": 2, "tuned": 0.5},
        {"layer": "head", "block": "head", "level": 1, "tuned": 0.75},
    ]
    assert lyon["cohort"] == "Lyon" and [layer["tuned"] for layer in lyon["layers"]] == [0.0, 0.5]


def test_separations_come_with_the_reason_where_there_is_none(numbers: dict[str, Any]) -> None:
    about = {"subject": "mmtl", "cohort": "Porto", "seed": 3, "pair": "target train and target test"}
    assert numbers["feature_separations"] == [
        {**about, "epoch": 0, "balanced_accuracy": 0.5, "reason": ""},
        {
            **about,
            "epoch": 15,
            "balanced_accuracy": None,
            "reason": "It needs two patients, but there is one.",
        },
    ]


def test_losses_of_alignment_are_told_by_epoch(numbers: dict[str, Any]) -> None:
    (found,) = numbers["alignments"]
    assert {name: found[name] for name in ("subject", "seed", "part", "cohort")} == {
        "subject": "AIVA", "seed": 2, "part": "", "cohort": "Porto",
    }  # fmt: skip
    assert found["epochs"][1] == {
        "epoch": 1, "supervised": 0.4, "alignment": 0.2, "alignment_weight": 2.0, "seconds": 10.0,
        "clustering_seconds": 0.0, "matching_distance": None,
    }  # fmt: skip


def test_risk_is_told_by_class(numbers: dict[str, Any]) -> None:
    (found,) = numbers["transfer_risks"]
    assert found["subject"] == "fine_tune/lr 0.1"
    assert found["classes"] == [
        {"of": "background", "share_of_pixels": 0.75, "mean_risk": 0.5, "leep": -0.5},
        {"of": "lesion", "share_of_pixels": 0.0, "mean_risk": None, "leep": None},
    ]


def test_quartiles_over_patients_are_those_of_means_over_seeds(
    numbers: dict[str, Any], evidence: Evidence
) -> None:
    porto = next(one["target"] for one in numbers["cohorts"] if one["cohort"] == "Porto")
    spread = porto["spread_over_units"]
    assert [one["subject"] for one in spread] == [row["subject"] for row in porto["ranking"]]
    one = next(one for one in spread if one["subject"] == "linear_probe, 4 patients")
    tables = [evidence.tables[f"scores/linear_probe, 4 patients/{seed}"] for seed in range(3)]
    porto_only = [table[table["cohort"] == "Porto"].sort_values("unit")["dice"] for table in tables]
    by_patient = sorted(float(np.mean(scores)) for scores in zip(*porto_only, strict=True))
    assert len(by_patient) == PATIENTS == one["units"] == 24 and one["score"] == "Dice"
    # of 24 ascending scores the quartiles lie at places 5.75, 11.5 and 17.25
    first = by_patient[5] + 0.75 * (by_patient[6] - by_patient[5])
    third = by_patient[17] + 0.25 * (by_patient[18] - by_patient[17])
    expected = [by_patient[0], first, (by_patient[11] + by_patient[12]) / 2, third, by_patient[-1]]
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    assert [one[name] for name in names] == pytest.approx(expected)


def test_a_report_without_them_has_empty_lists() -> None:
    plain = grid_evidence()
    bare = Evidence(
        plain.facts, tables={name: table for name, table in plain.tables.items() if "scores/" not in name}
    )
    made = report_numbers(bare)
    assert [made[name] for name in LISTS] == [[]] * len(LISTS)
    targets = [one["target"] for one in made["cohorts"] if one["target"] is not None]
    assert targets and all(target["spread_over_units"] == [] for target in targets)
    assert problems(made, SCHEMA, SCHEMA) == []
