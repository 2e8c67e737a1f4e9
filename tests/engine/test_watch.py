"""Looking at features while something trains: what is seen, when, and that it changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.watch import Watch, Watched
from medgraft.errors import DataError, RunError, SettingsError
from medgraft.metrics.probes import linear_probe, neighbours_probe
from medgraft.metrics.tsne import embed_in_plane
from medgraft.models.weights import hash_weights
from medgraft.pretraining import BarlowTwins
from medgraft.testing import make_cohort, make_model

GREY = make_cohort("encode")
LABELLED = make_cohort("classify", "B")


def method(epochs: int) -> BarlowTwins:
    return BarlowTwins(projector=(8, 8), schedule=Schedule(epochs=epochs, batch_size=12, optimizer="adam"))


def run(folder: Path | None = None, every: int = 2, **options: object) -> Run:
    options = {"watched": Watched(LABELLED, every)} | options
    return Run(folder, device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def looks(folder_or_run: Run) -> pd.DataFrame:
    return folder_or_run.shared.records.tables["watched"]


def test_it_looks_before_every_so_many_epochs_and_at_the_end() -> None:
    watching = run(every=2)
    adapt(make_model("encode"), Task(source=GREY), method(3), watching)
    assert looks(watching)["epoch"].tolist() == [0, 2, 3]


def test_what_it_tells_is_what_probes_say_of_the_features_then() -> None:
    watching = run(every=1)
    encoder = adapt(make_model("encode"), Task(source=GREY), method(2), watching)
    features = extract_features(encoder, LABELLED).numpy()
    last = looks(watching).iloc[-1]
    linear = linear_probe(features, LABELLED.labels, LABELLED.units)
    near = neighbours_probe(features, LABELLED.labels, LABELLED.units)
    assert last["linear_auroc"] == pytest.approx(linear.auroc, abs=1e-6)
    assert last["linear_balanced_accuracy"] == pytest.approx(linear.balanced_accuracy, abs=1e-6)
    assert last["neighbours_auroc"] == pytest.approx(near.auroc, abs=1e-6)
    assert last["effective_rank"] > 1


def test_pictures_are_of_the_first_look_and_the_last_and_tell_no_rows() -> None:
    watching = run(every=1)
    encoder = adapt(make_model("encode"), Task(source=GREY), method(3), watching)
    planes = watching.shared.records.tables["watched_planes"]
    assert planes["epoch"].unique().tolist() == [0, 3]
    last, seen = planes[planes["epoch"] == 3], LABELLED.split("train", "validation")
    names = [seen.classes[code] for code in seen.labels]
    assert sorted(last["label"]) == sorted(names) and last["label"].tolist() != names
    features = extract_features(encoder, seen).numpy().astype(np.float64)
    plane = embed_in_plane(features, iterations=500, angle=0.8)
    for code, name in enumerate(seen.classes):
        ours = last.loc[last["label"] == name, "x"].to_numpy()
        np.testing.assert_allclose(np.sort(ours), np.sort(plane[seen.labels == code, 0]), atol=0.006)


def test_features_that_are_not_finite_are_told_with_a_remedy() -> None:
    model = make_model("encode")
    next(model.parameters()).data.fill_(np.nan)
    with pytest.raises(RunError, match=r"finite features.*after 4 epochs.*Lower the learning rate"):
        Watch(Watched(LABELLED, 1), run()).look(model, 4, last=False)


@pytest.mark.parametrize("features", [np.ones((20, 4)), np.arange(20.0)[:, None]])
def test_features_that_have_no_plane_leave_no_picture(features: np.ndarray) -> None:
    watch = Watch(Watched(LABELLED, 1), run())
    watch._lay_out(features.astype(np.float32), 0)
    assert watch.planes().empty and list(watch.planes().columns) == ["epoch", "x", "y", "label"]


def test_watching_changes_no_weight() -> None:
    model, task = make_model("encode"), Task(source=GREY)
    watched, alone = (adapt(model, task, method(2), run(watched=w)) for w in (Watched(LABELLED, 1), None))
    assert hash_weights(watched) == hash_weights(alone)


def test_a_continued_run_has_seen_the_same(tmp_path: Path) -> None:
    model, task = make_model("encode"), Task(source=GREY)
    whole, first, rest = (run(tmp_path / name, every=2, checkpoint_seconds=0) for name in ("a", "b", "b"))
    adapt(model, task, method(4), whole)
    adapt(model, task, method(4), dataclasses.replace(first, limit=Limit(epochs=3)))
    adapt(model, task, method(4), rest)
    seen = looks(rest)
    assert rest.shared.records.tables["watched_planes"]["epoch"].unique().tolist() == [0, 4]
    # after the third epoch it ended once, so it looked there, too
    assert seen["epoch"].tolist() == [0, 2, 3, 4]
    pd.testing.assert_frame_equal(seen[seen["epoch"] != 3].reset_index(drop=True), looks(whole))


def test_rows_kept_for_testing_are_not_looked_at() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 1), dtype=np.uint8)
    cohort = Cohort.from_arrays(
        pixels,
        np.arange(12) % 2,
        kind="classify",
        classes=("a", "b"),
        patients=[f"p{number}" for number in range(12)],
        split=["train"] * 4 + ["validation"] * 4 + ["test"] * 4,
    )
    watch = Watch(Watched(cohort), run())
    assert len(watch.cohort) == 8


def test_what_cannot_be_watched_is_one_sentence() -> None:
    with pytest.raises(DataError, match="a set of kind classify with labels"):
        Watch(Watched(GREY), run())
    with pytest.raises(SettingsError, match="every 1 epoch or more"):
        Watch(Watched(LABELLED, 0), run())
    with pytest.raises(DataError, match="two labels or more"):
        Watch(Watched(LABELLED.take(np.flatnonzero(LABELLED.labels == 0))), run())
    few = np.concatenate([np.flatnonzero(LABELLED.labels == 0), np.flatnonzero(LABELLED.labels == 1)[:1]])
    with pytest.raises(DataError, match=r"or more of every label.*'large' has 1"):
        Watch(Watched(LABELLED.take(few)), run())
