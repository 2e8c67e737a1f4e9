"""Sources in order, and how far the order may be trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medgraft.errors import DataError, SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.material import Material
from medgraft.ranking.rank import rank_sources
from medgraft.ranking.scorers import LABELS, ONE_LABEL, SCORERS, Scorer, choose_scorers
from medgraft.ranking.scores.log_me import log_me

CLASSES, UNITS = np.arange(90) % 3, np.arange(90) // 3
QUALITY = {"noise": 0.0, "good": 1.2, "fair": 0.5}


def material(quality: float, labels: np.ndarray = CLASSES) -> Material:
    """Features in which the classes lie so far apart; no model, no images."""
    random = np.random.default_rng(int(100 * quality))
    features = random.normal(size=(len(CLASSES), 8)) + quality * np.eye(8)[CLASSES] * 3
    return Material(None, None, labels, features.astype(np.float32), None, {}, np.arange(len(CLASSES)))


def looks(qualities: dict[str, float] = QUALITY, **arguments: np.ndarray):
    return {
        name: lambda quality=quality: material(quality, **arguments) for name, quality in qualities.items()
    }


def test_planted_quality_is_found_by_every_score_and_costs_one_look_each():
    seen = []

    def look(name: str):
        seen.append(name)
        return material(QUALITY[name])

    names = ["log_me", "h_score", "nearest_neighbours", "linear_probe"]
    ranking = rank_sources(
        {name: lambda name=name: look(name) for name in QUALITY},
        choose_scorers(names, "classify"),
        UNITS,
        resamples=20,
    )
    assert seen == list(QUALITY) and ranking.order == ("good", "fair", "noise") and ranking.best == "good"
    for name in names:
        own = ranking.scores[ranking.scores["score"] == name].set_index("source")["rank"]
        assert own.to_dict() == {"good": 1, "fair": 2, "noise": 3}, name
    assert (ranking.agreement["tau"] == 1).all() and len(ranking.agreement) == 6
    told = ranking.scores.set_index(["source", "score"])
    assert told.loc[("good", "log_me"), "value"] == log_me(material(1.2).features, CLASSES)
    assert (told.loc["good"].loc[["log_me", "h_score"], ["low", "high"]] == 1).all(axis=None)
    assert told.loc["good"].loc["linear_probe", ["low", "high"]].isna().all(), "too slow to resample"
    assert ranking.warnings == ()


def test_alike_sources_are_said_to_be_alike():
    ranking = rank_sources(
        looks({"one": 0.51, "other": 0.52, "noise": 0.0}), choose_scorers(["log_me"], "classify"), UNITS
    )
    first = ranking.scores.set_index("source").loc[ranking.best]
    assert (first["low"], first["high"]) == (1, 2)
    assert len(ranking.warnings) == 1 and "with other patients" in ranking.warnings[0]
    assert "noise" not in ranking.warnings[0]


def test_intervals_end_at_ranks_that_were_seen():
    calls = iter(range(10**6))

    def turns(_: Material):
        call = next(calls)
        source, draw = divmod(call, 41)  # the whole, then forty resamples, source by source
        return (float(source if draw == 7 else -source),)

    scores = rank_sources(looks(), [Scorer("turns", "turns", LABELS, turns)], UNITS, resamples=40).scores
    told = scores.set_index("source")[["low", "high"]]
    assert told.loc["noise"].tolist() == [1, 3], "third in one of forty resamples"
    assert told.loc["good"].tolist() == [2, 2] and told.loc["fair"].tolist() == [1, 3]


def test_patients_are_drawn_whole_and_count_once():
    drawn = []

    def note(seen: Material):
        drawn.append(seen.images.tolist())
        return (1.0,)

    scorer = Scorer("note", "note", LABELS, note)
    rank_sources(looks(), [scorer], UNITS, resamples=30)
    whole, first = drawn[0], drawn[1]
    assert whole == list(range(90))
    for images in drawn[1:31]:
        patients = {image // 3 for image in images}
        assert sorted(images) == [image for image in range(90) if image // 3 in patients]
    assert drawn[32:62] == drawn[1:31], "the same patients for every source"
    assert 0.5 < np.mean([len(images) for images in drawn[1:31]]) / 90 < 0.75
    assert first != whole


def test_what_says_nothing_is_no_tie():
    def silent(_: Material):
        raise UndefinedError("Silence", "words", "there are none", "Speak.")

    flat = Scorer("flat", "Flat", LABELS, lambda _: (0.5,))
    scorers = [Scorer("silent", "Silence", LABELS, silent), flat, SCORERS["log_me"]]
    ranking = rank_sources(looks(), scorers, UNITS, resamples=0)
    table = ranking.scores.set_index(["score", "source"])
    assert table.loc["silent", ["value", "rank"]].isna().all(axis=None)
    assert set(table.loc["silent", "reason"]) == {"Silence needs words, but there are none. Speak."}
    assert (table.loc["flat", "value"] == 0.5).all() and table.loc["flat", "rank"].isna().all()
    assert ranking.decides == "log_me" and ranking.order == ("good", "fair", "noise")
    assert ranking.warnings[0].startswith("Silence ranks nothing here")
    assert ranking.warnings[1] == "Flat gives all sources the same value and ranks none of them."
    assert ranking.warnings[2].startswith("Silence ranks nothing; the order is that of LogME")
    assert ranking.agreement["tau"].isna().all()


def test_an_order_whose_sureness_is_unknown_says_so():
    ranking = rank_sources(looks(), choose_scorers(["log_me"], "classify"), UNITS, resamples=0)
    assert ranking.warnings == (
        "How sure LogME is of its order was not measured: it was not resampled, or too few resamples gave every source "
        "a score.",
    )


def test_without_any_order_nobody_is_called_best():
    ranking = rank_sources(looks(), [Scorer("flat", "Flat", LABELS, lambda _: (0.5,))], UNITS, resamples=0)
    assert ranking.decides == "" and ranking.order == tuple(QUALITY)
    assert ranking.warnings[-1] == "No score tells these sources apart."


def test_one_bad_source_stops_nobody():
    def broken():
        return material(0.0)._replace(features=np.full((90, 8), np.nan, dtype=np.float32))

    ranking = rank_sources(
        {**looks(), "broken": broken}, choose_scorers(["log_me"], "classify"), UNITS, resamples=10
    )
    table = ranking.scores.set_index("source")
    assert math.isnan(table.loc["broken", "value"]) and "finite features" in table.loc["broken", "reason"]
    assert ranking.order == ("good", "fair", "noise", "broken")
    assert table.loc["good", "low"] == 1


def test_scores_of_a_set_are_combined_over_the_sources_that_have_their_terms():
    values = {"noise": (1.0, 4.0), "good": (3.0, 5.0), "fair": (2.0, 9.0)}
    names = iter(values)
    scorer = Scorer(
        "set", "Set", ONE_LABEL, lambda _: values[next(names)],
        lambda terms: np.prod(np.asarray(terms) / np.max(terms, axis=0), axis=1), is_quick=False,
    )  # fmt: skip
    table = rank_sources(looks(), [scorer], UNITS).scores.set_index("source")["value"]
    assert table.to_dict() == pytest.approx({"noise": 4 / 27, "good": 5 / 9, "fair": 2 / 3})


def test_several_labels_are_scored_one_by_one_without_unknown_ones():
    labels = np.stack([CLASSES == 0, CLASSES == 1, np.zeros(90)], 1).astype(float)
    labels[:9, 1] = np.nan
    ranking = rank_sources(looks(labels=labels), choose_scorers(["log_me"], "multilabel"), UNITS, resamples=0)
    features = material(1.2).features
    expected = np.mean(
        [log_me(features, labels[:, 0].astype(int)), log_me(features[9:], labels[9:, 1].astype(int))]
    )
    found = ranking.scores.set_index("source").loc["good", "value"]
    assert found == pytest.approx(expected), "the third label is never present and says nothing"
    assert ranking.order[0] == "good"


@pytest.mark.parametrize(
    ("by", "kind", "said"),
    [
        (["logme"], "classify", "it got 'logme'"),
        (["cc_fv"], "classify", "'cc_fv' is for segment"),
        (["leep"], "multilabel", "'leep' is for classify"),
        ([], "detect", "it is 'detect'"),
    ],
)
def test_scores_that_do_not_fit_are_refused(by, kind, said):
    with pytest.raises(SettingsError) as told:
        choose_scorers(by, kind)
    assert said in str(told.value)


def test_one_source_is_no_choice():
    with pytest.raises(DataError, match="two sources or more, but got 1"):
        rank_sources(looks({"only": 1.0}), choose_scorers([], "classify"), UNITS)
