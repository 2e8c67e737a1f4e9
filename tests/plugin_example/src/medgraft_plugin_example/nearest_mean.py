"""Classify by the nearest class mean in the source model's feature space; nothing is trained."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import torch
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.run import Run
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.types import Kind

NEVER = -1e4
"""Bias of a class without a training row: it is never the answer, and softmax stays finite."""


class NearestMean(MethodSettings):
    """Give the source model a head that answers with the class whose mean feature is nearest.

    >>> sorted(NearestMean().needs.target)
    ['images', 'truth']

    Source: Mensink et al. 2013 (nearest class mean); Snell et al. 2017, equation 8 (as a linear layer). Differs:
    distances are divided by the variance within classes, so that probabilities mean something.
    """

    name: ClassVar[str] = "nearest_mean"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})

    temperature: float = Setting(default=1.0, gt=0)
    """Larger values make probabilities less certain; the answers stay the same."""

    @property
    def needs(self) -> Needs:
        """Labelled target images."""
        return Needs.of(target=("images", "truth"))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Regraft the model onto the target's classes and set its head from the class means."""
        assert task.target is not None
        adapted, plan = regraft(model, task.classes, kind=task.kind)
        run.record("plan", pd.DataFrame(plan.table()))
        features = extract_features(adapted, task.target, device=run.fabric.device)
        weight, bias = head_of_means(
            features, torch.from_numpy(task.target.labels), len(task.classes), self.temperature
        )
        parameters = dict(adapted.named_parameters())
        head_weight, head_bias = (parameters[name] for name in adapted.blocks()["head"])
        with torch.no_grad():
            head_weight.copy_(weight.view_as(head_weight))
            head_bias.copy_(bias)
        return adapted


def head_of_means(
    features: Tensor, labels: Tensor, classes: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The linear layer whose softmax is that of minus half the squared distance to each class mean.

    Args:
        features: (N, D) float32.
        labels: (N,) int64 in [0, classes).
        classes: K.
        temperature: divides the outputs, beside the variance within classes (per feature, pooled).

    Returns: weight (K, D) and bias (K,), float32; the bias of a class without rows is -1e4.

    >>> weight, bias = head_of_means(torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([0, 0, 1, 1]), 2)
    >>> weight.tolist(), bias.tolist()
    ([[1.0], [5.0]], [-0.5, -12.5])
    """
    features = features.double()
    members = torch.nn.functional.one_hot(labels, classes).double()
    counts = members.sum(0)
    means = members.T @ features / counts.clamp_min(1)[:, None]
    within = (features - means[labels]).square().mean()
    # one row per class leaves no spread to measure: distances are then taken as they are
    scale = temperature * (within if within > 1e-12 else torch.ones_like(within))
    weight, bias = means / scale, -means.square().sum(1) / (2 * scale)
    bias[counts == 0] = NEVER
    return weight.float(), bias.float()
