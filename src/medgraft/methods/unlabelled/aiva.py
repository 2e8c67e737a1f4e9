"""Clusters of the target's images pulled to the matching clusters of the source's (AIVA)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field as Setting
from pydantic import model_validator

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError
from medgraft.methods.graft import AugmentationChoice, graft
from medgraft.methods.scope import trained_blocks
from medgraft.methods.unlabelled.aligned_sites import AlignedSites, ClusterSettings
from medgraft.methods.unlabelled.alignment_loss import Reduction
from medgraft.methods.unlabelled.representing_layer import representing_layer
from medgraft.methods.unlabelled.two_sites import BetweenSites, SourceLoss, both_cohorts, refuse_windows
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.types import Kind

PER_CLUSTER = 3
"""Target images per cluster in a batch, on average, below which a cluster's mean says little."""


class AIVA(BetweenSites):
    """Pull clusters of unlabelled target images to the matching clusters of the labelled source images (AIVA).

    Once per period, the images of both sites are laid out in one plane by their inner features, each site is divided
    into clusters, and clusters are matched one to one. Meanwhile the network goes on learning the source. A
    source model of other classes than the source's gets a new head, for which the default learning rate is too low:
    train it on the source first.

    >>> sorted(AIVA().needs.target), AIVA(clusters=8).images_of_target
    (['images'], 24)

    Source: Goodman et al., "Unsupervised site adaptation by intra-site variability alignment", 2022 (algorithm 1).
        Differs: alignment is a weighted mean, not a sum, unless asked for (as in the published code); features of
        clusters are computed anew with frozen weights, in evaluation mode, where a period begins (the code collects
        them while training); every step counts the source's loss once, beside a target batch of its own size. For
        classifiers, which the paper does not treat, an image is represented by what goes into the head.
    """

    name: ClassVar[str] = "aiva"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    clusters: int = Setting(default=12, ge=2)
    """Clusters of each site; the paper found more than 9 to make no difference."""
    components: int = Setting(default=20, ge=2)
    """Principal components of the features that t-SNE sees."""
    slice_position: bool = False
    """Add one column beside the components: the place of an image among those of its patient, in the order of the
    manifest's rows, from 0 to 1. For slices that are listed in their order; needs patients."""
    seed_target_centres: bool = False
    """Start the target's clusters from the source's centres instead of at random."""
    reduction: Reduction = "weighted_mean"
    """`weighted_mean`: means over features, and over clusters by their images, so that neither changes the scale;
    `sum`: sums over both, as the paper writes it."""
    factor: float = Setting(default=1.0, gt=0)
    """The alignment loss weighs so much in units of the reciprocal of the mean of its first six positive values; until
    these are known, of those there are. The published code has 2 for brains and 0.1 for prostates."""
    at: str | None = None
    """Inner layer whose map, flattened, represents an image. None takes, of a U-Net that segments, what comes after the
    first convolution of the bottleneck and its norm, before the ReLU; of classifiers the features before the head."""
    period: int = Setting(default=1, ge=1)
    """Epochs from one clustering to the next."""
    target_batch: int | None = Setting(default=None, ge=1)
    """Target images per step, at least 3 per cluster; None takes 3 per cluster. A smaller site gives all its images."""
    memory: float = Setting(default=4.0, gt=0)
    """GiB that the features of all images may take; more is refused."""
    scope: Literal["all"] | tuple[str, ...] = "all"
    """What is trained: everything, or blocks by name. The published code leaves out most of the decoder."""
    augmentation: AugmentationChoice = None
    """Of source images only: target images stay as they were when they were clustered."""
    loss: SourceLoss = None
    """Of source images; None takes the usual one of the task's kind, of masks Dice and cross-entropy; the paper has
    cross-entropy."""
    schedule: Schedule = Schedule(
        epochs=14,
        steps_per_epoch=250,
        batch_size=16,
        optimizer="adam",
        lr=1e-5,
        weight_decay=0.0,
        shape="constant",
    )
    """`batch_size` counts source images. The default is the published code's for prostates; for brains it has 5000
    steps of sgd with the learning rate 1e-6, nesterov and weight decay 5e-4, in epochs of 500."""

    @model_validator(mode="after")
    def _batches_hold_all_clusters(self) -> AIVA:
        fewest = PER_CLUSTER * self.clusters
        if self.target_batch is not None and self.target_batch < fewest:
            raise ValueError(f"target_batch must be at least {fewest}, {PER_CLUSTER} per cluster")
        return self

    @property
    def needs(self) -> Needs:
        """Labelled source images and target images; patients where slices have positions."""
        patients = ("patients",) if self.slice_position else ()
        return Needs.of(source=("images", "truth", *patients), target=("images", *patients))

    @property
    def images_of_target(self) -> int:
        """Target images per step at most."""
        return self.target_batch or PER_CLUSTER * self.clusters

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Train on the source while pulling the target's clusters; classes are the source's.

        Raises:
            DataError: sites of different kinds, volumes, fewer images than clusters, images of different size, features
                that are too many, not finite or all the same.
            ModelError: a network that segments, has no bottleneck to look at, and `at` names no layer.
        """
        source, target = both_cohorts("AIVA", task)
        for side, cohort in (("source", source), ("target", target)):
            self._check_count(side, cohort)
        # without labels the target has no say about the head
        adapted, plan = graft(model, Task(source=source), run, size=self.size, changes=self.preparation)
        refuse_windows("AIVA", adapted, source, target)
        preparation = adapted.spec.preparation
        objective = AlignedSites(
            adapted,
            run.loader(source, preparation),
            run.loader(target, preparation),
            build_loss(self.loss or LossSettings.default(source.kind), source.kind),
            self._cluster_settings(adapted),
            batch_size=self.schedule.batch_size,
            target_batch=self.images_of_target,
            steps_per_epoch=self.schedule.steps_per_epoch,
            augmentation=self.augmentation,
            lr_factors=trained_blocks(adapted, self.scope, 1, plan),
        )
        history = fit(objective, run, self.schedule)
        run.record("clusters", objective.table_of_clusters())
        run.record("alignment", objective.table_of_periods(history.rows))
        run.record("examples_of_matched_clusters", objective.picture_of_examples())
        return adapted

    def _cluster_settings(self, model: Model) -> ClusterSettings:
        return ClusterSettings(
            clusters=self.clusters,
            components=self.components,
            period=self.period,
            at=self.at or representing_layer("AIVA", model),
            slice_position=self.slice_position,
            seed_target_centres=self.seed_target_centres,
            reduction=self.reduction,
            factor=self.factor,
            memory=int(self.memory * 2**30),
        )

    def _check_count(self, side: str, cohort: Cohort) -> None:
        if len(cohort) < self.clusters:
            raise DataError(
                f"AIVA with {self.clusters} clusters", f"at least as many images of the {side}",
                f"{cohort.name} has {len(cohort)}", "Lower 'clusters' or add images.",
            )  # fmt: skip
