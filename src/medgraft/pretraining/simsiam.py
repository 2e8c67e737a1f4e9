"""Features from images without labels: one view predicts the other, and nothing is told apart (SimSiam)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field as Setting

from medgraft.engine.loading import Loader
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.models.contrastive import negative_cosine
from medgraft.models.model import Model
from medgraft.models.projector import Projector
from medgraft.pretraining.two_views import Heads, TwoViews, TwoViewsObjective, describe_features
from medgraft.types import Loss, Progress, Step


class SimSiam(TwoViews):
    """Pre-train an encoder on source images without labels: from one view, the other is to be predicted.

    Any source may be continued; its head is dropped, and what comes back encodes, see `BarlowTwins`. No other images
    are compared with, so small batches do; that all images do not end in one point is due to the predictor and to
    the gradient that reaches one of the two views only. Projector and predictor are no part of what comes back.

    The table `history` tells per epoch the loss (-1 where predictions are right; features that have collapsed reach it
    too), and of the features of a batch the effective rank, the standard deviation, alignment and uniformity.

    >>> SimSiam().needs.source == {"images"}, SimSiam(views="tissue").views.quarter_turns
    (True, True)

    Source: Chen & He 2021 (SimSiam). Differs: smaller heads; views per kind of image, whose intensities always change.
    """

    name: ClassVar[str] = "simsiam"

    dimension: int = Setting(default=512, ge=1)
    """Width of the projector's three layers, and so of the embeddings. Published: 2048."""
    bottleneck: int = Setting(default=128, ge=1)
    """Width of the predictor's inner layer: a quarter of the dimension, as published."""
    schedule: Schedule = Schedule(epochs=100, batch_size=256, optimizer="sgd", lr=0.05, weight_decay=1e-4)
    """By default as published, where the learning rate is 0.05 per 256 images of a batch. The predictor keeps the rate
    of the top of the curve, as published."""

    def heads(self, encoder: Model, features: int) -> Heads:
        """Projector and predictor."""
        return {
            "projector": Projector(features, (self.dimension,) * 3, "all"),
            "predictor": Projector(self.dimension, (self.bottleneck, self.dimension), bias=True),
        }

    def objective(self, encoder: Model, rows: Loader, heads: Heads) -> Prediction:
        """Predict one view from the other."""
        return Prediction(encoder, rows, heads, self)


class Prediction(TwoViewsObjective):
    """Predict the embedding of one view from that of the other, in both directions.

    Args:
        model, rows, heads: see `TwoViewsObjective`; the heads are `projector` and `predictor`.
        method: views and schedule.
    """

    projector: Projector
    predictor: Projector
    epoch = 0

    def groups(self, phase: str) -> list[ParamGroup]:
        """Encoder and projector, and the predictor, whose learning rate does not fall."""
        now = self.schedule.learning_rate(self.epoch)
        return [
            ParamGroup([*self.model.parameters(), *self.projector.parameters()]),
            ParamGroup(list(self.predictor.parameters()), self.schedule.lr / now),
        ]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Two views of shuffled images."""
        self.epoch = progress.epoch
        return super().batches(progress, run)

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The mean of both directions, and what the features are like."""
        features = [self.model.features(step.tensors[view]) for view in ("first", "second")]
        embedded = [self.projector(each) for each in features]
        forth, back = (
            negative_cosine(self.predictor(one), other) for one, other in zip(embedded, embedded[::-1])
        )
        parts = {"first_to_second": forth, "second_to_first": back, **describe_features(*features)}
        return Loss((forth + back) / 2, parts)
