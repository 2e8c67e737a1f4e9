"""From the source to the target in one training whose batches hold more and more of the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.patches import Patches, draw_batch, drawing_chances, open_rows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, PixelWeights, Supervised
from medgraft.errors import DataError
from medgraft.methods.graft import OnImages, graft
from medgraft.methods.labelled.weigh_by_risk import weigh_by_risk
from medgraft.methods.scope import Part, trained_blocks
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.types import Kind, Loss, Progress, Step


class MMTL(OnImages):
    """Train on source and target images together, with more of the target in every batch (MMTL).

    The source images stay in the batches nearly to the end, so that little of the source is forgotten. Where the label
    sets differ, source images are scored by the source's head, which the adapted model keeps beside its own.

    >>> sorted(MMTL().needs.source), MMTL().schedule.lr
    (['images', 'truth'], 0.001)

    Source: Goodman et al., "Supervised domain adaptation using gradients transfer for improved medical image
    analysis", 2022 (mixed minibatch transfer learning, algorithm 1). Differs: where label sets differ, the paper does
    not say how source images are scored; here both heads share one forward pass and every image counts the same.
    """

    name: ClassVar[str] = "mmtl"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    min_target: int = Setting(default=0, ge=0)
    """Fewest target images in a batch. 0: the first batches hold none, as in the paper; its published code has 1."""
    keep_source: bool = True
    """Keep at least one source image in every batch. False counts epochs from 1, so that the last one sees target
    images only."""
    scope: Part | tuple[str, ...] = "all"
    """What is trained: everything, the first or last `blocks` as in fine_tune, or blocks by name. A new head always is;
    a head kept from the source only in `all`, or by its name `source_head`."""
    blocks: int = Setting(default=1, ge=1)
    """How many blocks `first` and `last` train."""
    loss: LossSettings | None = None
    """None takes the usual loss of the task's kind. Weights of classes hold for the target's classes only where label
    sets differ; `risk_map` weighs the pixels of target images, source images keep their plain mean."""
    schedule: Schedule = Schedule(
        epochs=60, steps_per_epoch=100, batch_size=16, optimizer="adam", weight_decay=0.0, shape="step"
    )
    """`batch_size` is that of source and target together; without `steps_per_epoch` an epoch has as many steps as
    fine-tuning has on the target. The mixture changes from epoch to epoch."""

    @model_validator(mode="after")
    def _sees_the_target(self) -> MMTL:
        batch, epochs = self.schedule.batch_size, self.schedule.epochs
        most = batch - self.keep_source
        if self.min_target > most:
            raise ValueError(f"min_target must be at most {most} of the {batch} images in a batch")
        if self._target_images(epochs - 1, epochs) == 0:
            raise ValueError(
                f"with {epochs} epochs and batches of {batch} no target image is ever seen; give more epochs, larger "
                "batches or min_target of at least 1"
            )
        return self

    @property
    def needs(self) -> Needs:
        """Labelled source and target images; patients where the cohorts name them."""
        return Needs.of(
            source=("images", "truth"),
            target=("images", "truth"),
            optional_source=("patients",),
            optional_target=("patients",),
        )

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Regraft the model onto the target's classes and train it on mixed batches."""
        assert task.source is not None and task.target is not None
        if task.source.kind != task.target.kind:
            raise DataError(
                "MMTL", "source and target of one kind",
                f"they are '{task.source.kind}' and '{task.target.kind}'",
                "Give both the same kind of annotation, or use a method that needs no source.",
            )  # fmt: skip
        source, apart = model, task.source.classes != task.target.classes
        if apart and (model.spec.kind, model.spec.classes) != (task.source.kind, task.source.classes):
            model, _ = regraft(
                model, task.source.classes, kind=task.source.kind
            )  # a head for the source's classes
        adapted, plan = graft(
            model, task, run, size=self.size, changes=self.preparation, keep_source_head=apart
        )
        settings = self.loss or LossSettings.default(task.kind)
        unweighted = settings.model_copy(
            update={"class_weights": None, "positive_weights": None, "risk_map": None}
        )
        rows = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        objective = MixedBatches(
            adapted,
            rows,
            open_rows(task.source, adapted.spec.preparation, run, self.foreground),
            build_loss(settings, task.kind),
            source_criterion=build_loss(unweighted, task.kind) if apart else None,
            method=self,
            lr_factors=trained_blocks(adapted, self.scope, self.blocks, plan),
            pixel_weights=weigh_by_risk(source, rows, settings, run),
        )
        fit(objective, run, self.schedule)
        return adapted

    def _target_images(self, epoch: int, epochs: int) -> int:
        return count_target_images(
            epoch,
            epochs,
            self.schedule.batch_size,
            min_target=self.min_target,
            keep_source=self.keep_source,
        )


