"""A model and objectives small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from medgraft.engine.objective import Objective
from medgraft.engine.run import Run
from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind, Loss, Progress, Step


@register
class TinyLine(Model):
    """Two numbers in, two class scores out."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec)
        self.dropout = dropout
        self.body = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(4, 2)

    def config(self) -> JSON:
        return {"dropout": self.dropout}

    def features(self, images: Tensor) -> Tensor:
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class OnFixedRows(Objective):
    """Cross-entropy on fixed rows, shuffled anew each epoch."""

    loss_is_sample_mean = True

    def __init__(self, model: Model, rows: int = 11, batch: int = 4) -> None:
        super().__init__(model)
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(rows, 2, generator=generator)
        self.truth = (self.inputs[:, 0] > 0).long()
        self.batch = batch

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        order = torch.randperm(len(self.inputs), generator=run.generator("order", progress.epoch))
        return [
            Step({"inputs": self.inputs[rows], "truth": self.truth[rows]}) for rows in order.split(self.batch)
        ]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        outputs = self.model(step.tensors["inputs"])
        return Loss(nn.functional.cross_entropy(outputs, step.tensors["truth"]))


def make_line(seed: int = 0, dropout: float = 0.0) -> TinyLine:
    torch.manual_seed(seed)
    return TinyLine(ModelSpec(classes=("a", "b")), dropout)


@pytest.fixture
def line() -> TinyLine:
    return make_line()
