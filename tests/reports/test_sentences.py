from __future__ import annotations

import pandas as pd
import pytest

from medgraft.evidence import Evidence, fact
from medgraft.reports.panels import Panel, make_panels
from medgraft.reports.sentences import comparison_sentences, distance_note, headline


def panel(
    scores: dict[str, tuple[float, float, float]],
    comparisons: list[dict] | None = None,
    metric: str = "auroc",
) -> Panel:
    rows = [
        fact(subject=s, cohort="Porto", metric=metric, value=v, low=low, high=high, n=12, unit="patients")
        for s, (v, low, high) in scores.items()
    ]
    tables = {"comparisons": pd.DataFrame(comparisons)} if comparisons else {}
    (made,) = make_panels(Evidence(pd.DataFrame(rows), tables=tables))
    return made


def difference(subject: str, low: float, high: float, metric: str = "auroc") -> dict:
    return {
        "subject": subject, "reference": "base", "cohort": "Porto", "metric": metric,
        "difference": (low + high) / 2, "low": low, "high": high, "n": 12, "seeds": 1,
    }  # fmt: skip


SCORES = {"a": (0.9, 0.85, 0.95), "b": (0.88, 0.8, 0.92), "base": (0.7, 0.6, 0.8)}


def test_overlapping_intervals_make_no_winner() -> None:
    first, second = headline(panel(SCORES))
    assert first == (
        "The highest AUROC is that of a: 0.900 (95\N{NO-BREAK SPACE}% interval 0.850 to 0.950); "
        "b follows with 0.880 (95\N{NO-BREAK SPACE}% interval 0.800 to 0.920)."
    )
    assert (
        second
        == "Its interval overlaps with that of 1 other subject, so the order among these may be chance."
    )


def test_an_interval_apart_from_all_others_is_said_to_be_ahead() -> None:
    assert headline(panel({"a": (0.9, 0.85, 0.95), "base": (0.7, 0.6, 0.8)}))[1].endswith(
        "so a is ahead here."
    )


def test_lower_is_better_for_errors() -> None:
    assert headline(panel({"a": (0.1, 0.05, 0.15), "b": (0.9, 0.8, 1)}, metric="brier"))[0].startswith(
        "The lowest Brier score is that of a: 0.100"
    )


@pytest.mark.parametrize(
    ("low", "high", "metric", "verdict", "words"),
    [
        (-0.04, 0.06, "auroc", "open", "no difference shown"),
        (0.0, 0.06, "auroc", "open", "no difference shown"),
        (0.01, 0.06, "auroc", "better", "shown to be better"),
        (-0.06, -0.01, "auroc", "worse", "shown to be worse"),
        (-0.06, -0.01, "ece", "better", "shown to be better"),
        (0.01, 0.06, "unheard_of", "open", "a difference is shown"),
        (float("nan"), 0.06, "auroc", "open", "no interval, so nothing is shown"),
    ],
)
def test_a_difference_is_shown_only_where_its_interval_leaves_out_zero(
    low: float, high: float, metric: str, verdict: str, words: str
) -> None:
    ((found, sentence),) = comparison_sentences(panel(SCORES, [difference("a", low, high, metric)]))
    assert found == verdict and sentence.endswith(f"over 1 seed and 12 patients: {words}.")


def test_the_headline_says_who_beats_the_reference() -> None:
    compared = [difference("a", 0.1, 0.3), difference("b", -0.1, 0.3)]
    assert headline(panel(SCORES, compared))[1] == (
        "Compared with base on the same rows: a shown to be better; no difference shown for b."
    )
    assert headline(panel(SCORES, compared[1:]))[1] == (
        "Compared with base on the same rows: none is shown to be better; no difference shown for b."
    )


def distances(undefined: int) -> Panel:
    rows = [fact(subject="a", cohort="Porto", metric="hd95_mm", value=3.0, n=4, unit="patients")]
    scores = pd.DataFrame({"unit": [0], "part": ["liver"], "images": [9], "undefined": [undefined]})
    (made,) = make_panels(Evidence(pd.DataFrame(rows), tables={"scores/a/0": scores}))
    return made


def test_a_reader_is_told_what_became_of_undefined_distances() -> None:
    assert distance_note(distances(0)).endswith("All are defined.")
    told = distance_note(distances(2))
    assert "in only one of truth and prediction has no distance" in told and "once per class." in told
    assert distance_note(panel(SCORES)) == ""


def test_a_difference_in_surface_dice_names_its_tolerance() -> None:
    scores = {"a": (0.9, 0.8, 1.0), "base": (0.5, 0.4, 0.6)}
    made = panel(scores, [difference("a", 0.1, 0.3, "surface_dice_2mm")], "surface_dice_2mm")
    ((verdict, told),) = comparison_sentences(made)
    assert verdict == "better" and "+0.200 in surface Dice at 2 mm" in told


def test_a_handful_of_units_shows_nothing_whatever_its_interval() -> None:
    few = [difference("a", 0.1, 0.3) | {"n": 3}, difference("b", -0.4, -0.2) | {"n": 3}]
    made = panel(SCORES, few)
    assert {verdict for verdict, _ in comparison_sentences(made)} == {"open"}
    assert all("too few to show a difference" in told for _, told in comparison_sentences(made))
    assert headline(made)[-1].endswith("are too few to show a difference.")
    enough = panel(SCORES, [line | {"n": 6} for line in few])
    assert [verdict for verdict, _ in comparison_sentences(enough)] == ["better", "worse"]
