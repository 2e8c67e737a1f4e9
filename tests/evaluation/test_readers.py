"""Operating points of people, worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import medgraft as mg
from medgraft.errors import DataError
from medgraft.evaluation.readers import readers_of, share_interval

TRUTH = [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.fixture
def read(written):
    def make(classes=("benign", "malignant"), truth=TRUTH, **columns):
        chances = np.full((len(truth), len(classes)), 1 / len(classes))
        patients = [f"Anna {n // 2}" for n in range(len(truth))]
        return written.labels(chances, truth, classes, patients=patients, attributes=pd.DataFrame(columns))

    return make


def test_sensitivity_and_specificity_are_over_what_was_read(read):
    model, cohort = read(reader_A=["0", "0", "1", "", "1", "malignant", "benign", None], reader_B=TRUTH)
    found = mg.evaluate(model, cohort, examples=0).tables["readers"].set_index("reader")
    assert found.loc["A", ["sensitivity", "specificity"]].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert found.loc["A", ["images", "n", "class"]].tolist() == [6, 4, "malignant"]
    assert found.loc["B", ["sensitivity", "specificity"]].tolist() == [1.0, 1.0]
    assert found.loc["B", "sensitivity_low"] < 0.4, "two patients, however many images"
    assert "Anna" not in found.to_csv()


def test_groups_of_an_audit_have_points_of_their_own(read):
    tone = ["light", "dark"] * 4
    model, cohort = read(tone=tone, reader_A=["0", "1", "0", "1", "1", "1", "0", "1"])
    found = mg.evaluate(model, cohort, bias=mg.BiasAudit(["tone"]), examples=0).tables["readers"]
    points = found.set_index("group")[["sensitivity", "specificity"]]
    assert points.loc["light"].tolist() == [0.5, 1.0] and points.loc["dark"].tolist() == [1.0, 0.0]


def test_several_classes_are_each_against_the_rest(read):
    said = ["a", "b", "b", "c", "c", "c"]
    model, cohort = read(("a", "b", "c"), [0, 0, 1, 1, 2, 2], reader_A=said)
    found = mg.evaluate(model, cohort, examples=0).tables["readers"].set_index("class")
    assert found["sensitivity"].tolist() == [0.5, 0.5, 1.0]
    assert found["specificity"].tolist() == [1.0, 0.75, 0.75]


@pytest.mark.parametrize("cells", [["2", *"0000000"], ["nevus", *"0000000"], [*"0000000", "0.5"]])
def test_other_values_are_refused_by_row_without_repeating_them(read, cells):
    _, cohort = read(reader_A=cells)
    with pytest.raises(DataError) as told:
        readers_of(cohort)
    row = 8 if cells[-1] == "0.5" else 1
    assert f"row {row} holds something else" in str(told.value) and "nevus" not in str(told.value)


def test_numbers_are_no_classes_where_there_are_three(read):
    _, cohort = read(("a", "b", "c"), [0, 1, 2], reader_A=["0", "1", "a"])
    with pytest.raises(DataError):
        readers_of(cohort)


@pytest.mark.parametrize(("count", "number"), [(0, 7), (3, 7), (7, 7), (45, 60)])
def test_wilson_is_that_of_another_library(count, number):
    expected = binomtest(count, number).proportion_ci(method="wilson")
    assert share_interval(count / number, number) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nobody_read_is_undefined(read):
    model, cohort = read(reader_A=[""] * 8)
    found = mg.evaluate(model, cohort, examples=0).tables["readers"]
    assert found["sensitivity"].isna().all() and (found["images"] == 0).all()
