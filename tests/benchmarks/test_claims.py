"""Verdicts on claims: from differences and intervals that were computed by hand; nonsense in a file is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.benchmarks.claims import judge
from medgraft.benchmarks.grid import ClaimTable, read_grid
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError
from medgraft.evidence import Evidence, fact

CLAIM = ClaimTable(sentence="s", source="p", published="0.1", method="new", reference="old")


def grid_evidence(gains: dict[int, np.ndarray]) -> Evidence:
    """Dice of eight patients by budget: `old` 0.5 each, `new` so much more."""
    facts, cells, tables = [], [], {}
    for budget, gain in gains.items():
        for method, scores in (("old", np.full(8, 0.5)), ("new", 0.5 + gain)):
            subject = f"{method}, {budget} patients"
            facts.append(fact(subject=subject, cohort="Porto", metric="dice", value=float(scores.mean())))
            facts.append(fact(subject=subject, cohort="Porto", metric="dice", value=0.99, selection="oracle"))
            cells.append(
                {
                    "subject": subject,
                    "method": method,
                    "cohort": "Porto",
                    "budget": budget,
                    "state": "finished",
                }
            )
            tables[f"scores/{subject}/0"] = pd.DataFrame(
                {"cohort": "Porto", "split": "test", "unit": np.arange(8), "part": "x", "dice": scores}
            )
    return Evidence(pd.DataFrame(facts), tables={"grid": pd.DataFrame(cells), **tables})


def test_a_verdict_says_on_which_side_the_interval_lies() -> None:
    spread = np.array([-0.2, 0.25, -0.15, 0.2, -0.1, 0.15, -0.05, 0.06])  # mean 0.02
    evidence = grid_evidence({1: np.full(8, 0.1), 2: spread, 4: -np.full(8, 0.1)})
    first, second, third = judge(CLAIM, "dice", evidence)
    assert [one.verdict for one in (first, second, third)] == [
        "reproduced",
        "same direction",
        "not reproduced",
    ]
    assert (first.budget, second.budget, third.budget) == (1, 2, 4)
    assert first.difference == pytest.approx(0.1) and first.low == pytest.approx(0.1)
    assert second.difference == pytest.approx(0.02) and second.low < 0 < second.high
    assert (first.ours, first.theirs) == pytest.approx((0.6, 0.5))  # the oracle's 0.99 is no part of it
    assert (first.patients, first.seeds) == (8, 1)


def test_only_the_budgets_of_the_claim_are_judged_and_unfinished_cells_are_not() -> None:
    evidence = grid_evidence({1: np.full(8, 0.1), 2: np.full(8, 0.1)})
    assert [one.budget for one in judge(CLAIM.model_copy(update={"budgets": (2,)}), "dice", evidence)] == [2]
    evidence.tables["grid"].loc[evidence.tables["grid"]["method"] == "old", "state"] = "failed"
    assert judge(CLAIM, "dice", evidence) == []
    assert judge(CLAIM, "dice", Evidence.empty()) == []


def test_claims_about_what_a_grid_does_not_compare_are_refused(grid) -> None:
    claim = CLAIM.model_dump() | {"method": "pixel", "reference": "full fine-tuning", "budgets": [3]}
    with pytest.raises(GridError) as caught:
        make_plan(grid(claims=[claim]), [])
    told = str(caught.value)
    assert (
        "claims[0].method" in told and "did you mean 'pixels'" in told and "claims[0].reference" not in told
    )
    assert "claims[0].budgets" in told and "it got 3" in told


def test_claims_change_no_cell(grid) -> None:
    plain = make_plan(grid(), [])
    claimed = make_plan(
        grid(claims=[CLAIM.model_dump() | {"method": "pixels", "reference": "from scratch"}]), []
    )
    assert list(plain.cells) == list(claimed.cells)


@pytest.mark.parametrize("name", ["first_layers", "freezing_order"])
def test_grids_of_claims_are_well_formed(name, request) -> None:
    grid = read_grid(request.config.rootpath / "claims" / f"{name}.toml")
    assert grid.claims and len(grid.seeds) >= 5
