from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import PATIENTS, grid_evidence

from medgraft.evidence import Evidence
from medgraft.reports.grids.grid import Grid, read_grid
from medgraft.reports.grids.ranking import (
    critical_difference,
    difference_tests,
    oracle_score,
    rank_diagram,
    ranked_elsewhere,
    ranking,
)
from medgraft.reports.grids.sites import target_panel
from medgraft.reports.panels import Panel, make_panels

FAILING = "linear_probe, 4 patients"


def at(evidence: Evidence, cohort: str) -> tuple[Grid, Panel]:
    grid = read_grid(evidence)
    assert grid is not None
    panel = next(panel for panel in make_panels(evidence) if panel.cohort == cohort)
    return grid, target_panel(grid, panel)


def test_subjects_come_by_mean_rank_with_letters_and_the_rule_that_chose() -> None:
    evidence = grid_evidence()
    rows = ranking(evidence, *at(evidence, "Porto"))
    ranks = [row.mean_rank for row in rows]
    assert ranks == sorted(ranks) and len(rows) == 14
    known = evidence.tables["ranks"].query("cohort == 'Porto'").set_index("subject")["letters"]
    assert {row.subject: row.letters for row in rows} == known.to_dict()
    assert {row.selection for row in rows} == {"none", "target_validation"}
    assert {row.tried for row in rows} == {1, 4}


def test_the_oracle_stands_beside_a_score_and_never_changes_it() -> None:
    evidence = grid_evidence()
    own = evidence.facts.query(
        "cohort == 'Porto' and subject == 'first_blocks, 16 patients' and selection != 'oracle'"
    )["value"]
    row = next(
        row for row in ranking(evidence, *at(evidence, "Porto")) if row.subject == "first_blocks, 16 patients"
    )
    assert row.cell is not None and row.cell.value == pytest.approx(own.mean())
    assert row.oracle == pytest.approx(own.mean() + 0.01)
    without = replace(evidence, facts=evidence.facts.query("selection != 'oracle'"))
    assert all(math.isnan(row.oracle) for row in ranking(without, *at(without, "Porto")))


def test_a_subject_with_nothing_but_an_oracle_has_no_score() -> None:
    evidence = grid_evidence()
    only = (evidence.facts["selection"] == "oracle") | (
        evidence.facts["subject"] != "first_blocks, 4 patients"
    )
    evidence = replace(evidence, facts=evidence.facts[only])
    grid, panel = at(evidence, "Porto")
    row = next(row for row in ranking(evidence, grid, panel) if row.subject == "first_blocks, 4 patients")
    assert row.cell is None and math.isfinite(row.oracle)
    assert math.isfinite(oracle_score(evidence, panel, "first_blocks, 4 patients"))


def test_failed_and_undefined_seeds_are_told() -> None:
    evidence = grid_evidence()
    told = {
        cohort: {row.subject: row.seeds for row in ranking(evidence, *at(evidence, cohort))}
        for cohort in ("Porto", "Lyon")
    }
    assert told["Porto"][FAILING] == "2 of 3 seeds"  # one is undefined
    assert told["Lyon"][FAILING] == "1 of 3 seeds"  # one more failed
    assert {text for name, text in told["Lyon"].items() if name != FAILING} == {""}


def test_bars_join_those_that_share_a_letter_and_no_others() -> None:
    diagram = rank_diagram(grid_evidence(), "Porto", "dice")
    assert diagram is not None and diagram.bar is not None
    ranks = grid_evidence().tables["ranks"].query("cohort == 'Porto'").set_index("subject")
    for column, letter in enumerate(diagram.groups):
        members = {place.subject for place in diagram.places if place.groups[column]}
        assert members == set(ranks.index[ranks["letters"].str.contains(letter)]) and len(members) > 1
    length = diagram.bar[1] - diagram.bar[0]
    one_rank = diagram.ticks[1][0] - diagram.ticks[0][0]  # from 1 to 2
    assert [text for _, text in diagram.ticks] == ["1", "2", "4", "6", "8", "10", "12", "14"]
    assert length / one_rank == pytest.approx(2.9, abs=0.01)
    assert f"over {PATIENTS} patients" in diagram.sentence and "p < 0.001" in diagram.sentence


def test_without_ranks_there_is_no_diagram_and_order_goes_by_score() -> None:
    evidence = grid_evidence()
    names = {"ranks", "critical_difference", "difference_tests"}
    evidence = replace(evidence, tables={n: t for n, t in evidence.tables.items() if n not in names})
    assert rank_diagram(evidence, "Porto", "dice") is None
    assert critical_difference(evidence, "Porto", "dice") is None
    grid, panel = at(evidence, "Porto")
    assert difference_tests(evidence, panel) == []
    values = [row.cell.value for row in ranking(evidence, grid, panel) if row.cell]
    assert values == sorted(values, reverse=True)


def test_ranks_over_all_targets_are_found() -> None:
    evidence = grid_evidence()
    ranks = evidence.tables["ranks"]
    both = pd.concat([ranks, ranks[ranks["cohort"] == "Porto"].assign(cohort="all targets")])
    evidence = replace(evidence, tables=evidence.tables | {"ranks": both})
    assert ranked_elsewhere(evidence, ["Porto", "Lyon"]) == [("all targets", "dice")]


def test_tests_show_what_is_there_and_leave_gaps_empty() -> None:
    evidence = grid_evidence()
    table = evidence.tables["difference_tests"].assign(p_holm=np.nan)
    evidence = replace(evidence, tables=evidence.tables | {"difference_tests": table})
    first = difference_tests(evidence, at(evidence, "Porto")[1])[0]
    assert first[1:] == ("no adaptation", "< 0.001", "0.031", "", "0.021")


def test_a_difference_that_cannot_be_is_no_promise() -> None:
    evidence = grid_evidence()
    tables = evidence.tables | {
        "difference_tests": evidence.tables["difference_tests"].assign(detectable=8.2),
        "critical_difference": evidence.tables["critical_difference"].assign(value=14.2),
    }
    evidence = replace(evidence, tables=tables)
    assert {test.detectable for test in difference_tests(evidence, at(evidence, "Porto")[1])} == {"nothing"}
    diagram = rank_diagram(evidence, "Porto", "dice")
    assert diagram is not None and diagram.bar is None and "14.20, are not told apart" in diagram.sentence
