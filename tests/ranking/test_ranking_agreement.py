"""Ranking scores judged by fine-tuning: the published numbers from the authors' score tables, and cases by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.statistics.test_published_rankings import GOLDEN, METHODS

from medgraft.errors import DataError
from medgraft.ranking.agreement import measure_agreement
from medgraft.ranking.published_tables import published
from medgraft.statistics import critical_difference, friedman, mean_ranks, nemenyi, weighted_tau

TRUTH = published().sources.auc
needs_golden = pytest.mark.skipif(not GOLDEN.is_file(), reason="the authors' result tables are not here")


def authors(kind: str) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The authors' score tables under our names, and their unrounded AUC."""
    golden = np.load(GOLDEN)
    truth = TRUTH if kind == "dataset" else published().architectures.auc
    names = published().sources.tau.columns

    def table(key: str) -> pd.DataFrame:
        return pd.DataFrame(golden[f"{kind}_{key}"], truth.index, truth.columns)

    scores = {ours: table(f"score_{theirs}") for ours, theirs in zip(names, METHODS, strict=True)}
    return scores, table("auc") / (1 if kind == "dataset" else 100)


@needs_golden
def test_the_sources_experiment_is_reproduced_from_its_scores() -> None:
    scores, auc = authors("dataset")
    found = measure_agreement(scores, auc)
    np.testing.assert_allclose(found.tau, published().sources.tau, rtol=0, atol=0.005 + 1e-9)  # all 77
    assert found.notes == tuple(
        f"sfda says nothing on {target}: it is the same for all 14 sources."
        for target in ("Breast", "Pneumonia")
    )
    comparison = found.comparison
    assert comparison is not None and comparison.friedman is not None
    assert comparison.friedman.p == pytest.approx(0.00202, abs=5e-6)
    assert comparison.critical_difference == pytest.approx(2.716, abs=5e-4)
    printed = published().sources.printed_mean_ranks
    assert comparison.ranks["mean_rank"].to_numpy() == pytest.approx(printed.to_numpy(), abs=0.005)
    order = [comparison.ranks.index[place] for place in comparison.diagram.order]
    assert order == ["adaptability", "n_leep", "leep", "log_me", "parc", "ncti", "sfda"]
    assert (
        comparison.ranks.loc["adaptability", "letters"] == "a"
        and comparison.ranks.loc["sfda", "letters"] == "b"
    )
    assert (
        comparison.nemenyi.loc["adaptability", "sfda"]
        < 0.05
        < comparison.nemenyi.loc["adaptability", "n_leep"]
    )


@needs_golden
def test_the_architectures_experiment_is_reproduced_up_to_its_averages() -> None:
    scores, auc = authors("model")
    found = measure_agreement(scores, auc, baseline="ResNet")
    scenario = published().architectures
    np.testing.assert_allclose(found.tau, scenario.tau, rtol=0, atol=0.005 + 1e-9)  # the other 77
    assert found.comparison is not None and found.comparison.friedman is not None
    ranks = found.comparison.ranks["mean_rank"]
    # The last row of table 6.3 does not follow from the ranks above it; ours does.
    assert ranks.to_numpy() == pytest.approx(scenario.printed_ranks.mean().to_numpy())
    wrong = (ranks - scenario.printed_mean_ranks).abs() > 0.006
    assert set(ranks.index[wrong]) == {"sfda", "n_leep"}
    assert found.comparison.friedman[:2] == pytest.approx((9.584, 0.143), abs=5e-4)


@needs_golden
def test_no_published_score_cost_less_than_always_taking_imagenet() -> None:
    scores, auc = authors("dataset")
    regret = measure_agreement(scores, auc).regret
    base = regret.loc["always ImageNet", "against_best"]
    assert 100 * base == pytest.approx(0.5229, abs=5e-5)
    assert (regret.loc[list(scores), "against_best"] >= base).all()
    assert regret.loc["adaptability", "against_baseline"] == 0  # it names ImageNet on every target


def three_targets() -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    truth = pd.DataFrame(
        {"t": [0.9, 0.8, 0.7, 0.6], "u": [0.5, 0.9, 0.7, 0.6], "v": [0.6, 0.7, 0.8, np.nan]},
        index=list("abcd"),
    )
    random = np.random.default_rng(1)
    return {name: truth.fillna(0) + random.normal(0, 0.2, truth.shape) for name in ("x", "y", "z")}, truth


def test_every_number_is_that_of_the_function_it_comes_from() -> None:
    scores, truth = three_targets()
    found = measure_agreement(scores, truth, baseline="a")
    for name, table in scores.items():
        for target in truth:
            known = truth[target].notna()
            tau = weighted_tau(table[target][known], truth[target][known])
            assert found.tau.loc[target, name] == pytest.approx(tau)
            assert found.by_target.loc[(name, target), "tau"] == pytest.approx(tau)
    comparison = found.comparison
    assert comparison is not None and comparison.friedman == friedman(found.tau)
    assert comparison.ranks["mean_rank"].tolist() == mean_ranks(found.tau).tolist()
    assert comparison.nemenyi.to_numpy() == pytest.approx(nemenyi(found.tau))
    assert comparison.critical_difference == critical_difference(3, 3)
    assert found.notes == ()


