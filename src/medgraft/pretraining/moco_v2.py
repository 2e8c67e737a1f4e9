"""Features from images without labels: one view is to be told from a queue of other images (MoCo v2)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.pooled import first_rows
from medgraft.engine.distributed import gather_rows
from medgraft.engine.loading import Loader
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.schedule import Schedule
from medgraft.models.contrastive import queue_contrast
from medgraft.models.model import Model
from medgraft.models.momentum import KeyQueue, MomentumNetwork
from medgraft.models.projector import Projector
from medgraft.pretraining.two_views import Heads, TwoViews, TwoViewsObjective, describe_features
from medgraft.types import Loss, Progress, Step


class MoCoV2(TwoViews):
    """Pre-train an encoder on source images without labels: a view's partner is to be told from images seen before.

    Any source may be continued; its head is dropped, and what comes back encodes, see `BarlowTwins`. Images seen before
    wait in a queue, so small batches do. Keys come from a copy that follows encoder and projector slowly; projector,
    copy and queue are no part of what comes back.

    The table `history` tells per epoch the loss, and of the features of a batch the effective rank, the standard
    deviation, alignment (with the features of the copy, which sees the other view) and uniformity. The loss of
    features that tell nothing apart is ln(queue + 1) or a little less, where an image's own earlier key waits in the
    queue and is left out; it begins lower, for the queue begins with random directions.

    >>> MoCoV2().needs.source == {"images"}, MoCoV2(views="tissue").views.quarter_turns
    (True, True)

    Source: He et al. 2020 (MoCo); Chen et al. 2020 (MoCo v2: head, temperature, views). Differs: a shorter queue; no
        image is told from its own earlier key, which would be in the queue for most images of a small set and is for
        hardly any of the published million; views per kind of image, whose intensities always change; batch norm is
        not shuffled between processes, which on one device changes nothing.
    """

    name: ClassVar[str] = "moco_v2"

    temperature: float = Setting(default=0.2, gt=0)
    """Divides cosines."""
    momentum: float = Setting(default=0.999, ge=0, le=1)
    """Share of itself that the copy keeps in a step, as published. In a training of some hundred steps it hardly moves
    then: take 0.99."""
    queue: int = Setting(default=4096, ge=1)
    """Keys of other images to tell from; no more are kept than there are different ones. Published: 65536."""
    dimension: int = Setting(default=128, ge=1)
    """Of the embeddings, as published. The projector has two layers; the inner one is as wide as the features."""
    schedule: Schedule = Schedule(epochs=200, batch_size=256, optimizer="sgd", lr=0.03, weight_decay=1e-4)
    """By default as published."""

    def heads(self, encoder: Model, features: int) -> Heads:
        """The projector."""
        return {"projector": Projector(features, (features, self.dimension), "none")}

    def objective(self, encoder: Model, rows: Loader, heads: Heads) -> QueueContrast:
        """Tell views from those of other images."""
        return QueueContrast(encoder, rows, heads, self)


class QueueContrast(TwoViewsObjective):
    """Tell the key of each first view from those of images seen before.

    Of several processes, all put their keys into the queue, which is the same everywhere.

    Args:
        model, rows, heads: see `TwoViewsObjective`; the head is `projector`.
        method: temperature, momentum, queue, views and schedule.
    """

    projector: Projector
    images: Tensor

    def __init__(self, model: Model, rows: Loader, heads: Heads, method: MoCoV2) -> None:
        super().__init__(model, rows, heads, method)
        self.temperature, self.momentum = method.temperature, method.momentum
        self.follower = MomentumNetwork(model, heads["projector"])
        images = first_rows(rows.cohort)  # rows that a weight repeats are one image
        self.register_buffer("images", torch.from_numpy(images), persistent=False)
        self.queue = KeyQueue(min(method.queue, len(np.unique(images))), method.dimension)

    def groups(self, phase: str) -> list[ParamGroup]:
        """Encoder and projector, but not the copy."""
        return [ParamGroup([*self.model.parameters(), *self.projector.parameters()])]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """From the first view to the second, and what the features are like."""
        features = self.model.features(step.tensors["first"])
        queries = self.projector(features)
        self.follower.follow(self.model, self.projector, self.momentum)
        seen, keys = self.follower(step.tensors["second"])
        images = self.images[step.tensors["rows"]]
        same = images[:, None] == self.queue.rows
        loss = queue_contrast(queries, keys, self.queue.keys, self.temperature, same)
        self.queue.add(gather_rows(keys), gather_rows(images))
        return Loss(loss, describe_features(features, seen))
