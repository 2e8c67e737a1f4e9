"""Grids that rank sources: each is fine-tuned and scored with the same labels, and the scores are judged by that."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import medgraft as mg
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.problems import GridError
from medgraft.evidence import Evidence
from medgraft.ranking.judgement import judge
from medgraft.ranking.rank import rank_sources
from medgraft.ranking.scorers import choose_scorers
from medgraft.statistics import weighted_tau

BY = ["nearest_neighbours", "log_me", "feature_update", "adaptability"]


@pytest.fixture
def zoo(grid, sites):
    """Three untrained networks on two targets; the third stands for one that was trained on the first target."""

    def make(**parts):
        cohorts = {f"discs {site}": {"data": str(sites), "targets": [site]} for site in "AB"}
        sources = {
            "residual": {"model": "random/test_resnet", "images": 10},
            "mobile": {"model": "random/test_efficientnet"},
            "own": {"model": "random/test_byobnet", "cohorts": ["discs A"], "images": 5},
        }
        ranking = {"by": BY, "baseline": "mobile", "own": ["own"]}
        settings = {"seeds": [0, 1], "budgets": [6], "cohorts": cohorts, "sources": sources, "methods": {}}
        return grid(**settings | {"ranking": ranking} | parts)

    return make


@pytest.fixture
def judged(zoo, tmp_path) -> Evidence:
    return mg.benchmark(zoo(), tmp_path / "out")


def test_only_fine_tuning_from_every_source_takes_part(zoo):
    plan = make_plan(zoo())

    assert {row.method for row in plan.rows} == {"full fine-tuning"}
    assert {row.budget for row in plan.rows} == {6}
    places = {(row.source, row.cohort) for row in plan.rows}
    assert places == {(scored.source, scored.cohort) for scored in plan.scored}
    assert ("own", "discs A at A") in places and ("own", "discs A at B") not in places
    assert len(plan.rows) == len(plan.scored) == 5 * 2


def test_the_grid_may_name_the_method_that_sources_are_tuned_with(zoo):
    methods = {"head": {"method": "fine_tune", "settings": {"scope": "head"}}}
    assert {row.method for row in make_plan(zoo(methods=methods)).rows} == {"head"}


def test_tables_hold_what_fine_tuning_and_scores_gave(judged):
    performance, scores = (judged.tables[f"selection_{name}"] for name in ("performance", "scores"))

    facts = judged.facts
    wanted = facts[facts["metric"].eq("accuracy") & facts["part"].eq("") & facts["split"].eq("test")]
    assert sorted(performance["value"]) == sorted(wanted["value"])
    sizes = performance.groupby("source")["size"].max()
    assert (sizes["own"], sizes["residual"]) == (5, 10) and np.isnan(sizes["mobile"])
    assert set(scores["score"]) == set(BY)
    assert scores.groupby("score").size().to_dict() == dict.fromkeys(BY, 10)
    assert (scores["own"] == (scores["source"] == "own")).all()


def test_scores_are_those_of_rank_on_the_same_labels(zoo, judged):
    plan = make_plan(zoo())
    scores = judged.tables["selection_scores"]
    from medgraft.api.ranking import open_candidate
    from medgraft.benchmarks.given import scored_rows
    from medgraft.benchmarks.rows import open_data
    from medgraft.ranking.material import gather_material

    members = [one for one in plan.scored if (one.cohort, one.seed) == ("discs A at B", 1)]
    cells = {one.source: plan.cells[one.key] for one in members}
    rows = scored_rows(cells["mobile"], open_data(cells["mobile"].data))
    assert len(rows) == 6 * 2, "six patients of two images each"
    looks = {
        name: lambda cell=cell: gather_material(open_candidate(cell.model, rows, cell.seed), rows, seed=1)
        for name, cell in cells.items()
    }
    expected = rank_sources(looks, choose_scorers(BY, "classify"), rows.units, resamples=0).scores
    here = scores[(scores["cohort"] == "discs A at B") & (scores["seed"] == 1)]
    merged = here.merge(expected, on=["source", "score"], suffixes=("", "_of_rank"))
    assert len(merged) == 8
    np.testing.assert_allclose(merged["value"], merged["value_of_rank"])
    assert (merged["reason"] == merged["reason_of_rank"]).all()


def test_an_own_source_changes_no_candidates_score(zoo, tmp_path, judged):
    without = zoo()
    without["sources"].pop("own")
    without["ranking"]["own"] = []
    other = mg.benchmark(without, tmp_path / "other").tables["selection_scores"]
    columns = ["cohort", "seed", "source", "score", "value"]
    ours = judged.tables["selection_scores"]
    pd.testing.assert_frame_equal(
        ours.loc[~ours["own"], columns].reset_index(drop=True), other[columns].reset_index(drop=True)
    )


def test_the_scores_are_judged(judged):
    assert {f"selection_{name}" for name in ("reliability", "taus", "regret", "choices", "own")} <= set(
        judged.tables
    )
    performance, scores = (judged.tables[f"selection_{name}"] for name in ("performance", "scores"))
    taus = judged.tables["selection_taus"].set_index(["cohort", "score"])["tau"]
    here = [table[(table["cohort"] == "discs A at A") & ~table["own"]] for table in (performance, scores)]
    knn = here[1][here[1]["score"] == "nearest_neighbours"]
    means = [table.groupby("source")["value"].mean() for table in (knn, here[0])]
    assert taus["discs A at A", "nearest_neighbours"] == pytest.approx(weighted_tau(*means), nan_ok=True)
    again = judge(performance, scores, baseline="mobile")["regret"]
    columns = ["score", "against_best", "against_baseline"]
    pd.testing.assert_frame_equal(judged.tables["selection_regret"][columns], again[columns])
    own = judged.tables["selection_own"]
    assert set(own["cohort"]) == {"discs A at A"} and set(own["of"]) == {3}
    assert own["rank"].dropna().between(1, 3).all()


def test_one_seed_is_told_and_not_judged(zoo, tmp_path):
    found = mg.benchmark(zoo(seeds=[0]), tmp_path / "one")
    assert "selection_scores" in found.tables and "selection_taus" not in found.tables
    assert any("two seeds or more" in warning for warning in found.warnings)


def test_a_score_that_is_added_computes_no_fine_tuning_anew(zoo):
    plan, more = (
        make_plan(zoo()),
        make_plan(zoo(ranking={"by": [*BY, "gbc"], "baseline": "mobile", "own": ["own"]})),
    )
    assert {row.key for row in plan.rows} == {row.key for row in more.rows}
    assert not {one.key for one in plan.scored} & {one.key for one in more.scored}


@pytest.mark.parametrize(
    ("ranking", "told"),
    [
        ({"by": ["logme"]}, "ranking.by: "),
        ({"baseline": "imagenet"}, "ranking.baseline needs sources of the grid"),
        (
            {"baseline": "own", "own": ["own"]},
            "ranking.baseline needs a source that takes part on every cohort",
        ),
        ({"own": ["mobile", "own"]}, "ranking needs two sources or more on discs A"),
    ],
)
def test_rankings_that_cannot_be_are_refused(zoo, ranking, told):
    with pytest.raises(GridError) as refused:
        make_plan(zoo(ranking=ranking))
    assert any(problem.startswith(told) for problem in refused.value.problems), refused.value.problems


def test_two_methods_or_an_unknown_cohort_are_refused(zoo):
    two = {name: {"method": "simple_baseline"} for name in ("a", "b")}
    bad = zoo(methods=two, metric="brier")
    bad["sources"]["own"]["cohorts"] = ["disks A"]
    with pytest.raises(GridError) as refused:
        make_plan(bad)
    problems = "\n".join(refused.value.problems)
    assert "methods needs one method at most" in problems
    assert "metric needs in a grid that ranks sources a score of which more is better" in problems
    assert (
        "sources.own.cohorts needs cohorts of the grid" in problems and "did you mean 'discs A'" in problems
    )


def test_the_report_goes_by_the_grids_score(zoo, tmp_path):
    from medgraft.reports.panels import make_panels

    evidence = mg.benchmark(zoo(metric="auroc", seeds=[0]), tmp_path / "auroc")
    assert {panel.main for panel in make_panels(evidence)} == {"auroc"}


def test_a_source_that_cannot_be_scored_is_told_and_not_judged(zoo, tmp_path, monkeypatch):
    from medgraft.benchmarks.scoring import score_model
    from medgraft.errors import ModelError

    def failing(model, rows, names, device, seed):
        if type(model.net).__name__ != "ResNet":
            raise ModelError("Features", "a layer", "there is none", "Leave it out.")
        return score_model(model, rows, names, device, seed)

    monkeypatch.setattr("medgraft.benchmarks.cell.score_model", failing)
    found = mg.benchmark(zoo(seeds=[0, 1]), tmp_path / "failing")
    told = [warning for warning in found.warnings if "could not be scored on" in warning]
    assert any(
        "mobile could not be scored on discs A at A, seed 1: Features needs a layer" in one for one in told
    )
    scores = found.tables["selection_scores"]
    assert scores.loc[scores["source"] == "mobile", "value"].isna().all()
    taus = found.tables["selection_taus"].set_index("score")["tau"]
    assert taus.drop("performance_elsewhere").isna().all()


def test_a_method_without_labels_is_refused(zoo, plugin):
    with pytest.raises(GridError) as refused:
        make_plan(zoo(methods={"looks": {"method": "unlabelled"}}))
    assert any("learns from target labels" in problem for problem in refused.value.problems)
