"""Scores by group are the scores of the group's rows alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.errors import DataError
from medgraft.evaluation.subgroups import groups_of
from medgraft.testing import make_cohort

NUMBERS = ["value", "low", "high", "n"]


def with_columns(cohort: Cohort, **columns: object) -> Cohort:
    """The same rows with more columns."""
    return cohort._view(cohort.table.assign(**columns), "assign", sorted(columns))


def with_attributes(cohort: Cohort) -> Cohort:
    """Each patient (two images) with a scanner, each image with an age."""
    numbers = np.arange(len(cohort))
    return with_columns(cohort, scanner=np.where(numbers // 2 % 3 == 0, "old", "new"), age=20 + numbers)


@pytest.fixture(scope="module")
def model() -> mg.Model:
    return mg.adapt(
        "random/test_resnet", mg.Task(target=make_cohort("classify")), mg.methods.SimpleBaseline()
    )


@pytest.fixture
def cohort() -> Cohort:
    return with_attributes(make_cohort("classify", site="B", patients=18))


def test_a_group_is_scored_as_if_its_rows_were_all_there_is(model, cohort):
    groups = mg.evaluate(model, cohort, by=["scanner"], repeats=200).tables["subgroups"]
    assert set(groups["attribute"]) == {"scanner"} and list(dict.fromkeys(groups["group"])) == ["new", "old"]
    for name in ("new", "old"):
        alone = cohort.take(np.flatnonzero(cohort.table["scanner"] == name))
        expected = mg.evaluate(model, alone, repeats=200).facts
        expected = expected[expected["part"] == ""].set_index("metric")[NUMBERS]
        found = groups[groups["group"] == name].set_index("metric")[NUMBERS]
        pd.testing.assert_frame_equal(found, expected.loc[found.index], check_dtype=False, check_names=False)
        assert len(found) == len(expected)


def test_masks_are_scored_by_the_group_of_their_patient():
    cohort = with_attributes(make_cohort("segment", patients=12))
    cohort = with_columns(cohort, side=["left", "left", *["left", "right"] * 11])
    model = mg.adapt(
        "random/unet_width8", mg.Task(target=cohort), mg.methods.FineTune(), mg.Run(limit=mg.Limit(1, 1))
    )
    tables = mg.evaluate(model, cohort, by=["scanner", "side"], repeats=50).tables
    units = tables["scores/model/0"]
    for name, numbers in (("old", range(0, 12, 3)), ("new", [n for n in range(12) if n % 3])):
        expected = units.loc[units["unit"].isin(numbers), "dice"].mean()
        found = tables["subgroups"]
        found = found[(found["metric"] == "dice") & (found["group"] == name)]
        assert found["value"].item() == pytest.approx(expected) and found["n"].item() == len(numbers)
    sides = tables["subgroups"].query("metric == 'dice' and attribute == 'side'")
    assert dict(zip(sides["group"], sides["n"], strict=True)) == {"left": 1, "several": 11}
    assert np.isnan(sides["low"].iloc[0]), "one patient has no interval"


def test_ages_are_grouped_by_quarters_and_what_is_not_told_stays_apart():
    cohort = with_attributes(make_cohort("classify"))
    assert dict(zip(*np.unique(groups_of(cohort, "age"), return_counts=True), strict=True)) == {
        "20 to 25.75": 6, "over 25.75 to 31.5": 6, "over 31.5 to 37.25": 6, "over 37.25 to 43": 6,
    }  # fmt: skip
    cohort = with_columns(cohort, sex=["F", "M", "", None] * 6)
    assert sorted(set(groups_of(cohort, "sex"))) == ["F", "M", "not told"]


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("scaner", "there is none of that name"),
        ("ita", "run `medgraft skin-tone`, and name its column fitzpatrick_ita"),
        ("patient", "that one has another purpose"),
        ("label", "that one has another purpose"),
        ("name", "the column has 24 different values"),
    ],
)
def test_what_groups_nobody_is_refused_before_anything_is_predicted(model, attribute, said):
    cohort = with_columns(make_cohort("classify"), name=[f"Anna {number}" for number in range(24)])
    with pytest.raises(DataError) as told:
        mg.evaluate(model, cohort, by=[attribute])
    assert said in str(told.value) and "Anna" not in str(told.value)
