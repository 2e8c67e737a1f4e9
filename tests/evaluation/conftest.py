"""A model whose predictions are written by hand: every pixel of an image holds its own logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.types import Kind, Preparation


class Echo(Model):
    """Answers with the first pixel of an image, or with all of them for a segmentation."""

    kinds = frozenset({"classify", "multilabel", "segment"})

    def forward(self, images: Tensor) -> Tensor:
        return images if self.spec.kind == "segment" else images[:, :, 0, 0]


def echo(kind: Kind, classes: Sequence[str]) -> Model:
    count = len(classes)
    return Echo(
        ModelSpec(
            kind=kind,
            classes=tuple(classes),
            channels=count,
            preparation=Preparation(channels=count, intensity="none"),
        )
    )


class Written:
    """Builds cohorts whose images are logits."""

    @staticmethod
    def labels(
        probabilities: Any, truth: Any, classes: Sequence[str], kind: Kind = "classify", **more: Any
    ) -> tuple[Model, Cohort]:
        """A model and a cohort on which it predicts exactly these probabilities."""
        chances = torch.as_tensor(np.asarray(probabilities, dtype=np.float32))
        logits = chances.logit() if kind == "multilabel" else chances.log()
        images = logits.numpy()[:, None, None, :]
        cohort = Cohort.from_arrays(images, np.asarray(truth), kind=kind, classes=classes, **more)
        return echo(kind, classes), cohort

    @staticmethod
    def masks(predicted: Any, truth: Any, classes: Sequence[str], **more: Any) -> tuple[Model, Cohort]:
        """A model and a cohort on which it predicts exactly these masks, (N, H, W) each."""
        logits = 9 * np.eye(len(classes), dtype=np.float32)[np.asarray(predicted)]
        cohort = Cohort.from_arrays(logits, np.asarray(truth), kind="segment", classes=classes, **more)
        return echo("segment", classes), cohort


@pytest.fixture
def written() -> type[Written]:
    return Written
