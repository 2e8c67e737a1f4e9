from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from tests.reports.ranking_evidence import NO_HEAD, SOURCES, ranking_evidence, with_scores

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.ranking.judgement import ELSEWHERE
from medgraft.ranking.scorers import SCORERS
from medgraft.reports.ranking.comparison import (
    agreement_matrix,
    rank_strips,
    score_columns,
    times,
    undefined_scores,
)
from medgraft.reports.ranking.headline import first_sentence, other_scores
from medgraft.reports.ranking.source_ranking import read_rankings
from medgraft.reports.ranking.titles import TITLES, score_title

FIRST, SECOND = list(SOURCES)[:2]


def test_every_score_of_medgraft_has_its_own_title_here() -> None:
    titles = {name: scorer.title for name, scorer in SCORERS.items()} | {ELSEWHERE: "performance elsewhere"}
    assert {name: title.label for name, title in TITLES.items()} == titles
    assert score_title("of_another_package") == "of another package"


def test_cohorts_and_seeds_are_read_apart() -> None:
    alone = {
        (cohort, seed): read_rankings(ranking_evidence(cohorts=(cohort,), seeds=(seed,)))[0]
        for cohort in ("H&E nuclei",)
        for seed in (0, 1)
    }
    mixed = read_rankings(ranking_evidence(cohorts=("H&E nuclei", "tissue"), seeds=(0, 1)))
    assert [(one.cohort, one.seed) for one in mixed] == [
        ("H&E nuclei", 0), ("H&E nuclei", 1), ("tissue", 0), ("tissue", 1),
    ]  # fmt: skip
    for one in mixed[:2]:
        pd.testing.assert_frame_equal(one.scores, alone[one.cohort, one.seed].scores)
        pd.testing.assert_frame_equal(one.agreement, alone[one.cohort, one.seed].agreement)
    assert mixed[0].sources != mixed[2].sources and len(mixed[0].scores) == 24


def test_the_same_target_ranked_twice_is_refused_and_the_same_evidence_added_twice_is_not() -> None:
    evidence = ranking_evidence()
    assert len(read_rankings(evidence + evidence)) == 1
    slower = with_scores(evidence, "log_me", seconds=9.0)
    with pytest.raises(DataError, match="'H&E nuclei' with seed 0 was ranked twice"):
        read_rankings(evidence + slower)
    others = ranking_evidence(sources={"a": 0.5, "b": 0.4})
    with pytest.raises(DataError, match="was ranked twice"):
        read_rankings(evidence + others)


def test_a_table_of_another_form_gets_one_sentence() -> None:
    evidence = ranking_evidence()
    for name in ("ranking", "ranking_agreement"):
        spoilt = evidence.tables | {name: evidence.tables[name].drop(columns="score")}
        with pytest.raises(DataError, match=f"The table '{name}' needs the columns .* but it lacks score"):
            read_rankings(replace(evidence, tables=spoilt))
    assert read_rankings(Evidence.empty()) == []


def test_without_provenance_the_first_score_that_ranks_decides() -> None:
    evidence = with_scores(ranking_evidence(), "log_me", value=float("nan"), rank=float("nan"))
    (told,) = read_rankings(replace(evidence, provenance=()))
    assert (told.decides, told.images, told.unit) == ("leep", 0, "")


def test_an_order_whose_intervals_overlap_is_not_called_sure() -> None:
    (ranking,) = read_rankings(ranking_evidence())
    assert first_sentence(ranking) == (
        f"LogME puts {FIRST} first among 6 sources; with other patients any of {SECOND} and models/simulated "
        "stain might be: their intervals of ranks overlap. Treat them as equal, or fine-tune each."
    )
    (two,) = read_rankings(ranking_evidence(sources={"a": 0.8, "b": 0.7}, names=("log_me",)))
    assert first_sentence(two).endswith(
        "with other patients b might be: its interval of ranks overlaps. "
        "Treat the two as equal, or fine-tune both."
    )
    (sure,) = read_rankings(ranking_evidence(sure=True))
    assert first_sentence(sure) == (
        f"LogME puts {FIRST} first among 6 sources; with other patients too: its interval of ranks lies apart from "
        "all others."
    )
    (unknown,) = read_rankings(ranking_evidence(resampled=False))
    assert first_sentence(unknown).endswith(
        "its ranks were not resampled, so nothing is known of how sure that is."
    )


