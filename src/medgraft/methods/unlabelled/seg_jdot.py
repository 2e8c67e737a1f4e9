"""Target images that are labelled like those source images to which they are the cheapest to carry (Seg-JDOT)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion
from medgraft.methods.graft import graft
from medgraft.methods.unlabelled.representing_layer import representing_layer
from medgraft.methods.unlabelled.transport import feature_costs, label_costs, transport_plan
from medgraft.methods.unlabelled.two_sites import (
    BetweenSites,
    SourceLoss,
    TwoSites,
    both_cohorts,
    refuse_other_sizes,
    refuse_windows,
)
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.types import Kind, Loss, Progress, Step


class SegJDOT(BetweenSites):
    """Pair the source and target images of a batch by optimal transport, and let pairs agree in features and labels.

    A pair costs the distance of its inner features and the cross-entropy of the target's prediction against the
    source's truth. In every step all images of one site are paired with those of the other as cheaply as can be; then
    the network descends on the costs of these pairs and on the source's loss.

    >>> sorted(SegJDOT().needs.source), sorted(SegJDOT().needs.target)
    (['images', 'truth'], ['images'])

    Source: Damodaran et al. 2018 (DeepJDOT); Ackaouy et al. 2020 (Seg-JDOT), who take it to masks; the layer of U-Nets
        is that of the comparison of Goodman et al. 2022 (AIVA). Differs: the plan is made from the forward pass that is
        descended on, in training mode, so it is the cheapest for just these numbers; distances are means over features;
        `alpha` balances both terms by itself. Batches, learning rate and length are ours.
    """

    name: ClassVar[str] = "seg_jdot"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "segment"})

    alpha: float | None = Setting(default=None, ge=0)
    """What the distance of features weighs in a pair's cost. None chooses it in the first batch, so that distances and
    cross-entropies, times their weights, have the same median over all pairs; it is told in the history."""
    beta: float = Setting(default=1.0, ge=0)
    """What the cross-entropy weighs in a pair's cost, beside the source's loss; where `alpha` is None it weighs both
    terms. With 0 for both it is training on the source alone, but batch norm still sees the target's images."""
    at: str | None = None
    """Inner layer whose map, flattened, represents an image. None takes, of a U-Net, what comes after the first
    convolution of the bottleneck, its norm and ReLU; of classifiers the features before the head."""
    loss: SourceLoss = None
    """On the source's truth; None takes the usual one, of masks Dice and cross-entropy. Of pairs it is always
    cross-entropy, which takes over nothing but `ignore_label`."""
    schedule: Schedule = Schedule(
        epochs=50,
        steps_per_epoch=100,
        batch_size=16,
        optimizer="adam",
        lr=1e-4,
        weight_decay=0.0,
        shape="constant",
    )
    """`batch_size` images come from each side: the more, the better they can be paired."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Train a copy of the model on the source and on pairs; classes are the source's.

        Raises:
            DataError: sites of different kinds, volumes, images of different size.
            ModelError: a network that segments, has no bottleneck to look at, and `at` names no layer.
        """
        source, target = both_cohorts("SegJDOT", task)
        # without labels the target has no say about the head
        adapted, _ = graft(model, Task(source=source), run, size=self.size, changes=self.preparation)
        refuse_windows("SegJDOT", adapted, source, target)
        preparation = adapted.spec.preparation
        loss = self.loss or LossSettings.default(source.kind)
        objective = PairedSites(
            adapted,
            run.loader(source, preparation),
            run.loader(target, preparation),
            build_loss(loss, source.kind),
            ignore_label=loss.ignore_label,
            method=self,
        )
        fit(objective, run, self.schedule)
        return adapted


class PairedSites(TwoSites):
    """Descend on the loss of labelled source images and on the costs of pairs with target images.

    Both sites go through the network as one batch: otherwise batch norm would train with the statistics of one site at
    a time, and predict with those of both.

    Args:
        model: trained in place.
        source: labelled source rows.
        target: target rows, of the source's size; nothing but their images is used.
        criterion: (outputs, truth) -> scalar loss, a mean over images.
        ignore_label: class number of pixels or images that cost nothing.
        method: its weights, layer, augmentation and schedule.
    """

    loss_is_sample_mean = False  # each process pairs the images that it has
    alpha: Tensor

    def __init__(
        self,
        model: Model,
        source: Loader,
        target: Loader,
        criterion: Criterion,
        *,
        ignore_label: int | None,
        method: SegJDOT,
    ) -> None:
        super().__init__(
            model, source, target, criterion, schedule=method.schedule, augmentation=method.augmentation
        )
        self.ignore_label, self.beta = ignore_label, method.beta
        self.at = method.at or representing_layer("SegJDOT", model)
        self.before_relu = method.at is None and self.at is not None
        alpha = torch.nan if method.alpha is None else method.alpha
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The source's loss, and the costs of the cheapest pairs."""
        images, truth, target = (step.tensors[name] for name in ("images", "truth", "target"))
        refuse_other_sizes("SegJDOT", images.shape[1:], target.shape[1:])
        outputs, features = self._look(torch.cat([images, target]))
        supervised = self.criterion(outputs[: len(images)], truth)
        wrong = self.beta * label_costs(truth, outputs[len(images) :], self.ignore_label)
        apart = feature_costs(features[: len(images)], features[len(images) :])
        alpha = self._balance(apart.detach(), wrong.detach())
        plan = transport_plan(alpha * apart + wrong)
        of_features, of_labels = (plan * alpha * apart).sum(), (plan * wrong).sum()
        parts = {
            "supervised": supervised,
            "alignment": of_features + of_labels,
            "feature_term": of_features,
            "label_term": of_labels,
            "alpha": alpha,
        }
        return Loss(supervised + parts["alignment"].to(supervised.dtype), parts)

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs and the vectors that represent images, from one forward pass."""
        if self.at is None:
            features = self.model.features(images)
            return self.model.head_outputs(features), features
        outputs, maps = self.model.activations(images, [self.at])
        inner = maps[self.at].flatten(1)
        return outputs, inner.relu() if self.before_relu else inner

    def _balance(self, apart: Tensor, wrong: Tensor) -> Tensor:
        """Alpha, chosen now where nobody has; while all features are the same nothing can be, and it is 0."""
        if self.alpha.isnan() and apart.median() > 0:
            self.alpha.copy_(wrong.median() / apart.median())
        return self.alpha.nan_to_num()
