"""What methods share that train on labelled source images and unlabelled target images at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.method import Needs
from medgraft.engine.patches import Patches, draw_batch, drawing_chances
from medgraft.engine.predict import needs_windows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, Supervised
from medgraft.errors import DataError
from medgraft.images.augmentation import Augmentation
from medgraft.methods.graft import AugmentationChoice, OnWholeImages
from medgraft.models.losses import LossSettings
from medgraft.models.model import Model
from medgraft.types import Progress, Step


def _no_risk_map(loss: LossSettings | None) -> LossSettings | None:
    if loss is not None and loss.risk_map is not None:
        raise ValueError("risk_map weighs pixels by the target's truth, which this method never sees")
    return loss


SourceLoss = Annotated[LossSettings | None, AfterValidator(_no_risk_map)]
"""A setting: the loss on the source's truth; None takes the usual one of the task's kind."""


class BetweenSites(OnWholeImages):
    """What methods let choose that train on labelled source images and unlabelled target images at once."""

    augmentation: AugmentationChoice = Augmentation()
    """Of the images of both sites; None trains on images as they are."""
    loss: SourceLoss = None
    """On the source's truth; None takes cross-entropy, binary cross-entropy or Dice + cross-entropy, by the task's
    kind. `risk_map` needs target truth."""

    @property
    def needs(self) -> Needs:
        """Labelled source images and target images; patients where the cohorts name them."""
        return Needs.of(
            source=("images", "truth"),
            target=("images",),
            optional_source=("patients",),
            optional_target=("patients",),
        )


class TwoSites(Supervised):
    """Draw as many target images as labelled source images for each step, and augment both alike.

    Images are drawn with replacement: the patient, then one of their images.

    Args:
        model: trained in place.
        source: labelled source rows, or patches of them.
        target: target rows or patches; nothing but their images is used.
        criterion: (outputs, truth) -> scalar loss, a mean over images.
        schedule: its batch size counts images of either site; without steps per epoch an epoch is one pass over as
            many images as the target has.
        augmentation: of both sites; None leaves images as prepared.
    """

    def __init__(
        self,
        model: Model,
        source: Loader | Patches,
        target: Loader | Patches,
        criterion: Criterion,
        *,
        schedule: Schedule,
        augmentation: Augmentation | None,
    ) -> None:
        steps = schedule.steps_per_epoch or -(-len(target) // schedule.batch_size)
        super().__init__(
            model,
            source,
            criterion,
            batch_size=schedule.batch_size,
            steps_per_epoch=steps,
            augmentation=augmentation,
        )
        self.sides, self.steps = (source, target), steps
        self.chances = [drawing_chances(rows) for rows in self.sides]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Source images with their truth, and target images, augmented."""
        steps = self._drawn(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _drawn(self, generator: torch.Generator) -> Iterator[Step]:
        for _ in range(self.steps):
            source, target = (
                draw_batch(rows, chances, self.batch_size, generator)
                for rows, chances in zip(self.sides, self.chances)
            )
            assert source.truth is not None
            images, truth = self.augmented(source.images, source.truth, generator)
            unlabelled = target.images
            if self.augmentation is not None:
                value_range = self.loader.preparer.value_range
                unlabelled, _ = self.augmentation(unlabelled, generator, value_range=value_range)
            yield Step({"images": images, "truth": truth, "target": unlabelled})


def both_cohorts(who: str, task: Task) -> tuple[Cohort, Cohort]:
    """Source and target of a task.

    Raises:
        DataError: they are of different kinds.
    """
    assert task.source is not None and task.target is not None
    if task.source.kind != task.target.kind:
        raise DataError(
            who, "source and target of one kind",
            f"they are '{task.source.kind}' and '{task.target.kind}'", "Read both from one manifest.",
        )  # fmt: skip
    return task.source, task.target


def refuse_windows(who: str, model: Model, *cohorts: Cohort) -> None:
    """Refuse what a network does not see whole.

    Raises:
        DataError: a cohort has volumes, or the model's preparation cuts patches.
    """
    for cohort in cohorts:
        if needs_windows(model.spec.preparation, cohort):
            raise DataError(
                who, "single images that the network sees whole",
                f"{cohort.name} has volumes, or the preparation cuts patches",
                "Give each slice a row of its own (file.nii.gz#slice:12), and set a size instead of a patch.",
            )  # fmt: skip


def refuse_other_sizes(who: str, source: Sequence[int], target: Sequence[int]) -> None:
    """Refuse prepared images (C, *spatial) of two sites that differ in size.

    Raises:
        DataError: they do.
    """
    if tuple(source) != tuple(target):
        raise DataError(
            who, "source and target images of one size and number of channels",
            f"after preparation they are {tuple(source)} and {tuple(target)}",
            "Set a size, for instance --set size=[192,192].",
        )  # fmt: skip
