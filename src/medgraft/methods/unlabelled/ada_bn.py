"""The target's own batch statistics in a network whose weights stay as they are."""

from __future__ import annotations

import copy
from typing import ClassVar, NamedTuple

import pandas as pd
import torch
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.batch_stats import batch_norms, estimate_batch_stats
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.patches import open_rows
from medgraft.engine.run import Run
from medgraft.errors import DataError, ModelError
from medgraft.models.model import Model
from medgraft.types import Kind


class AdaBN(MethodSettings):
    """Replace what batch norm remembers of the source's images by the statistics of the target's; nothing is trained.

    Weights, head and classes stay as they are, bit for bit. It takes one pass over the target's images and may also do
    harm, so compare with the source as it is. How far every layer's statistics moved is recorded as `batch_statistics`.

    >>> AdaBN().needs.target == {"images"}, AdaBN().passes
    (True, 1)

    Source: Li et al. 2018 (Adaptive Batch Normalization), as compared by Goodman et al. 2022 (AIVA), whose code makes
        1 or 10 passes in batches of 16. Differs: statistics are plain means over all batches, where that code's moving
        averages hold about the last 20.
    """

    name: ClassVar[str] = "ada_bn"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    batch_size: int = Setting(default=16, ge=1)
    """Images, or patches of volumes, whose statistics are taken together, at most; batches count equally."""
    passes: int = Setting(default=1, ge=1)
    """How often the images are gone through, each time in other batches. More make the result depend less on chance."""

    @property
    def needs(self) -> Needs:
        """Target images; patients where the cohort names them, as of volumes every patient counts the same."""
        return Needs.of(target=("images",), optional_target=("patients",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """A copy of the model with the statistics of the target's training images.

        Raises:
            ModelError: the model is of another kind than the task, or has no batch norm with running statistics.
            DataError: a batch gives a layer a single value per channel.
        """
        assert task.target is not None
        if model.spec.kind != task.kind:
            raise ModelError(
                "AdaBN", f"a source model for the target's kind of task, '{task.kind}'",
                f"this one's kind is '{model.spec.kind}'", "Start from a model that solves this task already.",
            )  # fmt: skip
        if not any(norm.track_running_stats for norm in batch_norms(model)):
            raise ModelError(
                "AdaBN", "a model with batch norm that keeps running statistics", "this one has none",
                "Start from one that has, or choose another method.",
            )  # fmt: skip
        adapted = copy.deepcopy(model)
        rows = open_rows(task.target, adapted.spec.preparation, run)
        if len(rows) == 1:
            run.warn(
                "AdaBN takes the statistics of a single image, which tell what it shows as much as how its site looks: "
                "give it more images of the site"
            )
        try:
            estimate_batch_stats(
                adapted,
                rows,
                run.generator("batch statistics"),
                batch_size=self.batch_size,
                passes=self.passes,
                device=run.fabric.device,
                shown=run.progress if run.fabric.global_rank == 0 else False,
            )
        except ValueError as error:  # torch's own check; its words are about tensors
            if "more than 1 value per channel" not in str(error):
                raise
            raise DataError(
                "AdaBN", "more than one value per channel in every layer and batch",
                f"batches of {min(self.batch_size, len(task.target))} give a layer a single one",
                "Give it more target images, or a larger batch_size.",
            ) from error  # fmt: skip
        run.record("batch_statistics", pd.DataFrame(compare_batch_stats(model, adapted)))
        return adapted


class StatisticsShift(NamedTuple):
    """How far the running statistics of one layer lie from those of another model; means over channels.

    layer: its name in the model; channels: how many it has.
    mean_distance: squared distance of the means in units of the first model's variance, at least 0.
    log_variance_ratio: natural logarithm of the second variance over the first.
    divergence: Kullback-Leibler divergence in nats of a normal distribution with the second statistics from one with
        the first, at least 0.
    """

    layer: str
    channels: int
    mean_distance: float
    log_variance_ratio: float
    divergence: float


def compare_batch_stats(source: Model, adapted: Model) -> list[StatisticsShift]:
    """How far the batch statistics of a model lie from those of another with the same layers, input to output.

    Variances are taken with the `eps` that the layer itself adds, so channels that are silent do not count as far away.

    Args:
        source, adapted: of one architecture.

    Returns: one entry per batch norm with running statistics.

    >>> from medgraft.testing import make_model
    >>> model = make_model("segment")
    >>> compare_batch_stats(model, model)[0]
    StatisticsShift(layer='encoder1.first_norm', channels=4, mean_distance=0.0, log_variance_ratio=0.0, divergence=0.0)
    """
    names = {module: name for name, module in source.named_modules()}
    pairs = zip(batch_norms(source), batch_norms(adapted), strict=True)
    return [
        StatisticsShift(
            names[before],
            before.num_features,
            *_distances(*_moments(before), *_moments(after)),
        )
        for before, after in pairs
        if before.track_running_stats
    ]


def _moments(norm: torch.nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean.double().cpu(), norm.running_var.double().cpu() + norm.eps


def _distances(
    mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor
) -> tuple[float, float, float]:
    squared = (other_mean - mean).square() / variance
    logarithm = (other_variance / variance).log()
    divergence = 0.5 * (other_variance / variance - 1 - logarithm + squared)
    return float(squared.mean()), float(logarithm.mean()), float(divergence.mean())
