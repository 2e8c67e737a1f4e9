"""Baselines without a network; print them beside every result."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field as Setting

from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.run import Run
from medgraft.errors import DataError
from medgraft.models.model import Model
from medgraft.models.simple import SimpleClassifier, Statistics
from medgraft.types import Kind


class SimpleBaseline(MethodSettings):
    """Logistic regression on simple image statistics, or the most frequent class.

    The source model gives nothing but its preparation of images.

    >>> SimpleBaseline(statistics="majority").kinds
    frozenset({'classify'})
    """

    name: ClassVar[str] = "simple_baseline"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify"})

    statistics: Statistics = "pixels"
    """`majority`: the commonest training class. `colour`: mean and sd per channel. `pixels`: a tiny thumbnail."""
    side: int = Setting(default=12, ge=1)
    """Side of the thumbnail for `pixels`."""
    inverse_penalty: float = Setting(default=1.0, gt=0)
    """scikit-learn's `C`: large values fit the training rows more closely."""
    balanced: bool = True
    """Weight classes inversely to their frequency (not for `majority`)."""

    @property
    def needs(self) -> Needs:
        """Labelled target images."""
        return Needs.of(target=("images", "truth"))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Fit the regression; nothing of the source's weights is used.

        Raises:
            DataError: all training rows are of one class, and there is something to fit.
        """
        assert task.target is not None
        spec = model.spec.changed(kind="classify", classes=task.classes)
        baseline = SimpleClassifier(spec, self.statistics, self.side)
        labels = task.target.labels
        if self.statistics != "majority" and len(set(labels.tolist())) < 2:
            raise DataError(
                "SimpleBaseline", "training rows of at least two classes",
                f"all {len(labels)} of {task.target.name} are '{task.classes[labels[0]]}'",
                "Add training rows of another class, or use statistics=majority.",
            )  # fmt: skip
        with torch.no_grad():
            baseline.head.weight.zero_()
            if self.statistics == "majority":
                counts = np.bincount(labels, minlength=len(task.classes))
                # one half added, so that an absent class has a finite logarithm
                baseline.head.bias.copy_(torch.from_numpy(np.log(counts + 0.5)))
            else:
                self._fit(baseline, Loader(task.target, spec.preparation, memory=0), labels)
        return baseline.eval()

    def _fit(self, baseline: SimpleClassifier, loader: Loader, labels: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression

        rows = np.array_split(np.arange(len(loader)), -(-len(loader) // 64))
        measured = torch.cat([baseline.measure(loader(part).images) for part in rows]).double()
        baseline.shift.copy_(measured.mean(0))
        spread = measured.std(0, correction=0)
        baseline.scale.copy_(torch.where(spread > 1e-8, spread, 1.0))  # a constant statistic stays at 0
        features = ((measured - baseline.shift) / baseline.scale).numpy()
        regression = LogisticRegression(
            C=self.inverse_penalty, class_weight="balanced" if self.balanced else None, max_iter=5000
        ).fit(features, labels)
        weight, bias = _one_row_per_class(regression.coef_, regression.intercept_)
        present = torch.from_numpy(regression.classes_)
        baseline.head.bias.fill_(-1e4)  # a class without a training row is never the answer
        baseline.head.weight[present] = torch.from_numpy(weight).float()
        baseline.head.bias[present] = torch.from_numpy(bias).float()


def _one_row_per_class(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn keeps one row for two classes: its log-odds. Softmax over (0, log-odds) says the same."""
    if len(weight) > 1:
        return weight, bias
    return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
