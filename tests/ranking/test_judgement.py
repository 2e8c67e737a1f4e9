"""Scores are judged by fine-tuning, target by target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.ranking.judgement import ELSEWHERE, judge
from medgraft.ranking.regret import measure_regret
from medgraft.statistics import weighted_tau

SOURCES = ["ImageNet", "brain", "cells", "random", "pool"]
WORTH = np.array([0.9, 0.8, 0.7, 0.5, 0.85])


def planted(noise: float = 0.01, cohorts: tuple[str, ...] = ("t", "u"), seeds: int = 4) -> pd.DataFrame:
    """Performance of five sources with seeds that differ little, and of one that was trained on the target."""
    generator = np.random.default_rng(0)
    rows = []
    for cohort in cohorts:
        for seed in range(seeds):
            for source, worth in zip([*SOURCES, f"{cohort} itself"], [*WORTH, 0.75]):
                value = worth + noise * generator.normal()
                rows.append((cohort, source, source.endswith("itself"), seed, value))
    return pd.DataFrame(rows, columns=["cohort", "source", "own", "seed", "value"])


def scored(truth: pd.DataFrame) -> pd.DataFrame:
    """One score that knows, one that says the opposite, and one that is silent about a source."""
    silent = truth.assign(score="silent")
    silent.loc[silent["source"] == "random", "value"] = np.nan
    opposite = truth.assign(score="opposite", value=-truth["value"])
    return pd.concat([truth.assign(score="knows"), opposite, silent], ignore_index=True)


def test_a_score_that_knows_and_its_opposite_have_the_taus_of_their_mean_orders() -> None:
    truth = planted()
    taus = judge(truth, scored(truth))["taus"].set_index(["score", "cohort"])["tau"]

    means = truth[~truth["own"]].groupby(["cohort", "source"])["value"].mean()["t"]
    assert taus["knows", "t"] == pytest.approx(1.0)
    assert taus["opposite", "t"] == pytest.approx(weighted_tau(-means, means))
    assert np.isnan(taus["silent", "t"])


def test_reliability_comes_with_every_target() -> None:
    clear, noise = (judge(truth, scored(truth))["reliability"] for truth in (planted(0.01), planted(2.0)))

    assert clear["tells_apart"].all() and (clear["seeds"] == 4).all() and (clear["sources"] == 5).all()
    assert not noise["tells_apart"].any()


def test_regret_is_that_of_the_candidates_without_the_targets_own_source() -> None:
    truth = planted()
    found = judge(truth, scored(truth), baseline="brain")

    means = truth[~truth["own"]].groupby(["source", "cohort"])["value"].mean().unstack()
    expected = measure_regret(-means, means, baseline="brain")
    regret = found["regret"].set_index("score")
    assert regret.loc["opposite", "against_best"] == pytest.approx(expected["against_best"].mean())
    assert regret.loc["opposite", "against_baseline"] == pytest.approx(expected["against_baseline"].mean())
    assert regret.loc["knows", "against_best"] == 0.0
    assert "always brain" in regret.index
    chosen = found["choices"].set_index(["score", "cohort"])["chosen"]
    assert (chosen["opposite"] == "random").all() and (chosen["knows"] == "ImageNet").all()


def test_performance_elsewhere_is_a_score_where_there_is_an_elsewhere() -> None:
    truth = planted()
    assert ELSEWHERE in set(judge(truth, scored(truth))["taus"]["score"])

    one = planted(cohorts=("t",))
    assert ELSEWHERE not in set(judge(one, scored(one))["taus"]["score"])


def test_a_source_that_is_a_candidate_on_one_target_only_counts_as_average_elsewhere() -> None:
    truth = planted()
    truth = truth[(truth["source"] != "pool") | (truth["cohort"] == "t")]
    taus = judge(truth, scored(truth))["taus"].set_index(["score", "cohort"])["tau"]

    assert np.isfinite(taus[ELSEWHERE, "t"]) and taus[ELSEWHERE, "u"] == pytest.approx(1.0)


def test_own_sources_are_told_their_true_rank_and_that_of_the_score() -> None:
    truth = planted()
    ranks = pd.DataFrame(
        [
            (cohort, f"{cohort} itself", seed, "knows", rank)
            for cohort in "tu"
            for seed, rank in enumerate((1, 1, 1, 3))
        ],
        columns=["cohort", "source", "seed", "score", "rank"],
    )
    own = judge(truth, scored(truth), ranks)["own"]

    assert own["true_rank"].tolist() == [4.0, 4.0]  # 0.9, 0.85, 0.8, then 0.75
    assert own["rank"].tolist() == [1.5, 1.5]
    assert own["of"].tolist() == [6, 6] and own["mean_rank_by_chance"].tolist() == [3.5, 3.5]


def test_a_source_of_which_a_seed_failed_is_no_candidate_there() -> None:
    truth = planted()
    failed = (truth["source"] == "ImageNet") & (truth["cohort"] == "t") & (truth["seed"] == 1)
    truth.loc[failed, "value"] = np.nan
    found = judge(truth, scored(truth.assign(value=truth["value"].fillna(0.0))))

    assert found["reliability"].set_index("cohort")["sources"].to_dict() == {"t": 4, "u": 5}
    assert found["choices"].set_index(["score", "cohort"]).loc[("knows", "t"), "best_source"] == "pool"


def test_one_seed_cannot_judge() -> None:
    truth = planted(seeds=1)
    with pytest.raises(DataError, match="two seeds or more"):
        judge(truth, scored(truth))
