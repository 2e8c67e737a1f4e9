"""Masks of the target that cannot be told from masks of the source, taught by an adversary."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field as Setting
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import FOREGROUND, Patches, open_rows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion
from medgraft.errors import DataError
from medgraft.methods.graft import graft
from medgraft.methods.unlabelled.two_sites import BetweenSites, TwoSites
from medgraft.models.discriminator import Discriminator
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model, evaluation_mode
from medgraft.types import Kind, Loss, Progress, Step

LossForm = Literal["cross_entropy", "least_squares"]
NOT_DECEIVED = 0.95
"""Share of places where a discriminator is right that the segmenter does not deceive; 0.5 is guessing."""


class AdaptSegNet(BetweenSites):
    """Train on the source's masks while a second network must not be able to tell target predictions from source ones.

    The second network, the discriminator, sees the class probabilities of whole images and learns in turn with the
    segmenter; it is not part of the adapted model. Watch `told_apart` in the history: the share of places whose site
    it tells, a mean of both sites. 0.5 means that it knows nothing, 1 to the end that it was never deceived.

    >>> sorted(AdaptSegNet().needs.source), sorted(AdaptSegNet().needs.target)
    (['images', 'truth'], ['images'])

    Source: Tsai et al. 2018 (AdaptSegNet), one level, with settings as published; batches and length as in the
        comparison of Goodman et al. 2022 (AIVA). Differs: the discriminator learns from a forward pass of its own,
        after the segmenter's step and in evaluation mode, so that no image counts twice in batch norm; learning rates
        fall at the ends of epochs; the loss on masks is the usual one of this package unless `loss` says otherwise.
    """

    name: ClassVar[str] = "adapt_seg_net"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})

    weight: float = Setting(default=0.001, ge=0)
    """Of the adversarial loss beside the loss on masks. With 0 the weights are those of training on the source alone,
    but batch norm's running statistics still see the target's images."""
    loss_form: LossForm = "cross_entropy"
    """What discriminator and segmenter contend about: binary cross-entropy of its logits, or least squares (LSGAN)."""
    discriminator_lr: float = Setting(default=1e-4, gt=0)
    """Learning rate of the discriminator (Adam) at the top of the curve, which is that of `schedule`."""
    discriminator_width: int = Setting(default=64, ge=1)
    """Channels of the discriminator's first convolution."""
    foreground: float = Setting(default=FOREGROUND, ge=0, le=1)
    """Of volumes and patches of the source, share of samples that must show a class other than the first."""
    schedule: Schedule = Schedule(
        epochs=50,
        steps_per_epoch=100,
        batch_size=8,
        optimizer="sgd",
        lr=2.5e-4,
        momentum=0.9,
        weight_decay=5e-4,
        shape="polynomial",
        power=0.9,
    )
    """Training of the segmenter, by default as published. `batch_size` images come from each side."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Train a copy of the model against a discriminator.

        Raises:
            DataError: the source's truth is no masks.
            ShapeError: images of fewer than 32 pixels a side.
        """
        assert task.source is not None and task.target is not None
        if task.source.kind != "segment":
            raise DataError(
                "AdaptSegNet", "a source with masks", f"its kind is '{task.source.kind}'",
                "Give the source masks, or choose another method.",
            )  # fmt: skip
        # the source's classes: the target has no truth, and maybe nobody named its classes
        adapted, _ = graft(model, Task(source=task.source), run, size=self.size, changes=self.preparation)
        preparation = adapted.spec.preparation
        objective = AdversarialSegmentation(
            adapted,
            open_rows(task.source, preparation, run, self.foreground),
            open_rows(task.target, preparation, run),
            build_loss(self.loss or LossSettings.default("segment"), "segment"),
            discriminator=Discriminator(
                len(adapted.spec.classes), self.discriminator_width, preparation.dimensions
            ),
            method=self,
        )
        history = fit(
            objective, run, {"segment": self.schedule, "discriminate": self.discriminator_schedule()}
        )
        right = history.rows[-1]["told_apart"]
        if right > NOT_DECEIVED:
            run.warn(
                f"AdaptSegNet has not converged: at its end the discriminator was right at {right:.0%} of places, so "
                "that masks of the two sites still differ. Lower discriminator_lr, raise weight, or train longer."
            )
        return adapted

    def discriminator_schedule(self) -> Schedule:
        """How the discriminator is trained: as long and on the same curve as the segmenter, by Adam as published."""
        return self.schedule.model_copy(
            update={
                "optimizer": "adam",
                "lr": self.discriminator_lr,
                "betas": (0.9, 0.99),
                "eps": None,
                "weight_decay": 0.0,
                "minimum_lr": self.schedule.minimum_lr * self.discriminator_lr / self.schedule.lr,
            }
        )