def test_the_table_of_regret_is_the_mean_over_targets() -> None:
    scores, truth = three_targets()
    found = measure_agreement(scores, truth, baseline="a")
    assert found.regret.index.tolist() == ["x", "y", "z", "any source", "always a"]
    for name in scores:
        rows = found.by_target.loc[name]
        assert found.regret.loc[name, "against_best"] == pytest.approx(rows["against_best"].mean())
        assert found.regret.loc[name, "against_baseline"] == pytest.approx(rows["against_baseline"].mean())
        assert found.regret.loc[name, "expected"] == pytest.approx(rows["expected"].mean())
    assert found.regret.loc["always a", "against_best"] == pytest.approx((0 + 0.4 + 0.2) / 3)
    blind = (0.9 - 0.75 + 0.9 - 0.675 + 0.8 - 0.7) / 3
    assert found.regret.loc["any source", "against_best"] == pytest.approx(blind)
    assert found.regret.loc["any source", "against_baseline"] == pytest.approx(blind - 0.2)
    without = measure_agreement(scores, truth, baseline=None).regret
    assert without.index.tolist() == ["x", "y", "z", "any source"] and "against_baseline" not in without


def test_a_silent_or_undefined_score_ranks_last_and_says_why() -> None:
    scores, truth = three_targets()
    silent = scores["x"] * 0 + 1.0
    undefined = scores["y"].copy()
    undefined.loc["b", "u"] = np.nan
    given = {"silent": silent, "undefined": undefined, "reversed": -truth.fillna(0)}
    found = measure_agreement(given, truth, baseline="a")
    assert found.tau["silent"].isna().all() and found.tau["undefined"].isna().tolist() == [False, True, False]
    assert "undefined says nothing on u: it is undefined for 1 of 4 sources." in found.notes
    assert len(found.notes) == 4
    assert found.comparison is not None
    # On u two say nothing and share ranks 2 and 3, below even the reversed order.
    assert found.tau.loc["u", "reversed"] == pytest.approx(-1)
    others = [mean_ranks(np.array([[-2.0, found.tau.loc[t, "undefined"], -1.0]])) for t in ("t", "v")]
    expected = np.mean([others[0], np.array([2.5, 2.5, 1.0]), others[1]], axis=0)
    assert found.comparison.ranks["mean_rank"].to_numpy() == pytest.approx(expected)


def test_a_target_on_which_all_do_equally_well_is_told() -> None:
    scores, truth = three_targets()
    found = measure_agreement({"x": scores["x"]}, truth.assign(u=0.5), baseline=None)
    assert found.notes == ("x says nothing on u: all sources did equally well.",)
    assert found.by_target.loc[("x", "u"), "against_best"] == 0


def test_a_bare_table_is_a_score_without_a_name_and_one_target_has_no_interval() -> None:
    found = measure_agreement(TRUTH[["OCT"]].fillna(0))
    assert found.tau.to_dict() == {"score": {"OCT": 1.0}}
    row = found.regret.loc["score"]
    assert row["against_best"] == 0 and row["against_baseline"] == pytest.approx(-0.0435)
    assert row[["low", "high", "baseline_low", "baseline_high"]].isna().all()


def test_a_single_score_is_judged_by_tau_and_regret_or_beside_the_published_ones() -> None:
    perfect = {"perfect": TRUTH.fillna(0)}
    alone = measure_agreement(perfect)
    assert alone.comparison is None and alone.regret.loc["perfect", "against_best"] == 0
    beside = measure_agreement(perfect, others=published().sources.tau).comparison
    assert beside is not None and beside.friedman is not None
    assert beside.ranks.loc["perfect", "mean_rank"] == 1 and len(beside.ranks) == 8
    assert beside.critical_difference == pytest.approx(critical_difference(8, 11))
    two = measure_agreement({"a": TRUTH.fillna(0), "b": -TRUTH.fillna(0)}).comparison
    assert two is not None and two.friedman is None and two.ranks["mean_rank"].tolist() == [1, 2]


def test_points_are_the_candidates_of_every_target() -> None:
    scores, truth = three_targets()
    points = measure_agreement(scores, truth, baseline=None).points
    assert len(points) == 3 * 11
    row = points[(points["score"] == "y") & (points["target"] == "v") & (points["source"] == "c")].iloc[0]
    assert (row["value"], row["performance"]) == (scores["y"].loc["c", "v"], 0.8)
    assert not ((points["target"] == "v") & (points["source"] == "d")).any()


def test_taus_of_others_must_fit() -> None:
    scores, truth = three_targets()
    with pytest.raises(DataError, match="none on t, u, v"):
        measure_agreement(scores, truth, baseline=None, others=published().sources.tau)
    with pytest.raises(DataError, match="'leep' is in both tables"):
        measure_agreement({"leep": TRUTH.fillna(0)}, others=published().sources.tau)
