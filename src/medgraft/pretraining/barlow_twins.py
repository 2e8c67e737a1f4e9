"""Features from images without labels: two views of an image are to be told alike (Barlow Twins)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field as Setting

from medgraft.engine.distributed import gather_rows
from medgraft.engine.loading import Loader
from medgraft.engine.schedule import Schedule
from medgraft.models.model import Model
from medgraft.models.projector import Projector
from medgraft.models.twins_loss import PUBLISHED_WEIGHT, redundancy
from medgraft.pretraining.two_views import Heads, TwoViews, TwoViewsObjective, describe_features
from medgraft.types import Loss, Progress, Step


class BarlowTwins(TwoViews):
    """Pre-train an encoder on source images without labels: two random views of an image are to be told alike.

    Any source may be continued, ImageNet's included; its head is dropped. What comes back encodes: it is saved, ranked
    and fine-tuned like every source. The projector, on whose outputs the loss is computed, is no part of it. Read a
    manifest with labels as `kind="encode"`; nothing but its images is used. The command line takes the images of the
    sites that `--source-at` names.

    The table `history` tells per epoch the loss, the mean of (1 - c)^2 over the diagonal of the cross-correlation (1
    where the views have nothing in common), the root mean square of c beside it, and of the features of a batch the
    effective rank, the standard deviation, alignment and uniformity (see `medgraft.models.collapse`). A rank that falls
    is no alarm by itself: it does while features get better. A minute on one core teaches nothing; some
    hundred steps of 256 images are the least.

    >>> BarlowTwins().needs.source == {"images"}, BarlowTwins(views="tissue").views.quarter_turns
    (True, True)

    Source: Zbontar et al. 2021; on medical images Elsherif et al. (comparative study with ResNet-18). Differs: Adam
        with 1e-3 instead of LARS; a smaller projector; views per kind of image, the same for both.
    """

    name: ClassVar[str] = "barlow_twins"

    weight: float = Setting(default=PUBLISHED_WEIGHT, ge=0)
    """Of the squared correlations beside the diagonal (lambda), by default as published."""
    projector: tuple[Annotated[int, Setting(ge=1)], ...] = Setting(default=(512, 512, 512), min_length=1)
    """Widths of the projector's layers. Published are three of 8192 (the study: of 2048), for batches of 2048 (256)."""
    schedule: Schedule = Schedule(epochs=200, batch_size=256, optimizer="adam", lr=1e-3, weight_decay=1e-6)
    """By default Adam from 1e-3. The study's 3e-2 is too high for small data: in 80 steps the features of a small
    network lost two thirds of the directions they filled, with 1e-3 about a tenth. Larger batches help; a step sees
    each image twice."""

    def heads(self, encoder: Model, features: int) -> Heads:
        """The projector."""
        return {"projector": Projector(features, self.projector)}

    def objective(self, encoder: Model, rows: Loader, heads: Heads) -> Twins:
        """Tell two views of an image alike by encoder and projector."""
        return Twins(encoder, rows, heads, self)


class Twins(TwoViewsObjective):
    """Tell two views of an image alike by an encoder and a projector.

    Of several processes, the embeddings of all make one cross-correlation; norms see those of their own process.

    Args:
        model, rows, heads: see `TwoViewsObjective`; the head is `projector`.
        method: weight, views and schedule.
    """

    projector: Projector

    def __init__(self, model: Model, rows: Loader, heads: Heads, method: BarlowTwins) -> None:
        super().__init__(model, rows, heads, method)
        self.weight = method.weight

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The loss of Barlow Twins, its parts per dimension, and what the features are like."""
        features = [self.model.features(step.tensors[view]) for view in ("first", "second")]
        embedded = [gather_rows(self.projector(each)) for each in features]
        on, off = redundancy(*embedded)
        width = embedded[0].shape[1]
        with torch.no_grad():
            parts = {
                "on_diagonal": on / width,
                "off_diagonal": (off.clamp(min=0) / max(1, width * (width - 1))).sqrt(),
                **describe_features(*features),
            }
        return Loss(on + self.weight * off, parts)
