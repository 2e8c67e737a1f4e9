"""Verdicts on claims: from differences and intervals that were computed by hand; nonsense in a file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.benchmarks.claims import claim_problems, judge, judge_over_pairs
from medgraft.benchmarks.grid import ClaimTable, read_grid
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError
from medgraft.evidence import Evidence, fact

CLAIMS = Path(__file__).parents[2] / "claims"
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
                    "source": "unet",
                    "source_cohort": "",
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


def pairs_evidence(sources: dict[str, tuple[float, float]]) -> Evidence:
    """From each source to Porto: by how much `new` is better there, and on the source itself."""
    facts, cells, tables = [], [], {}
    for source, (at_target, at_source) in sources.items():
        for method in ("old", "new"):
            subject = f"{method} from unet at {source}, 1 patient"
            places = {("Porto", "test"): at_target, (source, "test after Porto"): at_source}
            for (cohort, split), gain in places.items():
                value = 0.5 + gain * (method == "new")
                facts.append(fact(subject=subject, cohort=cohort, metric="dice", value=value, split=split))
            cells.append(
                {"subject": subject, "method": method, "source": "unet", "source_cohort": source,
                 "cohort": "Porto", "budget": 1, "state": "finished"}
            )  # fmt: skip
            tables[f"scores/{subject}/0"] = pd.concat(
                pd.DataFrame(
                    {"cohort": cohort, "split": split, "unit": np.arange(8), "part": "x",
                     "dice": np.full(8, 0.5 + gain * (method == "new"))}
                )
                for (cohort, split), gain in places.items()
            )  # fmt: skip
    return Evidence(pd.DataFrame(facts), tables={"grid": pd.DataFrame(cells), **tables})


def test_every_pair_is_judged_on_the_target_or_on_the_source() -> None:
    evidence = pairs_evidence({"Lyon": (0.1, -0.2), "Basel": (-0.1, 0.3)})
    assert [(one.source, round(one.difference, 6)) for one in judge(CLAIM, "dice", evidence)] == [
        ("Lyon", 0.1),
        ("Basel", -0.1),
    ]
    at_source = judge(CLAIM.model_copy(update={"on": "source"}), "dice", evidence)
    assert [(one.source, round(one.difference, 6)) for one in at_source] == [("Lyon", -0.2), ("Basel", 0.3)]
    assert [one.ours for one in at_source] == pytest.approx([0.3, 0.8])


def test_pairs_are_summed_up_where_there_are_enough() -> None:
    gains = {f"site{number}": (0.1 + 0.02 * number, 0.0) for number in range(5)}
    (whole,) = judge_over_pairs(judge(CLAIM, "dice", pairs_evidence(gains)))
    assert (whole.pairs, whole.better, whole.verdict) == (5, 5, "reproduced")
    assert whole.difference == pytest.approx(0.14) and 0.1 < whole.low < 0.14 < whole.high < 0.18
    assert (whole.ours, whole.theirs) == pytest.approx((0.64, 0.5))
    few = judge(CLAIM, "dice", pairs_evidence({"Lyon": (0.1, 0.0), "Basel": (0.1, 0.0)}))
    assert judge_over_pairs(few) == []


def test_of_errors_the_smaller_is_the_better() -> None:
    facts, cells, tables = [], [], {}
    for method, given in (("old", 0.6), ("new", 0.9)):
        p, error = np.full(8, given), 2 * (1 - given) ** 2
        facts.append(fact(subject=method, cohort="Porto", metric="brier", value=error))
        cells.append(
            {"subject": method, "method": method, "source": "unet", "source_cohort": "", "cohort": "Porto",
             "budget": 1, "state": "finished"}
        )  # fmt: skip
        tables[f"predictions/{method}/0"] = pd.DataFrame(
            {"cohort": "Porto", "split": "test", "row": range(8), "unit": range(8), "truth": 1, "predicted": 1,
             "p_0": 1 - p, "p_1": p}
        )  # fmt: skip
    evidence = Evidence(pd.DataFrame(facts), tables={"grid": pd.DataFrame(cells), **tables})
    (one,) = judge(CLAIM, "brier", evidence)
    assert one.difference == pytest.approx(0.32 - 0.02) and one.verdict == "reproduced"
    assert (one.ours, one.theirs) == pytest.approx((0.02, 0.32))


@pytest.mark.parametrize("metric", ["dice", "brier"])
def test_a_claim_may_be_about_which_of_two_gains_is_larger(metric: str) -> None:
    right = {
        "new": np.linspace(0.6, 0.95, 8),
        "old": np.full(8, 0.5),
        "more": np.full(8, 0.7),
        "less": np.full(8, 0.65),
    }
    facts, cells, tables = [], [], {}
    for method, given in right.items():
        scores = given if metric == "dice" else 2 * (1 - given) ** 2
        facts.append(fact(subject=method, cohort="Porto", metric=metric, value=float(scores.mean())))
        cells.append(
            {"subject": method, "method": method, "source": "unet", "source_cohort": "", "cohort": "Porto",
             "budget": 1, "state": "finished"}
        )  # fmt: skip
        place = {"cohort": "Porto", "split": "test", "unit": range(8)}
        if metric == "dice":
            tables[f"scores/{method}/0"] = pd.DataFrame(place | {"part": "x", "dice": scores})
        else:
            answers = {"row": range(8), "truth": 1, "predicted": 1, "p_0": 1 - given, "p_1": given}
            tables[f"predictions/{method}/0"] = pd.DataFrame(place | answers)
    evidence = Evidence(pd.DataFrame(facts), tables={"grid": pd.DataFrame(cells), **tables})
    claim = CLAIM.model_copy(update={"more_than": ("more", "less")})
    (one,) = judge(claim, metric, evidence)
    score = {"dice": lambda p: p, "brier": lambda p: -2 * (1 - p) ** 2}[metric]
    ours, theirs = score(right["new"]) - score(right["old"]), score(right["more"]) - score(right["less"])
    assert (one.ours, one.theirs) == pytest.approx((ours.mean(), theirs.mean()))
    assert one.difference == pytest.approx(ours.mean() - theirs.mean()) and one.verdict == "reproduced"
    # the other two do not vary between patients, so the interval is that of the first
    (plain,) = judge(CLAIM, metric, evidence)
    assert (one.low, one.high) == pytest.approx((plain.low - theirs.mean(), plain.high - theirs.mean()))
    turned = claim.model_copy(update={"method": "more", "reference": "less", "more_than": ("new", "old")})
    (other,) = judge(turned, metric, evidence)
    assert other.difference == pytest.approx(-one.difference) and other.verdict == "not reproduced"


def test_only_the_budgets_of_the_claim_are_judged_and_unfinished_cells_are_not() -> None:
    evidence = grid_evidence({1: np.full(8, 0.1), 2: np.full(8, 0.1)})
    assert [one.budget for one in judge(CLAIM.model_copy(update={"budgets": (2,)}), "dice", evidence)] == [2]
    evidence.tables["grid"].loc[evidence.tables["grid"]["method"] == "old", "state"] = "failed"
    assert judge(CLAIM, "dice", evidence) == []
    assert judge(CLAIM, "dice", Evidence.empty()) == []


def test_what_needs_no_labels_is_compared_at_every_budget_of_the_other() -> None:
    evidence = grid_evidence({1: np.full(8, -0.1), 2: np.full(8, 0.1)})
    plain = evidence.tables["scores/old, 1 patients/0"]
    evidence.tables["scores/as it is/0"] = plain
    evidence.facts.loc[evidence.facts["subject"] == "old, 1 patients", "subject"] = "as it is"
    cells = evidence.tables["grid"]
    cells.loc[cells["subject"] == "old, 1 patients", ["subject", "method", "budget"]] = [
        "as it is",
        "as it is",
        0,
    ]
    claim = CLAIM.model_copy(update={"method": "as it is", "reference": "new"})
    assert [(one.labels, one.verdict) for one in judge(claim, "dice", evidence)] == [
        ("1 patients", "reproduced"),
        ("2 patients", "not reproduced"),
    ]


def test_claims_about_what_a_grid_does_not_compare_are_refused(grid) -> None:
    claim = CLAIM.model_dump() | {"method": "pixel", "reference": "full fine-tuning", "budgets": [3]}
    with pytest.raises(GridError) as caught:
        make_plan(grid(claims=[claim]), [])
    told = str(caught.value)
    assert (
        "claims[0].method" in told and "did you mean 'pixels'" in told and "claims[0].reference" not in told
    )
    assert "claims[0].budgets" in told and "it got 3" in told
    claim = CLAIM.model_dump() | {"method": "pixels", "reference": "pixels", "more_than": ("pixels", "pixel")}
    with pytest.raises(GridError, match=r"claims\[0\].more_than.*did you mean 'pixels'"):
        make_plan(grid(claims=[claim]), [])


def test_claims_change_no_cell(grid) -> None:
    plain = make_plan(grid(), [])
    claimed = make_plan(
        grid(claims=[CLAIM.model_dump() | {"method": "pixels", "reference": "from scratch"}]), []
    )
    assert list(plain.cells) == list(claimed.cells)


@pytest.mark.parametrize("path", sorted(CLAIMS.glob("*.toml")), ids=lambda path: path.stem)
def test_grids_of_claims_are_well_formed(path) -> None:
    assert read_grid(path).claims


def test_gains_are_not_compared_where_sources_are_ranked() -> None:
    path = CLAIMS / "source_selection.toml"
    claim = {**CLAIM.model_dump(), "more_than": ("logme", "leep")}
    ranked = read_grid(path).model_copy(update={"claims": (ClaimTable(**claim),)})
    ((where, problem),) = claim_problems(ranked, ["new", "old"])
    assert where == "claims[0].more_than" and "this one ranks sources" in str(problem)
