"""Tables that fit together, and those that do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.ranking.candidates import check_candidates

TRUTH = pd.DataFrame({"t": [0.9, 0.8, 0.7], "u": [0.6, np.nan, 0.5]}, index=["a", "b", "c"])
SCORES = pd.DataFrame({"u": [1.0, 2.0, 3.0], "t": [4.0, np.inf, 6.0]}, index=["c", "b", "a"])


def test_tables_take_the_order_of_the_first_and_infinite_scores_are_missing() -> None:
    found = check_candidates(
        "Trying", {"mine": SCORES, "other": SCORES.loc[["a", "c", "b"], ["t", "u"]]}, TRUTH
    )
    assert found.performance.equals(TRUTH.loc[["c", "b", "a"], ["u", "t"]])
    assert found.scores["other"].equals(found.scores["mine"])
    assert found.of("u").tolist() == [True, False, True]
    assert np.isnan(found.scores["mine"].loc["b", "t"]) and np.isinf(
        SCORES.loc["b", "t"]
    )  # the caller's is as it was


@pytest.mark.parametrize(
    ("scores", "truth", "says"),
    [
        ({}, TRUTH, "there is none"),
        ({"mine": SCORES.rename(index={"c": "d"})}, TRUTH, "'performance' has no source 'd'"),
        ({"mine": SCORES.rename(columns={"t": "v"})}, TRUTH, "'performance' has no target 'v'"),
        ({"mine": SCORES, "yours": SCORES.drop(index="a")}, TRUTH, "'yours' has no source 'a'"),
        ({"mine": SCORES.drop(index="a"), "yours": SCORES}, TRUTH, "'yours' has (3, 2)"),
        ({"mine": SCORES.rename(index={"c": "a"})}, TRUTH, "'a' comes twice"),
        ({"mine": SCORES.iloc[:0]}, TRUTH, "there is none"),
        ({"mine": SCORES.astype(str) + "x"}, TRUTH, "holds others"),
        ({"mine": SCORES.drop(index="a")}, TRUTH, "there are fewer for u"),
    ],
)
def test_tables_that_do_not_fit_are_told(
    scores: dict[str, pd.DataFrame], truth: pd.DataFrame, says: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_candidates("Trying", scores, truth)
    assert says in str(caught.value) and str(caught.value).startswith("Trying needs ")
