"""Features over training: moments are those of the run, which is not changed by being followed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import medgraft as mg
from medgraft.api.feature_drift import PAIRS, choose_over_patients, lay_out
from medgraft.api.moments import MOMENTS, adapt_by_moments
from medgraft.engine.features import extract_features
from medgraft.engine.run import Interrupted, Shared
from medgraft.errors import DataError, RunError, SettingsError
from medgraft.evidence import Evidence
from medgraft.models.weights import hash_weights
from medgraft.testing import StopsAfter, make_cohort, make_model

SCHEDULE = mg.Schedule(epochs=4, batch_size=8, lr=1e-2)


def task(kind="segment") -> mg.Task:
    return mg.Task(source=make_cohort(kind, "A"), target=make_cohort(kind, "B"))


def mmtl(**settings):
    return mg.methods.MMTL(augmentation=None, schedule=SCHEDULE, min_target=1, **settings)


def fine_tune(**settings):
    return mg.methods.FineTune(augmentation=None, schedule=SCHEDULE, head_schedule=SCHEDULE, **settings)


def run(folder=None, **more) -> mg.Run:
    return mg.Run(folder, device="cpu", progress=False, **{"select": "last", **more})


@pytest.fixture(scope="module")
def followed() -> Evidence:
    torch.manual_seed(0)
    return mg.follow_features(make_model("segment"), task(), mmtl(), run(), [4, 0, 2], images=10)


def test_tables_have_every_side_at_every_moment_and_no_patients(followed):
    points, told = (followed.tables[name] for name in ("features_over_training", "feature_separation"))
    assert list(points.columns) == ["subject", "epoch", "side", "x", "y", "cohort", "seed"]
    counts = points.groupby(["epoch", "side"]).size()
    assert counts.to_dict() == {
        (epoch, side): 4 if side == "target test" else 10
        for epoch in (0, 2, 4)
        for side in ("source", "target train", "target test")
    }
    places = points[["x", "y"]].to_numpy()
    assert np.isfinite(places).all() and places.min() == 0 and places.max() == 1
    assert told["epoch"].tolist() == [0, 0, 2, 2, 4, 4]
    assert told["balanced_accuracy"].between(0, 1).all() and set(told["reason"]) == {""}
    text = json.dumps(followed.provenance) + points.to_csv() + told.to_csv()
    assert not any(f'"{patient}"' in text for patient in set(task().target.patients))


def same(first, second) -> bool:
    mine, other = first.state_dict(), second.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("segment", mmtl()), ("segment", fine_tune()), ("classify", fine_tune(scope="head_then_all"))],
    ids=["mmtl", "fine_tune", "head_then_all"],
)
def test_a_run_that_is_followed_ends_as_one_that_is_not(tmp_path, kind, method):
    """Also where the mixture or the learning rate depend on the number of epochs, or two trainings follow."""
    source = make_model(kind)
    plain = mg.adapt(source, task(kind), method, run(tmp_path / "plain"))
    moments = dict(adapt_by_moments(source, task(kind), method, run(tmp_path / "followed"), [1, 3, 4]))
    assert same(moments[4], plain) and not same(moments[3], plain) and not same(moments[1], moments[3])
    logs = [pd.read_csv(tmp_path / name / "log.csv") for name in ("plain", "followed")]
    pd.testing.assert_frame_equal(*(log.drop(columns="seconds") for log in logs))
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("plain", "followed")]
    assert names[1] - names[0] == {MOMENTS} and names[0] <= names[1]
    recipes = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("plain", "followed")]
    assert recipes[0]["weights_sha256"] == recipes[1]["weights_sha256"] == hash_weights(plain)
    assert recipes[0]["run"] == recipes[1]["run"]


def test_a_moment_is_what_the_loop_had_after_that_epoch(tmp_path):
    """With a constant rate a training of two epochs is the beginning of one of four."""
    constant = SCHEDULE.model_copy(update={"shape": "constant"})
    source = make_model("segment")
    long, short = (
        mg.methods.FineTune(augmentation=None, schedule=constant.model_copy(update={"epochs": epochs}))
        for epochs in (4, 2)
    )
    moments = dict(adapt_by_moments(source, task(), long, run(tmp_path / "run"), [2]))
    assert same(moments[2], mg.adapt(source, task(), short, run()))


def test_epoch_0_is_the_source_as_it_is(monkeypatch):
    seen = []

    def looked(model, cohort, **options):
        seen.append((cohort.name, extract_features(model, cohort, **options)))
        return seen[-1][1]

    monkeypatch.setattr("medgraft.api.feature_drift.extract_features", looked)
    source = make_model("segment")
    given = mg.Task(target=make_cohort("segment", "B"))
    evidence = mg.follow_features(source, given, fine_tune(), run(limit=mg.Limit(epochs=1)), [0, 1])
    tests = given.target.split("test")
    assert torch.equal(seen[1][1], extract_features(source, tests))
    assert not torch.equal(seen[3][1], seen[1][1]) and len(seen) == 4
    assert set(evidence.tables["features_over_training"]["side"]) == {"target train", "target test"}
    assert len(evidence.tables["feature_separation"]) == 2


def test_the_same_call_is_repeatable_and_gives_at_once_what_is_there(tmp_path, monkeypatch, followed):
    torch.manual_seed(0)
    source = make_model("segment")
    arguments = (source, task(), mmtl(), run(tmp_path / "run"), [0, 2, 4])
    again = mg.follow_features(*arguments, images=10)
    for name, table in followed.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)
    monkeypatch.setattr("medgraft.api.adaptation.adapt_verbosely", None)
    third = mg.follow_features(*arguments, images=10)
    pd.testing.assert_frame_equal(
        third.tables["features_over_training"], again.tables["features_over_training"]
    )
    with pytest.raises(RunError, match=r"the weights of epoch 1, but the run .* was past it before"):
        mg.follow_features(source, task(), mmtl(), run(tmp_path / "run"), [1])


def test_the_callers_own_wish_to_stop_comes_first_and_the_same_call_continues(tmp_path):
    source = make_model("segment")
    stopped = run(tmp_path / "run", shared=StopsAfter(9))
    with pytest.raises(Interrupted):
        list(adapt_by_moments(source, task(), fine_tune(), stopped, [1, 4]))
    moments = dict(
        adapt_by_moments(source, task(), fine_tune(), run(tmp_path / "run", shared=Shared()), [1, 4])
    )
    assert same(moments[4], mg.adapt(source, task(), fine_tune(), run()))


def test_what_cannot_be_followed_is_refused_in_one_sentence(tmp_path):
    source, given = make_model("segment"), task()
    for epochs, words in (([], "it got none"), ([0, 5], "it got 0, 5"), ([-1], "it got -1")):
        with pytest.raises(SettingsError, match=f"epochs from 0 to 4, the length .*{words}"):
            mg.follow_features(source, given, fine_tune(), run(tmp_path / "run"), epochs)
    untested = mg.Task(target=given.target.split("train", "validation"))
    with pytest.raises(DataError, match="target rows of the split 'test'"):
        mg.follow_features(source, untested, fine_tune(), run(tmp_path / "run"), [1])
    with pytest.raises(DataError, match="target rows of the split 'test'"):
        mg.follow_features(source, mg.Task(source=given.source), fine_tune(), run(tmp_path / "run"), [1])
    with pytest.raises(SettingsError, match="trains by a schedule"):
        mg.follow_features(source, given, mg.methods.SimpleBaseline(), run(tmp_path / "run"), [1])
    with pytest.raises(SettingsError, match="one process"):
        mg.follow_features(source, given, fine_tune(), run(tmp_path / "run", processes=2), [1])
    assert not (tmp_path / "run").exists()


def test_too_few_patients_leave_the_number_undefined_with_a_reason():
    target = make_cohort("segment", "B")
    one = target.take(np.flatnonzero((target.table["split"] == "test") | (target.patients == "B0")))
    evidence = mg.follow_features(
        make_model("segment"), mg.Task(target=one), fine_tune(), run(limit=mg.Limit(1, 1)), [0]
    )
    (row,) = evidence.tables["feature_separation"].to_dict("records")
    assert np.isnan(row["balanced_accuracy"]) and "2 patients in each" in row["reason"]
    assert row["pair"] == " and ".join(PAIRS[0])


def test_early_stopping_and_a_kept_epoch_are_told():
    schedule = SCHEDULE.model_copy(update={"epochs": 6, "patience": 1, "lr": 1e-9})
    method = mg.methods.FineTune(augmentation=None, schedule=schedule, freeze_batch_stats=True)
    evidence = mg.follow_features(make_model("segment"), task(), method, run(select=None), [0, 1, 2, 6])
    assert set(evidence.tables["features_over_training"]["epoch"]) == {0, 1, 2}
    told = " ".join(evidence.warnings)
    assert "stopped early, before epoch 6" in told and "rule 'target_validation' kept" in told


def test_images_are_spread_over_patients():
    patients = np.array(["a"] * 10 + ["b"] * 3 + ["c"] * 10)
    chosen = choose_over_patients(patients, 12, seed=3)
    assert np.unique(patients[chosen], return_counts=True)[1].tolist() in ([5, 3, 4], [4, 3, 5])
    assert len(set(chosen)) == 12 and (np.diff(chosen) > 0).all()
    assert choose_over_patients(patients, 99).tolist() == list(range(23))
    firsts = {patients[choose_over_patients(patients, 1, seed=seed)][0] for seed in range(20)}
    assert firsts == {"a", "b", "c"}


def test_long_features_are_laid_out_by_their_components():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(15, 120)), rng.normal(size=(15, 120)) + 20])
    plane = lay_out(points)
    assert plane.min() == 0 and plane.max() == 1
    apart = np.linalg.norm(plane[:15].mean(0) - plane[15:].mean(0))
    assert apart > np.linalg.norm(plane[:15] - plane[:15].mean(0), axis=1).max()
    np.testing.assert_array_equal(plane, lay_out(points))
