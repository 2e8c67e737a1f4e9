from __future__ import annotations

import pytest
import torch

from medgraft.engine.distributed import first_of_own, gather_rows, launch, shard
from medgraft.engine.loop import fit
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.models.contrastive import batch_contrast
from medgraft.models.twins_loss import barlow_twins_loss
from medgraft.types import Loss, Progress, Step

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


class Correlated(OnFixedRows):
    """A loss of all rows of a batch together, which no process sees alone; 11 rows in batches of 4, 4 and 3."""

    loss_is_sample_mean = False

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        rows = step.tensors["inputs"]
        first, second = (gather_rows(self.model.features(view)) for view in (rows, rows.flip(1)))
        return Loss(barlow_twins_loss(first, second, 0.1))


class Contrasted(OnFixedRows):
    """Each row's own key is to be found among those of all rows of a batch."""

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        rows = step.tensors["inputs"]
        keys = gather_rows(self.model.features(rows.flip(1)).detach())
        return Loss(batch_contrast(self.model.features(rows), keys, 0.2, first_of_own(len(keys))))


def train_gathering(objective: type[OnFixedRows], model: TinyLine, run: Run) -> TinyLine:
    fit(objective(model), run, SCHEDULE)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Correlated, Contrasted])
def test_a_loss_of_gathered_rows_has_the_gradient_of_one_process(objective: type[OnFixedRows]) -> None:
    one = train_gathering(objective, make_line(), Run(device="cpu", progress=False))
    two = launch(Run(device="cpu", progress=False, processes=2), train_gathering, objective, make_line())
    assert not torch.equal(one.body[0].weight, make_line().body[0].weight)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, rtol=0, atol=1e-5)
