"""Tests over the runs of a grid, compared with SciPy on the same scores, and the best of groups by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medgraft.benchmarks.claims import group_problems
from medgraft.benchmarks.grid import read_grid
from medgraft.benchmarks.over_runs import compare_runs
from medgraft.benchmarks.plan import Row
from medgraft.evidence import Evidence, fact

METHODS = {"vit": 0.70, "swin": 0.74, "resnet": 0.72, "full fine-tuning": 0.69}
SEEDS = range(5)


def grid_of(**parts):
    return read_grid(
        {
            "cohorts": {"films": {"data": "phantoms/chest_film"}},
            "sources": {"own": {"model": "random/test_vit"}},
            "budgets": [8],
            **parts,
        }
    )


@pytest.fixture
def scores() -> pd.DataFrame:
    """AUROC of four methods in five runs that share an effect of the seed, so that pairing matters."""
    random = np.random.default_rng(3)
    of_seed = random.normal(0, 0.03, len(SEEDS))
    return pd.DataFrame({name: mean + of_seed + random.normal(0, 0.005, 5) for name, mean in METHODS.items()})


def rows_and_evidence(scores: pd.DataFrame, metric: str = "auroc"):
    rows, facts, cells = [], [], []
    for name in scores:
        role = "baseline" if name == "full fine-tuning" else "method"
        for seed in SEEDS:
            subject = f"{name}, 8 images"
            rows.append(
                Row(
                    key=f"{name} {seed}", subject=subject, method=name, source="own", source_cohort="", cohort="films",
                    budget=8, budget_by="image", seed=seed, role=role, oracle=False, source_split="test",
                    metric=metric,
                )
            )  # fmt: skip
            cells.append({**rows[-1]._asdict(), "state": "finished"})
            value = float(scores.loc[seed, name])
            facts.append(fact(subject=subject, cohort="films", metric=metric, value=value, seed=seed))
            facts[-1]["split"] = "test"
    return rows, Evidence(pd.DataFrame(facts), tables={"grid": pd.DataFrame(cells)})


def test_every_method_is_compared_with_its_baseline_as_scipy_does(scores):
    rows, evidence = rows_and_evidence(scores)
    table = compare_runs(evidence, rows, grid_of()).tables["run_tests"]
    assert table["subject"].tolist() == ["vit, 8 images", "swin, 8 images", "resnet, 8 images"]
    assert set(table["reference"]) == {"full fine-tuning, 8 images"} and set(table["group"]) == {""}
    theirs = scores["full fine-tuning"]
    for line, name in zip(table.to_dict("records"), METHODS):
        assert line["runs"] == 5
        assert line["mean"] == pytest.approx(scores[name].mean())
        assert line["sd"] == pytest.approx(scores[name].std()) and line["reference_sd"] == pytest.approx(
            theirs.std()
        )
        wanted = stats.ttest_ind(scores[name], theirs, equal_var=False).pvalue
        assert line["p_independent"] == pytest.approx(wanted)
        assert line["p_paired"] == pytest.approx(stats.ttest_rel(scores[name], theirs).pvalue)
    ordered = np.sort(table["p_paired"])
    holm = np.minimum(1, np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))
    assert np.sort(table["p_holm"]) == pytest.approx(holm)


@pytest.mark.parametrize(("metric", "best"), [("auroc", "swin"), ("brier", "vit")])
def test_the_best_of_each_group_are_compared(scores, metric, best):
    rows, evidence = rows_and_evidence(scores, metric)
    groups = {"transformers": ["vit", "swin"], "convolutional": ["resnet"]}
    table = compare_runs(evidence, rows, grid_of(groups=groups)).tables["run_tests"]
    line = table[table["group"] != ""].to_dict("records")
    assert [(one["subject"], one["reference"]) for one in line] == [(f"{best}, 8 images", "resnet, 8 images")]
    assert (line[0]["group"], line[0]["reference_group"]) == ("transformers", "convolutional")


def test_a_pair_that_groups_name_again_counts_once_in_the_correction(scores):
    rows, evidence = rows_and_evidence(scores)
    alone = compare_runs(evidence, rows, grid_of()).tables["run_tests"]
    kinds = {"networks": ["swin", "vit"], "bounds": ["full fine-tuning"]}
    for names in (list(kinds), list(kinds)[::-1]):  # the best of the first again, with its baseline
        groups = {name: kinds[name] for name in names}
        table = compare_runs(evidence, rows, grid_of(groups=groups)).tables["run_tests"]
        assert len(table) == len(alone) + 1
        assert table["p_holm"].tolist() == [
            *alone["p_holm"],
            table.set_index("subject")["p_holm"]["swin, 8 images"].min(),
        ]


def test_what_claims_compare_is_compared_once(scores):
    rows, evidence = rows_and_evidence(scores)
    about = {"sentence": "better", "source": "a paper", "published": "yes"}
    claims = [about | {"method": "vit", "reference": other} for other in ("resnet", "full fine-tuning")]
    claims.append(about | {"method": "swin", "reference": "resnet", "budgets": [16]})  # not measured
    table = compare_runs(evidence, rows, grid_of(claims=claims)).tables["run_tests"]
    found = list(zip(table["subject"], table["reference"]))
    assert found.count(("vit, 8 images", "resnet, 8 images")) == 1
    assert found.count(("vit, 8 images", "full fine-tuning, 8 images")) == 1
    assert ("swin, 8 images", "resnet, 8 images") not in found


def test_runs_that_one_of_both_lacks_are_left_out_and_two_are_too_few(scores):
    gaps = scores.copy()
    gaps.loc[[0], "vit"] = np.nan
    gaps.loc[[0, 1, 2], "swin"] = np.nan
    rows, evidence = rows_and_evidence(gaps)
    table = compare_runs(evidence, rows, grid_of()).tables["run_tests"].set_index("subject")
    assert table.loc["vit, 8 images", "runs"] == 4
    assert table.loc["vit, 8 images", "reference_mean"] == pytest.approx(
        scores["full fine-tuning"][1:].mean()
    )
    assert "swin, 8 images" not in table.index


def test_runs_that_all_differ_by_the_same_have_no_paired_p(scores):
    scores["full fine-tuning"] = np.arange(5) / 64
    scores["vit"] = scores["full fine-tuning"] + 0.5
    rows, evidence = rows_and_evidence(scores)
    table = compare_runs(evidence, rows, grid_of()).tables["run_tests"].set_index("subject")
    assert np.isnan(table.loc["vit, 8 images", ["p_paired", "p_holm"]].astype(float)).all()
    assert table.loc["swin, 8 images", "p_holm"] >= table.loc["swin, 8 images", "p_paired"]


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"a": ["vitt"], "b": ["resnet"]}, "groups.a: a group needs some of vit, resnet, but it got 'vitt'"),
        ({"a": ["vit"], "b": ["vit", "resnet"]}, "'vit' is also one of 'a'"),
        ({"a": ["vit", "resnet"]}, "groups: a comparison needs two groups, but there is one"),
    ],
)  # fmt: skip
def test_groups_that_cannot_be_compared_are_told(groups, told):
    problems = list(group_problems(grid_of(groups=groups), ["vit", "resnet"]))
    assert len(problems) == 1
    where, error = problems[0]
    assert told in f"{where}: {error}"


def test_a_grid_that_ranks_sources_has_no_groups():
    grid = grid_of(groups={"a": ["own"]}, ranking={})
    assert [where for where, _ in group_problems(grid, ["own"])] == ["groups"]


def test_a_subject_that_chance_does_not_touch_is_compared_without_a_warning(scores, recwarn):
    scores["full fine-tuning"] = 0.5
    rows, evidence = rows_and_evidence(scores)
    table = compare_runs(evidence, rows, grid_of()).tables["run_tests"]
    wanted = stats.ttest_1samp(
        scores["vit"], 0.5
    ).pvalue  # Welch's test with one spread of zero is the one-sample test
    assert table["p_independent"].iloc[0] == pytest.approx(wanted)
    assert table["reference_sd"].iloc[0] == 0 and not recwarn.list
