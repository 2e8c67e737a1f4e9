from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.reports.ranking_evidence import SOURCES, ranking_evidence, with_scores

from medgraft.evidence import Evidence, fact
from medgraft.reports.panels import make_panels
from medgraft.reports.ranking.charts import score_scatters, source_keys
from medgraft.reports.ranking.leaders import Realised, realised, realised_sentences
from medgraft.reports.ranking.published_regret import outlook, read_regret, regret_sentence
from medgraft.reports.ranking.source_ranking import SourceRanking, read_rankings

FIRST, SECOND = list(SOURCES)[:2]


def outcomes(evidence: Evidence) -> list[tuple[SourceRanking, Realised | None]]:
    panels = make_panels(evidence)
    return [(ranking, realised(ranking, panels)) for ranking in read_rankings(evidence)]


def outcome(evidence: Evidence) -> tuple[SourceRanking, Realised]:
    ((ranking, found),) = outcomes(evidence)
    assert found is not None
    return ranking, found


def with_facts(evidence: Evidence, values: dict[str, float], metric: str = "auroc") -> Evidence:
    rows = [
        fact(subject=source, cohort="H&E nuclei", metric=metric, value=value, n=9, unit="patients")
        for source, value in values.items()
    ]
    return replace(evidence, facts=pd.DataFrame(rows))


def test_regret_is_what_the_choice_gives_away_against_the_best_leader() -> None:
    ranking, found = outcome(ranking_evidence(fine_tuned=3))
    assert [leader.source for leader in found.leaders] == ranking.sources[:3]
    choices = {choice.score: choice for choice in found.choices}
    assert choices["log_me"].chosen == [FIRST] and choices["linear_probe"].chosen == [SECOND]
    assert choices["log_me"].regret == pytest.approx(0.84 - 0.81) and choices["linear_probe"].regret == 0
    assert realised_sentences(ranking, found) == [
        f"Of the 3 sources that were fine-tuned, {SECOND} did best: AUROC 0.840 (95\N{NO-BREAK SPACE}% interval 0.810 "
        f"to 0.865). {FIRST}, which LogME puts first among them, reaches 0.810: a realised regret of 0.030. Their "
        "intervals overlap, so the order of the two may be chance."
    ]


def test_a_right_choice_has_no_regret() -> None:
    ranking, found = outcome(with_facts(ranking_evidence(), {FIRST: 0.9, SECOND: 0.9}))
    assert realised_sentences(ranking, found) == [
        f"Of the 2 sources that were fine-tuned, {FIRST} did best: AUROC 0.900. LogME puts it first among them: "
        "no regret."
    ]


def test_of_distances_the_lowest_is_best() -> None:
    ranking, found = outcome(with_facts(ranking_evidence(), {FIRST: 12.0, SECOND: 9.5}, "hd95_mm"))
    assert found.choices[0].regret == pytest.approx(2.5)
    assert f"{SECOND} did best: HD95 (mm) 9.50." in realised_sentences(ranking, found)[0]


def test_a_score_that_ties_gives_away_the_mean_of_the_tied() -> None:
    tied = with_scores(ranking_evidence(), "log_me", value=0.5)
    ranking, found = outcome(with_facts(tied, {FIRST: 0.9, SECOND: 0.8, "models/brain slices": 0.7}))
    assert found.choices[0].regret == pytest.approx(0.1)
    assert "reach on average 0.800: a realised regret of 0.100." in realised_sentences(ranking, found)[0]


def test_test_scores_of_other_cohorts_seeds_and_subjects_do_not_count() -> None:
    evidence = ranking_evidence(cohorts=("H&E nuclei", "tissue"), seeds=(0, 1), fine_tuned=3)
    for ranking, found in outcomes(evidence):
        alone = evidence.facts.query(f"cohort == {ranking.cohort!r} and seed == {ranking.seed}").set_index(
            "subject"
        )
        assert found is not None
        assert {leader.source: leader.cell.value for leader in found.leaders} == alone["value"].to_dict()
    moved = ranking_evidence(fine_tuned=3)
    for column, value in (("seed", 7), ("cohort", "elsewhere"), ("split", "validation")):
        ((_, found),) = outcomes(replace(moved, facts=moved.facts.assign(**{column: value})))
        assert found is None
    ((_, found),) = outcomes(with_facts(ranking_evidence(), {FIRST: 0.9, "no source": 0.8}))
    assert found is None


