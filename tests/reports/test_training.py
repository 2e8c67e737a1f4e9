from __future__ import annotations

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.training import _lines, learning_curves, regraft_plans


def history(epochs: int, score: bool = False) -> pd.DataFrame:
    table = pd.DataFrame({"epoch": range(epochs), "loss": np.linspace(1, 0.5, epochs)})
    return table.assign(score=0.7) if score else table


def test_seeds_share_a_chart_and_parts_and_subjects_have_their_own() -> None:
    tables = {
        "history/probe/0": history(3), "history/probe/1": history(4), "history/head, then all/0/head": history(3),
        "history/head, then all/0": history(3, score=True), "history/odd": history(3),
        "history/x/0": history(0)[["loss"]],
    }  # fmt: skip
    charts = learning_curves(Evidence(tables=tables))
    assert [chart.caption for chart in charts] == ["probe", "head, then all · head", "head, then all"]
    assert "validation score" in charts[2].svg and "validation score" not in charts[0].svg
    assert charts[0].description == "Learning curves of probe: final loss 0.500, 0.500."


def test_two_trainings_under_one_name_are_two_lines() -> None:
    lines = _lines("seed 0", pd.concat([history(3), history(4)]))
    assert [line.epochs.tolist() for line in lines] == [[1, 2, 3], [1, 2, 3, 4]]
    assert all(np.isnan(line.scores).all() for line in lines)


def test_equal_plans_are_shown_once_with_what_changed() -> None:
    plan = pd.DataFrame(
        [("stem", "loaded", "1", "1"), ("head", "new", "", "3"), ("old", "dropped", "9", None)],
        columns=["tensor", "outcome", "from", "to"],
    )
    other = plan.assign(outcome="loaded")
    views = regraft_plans(
        Evidence(tables={"plan/a/0": plan, "plan/a/1": plan, "plan/b": plan.copy(), "plan/c": other})
    )
    assert [(view.title, view.counts) for view in views] == [
        ("a, b", "1 loaded, 1 dropped, 1 new"),
        ("c", "3 loaded"),
    ]
    assert views[0].rows == [("head", "new", "", "3"), ("old", "dropped", "9", "")]
    assert views[1].rows == []