def test_ties_and_silent_scores_are_said() -> None:
    evidence = ranking_evidence(sources=dict.fromkeys(SOURCES, 0.8) | {"bad": 0.1}, names=("log_me",))
    (ranking,) = read_rankings(evidence)
    assert first_sentence(ranking) == (
        f"LogME gives {FIRST}, {SECOND}, models/simulated stain and 3 more the same, highest value among 7 sources "
        "and does not tell them apart."
    )
    nothing = with_scores(
        evidence, "log_me", value=0.5, rank=float("nan"), low=float("nan"), high=float("nan")
    )
    entry = dict(nothing.provenance[0], decides="")
    (silent,) = read_rankings(replace(nothing, provenance=(entry,)))
    assert first_sentence(silent) == "No score tells these 7 sources apart: their order means nothing."
    assert other_scores(silent) == "" and rank_strips(silent, "") is None
    assert score_columns(silent).rows[0][1][0] == ("0.500", "", "")


def test_a_score_that_ranks_some_says_among_how_many() -> None:
    (ranking,) = read_rankings(ranking_evidence(names=("leep", "log_me")))
    assert "first among 4 of 6 sources that it ranks" in first_sentence(ranking)
    assert ranking.sources[-2:] == ["models/simulated stain", "random/efficientnet_lite0"]


def test_other_scores_agree_or_name_their_own_first() -> None:
    (ranking,) = read_rankings(ranking_evidence())
    assert other_scores(ranking) == (
        f"By LEEP and 5 nearest neighbours {FIRST} is first too; by linear probe {SECOND} is first."
    )


def test_the_table_has_every_value_rank_and_interval_and_undefined_scores_their_reason() -> None:
    evidence = ranking_evidence(names=("nearest_neighbours", "leep"))
    (ranking,) = read_rankings(evidence)
    table = score_columns(ranking)
    assert table.headings == ["5 nearest neighbours", "LEEP"]
    rows = evidence.tables["ranking"].set_index(["source", "score"])
    for source, (near, leep) in table.rows:
        assert float(near.shown) == pytest.approx(rows.loc[(source, "nearest_neighbours"), "value"], abs=5e-4)
        assert near.rank == f"{rows.loc[(source, 'nearest_neighbours'), 'rank']:.0f}"
        assert (leep.shown == "") == (source in ("models/simulated stain", "random/efficientnet_lite0"))
    assert table.rows[0][1][0].interval == "1 to 2"
    assert undefined_scores(ranking) == [
        ("LEEP", "models/simulated stain, random/efficientnet_lite0", NO_HEAD)
    ]  # fmt: skip


def test_values_keep_the_digits_that_tell_sources_apart() -> None:
    evidence = ranking_evidence(sources={"a": 0.80001, "b": 0.80002}, names=("log_me",))
    (ranking,) = read_rankings(evidence)
    assert len({cell.shown for _, (cell,) in score_columns(ranking).rows}) == 2


def test_ranks_lie_on_one_scale_with_their_intervals() -> None:
    (ranking,) = read_rankings(ranking_evidence())
    strips = rank_strips(ranking, "log_me")
    assert strips is not None and strips.resampled
    places = [(strip.place, strip.low, strip.high) for strip in strips.strips]
    assert places[0] == (round(100 * 0.5 / 6, 2), round(100 * 0.5 / 6, 2), 25.0)
    assert [strip.shown for strip in strips.strips] == ["1", "2", "3", "4", "5", "6"]
    probe = rank_strips(ranking, "linear_probe")
    assert probe is not None and not probe.resampled and probe.strips[0].source == SECOND


def test_agreement_is_the_same_both_ways_and_time_adds_up() -> None:
    (ranking,) = read_rankings(ranking_evidence())
    found = agreement_matrix(ranking)
    assert found is not None and found.fewer
    cells = [[text for text, _ in row] for _, row in found.rows]
    assert cells == [list(column) for column in zip(*cells, strict=True)]
    assert cells[0] == ["", "0.90", "0.73", "0.57"]
    spent = times(ranking)
    assert (
        spent.headings[0] == "forward pass" and spent.rows[-1][1][0] == "34 s"
    )  # 3.1 + 4.1 + ... + 8.1 = 33.6
    assert (
        spent.sentence == "Forward passes took 34 s, all scores together 16 s."
    )  # 6 x 2.4 + 16 x 0.08 = 15.7
    lost = with_scores(ranking_evidence(), "leep", value=float("nan"), rank=float("nan"))
    rest = agreement_matrix(read_rankings(lost)[0])
    assert (
        rest is not None
        and rest.headings == ["LogME", "5 nearest neighbours", "linear probe"]
        and not rest.fewer
    )
    (single,) = read_rankings(ranking_evidence(names=("log_me",)))
    assert agreement_matrix(single) is None