def test_an_undefined_test_score_is_no_leader() -> None:
    _, found = outcome(
        with_facts(ranking_evidence(), {FIRST: np.nan, SECOND: 0.8, "models/brain slices": 0.7})
    )
    assert [leader.source for leader in found.leaders] == [SECOND, "models/brain slices"]


@pytest.mark.parametrize(("tuned", "lines"), [(2, 0), (3, 3), (5, 4)])
def test_a_scatter_has_a_line_from_three_leaders_with_both_numbers_on(tuned: int, lines: int) -> None:
    ranking, found = outcome(ranking_evidence(fine_tuned=tuned))
    keys = source_keys(ranking, found)
    charts = score_scatters(found, keys, "x")
    assert sum(fit.line is not None for fit in found.fits) == lines  # LEEP is undefined for the third
    assert [chart.caption for chart in charts] == ["LogME", "LEEP", "5 nearest neighbours", "linear probe"]
    assert all(chart.svg.startswith("<svg") for chart in charts)
    assert f"{FIRST} -0.406: 0.810" in charts[0].description
    assert len({(key.colour, key.marker) for key in keys.values()}) == tuned


def test_the_cost_of_a_choice_is_told_against_always_the_baseline() -> None:
    table = read_regret(ranking_evidence(regret=True))
    assert regret_sentence(table, "log_me") == (
        "On published targets a choice by LogME is expected to lose 2.2 AUC points against the best source "
        "(95\N{NO-BREAK SPACE}% interval 1.0 to 3.9), 1.7 (0.2 to 3.8) more than always taking ImageNet."
    )
    assert "not told apart from always taking ImageNet (difference" in regret_sentence(table, "leep")
    assert ", 0.8 less than always taking ImageNet" in regret_sentence(table, "adaptability")
    assert regret_sentence(table, "gbc") == ""
    found = outlook(table, {"log_me"})
    assert found is not None and found.baseline == "always ImageNet"
    assert [cost.title for cost in found.costs] == ["LogME", "LEEP", "adaptability", "always ImageNet"]
    assert [cost.decides for cost in found.costs] == [True, False, False, False]
    assert found.costs[-1].baseline == ("", "") and found.costs[-1].tau == ""
    assert outlook(read_regret(ranking_evidence()), set()) is None


def test_leaders_tuned_with_several_seeds_are_judged_by_their_means() -> None:
    evidence = ranking_evidence(fine_tuned=3, tunings=5, noise=0.01)
    ranking, found = outcome(evidence)
    means = evidence.facts.groupby("subject")["value"].mean()
    assert {leader.source: leader.cell.value for leader in found.leaders} == pytest.approx(means.to_dict())
    assert all(len(leader.cell.seeds) == 5 for leader in found.leaders)
    choice = next(choice for choice in found.choices if choice.score == "log_me")
    assert choice.regret == pytest.approx(means[SECOND] - means[FIRST])
    assert (
        f"fine-tuned with 5 seeds each, {SECOND} did best on average: AUROC"
        in realised_sentences(ranking, found)[0]
    )


def test_only_seeds_of_the_ranking_count_where_several_rankings_stand_together() -> None:
    evidence = ranking_evidence(seeds=(0, 7), fine_tuned=3, tunings=2, noise=0.01)
    for ranking, found in outcomes(evidence):
        assert found is not None and ranking.fine_tuning_seeds == (ranking.seed, ranking.seed + 1)
        own = evidence.facts.query(f"subject == {FIRST!r} and seed in {list(ranking.fine_tuning_seeds)}")
        assert found.leaders[0].cell.seeds == tuple(own["value"])
        row = evidence.tables["ranking_reliability"].query(f"seed == {ranking.seed}").iloc[0]
        assert ranking.reliability["sentence"] == row["sentence"]


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_a_regret_that_may_be_chance_says_so(noise: float) -> None:
    ranking, found = outcome(ranking_evidence(fine_tuned=3, tunings=5, noise=noise))
    said = " ".join(realised_sentences(ranking, found))
    assert ranking.reliability["tells_apart"] == (noise < 0.1)
    assert ("Fine-tuning itself hardly tells them apart, so that this may be chance." in said) == (
        noise > 0.1
    )


def test_a_right_choice_among_leaders_that_seeds_do_not_tell_apart_may_be_chance() -> None:
    noisy = ranking_evidence(fine_tuned=2, tunings=5, noise=0.3)
    ranking, found = outcome(with_facts(noisy, {FIRST: 0.9, SECOND: 0.8}))
    assert realised_sentences(ranking, found)[0].endswith(
        "LogME puts it first among them: no regret. Fine-tuning itself hardly tells them apart, so that this may be "
        "chance."
    )
