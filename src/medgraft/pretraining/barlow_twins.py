"""Features from images without labels: two views of an image are to be told alike (Barlow Twins)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field as Setting

from medgraft.data.task import Task
from medgraft.engine.distributed import gather_rows
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.loop import fit
from medgraft.engine.objective import Objective
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import draw_batches
from medgraft.images.augmentation import Augmentation
from medgraft.models.collapse import effective_rank, feature_deviation
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.projector import Projector
from medgraft.models.twins_loss import PUBLISHED_WEIGHT, redundancy
from medgraft.pretraining.images_alone import Pretraining, warn_of_collapse
from medgraft.pretraining.views import ViewsChoice, views
from medgraft.types import Loss, Progress, Step


class BarlowTwins(Pretraining):
    """Pre-train an encoder on source images without labels: two random views of an image are to be told alike.

    Any source may be continued, ImageNet's included; its head is dropped. What comes back encodes: it is saved, ranked
    and fine-tuned like every source. The projector, on whose outputs the loss is computed, is no part of it. Read a
    manifest with labels as `kind="encode"`; nothing but its images is used. The command line takes the images of the
    sites that `--source-at` names.

    The table `history` tells per epoch the loss, the mean of (1 - c)^2 over the diagonal of the cross-correlation (1
    where the views have nothing in common), the root mean square of c beside it, and of the features of a batch the
    effective rank and the standard deviation. A rank that falls is no alarm by itself: it does while features get
    better. A minute on one core teaches nothing; some hundred steps of 256 images are the least.

    >>> BarlowTwins().needs.source == {"images"}, BarlowTwins(views="tissue").views.quarter_turns
    (True, True)

    Source: Zbontar et al. 2021; on medical images Elsherif et al. (comparative study with ResNet-18). Differs: Adam
        with 1e-3 instead of LARS; a smaller projector; views per kind of image, without solarisation, hue and
        saturation, and the same for both.
    """

    name: ClassVar[str] = "barlow_twins"
    fewest: ClassVar[int] = 2  # correlations are over images

    weight: float = Setting(default=PUBLISHED_WEIGHT, ge=0)
    """Of the squared correlations beside the diagonal (lambda), by default as published."""
    projector: tuple[Annotated[int, Setting(ge=1)], ...] = Setting(default=(512, 512, 512), min_length=1)
    """Widths of the projector's layers. Published are three of 8192 (the study: of 2048), for batches of 2048 (256)."""
    views: ViewsChoice = None
    """`scan`, `tissue`, `photograph`, or the settings of an `Augmentation`. None takes `scan`, which flips nothing, of
    grey images and `photograph` of others. Set flips to 0 where left and right are to be told apart."""
    schedule: Schedule = Schedule(epochs=200, batch_size=256, optimizer="adam", lr=1e-3, weight_decay=1e-6)
    """By default Adam from 1e-3. The study's 3e-2 is too high for small data: in 80 steps the features of a small
    network lost two thirds of the directions they filled, with 1e-3 about a tenth. Larger batches help; a step sees
    each image twice."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """A pre-trained copy of the model that encodes.

        Raises:
            ModelError: the model cannot encode.
            DataError: images of different sizes, too few images, or images that show nothing.
            SettingsError: batches of fewer than two images per process.
        """
        assert task.source is not None
        encoder = self.encoder(model, task.source)
        rows = run.loader(task.source, encoder.spec.preparation)
        self.check_batches(len(rows), run)
        images = self.look_at(rows)
        with torch.no_grad(), evaluation_mode(encoder):
            features = encoder.features(images[:1]).shape[1]
        with seeded(run.seed, run.path, "projector"):
            projector = Projector(features, self.projector)
        self.reuse_heads(model, {"projector": projector})
        objective = Twins(encoder, rows, projector, self)
        # validation scores of a task say nothing of an encoder without a head
        warn_of_collapse(
            type(self).__name__, fit(objective, dataclasses.replace(run, selector=None), self.schedule)
        )
        self.keep_heads(run, {"projector": projector})
        return encoder

    def views_of(self, channels: int) -> Augmentation:
        """What makes views of images with so many channels."""
        return self.views or views("scan" if channels == 1 else "photograph")


class Twins(Objective):
    """Tell two views of an image alike by an encoder and a projector.

    Each view passes by itself, so that norms see the statistics of one view, as published. Of several processes, the
    embeddings of all make one cross-correlation; norms see those of their own process.

    Args:
        model: an encoder, trained in place.
        rows: images.
        projector: of its features, trained in place.
        method: the rest.
    """

    def __init__(self, model: Model, rows: Loader, projector: Projector, method: BarlowTwins) -> None:
        super().__init__(model)
        self.rows, self.projector, self.method = rows, projector, method
        self.change = method.views_of(model.spec.channels)

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled images, each changed at random twice."""
        steps = self._viewed(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _viewed(self, generator: torch.Generator) -> Iterator[Step]:
        schedule = self.method.schedule
        value_range = self.rows.preparer.value_range
        for rows in draw_batches(len(self.rows), schedule.batch_size, generator, schedule.steps_per_epoch):
            images = self.rows(rows).images
            first, second = (self.change(images, generator, value_range=value_range)[0] for _ in range(2))
            yield Step({"first": first, "second": second})

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The loss of Barlow Twins, its parts per dimension, and how much of their space features fill."""
        features = [self.model.features(step.tensors[view]) for view in ("first", "second")]
        embedded = [gather_rows(self.projector(each)) for each in features]
        on, off = redundancy(*embedded)
        width = embedded[0].shape[1]
        with torch.no_grad():
            seen = features[0].detach()
            parts = {
                "on_diagonal": on / width,
                "off_diagonal": (off.clamp(min=0) / max(1, width * (width - 1))).sqrt(),
                "effective_rank": effective_rank(seen),
                "feature_deviation": feature_deviation(seen),
            }
        return Loss(on + self.method.weight * off, parts)
