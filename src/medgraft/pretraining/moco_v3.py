"""Features from images without labels: one view is to be found among the other views of a batch (MoCo v3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field as Setting

from medgraft.data.cohort import Cohort
from medgraft.engine.distributed import first_of_own, gather_rows
from medgraft.engine.loading import Loader
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.images.augmentation import Augmentation
from medgraft.models.contrastive import batch_contrast, momentum_at
from medgraft.models.fixed_patches import find_transformer, fix_positions, fixed_parameters
from medgraft.models.model import Model
from medgraft.models.momentum import MomentumNetwork
from medgraft.models.projector import Projector
from medgraft.models.weights import is_untrained
from medgraft.pretraining.two_views import Heads, TwoViews, TwoViewsObjective, describe_features
from medgraft.pretraining.views import uneven
from medgraft.types import Loss, Progress, Step


class MoCoV3(TwoViews):
    """Pre-train an encoder on source images without labels: a view's partner is to be found among those of the batch.

    Any source may be continued; its head is dropped, and what comes back encodes, see `BarlowTwins`. The other images
    of the batch are what an image is told from, so large batches help; several processes compare with the images of
    all. Keys come from a copy that follows encoder and projector slowly; projector, predictor and copy are no part of
    what comes back.

    Of a vision transformer, the projection of patches and the positions are not trained, without which its training is
    unstable: of one that was never trained they stay as drawn, and positions become sines and cosines; of one that
    goes on they stay as they are.

    The table `history` tells per epoch the loss, its two directions, and of the features of a batch the effective rank,
    the standard deviation, alignment and uniformity. The loss of features that tell nothing apart is 4 T ln(batch).

    >>> MoCoV3().needs.source == {"images"}, MoCoV3(views="tissue").views.quarter_turns
    (True, True)

    Source: Chen et al. 2021 (MoCo v3). Differs: smaller heads; AdamW for convolutional networks too, instead of LARS;
        views per kind of image, whose intensities always change.
    """

    name: ClassVar[str] = "moco_v3"

    temperature: float = Setting(default=0.2, gt=0)
    """Divides cosines; published are 0.2 (ViT) and 1 (ResNet)."""
    momentum: float = Setting(default=0.99, ge=0, le=1)
    """Share of itself that the copy keeps in a step: at first; it rises to 1 as half a cosine."""
    hidden: int = Setting(default=512, ge=1)
    """Width of the heads' inner layers. Published: 4096."""
    dimension: int = Setting(default=256, ge=1)
    """Of the embeddings, as published. Projectors have three layers for vision transformers and two for others, the
    predictor two."""
    schedule: Schedule = Schedule(
        epochs=300, batch_size=256, optimizer="adamw", lr=1.5e-4, weight_decay=0.1, warmup_epochs=40
    )
    """By default as published for ViT, whose learning rate is 1.5e-4 per 256 images of a batch."""

    def encoder(self, model: Model, cohort: Cohort) -> Model:
        """The source model as an encoder; a transformer that was never trained gets positions that stay."""
        encoder = super().encoder(model, cohort)
        if is_untrained(model) and model.pretraining_heads is None:
            fix_positions(encoder)
        return encoder

    def views_of(self, rows: Loader) -> tuple[Augmentation, Augmentation]:
        """As published, every first view is blurred and a tenth of the second; a fifth of the second is solarised.

        Not so where `second_views` says something else.
        """
        first, second = super().views_of(rows)
        return (first, second) if self.second_views else uneven(first)

    def heads(self, encoder: Model, features: int) -> Heads:
        """Projector and predictor; the latter ends in batch norm for vision transformers only."""
        of_vit = find_transformer(encoder) is not None
        inner = (self.hidden,) * (2 if of_vit else 1)
        return {
            "projector": Projector(features, (*inner, self.dimension), "all"),
            "predictor": Projector(
                self.dimension, (self.hidden, self.dimension), "all" if of_vit else "hidden"
            ),
        }

    def objective(self, encoder: Model, rows: Loader, heads: Heads) -> BatchContrast:
        """Find views among those of the batch."""
        return BatchContrast(encoder, rows, heads, self)


class BatchContrast(TwoViewsObjective):
    """Find the key of each view among the keys of the other views of a batch.

    Args:
        model, rows, heads: see `TwoViewsObjective`; the heads are `projector` and `predictor`.
        method: temperature, momentum, views and schedule.
    """

    projector: Projector
    predictor: Projector

    def __init__(self, model: Model, rows: Loader, heads: Heads, method: MoCoV3) -> None:
        super().__init__(model, rows, heads, method)
        self.temperature, self.start = method.temperature, method.momentum
        self.follower = MomentumNetwork(model, heads["projector"])
        self.fixed = fixed_parameters(model)

    def groups(self, phase: str) -> list[ParamGroup]:
        """Encoder and heads, but not the copy, nor what stays fixed in a vision transformer."""
        trained = [weight for name, weight in self.model.named_parameters() if name not in self.fixed]
        return [ParamGroup([*trained, *self.projector.parameters(), *self.predictor.parameters()])]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Two views of shuffled images."""
        steps = self.schedule.steps_per_epoch or -(-len(self.rows) // self.schedule.batch_size)
        self.first_step, self.steps = progress.step, min(steps, run.limit.steps or steps)
        return super().batches(progress, run)

    def momentum(self, progress: Progress) -> float:
        """How much of itself the copy keeps now."""
        done = progress.epoch + (progress.step - self.first_step) / self.steps
        return momentum_at(done / progress.epochs, self.start)

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """Both directions, and what the features are like."""
        views = step.tensors["first"], step.tensors["second"]
        features = [self.model.features(view) for view in views]
        queries = [self.predictor(self.projector(each)) for each in features]
        # after the queries and before the keys, as published
        self.follower.follow(self.model, self.projector, self.momentum(progress))
        keys = [gather_rows(self.follower(view)[1]) for view in views]
        own = first_of_own(len(keys[0]))
        forth, back = (
            batch_contrast(asked, among, self.temperature, own) for asked, among in zip(queries, keys[::-1])
        )
        parts = {"first_to_second": forth, "second_to_first": back, **describe_features(*features)}
        return Loss(forth + back, parts)
