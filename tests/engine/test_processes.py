from __future__ import annotations

import pytest
import torch

from medgraft.engine.distributed import launch, shard
from medgraft.engine.loop import fit
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.types import Step

from .conftest import OnFixedRows, TinyLine, make_line

SCHEDULE = Schedule(epochs=2, optimizer="adam", lr=0.05)


def test_shards_cover_every_row_once_and_weights_restore_the_global_mean() -> None:
    for rows in (1, 2, 5, 8):
        for world in (2, 3):
            values = torch.arange(float(rows)) ** 2
            parts = [shard(Step({"x": values}), rank, world) for rank in range(world)]
            covered = torch.cat([part.tensors["x"] for part, weight in parts if weight > 0])
            assert covered.tolist() == values.tolist()
            mean = sum(float(part.tensors["x"].mean()) * weight for part, weight in parts) / world
            assert mean == pytest.approx(float(values.mean()))


def train_line(model: TinyLine, run: Run) -> TinyLine:
    fit(OnFixedRows(model), run, SCHEDULE)
    return model


@pytest.mark.slow
def test_two_processes_equal_one() -> None:
    one = train_line(make_line(), Run(device="cpu", progress=False))
    run = Run(device="cpu", progress=False, processes=2)
    two = launch(run, train_line, make_line())
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, rtol=0, atol=1e-5)
