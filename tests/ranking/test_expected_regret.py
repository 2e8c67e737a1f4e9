"""Expected regret: its fast tau against the library's, its ends by hand, and what it says of known scores."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError, SettingsError
from medgraft.ranking.expected_regret import expected_regret, regret_curve, weighted_taus
from medgraft.ranking.published_regret import published_regret
from medgraft.ranking.published_tables import published
from medgraft.statistics import weighted_tau

TRUTH = published().sources.auc


def test_many_taus_at_once_are_those_of_the_library() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(40, 9))
    tied = np.array([0.9, 0.8, 0.8, 0.7, 0.9, 0.8, 0.1, 0.2, 0.3])
    for performance in (random.normal(size=9), tied, TRUTH["Pneumonia"].dropna().to_numpy()[:9]):
        slow = [weighted_tau(row, performance) for row in scores]
        np.testing.assert_allclose(weighted_taus(scores, performance), slow, rtol=0, atol=1e-12)
    assert np.isnan(weighted_taus(scores, np.ones(9))).all()


def test_a_curve_ends_at_the_worst_and_the_best_source_and_passes_blind_choice() -> None:
    performance = TRUTH["OCT"].to_numpy()
    curve = regret_curve(performance, draws=4000)
    known = performance[~np.isnan(performance)]
    assert curve.tau[[0, -1]] == pytest.approx([-1, 1]) and (np.diff(curve.tau) > 0).all()
    assert curve.regret[[0, -1]] == pytest.approx([np.ptp(known), 0])
    assert curve.blind == pytest.approx(known.max() - known.mean())
    assert np.interp(0.0, curve.tau, curve.regret) == pytest.approx(
        curve.blind, abs=0.003
    )  # draws: se about 0.0005
    assert curve.regret[5] > curve.regret[10] > curve.regret[15] > curve.regret[20]


def test_equal_performance_costs_nothing_and_has_no_order() -> None:
    curve = regret_curve(np.array([0.5, 0.5, 0.5]))
    assert curve.regret.tolist() == [0.0] * 21 and curve.blind == 0.0
    table = expected_regret(
        pd.DataFrame({"s": [0.3]}, index=["t"]), pd.DataFrame({"t": [0.5, 0.5, 0.5]}, index=list("abc"))
    )
    assert table.loc["t", "s"] == 0.0


def test_scores_of_known_tau_cost_what_is_expected_of_them() -> None:
    # Five sources: every order is a score. Those whose tau is near a value cost on average what the simulation says.
    performance = np.array([0.9, 0.88, 0.8, 0.7, 0.5])
    orders = np.array(list(permutations(range(5))), dtype=float)
    taus = weighted_taus(orders, performance)
    lost = performance.max() - performance[orders.argmax(axis=1)]
    curve = regret_curve(performance, draws=4000)
    for tau in (-0.5, 0.0, 0.5):
        near = np.abs(taus - tau) < 0.15
        assert near.sum() >= 10
        assert np.interp(tau, curve.tau, curve.regret) == pytest.approx(lost[near].mean(), abs=0.06), tau


def test_a_silent_score_counts_as_a_blind_choice() -> None:
    scenario = published().sources
    table = expected_regret(scenario.tau, scenario.auc)
    blind = scenario.auc.max() - scenario.auc.mean()
    assert np.isnan(scenario.tau.loc["Breast", "sfda"])
    assert table.loc["Breast", "sfda"] == pytest.approx(blind["Breast"], abs=1e-12)
    assert table.index.tolist() == scenario.tau.index.tolist() and table.notna().all(axis=None)


def test_the_published_outlook_compares_with_always_taking_the_baseline() -> None:
    table = published_regret(published().sources, "ImageNet")
    expected = expected_regret(published().sources.tau, TRUTH).mean()
    for score in expected.index:
        assert table.loc[score, "against_best"] == pytest.approx(expected[score])
        assert table.loc[score, "low"] <= table.loc[score, "against_best"] <= table.loc[score, "high"]
        gap = table.loc[score, "against_best"] - table.loc["always ImageNet", "against_best"]
        assert table.loc[score, "against_baseline"] == pytest.approx(gap)
    assert (table.loc["always ImageNet", ["against_baseline", "baseline_low", "baseline_high"]] == 0).all()
    assert table.loc["adaptability", "tau"] == pytest.approx(published().sources.tau["adaptability"].mean())
    with pytest.raises(DataError, match="no row 'GoogLeNet'"):
        published_regret(published().architectures, "GoogLeNet")


def test_wrong_input_is_told() -> None:
    tau = pd.DataFrame({"s": [1.5]}, index=["Blood"])
    with pytest.raises(DataError, match="outside"):
        expected_regret(tau, TRUTH)
    with pytest.raises(DataError, match="Lung is missing"):
        expected_regret(tau.rename(index={"Blood": "Lung"}) / 2, TRUTH)
    with pytest.raises(DataError, match="got 1"):
        regret_curve(np.array([0.5, np.nan]))
    with pytest.raises(SettingsError, match="10 draws"):
        regret_curve(np.array([0.5, 0.4]), draws=1)