class AdversarialSegmentation(TwoSites):
    """Descend on the source's masks and on deceiving a discriminator, then on not being deceived.

    Args:
        model: trained in place by the first phase.
        source: labelled source rows, or patches of them.
        target: target rows or patches; nothing but their images is used. Their size may be another.
        criterion: (outputs, truth) -> scalar loss, a mean over images.
        discriminator: trained in place by the second phase.
        method: its weight, loss form, augmentation and schedule.
    """

    phases = ("segment", "discriminate")

    def __init__(
        self,
        model: Model,
        source: Loader | Patches,
        target: Loader | Patches,
        criterion: Criterion,
        *,
        discriminator: Discriminator,
        method: AdaptSegNet,
    ) -> None:
        super().__init__(
            model, source, target, criterion, schedule=method.schedule, augmentation=method.augmentation
        )
        self.discriminator, self.method = discriminator, method

    def groups(self, phase: str) -> list[ParamGroup]:
        """The segmenter in the first phase, the discriminator in the second."""
        return self._groups if phase == "segment" else [ParamGroup(list(self.discriminator.parameters()))]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The segmenter's loss with its two parts, or the discriminator's."""
        if phase == "discriminate":
            return self._discriminate(step)
        on_masks = super().loss(step, phase, progress).total
        maps = self.model(step.tensors["target"]).float().softmax(dim=1)
        # the adversary stands still: without gradients of its own, which would be thrown away
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        judged = functional_call(self.discriminator, frozen, (maps,))
        adversarial = adversarial_loss(judged, "source", self.method.loss_form)
        total = on_masks + self.method.weight * adversarial
        # named "loss" as well, so that the learning curve is that of the segmenter
        return Loss(total, {"loss": total, "on_masks": on_masks, "adversarial": adversarial})

    def _discriminate(self, step: Step) -> Loss:
        form = self.method.loss_form
        with evaluation_mode(self.model), torch.no_grad():
            maps = [self.model(step.tensors[side]).float().softmax(dim=1) for side in ("images", "target")]
        of_source, of_target = (self.discriminator(one).float() for one in maps)
        total = (
            adversarial_loss(of_source, "source", form) + adversarial_loss(of_target, "target", form)
        ) / 2
        threshold = 0.0 if form == "cross_entropy" else 0.5
        right = ((of_source < threshold).float().mean() + (of_target > threshold).float().mean()) / 2
        return Loss(total, {"told_apart": right})


def adversarial_loss(
    judged: Tensor, as_site: Literal["source", "target"], form: LossForm = "cross_entropy"
) -> Tensor:
    """How far a discriminator's outputs are from saying one site everywhere: 0 for the source, 1 for the target.

    Args:
        judged: outputs of a discriminator, any shape.
        as_site: what they should say.
        form: binary cross-entropy of logits, or squared differences.

    Returns: scalar float32, at least 0, a mean over all places.

    Source: Tsai et al. 2018, equations 2 and 4; Mao et al. 2017 for least squares. Differs: means instead of sums, as
        in the published code, which also numbers the sites so.

    >>> round(adversarial_loss(torch.zeros(2, 1, 3, 3), "target").item(), 4)
    0.6931
    """
    wanted = torch.full_like(judged, 1.0 if as_site == "target" else 0.0, dtype=torch.float32)
    if form == "least_squares":
        return functional.mse_loss(judged.float(), wanted)
    return functional.binary_cross_entropy_with_logits(judged.float(), wanted)
