from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.engine.loop import fit
from medgraft.engine.run import Interrupted, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.engine.tensorboard import EventFile
from medgraft.errors import RunError, SettingsError
from medgraft.testing import StopsAfter

from .conftest import OnFixedRows, make_line
from .test_loop import Scores

SCHEDULE = Schedule(epochs=4, optimizer="sgd", lr=0.5)
SCORES = [0.5, 0.6, float("nan"), 0.7]


def logged(folder: Path, **options: object) -> Run:
    return Run(folder, device="cpu", progress=False, checkpoint_seconds=0, log="tensorboard", **options)  # type: ignore[arg-type]


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every point in the event files of a folder, in the order of the files, none left out as superseded."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
                found.setdefault(value.tag, []).append((event.step, number))
    return found


def assert_equals_the_log(folder: Path) -> None:
    log, found = pd.read_csv(folder / "log.csv"), points(folder / "tensorboard")
    assert set(found) == {"loss", "score", "lr"}
    for tag, of_tag in found.items():
        defined = log[["epoch", tag]].dropna()
        assert [step for step, _ in of_tag] == defined["epoch"].tolist()
        np.testing.assert_allclose([number for _, number in of_tag], defined[tag], rtol=1e-6)


def test_every_epoch_is_one_point_of_each_curve(tmp_path: Path) -> None:
    fit(OnFixedRows(make_line()), logged(tmp_path, selector=Scores(SCORES)), SCHEDULE)
    assert_equals_the_log(tmp_path)
    assert len(points(tmp_path / "tensorboard")["loss"]) == 4
    assert len(points(tmp_path / "tensorboard")["score"]) == 3  # the undefined one is left out


def test_tensorboard_itself_reads_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(OnFixedRows(make_line()), logged(tmp_path), SCHEDULE)
    accumulator = EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    assert set(accumulator.Tags()["scalars"]) == {"loss", "lr"}
    assert [point.step for point in accumulator.Scalars("lr")] == [0, 1, 2, 3]


@pytest.mark.parametrize("checkpoint_seconds", [0, 1e9])
def test_a_continued_training_doubles_no_point(tmp_path: Path, checkpoint_seconds: float) -> None:
    run = dataclasses.replace(logged(tmp_path), checkpoint_seconds=checkpoint_seconds)
    stopped = dataclasses.replace(run, shared=StopsAfter(8), selector=Scores(SCORES))  # in the third epoch
    with pytest.raises(Interrupted):
        fit(OnFixedRows(make_line()), stopped, SCHEDULE)
    assert len(points(tmp_path / "tensorboard")["loss"]) == 2
    left = SCORES[2:] if checkpoint_seconds == 0 else SCORES  # without a checkpoint it begins again
    fit(OnFixedRows(make_line()), dataclasses.replace(run, shared=Shared(), selector=Scores(left)), SCHEDULE)
    assert_equals_the_log(tmp_path)


def test_a_run_that_is_not_asked_writes_no_events(tmp_path: Path) -> None:
    fit(OnFixedRows(make_line()), dataclasses.replace(logged(tmp_path), log=None), SCHEDULE)
    assert (tmp_path / "log.csv").exists() and not (tmp_path / "tensorboard").exists()


def test_what_a_half_written_event_leaves_is_replaced(tmp_path: Path) -> None:
    with EventFile(tmp_path, []) as events:
        events.add({"epoch": 0, "step": 3, "loss": 1.0, "seconds": 2.0})
    events.path.write_bytes(events.path.read_bytes()[:-3])
    with EventFile(tmp_path, [{"epoch": 0, "step": 3, "loss": 1.0}]) as events:
        events.add({"epoch": 1, "step": 6, "loss": 0.5})
    assert points(tmp_path / "tensorboard") == {"loss": [(0, 1.0), (1, 0.5)]}


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(RunError, match=r"tensorboard/events.*, but the system said: File exists"):
        EventFile(tmp_path, [])


def test_without_the_package_the_sentence_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"Run: pip install 'medgraft\[tensorboard\]'"):
        logged(tmp_path)


def test_other_logs_and_runs_without_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it got 'wandb'"):
        Run(tmp_path, log="wandb")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="a run with a folder"):
        Run(log="tensorboard")