def count_target_images(
    epoch: int, epochs: int, batch_size: int, *, min_target: int = 0, keep_source: bool = True
) -> int:
    """How many images of a batch come from the target: the share of the epochs behind us, rounded down.

    Args:
        epoch: in [0, epochs).
        epochs: of the whole training.
        batch_size: source and target together.
        min_target: never fewer.
        keep_source: never all of them; else epochs count from 1.

    Returns: in [min_target, batch_size], below batch_size with `keep_source`.

    >>> [count_target_images(epoch, 60, 16) for epoch in (0, 3, 4, 30, 59)]
    [0, 0, 1, 8, 15]

    Source: Goodman et al. 2022, algorithm 1: int(epoch / epochs * batch size). Differs from the published code, which
        adds one image every four epochs whatever the numbers of epochs and images.
    """
    behind = epoch if keep_source else epoch + 1
    return max(min_target, behind * batch_size // epochs)


class MixedBatches(Supervised):
    """Descend on batches of source and target images, each going through the network in one forward pass.

    Batch statistics are those of the mixture. Images are drawn with replacement: the patient, then one of their images.

    Args:
        model: trained in place; with `source_criterion` it keeps the source's head.
        target: labelled target rows, or patches of them.
        source: labelled source rows, or patches of them.
        criterion: (outputs, truth) -> scalar loss, a mean over images.
        source_criterion: that of source images, by the source's head; None scores both by one head.
        method: its mixture, augmentation and schedule.
        lr_factors: as for `Supervised`.
        pixel_weights: weighs the pixels of target images; those of source images have the weight 1.
    """

    def __init__(
        self,
        model: Model,
        target: Loader | Patches,
        source: Loader | Patches,
        criterion: Criterion,
        *,
        source_criterion: Criterion | None,
        method: MMTL,
        lr_factors: Mapping[str, float] | None = None,
        pixel_weights: PixelWeights | None = None,
    ) -> None:
        schedule = method.schedule
        steps = schedule.steps_per_epoch or -(-len(target) // schedule.batch_size)
        super().__init__(
            model,
            target,
            criterion,
            batch_size=schedule.batch_size,
            steps_per_epoch=steps,
            augmentation=method.augmentation,
            lr_factors=lr_factors,
            pixel_weights=pixel_weights,
        )
        self.steps, self.source, self.source_criterion, self.method = steps, source, source_criterion, method
        self.chances = [drawing_chances(rows) for rows in (source, target)]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Mixed batches of one epoch, source images first, augmented."""
        count = self.method._target_images(progress.epoch, progress.epochs)
        steps = self._mixed(run.generator("batches", progress.epoch), count)
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _mixed(self, generator: torch.Generator, target_images: int) -> Iterator[Step]:
        counts = (self.batch_size - target_images, target_images)
        columns = max(len(rows.cohort.classes) for rows in (self.source, self.loader))
        for _ in range(self.steps):
            images: list[Tensor] = []
            truths: list[Tensor] = []
            for rows, chances, count in zip((self.source, self.loader), self.chances, counts):
                if count == 0:
                    continue
                batch = draw_batch(rows, chances, count, generator)
                assert batch.truth is not None
                images.append(batch.images)
                truths.append(
                    _widened(batch.truth, columns) if rows.cohort.kind == "multilabel" else batch.truth
                )
            self._check_sizes(images)
            mixed, truth = self.augmented(torch.cat(images), torch.cat(truths), generator)
            is_target = torch.arange(len(mixed)) >= counts[0]
            yield Step({"images": mixed, "truth": truth, "is_target": is_target})

    def _check_sizes(self, images: list[Tensor]) -> None:
        sizes = {tuple(part.shape[1:]) for part in images}
        if len(sizes) > 1:
            raise DataError(
                "MMTL", "source and target images of one size and number of channels",
                f"after preparation they are {' and '.join(map(str, sorted(sizes)))}",
                "Set a size or a patch, for instance --set size=[192,192].",
            )  # fmt: skip

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The mean over all images of a batch, each scored by the head of its side."""
        if self.source_criterion is None:
            return super().loss(step, phase, progress)
        is_target, truth = step.tensors["is_target"], step.tensors["truth"]
        outputs, weights = self.model.outputs_of_both_heads(step.tensors["images"]), self.weigh_pixels(step)
        total = outputs[0].new_zeros(())
        for side, given, criterion in (
            (is_target, outputs[0], self.criterion),
            (~is_target, outputs[1], self.source_criterion),
        ):
            if side.any():
                wanted = truth[side]
                if wanted.is_floating_point():  # labels of the other side's classes were filled in
                    wanted = wanted[:, : given.shape[1]]
                third = () if weights is None or criterion is self.source_criterion else (weights[side],)
                total = total + criterion(given[side], wanted, *third) * (side.sum() / len(side))
        return Loss(total)

    def weigh_pixels(self, step: Step) -> Tensor | None:
        """Factors of the pixels of target images, and 1 for those of the source."""
        if self.pixel_weights is None:
            return None
        images, truth, is_target = (step.tensors[name] for name in ("images", "truth", "is_target"))
        weights = torch.ones_like(truth, dtype=torch.float32)
        if is_target.any():
            weights[is_target] = self.pixel_weights(images[is_target], truth[is_target])
        return weights


def _widened(labels: Tensor, columns: int) -> Tensor:
    """(B, K) labels with as many columns as asked for; those that are added are unknown."""
    return torch.nn.functional.pad(labels, (0, columns - labels.shape[1]), value=torch.nan)
