from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import HARD, PATIENTS, grid_evidence
from tests.reports.grids.test_ranking import at

from medgraft.evidence import Evidence, fact
from medgraft.reports.grids.worst_units import worst_units
from medgraft.reports.panels import Panel, make_panels


def test_patients_that_every_method_finds_hard_come_first() -> None:
    found = worst_units(at(grid_evidence(), "Porto")[1])
    assert found is not None and found.among == PATIENTS and len(found.units) == 10
    assert {unit.unit for unit in found.units[:2]} == set(HARD)
    assert all(unit.for_all and unit.subjects == 14 for unit in found.units[:2])
    assert not any(unit.for_all for unit in found.units[5:])


def test_the_mean_is_over_subjects_of_means_over_seeds() -> None:
    evidence = grid_evidence()
    found = worst_units(at(evidence, "Lyon")[1])
    assert found is not None
    first = found.units[0]
    by_subject: dict[str, list[float]] = {}
    for name, table in evidence.tables.items():
        if name.startswith("scores/"):
            rows = table[(table["cohort"] == "Lyon") & (table["unit"] == first.unit)]
            by_subject.setdefault(name.split("/")[1], []).extend(rows["dice"])
    means = {subject: np.mean(values) for subject, values in by_subject.items() if values}
    assert first.mean == pytest.approx(np.mean(list(means.values())))
    assert first.worst == pytest.approx(min(means.values())) and first.worst_by == min(means, key=means.get)
    assert first.best == pytest.approx(max(means.values())) and first.best_by == max(means, key=means.get)


def classified(right: dict[str, list[int]]) -> Panel:
    rows = [fact(subject=name, cohort="Porto", metric="accuracy", value=0.5) for name in right]
    tables = {
        f"predictions/{name}/0": pd.DataFrame(
            {
                "unit": [0, 0, 1, 1, 2, 2, 3, 3],
                "row": range(8),
                "truth": 1,
                "predicted": hits,
                "p_0": 0.5,
                "p_1": 0.5,
            }
        )
        for name, hits in right.items()
    }
    (panel,) = make_panels(Evidence(pd.DataFrame(rows), tables=tables))
    return panel


def test_of_classifications_the_share_that_was_right_counts() -> None:
    found = worst_units(classified({"a": [1, 1, 1, 0, 1, 1, 1, 1], "b": [1, 1, 0, 0, 1, 0, 1, 1]}))
    assert found is not None and found.score == "share of images that were right"
    first = found.units[0]
    assert (first.unit, first.mean, first.worst_by, first.best_by) == (1, 0.25, "b", "a") and first.for_all


def test_units_that_are_all_alike_are_hard_for_nobody() -> None:
    found = worst_units(classified({"a": [1] * 8, "b": [1] * 8}))
    assert found is not None and {unit.hard_for for unit in found.units} == {0}


def test_one_subject_alone_shows_nothing() -> None:
    assert worst_units(classified({"a": [1] * 8})) is None
