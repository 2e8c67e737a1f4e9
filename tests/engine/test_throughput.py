"""Images per second and waiting, on clocks that only what is timed moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch

from medgraft.engine import loop
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.throughput import Throughput
from medgraft.types import Loss, Progress, Step

from .conftest import OnFixedRows, TinyLine


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Timed(OnFixedRows):
    """Eleven rows, of which a batch of four takes so many seconds to come, and its loss so many."""

    def __init__(self, model: TinyLine, clock: Clock, data: float, work: float) -> None:
        super().__init__(model)
        self.clock, self.data, self.work = clock, data, work

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        steps = super().batches(progress, run)
        self.clock.now += 1000  # preparing an epoch is not its steps

        def late() -> Iterator[Step]:
            for step in steps:
                self.clock.now += self.data
                yield step

        return late()

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        self.clock.now += self.work
        return super().loss(step, phase, progress)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "Throughput", lambda: Throughput(clock))
    return clock


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []

    @contextmanager
    def bar(*_: object) -> Iterator[object]:
        yield told.append

    monkeypatch.setattr(loop, "progress_bar", bar)
    return told


TWICE = Schedule(epochs=2, optimizer="sgd", lr=0.1)


@pytest.mark.parametrize(
    ("data", "work", "expected"),
    [
        (0.09, 0.01, "37 images/s, 90 % waiting"),  # 11 images in 3 x 0.1 s
        (0.01, 0.09, "37 images/s, 10 % waiting"),
        (0.0, 1.0, "3.7 images/s, 0 % waiting"),
        (2.0, 0.0, "1.8 images/s, 100 % waiting"),
        (0.0, 0.0, ""),
    ],
)
def test_every_epoch_tells_how_fast_it_was_and_how_long_it_waited(
    line: TinyLine, clock: Clock, notes: list[str], data: float, work: float, expected: str
) -> None:
    history = loop.fit(Timed(line, clock, data, work), Run(device="cpu", progress=False), TWICE)
    losses = [f"loss {row['loss']:.3f}" for row in history.rows]
    assert [note.rstrip() for note in notes] == [f"{loss}  {expected}".rstrip() for loss in losses]
    assert set(history.rows[0]) == {"epoch", "step", "loss", "score", "lr", "seconds"}


def test_only_the_steps_that_are_taken_count(line: TinyLine, clock: Clock, notes: list[str]) -> None:
    run = Run(device="cpu", progress=False, limit=Limit(epochs=1, steps=2))
    loop.fit(Timed(line, clock, 0.15, 0.05), run, TWICE)
    assert notes[0].endswith("  20 images/s, 75 % waiting")  # 8 images in 2 x 0.2 s


def test_steps_are_asked_for_one_at_a_time_and_errors_come_through() -> None:
    made: list[int] = []

    def steps() -> Iterator[Step]:
        for number in itertools.count():
            if number == 2:
                raise OSError("gone")
            made.append(number)
            yield Step({"images": torch.full((3,), number)})

    watched = Throughput(Clock()).watch(steps())
    assert not made
    assert next(watched).tensors["images"].tolist() == [0, 0, 0] and made == [0]
    assert next(watched).tensors["images"].tolist() == [1, 1, 1] and made == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(watched)
