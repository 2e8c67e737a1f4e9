"""Ranks and tests of a grid, compared with SciPy on the same scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import medgraft as mg
from medgraft.benchmarks.compare import compare_subjects, pairs, rank_subjects, scores_by_unit
from medgraft.benchmarks.plan import Row, make_plan
from medgraft.evidence import Evidence

SUBJECTS = {
    "no adaptation": ("baseline", 0),
    "full": ("baseline", 4),
    "head": ("method", 4),
    "adapter": ("method", 4),
}


@pytest.fixture
def rows() -> list[Row]:
    """A source at A adapted to B in four ways with two seeds."""
    return [
        Row(
            key=f"{subject} {seed}", subject=subject, method=subject, source="unet", source_cohort="discs at A",
            cohort="discs at B", budget=budget, budget_by="patient", seed=seed, role=role, oracle=False,
            source_split="test", metric="dice",
        )
        for subject, (role, budget) in SUBJECTS.items()
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.fixture
def evidence(rows) -> Evidence:
    """Dice of twelve patients and two structures at the target, of some at the source; and what follows from it."""
    generator = np.random.default_rng(0)
    tables = {}
    for place, row in enumerate(rows):
        lines = [
            {"cohort": cohort, "split": "test", "unit": unit, "part": part,
             "dice": 0.5 + 0.02 * place + 0.2 * generator.random(), "images": 1, "undefined": 0}
            for cohort, units in (("discs at B", 12), ("discs at A", 5))
            for unit in range(units) for part in ("left", "right")
        ]  # fmt: skip
        tables[f"scores/{row.subject}/{row.seed}"] = pd.DataFrame(lines)
    cells = [
        {"subject": row.subject, "cohort": row.cohort, "seed": row.seed, "state": "finished"} for row in rows
    ]
    measured = Evidence(tables=tables | {"grid": pd.DataFrame(cells)})
    return measured + compare_subjects(measured, rows)


def table_of(evidence) -> pd.DataFrame:
    """Mean Dice of every patient (rows) and subject (columns), by hand."""
    columns = {}
    for subject in dict.fromkeys(evidence.tables["grid"]["subject"]):
        seeds = [evidence.tables[f"scores/{subject}/{seed}"] for seed in (0, 1)]
        own = pd.concat([table[table["cohort"] == "discs at B"] for table in seeds])
        columns[subject] = own.groupby("unit")["dice"].mean()
    return pd.DataFrame(columns)


def test_scores_are_means_over_seeds_of_every_patient(evidence):
    ours = scores_by_unit(evidence, evidence.tables["grid"], "discs at B", "dice")
    pd.testing.assert_frame_equal(ours, table_of(evidence), check_names=False)


def test_ranks_and_tests_are_those_of_scipy(evidence):
    scores = table_of(evidence)
    ranks = evidence.tables["ranks"].set_index("subject")
    wanted = stats.rankdata(-scores.to_numpy().round(9), axis=1).mean(axis=0)
    assert ranks.loc[scores.columns, "mean_rank"].to_numpy() == pytest.approx(wanted)
    told = evidence.tables["critical_difference"].iloc[0]
    assert told["friedman_p"] == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)
    k, n = scores.shape[1], scores.shape[0]
    q = stats.studentized_range.isf(0.05, k, np.inf) / np.sqrt(2)
    assert told["value"] == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * n))) and told["blocks"] == n
    tests = evidence.tables["difference_tests"]
    assert len(tests) == len(evidence.tables["comparisons"].query("cohort == 'discs at B'"))
    for line in tests.to_dict("records"):
        difference = (scores[line["subject"]] - scores[line["reference"]]).to_numpy()
        if difference.any():
            assert line["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue, abs=1e-6)
    ordered = np.sort(tests["p_wilcoxon"])
    holm = np.minimum(1, np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))
    assert np.sort(tests["p_holm"]) == pytest.approx(holm)


@pytest.mark.parametrize(("patients", "letters"), [(4, ["a", "a"]), (12, ["b", "a"])])
def test_two_subjects_differ_where_wilcoxon_says_so(patients, letters):
    # All of 4 patients better: p = 2 / 2^4 = 0.125. All of 12: 2 / 2^12.
    scores = pd.DataFrame({"worse": np.linspace(0.5, 0.8, patients)})
    scores["better"] = scores["worse"] + np.linspace(0.01, 0.1, patients)
    ranks = rank_subjects(scores)
    assert [line["letters"] for line in ranks] == letters
    assert [line["mean_rank"] for line in ranks] == [2.0, 1.0]


def test_a_subject_of_which_a_seed_failed_is_not_ranked(evidence, rows):
    cells = evidence.tables["grid"].copy()
    cells.loc[(cells["subject"] == "head") & (cells["seed"] == 1), "state"] = "failed"
    tables = {
        name: table
        for name, table in evidence.tables.items()
        if name.startswith("scores/") and name != "scores/head/1"
    }
    found = compare_subjects(Evidence(tables=tables | {"grid": cells}), rows).tables
    assert set(found["ranks"]["subject"]) == {"no adaptation", "full", "adapter"}
    comparisons = found["comparisons"].set_index(["subject", "reference", "cohort"])
    assert comparisons.loc[("head", "full", "discs at B"), "seeds"] == 1


def test_areas_under_curves_are_compared_by_intervals_alone(grid, tmp_path):
    tables = mg.benchmark(grid(metric="auroc"), tmp_path / "out").tables
    assert "comparisons" in tables
    assert not {"ranks", "difference_tests", "critical_difference"} & set(tables)


def test_methods_are_compared_with_the_baselines_of_their_source_and_budget(grid):
    sources = {
        name: {"model": "random/test_resnet", "train": {"settings": {"blocks": n}}}
        for n, name in ((1, "x"), (2, "y"))
    }
    found = pairs(make_plan(grid(sources=sources, budgets=[2, 4])).rows)
    ours = {reference for subject, reference in found if subject == "pixels from x, 4 patients"}
    assert ours == {
        "no adaptation from x",
        "full fine-tuning from x, 4 patients",
        "from scratch from x, 4 patients",
    }
    assert not any(subject.startswith("no adaptation") for subject, _ in found)
