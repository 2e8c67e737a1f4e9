from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.evidence import FACT_COLUMNS, Evidence, fact


def facts(*values: float, subject: str = "probe") -> pd.DataFrame:
    return pd.DataFrame(
        [fact(subject=subject, cohort="Porto", metric="auroc", value=v, seed=s) for s, v in enumerate(values)]
    )


def image(shade: int) -> np.ndarray:
    return np.full((4, 5, 3), shade, dtype=np.uint8)


def test_facts_get_fixed_columns_and_types() -> None:
    shuffled = facts(0.5, 0.6)[list(reversed(FACT_COLUMNS))]
    kept = Evidence(shuffled.astype({"n": "float32"}).set_index(np.array([7, 9]))).facts
    assert tuple(kept.columns) == FACT_COLUMNS
    assert kept["n"].dtype == np.int64 and kept["value"].dtype == np.float64
    assert kept.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (facts(0.5).drop(columns=["unit"]), "lacks unit"),
        (facts(0.5).assign(patient="x"), "also has patient"),
        (facts(0.5, 0.6).assign(n=[1.0, 2.5]), "row 1 holds '2.5'"),
        (facts(0.5, 0.6).assign(subject=["a", None]), "row 1 holds"),
        (facts(0.5).assign(value=["high"]), "row 0 holds 'high'"),
    ],
)
def test_facts_of_another_form_are_refused(table: pd.DataFrame, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Evidence(table)


def test_undefined_values_are_allowed_but_undefined_counts_are_not() -> None:
    assert np.isnan(Evidence(facts(np.nan)).facts["value"][0])
    with pytest.raises(DataError, match="'seed'"):
        Evidence(facts(0.5).assign(seed=[np.nan]))


def test_adding_keeps_everything_of_both() -> None:
    one = Evidence(
        facts(0.5),
        ({"seed": 0},),
        {"history/probe/0": pd.DataFrame({"loss": [1.0]})},
        {"a": image(1)},
        ("x",),
    )
    two = Evidence(
        facts(0.7, subject="other"), ({"seed": 1},), {"history/probe/1": pd.DataFrame({"loss": [2.0]})},
        {"b": image(2)}, ("y",),
    )  # fmt: skip
    both = one + two
    assert both.facts[["subject", "value"]].values.tolist() == [["probe", 0.5], ["other", 0.7]]
    assert both.provenance == ({"seed": 0}, {"seed": 1})
    assert sorted(both.tables) == ["history/probe/0", "history/probe/1"]
    assert sorted(both.images) == ["a", "b"]
    assert both.warnings == ("x", "y")


def test_adding_the_same_evidence_again_changes_nothing() -> None:
    table = pd.DataFrame({"unit": [1, 1, 2], "dice": [1.0, 1.0, np.nan]})
    one = Evidence(facts(0.5, np.nan), ({"b": 1},), {"scores/probe/0": table}, {"a": image(1)}, ("x",))
    two = Evidence(facts(0.6), tables={"scores/probe/0": pd.DataFrame({"unit": [3], "dice": [0.5]})})
    for again in (one + one, one + Evidence.empty(), Evidence.empty() + one):
        pd.testing.assert_frame_equal(again.facts, one.facts)
        pd.testing.assert_frame_equal(again.tables["scores/probe/0"], table)
        assert again.provenance == one.provenance and again.warnings == one.warnings
    both = one + two
    pd.testing.assert_frame_equal((both + one + two).facts, both.facts)
    pd.testing.assert_frame_equal((both + one + two).tables["scores/probe/0"], both.tables["scores/probe/0"])
    assert both.tables["scores/probe/0"]["unit"].tolist() == [1, 1, 2, 3]


def test_rows_of_tables_with_the_same_name_are_joined_also_with_other_columns() -> None:
    one = Evidence(tables={"comparisons": pd.DataFrame({"subject": ["a"], "difference": [0.1]})})
    two = Evidence(tables={"comparisons": pd.DataFrame({"subject": ["b"], "low": [0.2]})})
    joined = (one + two).tables["comparisons"]
    assert joined["subject"].tolist() == ["a", "b"]
    assert joined["low"].isna().tolist() == [True, False]


def test_another_picture_of_the_same_name_is_kept_and_its_examples_follow() -> None:
    def shown(shade: int, row: int) -> Evidence:
        return Evidence(
            tables={"examples": pd.DataFrame({"image": ["x"], "row": [row]})}, images={"x": image(shade)}
        )

    both = shown(1, 10) + shown(2, 20)
    by_row = dict(zip(both.tables["examples"]["row"], both.tables["examples"]["image"], strict=True))
    assert both.images[by_row[10]][0, 0, 0] == 1
    assert both.images[by_row[20]][0, 0, 0] == 2
    again = both + shown(2, 20)
    assert sorted(again.images) == sorted(both.images)
    assert len(again.tables["examples"]) == 2


def test_provenance_becomes_plain_data() -> None:
    entry = {
        "path": Path("a/b"),
        "size": (96, np.int64(96)),
        "clip": float("inf"),
        "names": {"y", "x"},
        3: None,
    }
    kept = Evidence(provenance=(entry, dict(entry))).provenance
    assert kept == ({"path": "a/b", "size": [96, 96], "clip": "inf", "names": ["x", "y"], "3": None},)


def test_objects_in_provenance_are_refused_with_their_place() -> None:
    with pytest.raises(DataError, match=r"provenance\.settings\.list\[1\] is of class object"):
        Evidence(provenance=({"settings": {"list": [1, object()]}},))
    with pytest.raises(DataError, match="entry 0 is of class str"):
        Evidence(provenance=("what",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 1), np.uint8)]
)
def test_pictures_of_another_form_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match="The picture 'x' needs shape"):
        Evidence(images={"x": wrong})


def test_a_named_index_of_a_table_becomes_a_column() -> None:
    table = pd.DataFrame({"loss": [1.0]}, index=pd.Index([4], name="epoch"))
    assert Evidence(tables={"t": table}).tables["t"]["epoch"].tolist() == [4]


def test_table_columns_need_different_names() -> None:
    with pytest.raises(DataError, match="'t' needs different names"):
        Evidence(tables={"t": pd.DataFrame([[1, 2]], columns=["a", "a"])})
    with pytest.raises(DataError, match="'t' needs different names"):
        Evidence(tables={"t": pd.DataFrame([[1, 2]])})
