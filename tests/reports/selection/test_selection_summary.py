from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.reports.selection_evidence import selection_evidence

from medgraft.evidence import Evidence
from medgraft.reports.selection.own_sources import own_sources
from medgraft.reports.selection.reliability import agreement_of_seeds, told_apart
from medgraft.reports.selection.source_selection import Selection, read_selections
from medgraft.reports.selection.summary import summary_sentences

NAMES = ("log_me", "linear_probe", "nearest_neighbours")


@pytest.fixture(scope="module")
def plain() -> Selection:
    (selection,) = read_selections(selection_evidence(names=NAMES, failures=False))
    return selection


def with_regret(selection: Selection, **rows: dict[str, float]) -> Selection:
    """The same with other numbers for some scores; names of rules are given with underscores."""
    regret = selection.regret.copy()
    for name, values in rows.items():
        key = name.replace("_source", " source").replace("always_", "always ")
        for column, value in values.items():
            regret.loc[regret["score"] == key, column] = value
    return replace(selection, regret=regret)


def losing(value: float, low: float, high: float, **more: float) -> dict[str, float]:
    return {"against_best": value, "low": low, "high": high, **more}


def clear(selection: Selection, **baseline: float) -> Selection:
    """The linear probe loses least, clearly, and something."""
    beside = {"against_baseline": -0.01, "baseline_low": -0.02, "baseline_high": -0.005, **baseline}
    return with_regret(
        selection,
        linear_probe=losing(0.002, 0.001, 0.004, **beside),
        log_me=losing(0.02, 0.01, 0.03),
        nearest_neighbours=losing(0.03, 0.02, 0.04),
        any_source=losing(0.05, 0.03, 0.07),
    )


def test_a_clear_result_is_said_clearly(plain: Selection) -> None:
    told = summary_sentences(clear(plain))
    assert len(told) == 4
    assert told[0].startswith("Fine-tuning tells the sources apart on 3 of 4 targets, but not on lesions")
    assert told[1].startswith(
        "Of 3 scores, the choice by linear probe loses least: 0.002 AUROC against the best source on average "
    )
    assert "interval 0.001 to 0.004)" in told[1] and "lies below those of all others." in told[1]
    assert "loses less than always taking imagenet (difference −0.010" in told[2]
    assert "and it loses less than a source drawn blindly (0.050" in told[2]
    assert "with a weighted tau of" in told[3] and "does not show" not in told[3]


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ({"baseline_high": 0.001}, "is not told apart from always taking imagenet"),
        ({"baseline_high": 0.0}, "is not told apart from always taking imagenet"),
        (
            {"against_baseline": 0.01, "baseline_low": 0.002, "baseline_high": 0.02},
            "loses more than always taking imagenet (difference +0.010",
        ),
        ({"baseline_low": np.nan, "baseline_high": np.nan}, "is not told apart from always taking imagenet"),
    ],
)
def test_the_baseline_is_beaten_only_where_the_interval_says_so(
    plain: Selection, baseline: dict[str, float], words: str
) -> None:
    assert words in summary_sentences(clear(plain, **baseline))[2]


def test_overlapping_intervals_forbid_to_name_a_best_score(plain: Selection) -> None:
    near = with_regret(clear(plain), log_me=losing(0.005, 0.003, 0.03))
    assert (
        "do not tell 1 other score apart from it, so which score is best is not shown"
        in summary_sentences(near)[1]
    )
    unknown = with_regret(clear(plain), log_me=losing(0.02, np.nan, np.nan))
    assert "do not tell 1 other score apart" in summary_sentences(unknown)[1]


def test_a_source_drawn_blindly_is_beaten_only_where_intervals_lie_apart(plain: Selection) -> None:
    near = with_regret(clear(plain), any_source=losing(0.05, 0.003, 0.1))
    assert "is not shown to lose less than a source drawn blindly" in summary_sentences(near)[2]


def test_equal_scores_are_named_together_and_nothing_lost_is_said_so(plain: Selection) -> None:
    nothing = losing(0.0, 0.0, 0.0)
    equal = with_regret(clear(plain), log_me={**nothing, "tau": 0.9}, linear_probe={**nothing, "tau": 0.4})
    told = summary_sentences(equal)
    assert "the choice by LogME and linear probe loses least: nothing against the best source;" in told[1]
    assert "The order of sources by LogME agrees" in told[3]


def test_a_tau_whose_interval_holds_0_shows_no_order(plain: Selection) -> None:
    weak = with_regret(clear(plain), linear_probe={"tau": 0.2, "tau_low": -0.1, "tau_high": 0.5})
    assert summary_sentences(weak)[3].endswith(
        "which does not show that it orders sources better than chance."
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": ("lesions",)}, "does not tell the sources apart on lesions"),
        ({"targets": ("lesions",), "seeds": 1}, "With one seed nobody knows"),
    ],
)
def test_where_sources_are_not_told_apart_no_score_is_judged(options: dict[str, Any], words: str) -> None:
    (selection,) = read_selections(selection_evidence(names=NAMES, **options))
    (told,) = summary_sentences(selection)
    assert words in told and "no score good or bad" in told
    (seeds,) = {agreement_of_seeds(selection)}
    assert ("where" in seeds.lower()) == (selection.seeds > 1)


def test_all_targets_or_the_only_one_are_said_so(plain: Selection) -> None:
    reliability = plain.reliability.assign(tells_apart=True)
    assert (
        told_apart(replace(plain, reliability=reliability))
        == "Fine-tuning tells the sources apart on all 4 targets."
    )
    (one,) = read_selections(selection_evidence(names=NAMES, targets=("nuclei",)))
    assert told_apart(one) == "Fine-tuning tells the sources apart on nuclei, the only target."


def test_the_spread_of_sources_is_told_beside_that_of_seeds(plain: Selection) -> None:
    rows = plain.reliability[plain.reliability["tells_apart"]]
    ratios = rows["between_sd"] / rows["seed_sd"]
    assert (
        f"Where sources are told apart they spread {ratios.min():.1f} to {ratios.max():.1f} times as much as seeds"
        in agreement_of_seeds(plain)
    )


def own_sentence(plain: Selection, **columns: Any) -> str:
    found = own_sources(replace(plain, own=plain.own.assign(**columns)))
    assert found is not None
    return found.sentence


def test_a_score_that_always_puts_the_own_source_first_is_named(plain: Selection) -> None:
    ranks = np.where(plain.own["score"] == "log_me", 1.0, 2.0)
    told = own_sentence(plain, true_rank=3.0, rank=ranks)
    assert told == (
        "Fine-tuning gives the 3 sources that were trained on the target itself the mean rank 3.0; chance would "
        "give 5.0. LogME puts them first every time, which fine-tuning does not."
    )
    assert own_sentence(plain, true_rank=3.0, rank=2.0).endswith("No score puts them first every time.")
    assert own_sentence(plain, true_rank=1.0, rank=1.0).endswith("so a score that does so is right.")


def test_own_sources_where_nothing_is_told_apart_do_not_count(plain: Selection) -> None:
    lost = plain.own["cohort"] == "lesions"
    told = own_sentence(plain, true_rank=np.where(lost, 9.0, 3.0), rank=np.where(lost, 9.0, 1.0))
    assert "mean rank 3.0" in told and "first every time" in told
    nothing = replace(plain, reliability=plain.reliability.assign(tells_apart=False))
    assert "nobody knows whether these should be first" in own_sentence(nothing)


def test_evidence_of_something_else_has_no_selection() -> None:
    assert read_selections(Evidence.empty()) == []
