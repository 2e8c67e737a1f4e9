"""What a choice costs, by hand and by a naive loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.ranking.published_tables import published
from medgraft.ranking.regret import first_choices, mean_over_targets, measure_regret

TRUTH = published().sources.auc


def always(source: str) -> pd.DataFrame:
    table = TRUTH * 0.0
    table.loc[source] = 1.0
    return table


def test_always_imagenet_costs_what_the_printed_table_says() -> None:
    regret = measure_regret(always("ImageNet"), TRUTH)
    points = (100 * regret["against_best"]).round(2)
    # By hand from table 6.4: 96.93 - 92.58, 98.76 - 98.09, 96.21 - 95.58, 98.45 - 98.35.
    assert points[points > 0].to_dict() == {"OCT": 4.35, "OrganC": 0.67, "OrganS": 0.63, "Pneumonia": 0.1}
    assert regret.loc["OCT", ["best_source", "chosen", "tied"]].tolist() == ["RadImageNet", "ImageNet", 1]
    assert (regret["against_baseline"] == 0).all()
    assert regret["against_best"].mean() == pytest.approx((4.35 + 0.67 + 0.63 + 0.10) / 1100)


def test_regret_is_that_of_a_naive_loop() -> None:
    scores = pd.DataFrame(np.random.default_rng(3).normal(size=TRUTH.shape), TRUTH.index, TRUTH.columns)
    found = measure_regret(scores, TRUTH)
    for target in TRUTH:
        reached, highest, best = None, -np.inf, -np.inf
        for source in TRUTH.index:
            if source == target:
                continue
            best = max(best, TRUTH.loc[source, target])
            if scores.loc[source, target] > highest:
                highest, reached = scores.loc[source, target], TRUTH.loc[source, target]
        assert found.loc[target, "against_best"] == pytest.approx(best - reached, abs=1e-12)
        lost = TRUTH.loc["ImageNet", target] - reached
        assert found.loc[target, "against_baseline"] == pytest.approx(lost, abs=1e-12)


def test_a_source_without_known_performance_is_never_chosen() -> None:
    own_first = pd.DataFrame(0.0, TRUTH.index, TRUTH.columns)
    for target in TRUTH:
        own_first.loc[target, target] = 9.0
    own_first.loc["Chest"] = 1.0
    assert set(measure_regret(own_first, TRUTH)["chosen"]) == {"Chest"}


def test_a_silent_score_takes_any_source_and_a_missing_one_never_comes_first() -> None:
    silent = measure_regret(TRUTH * 0.0 + 1.0, TRUTH)
    assert silent["against_best"].to_numpy() == pytest.approx((TRUTH.max() - TRUTH.mean()).to_numpy())
    assert (silent["against_best"] == silent["any_source"]).all()
    assert silent.loc["OCT", ["chosen", "tied"]].tolist() == ["any of 14", 14]
    undefined = measure_regret(TRUTH * np.nan, TRUTH)
    assert undefined["against_best"].equals(silent["against_best"])
    partly = TRUTH.where(TRUTH.lt(TRUTH.max()))  # the best source has no score: the second is taken
    second = TRUTH.apply(lambda column: column.dropna().sort_values().iloc[-2])
    assert measure_regret(partly, TRUTH)["reached"].to_numpy() == pytest.approx(second.to_numpy())


def test_scores_that_differ_in_the_last_bit_share_the_first_place() -> None:
    assert first_choices(np.array([0.3, 0.1 + 0.2, 0.2])).tolist() == [True, True, False]
    assert first_choices(np.array([0.3, 0.3 + 1e-8, 0.2])).tolist() == [False, True, False]
    assert first_choices(np.array([np.nan, np.nan])).tolist() == [True, True]


def test_the_interval_is_over_targets_and_expanded() -> None:
    values = np.array([0.0, 0.0, 0.0, 4.35, 0.0, 0.67, 0.63, 0.0, 0.10, 0.0, 0.0])
    found = mean_over_targets(values, repeats=20000)
    assert found.units == 11 and found.value == pytest.approx(values.mean())
    # Expanded: quantiles of the plain bootstrap further out than 2.5 %, as t over normal and sqrt(n / (n - 1)) ask for.
    from scipy import stats

    tail = stats.norm.cdf(-np.sqrt(11 / 10) * stats.t.ppf(0.975, 10))
    drawn = np.random.default_rng(5).choice(values, size=(20000, 11)).mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [tail, 1 - tail]), abs=0.06)
    assert mean_over_targets([0.5]).reason is not None


@pytest.mark.parametrize(
    ("baseline", "says"), [("ResNet", "no row 'ResNet'"), ("Path", "'Path' on 'Path' is unknown")]
)
def test_a_baseline_that_is_not_known_everywhere_is_refused(baseline: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        measure_regret(TRUTH, TRUTH, baseline=baseline)
    assert "against_baseline" not in measure_regret(TRUTH, TRUTH, baseline=None)
