"""Fine-tuning with target labels, in the scopes that the literature compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor, nn

from medgraft.data.task import Task
from medgraft.engine.batch_stats import estimate_batch_stats
from medgraft.engine.checkpoint import Saved
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.objective import Objective
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import Patches, open_rows
from medgraft.engine.relative_gradients import RelativeGradientRates
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import (
    Criterion,
    PixelWeights,
    Supervised,
    balanced_weights,
    block_groups,
    draw_batches,
    refuse_balance,
)
from medgraft.methods.graft import OnImages, graft
from medgraft.methods.labelled.weigh_by_risk import weigh_by_risk
from medgraft.methods.scope import Part, trained_blocks
from medgraft.models.backbones import Classifier
from medgraft.models.colorized import Colorized
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import Plan, reinitialise
from medgraft.types import Kind, Loss, Progress, Step

Scope = Literal[Part, "head", "head_then_all", "from_scratch"]
LENGTHS = {"schedule", "head_schedule"}
"""Settings that say how long is trained."""


class FineTune(OnImages):
    """Train a source model on the target's labelled images.

    >>> FineTune(scope="head_then_all").needs.target == {"images", "truth"}
    True

    Source: the scopes as compared by Lee et al. 2023 (surgical fine-tuning, auto-RGN), Shirokikh et al. 2020 (first
    layers) and Kumar et al. 2022 (head, then all). Differs: a new head is always trained, whatever the scope.
    """

    name: ClassVar[str] = "fine_tune"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    scope: Scope | tuple[str, ...] = "all"
    """`all`: everything. `head`: the head alone, on features computed once (linear probe). `last`: the last `blocks`
    before the head, and the head. `first`: the first `blocks` on the input side. Names: these blocks (surgical).
    `head_then_all`: the head on the frozen network, then everything. `from_scratch`: the same network without its
    pre-trained weights."""
    blocks: int = Setting(default=1, ge=1)
    """How many blocks `first` and `last` train."""
    freeze_batch_stats: bool = False
    """Keep the source's running statistics in batch norm while training."""
    estimate_batch_stats: bool = False
    """Compute the running statistics of batch norm anew from the training rows: at the end, epochs being selected
    before, and before a head is trained on features. Short trainings need it, most of all `from_scratch`."""
    layer_rates: Literal["by_scope", "auto_rgn"] = "by_scope"
    """`by_scope`: one learning rate for all blocks of the scope. `auto_rgn`: of these, each tensor's is in proportion
    to its gradient's norm beside its own, measured on five batches before each epoch; the largest gets the schedule's,
    batch norm's weights stay. Recorded as `learning_rates`."""
    head_lr_factor: float = Setting(default=1.0, gt=0)
    """Multiplies the learning rate of a new head."""
    balanced: bool = False
    """Draw every class equally often (one label per image only)."""
    loss: LossSettings | None = None
    """None takes cross-entropy, binary cross-entropy or Dice + cross-entropy, by the task's kind. With `risk_map` the
    true source weighs the pixels, also in `from_scratch`."""
    deep_supervision: bool = False
    """Of U-Nets: also score what inner decoders put out, each level half as much as the one above it (nnU-Net). Their
    heads stay in the model and cost predictions nothing."""
    schedule: Schedule = Schedule()
    """Training of everything but a head on frozen features."""
    head_schedule: Schedule = Schedule(epochs=100, lr=1e-2, weight_decay=1e-4)
    """Training of the head on features, in `head` and in the first part of `head_then_all`."""

    @model_validator(mode="after")
    def _choices_that_go_together(self) -> FineTune:
        if self.layer_rates == "auto_rgn" and self.scope in ("head", "from_scratch"):
            why = "has no other layer" if self.scope == "head" else "has no source to spare"
            raise ValueError(
                f"layer_rates='auto_rgn' shares out the learning rate among a source's layers, "
                f"but scope='{self.scope}' {why}: choose another scope"
            )
        if self.deep_supervision and self.loss is not None and self.loss.risk_map is not None:
            raise ValueError(
                "deep_supervision and loss.risk_map exclude each other: the map has one resolution"
            )
        if self.freeze_batch_stats and self.estimate_batch_stats:
            raise ValueError("freeze_batch_stats and estimate_batch_stats exclude each other")
        return self

    @property
    def needs(self) -> Needs:
        """Labelled target images; patients where the cohort names them."""
        return Needs.of(target=("images", "truth"), optional_target=("patients", "sites"))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Regraft the model onto the target's classes and train what the scope names."""
        assert task.target is not None
        source = reinitialise(model) if self.scope == "from_scratch" else model
        adapted, plan = graft(
            source,
            task,
            run,
            size=self.size,
            changes=self.preparation,
            deep_supervision=self.deep_supervision,
        )
        if self.balanced:
            refuse_balance("FineTune", task.kind)
        loader = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        penalty = self._penalty(adapted, plan)
        settings = self.loss or LossSettings.default(task.kind)
        criterion = build_loss(settings, task.kind)
        pixel_weights = weigh_by_risk(model, loader, settings, run)
        whole_images = isinstance(adapted, Classifier | Colorized) and task.kind != "segment"
        on_features = whole_images and self.scope in ("head", "head_then_all")
        if on_features and self.scope == "head" and self.model_fields_set & LENGTHS == {"schedule"}:
            run.warn(
                "schedule does nothing where a head is trained alone on features: its length is head_schedule"
            )
        if on_features and isinstance(loader, Loader):
            part = run.child("head") if self.scope == "head_then_all" else run
            self._fit_head_on_features(adapted, loader, criterion, part)
        if not on_features or self.scope == "head_then_all":
            self._fit_blocks(adapted, loader, criterion, plan, penalty, pixel_weights, run)
        return adapted

    def _penalty(self, model: Model, plan: Plan) -> nn.Module | None:
        """What is added to the loss, made while the model still holds the source's weights; here nothing."""
        return None

    def _fit_head_on_features(self, model: Model, loader: Loader, criterion: Criterion, run: Run) -> None:
        schedule = self.head_schedule.model_copy(update={"patience": None})
        device, name = run.fabric.device, "features"
        if self.estimate_batch_stats:
            self._estimate_batch_stats(model, loader, schedule, run)
            name = "features_of_own_batch_stats"
        features = run.once(
            name, lambda: Saved({"features": extract_features(model, loader.cohort, device=device)})
        ).tensors["features"]
        objective = HeadOnFeatures(model, features, loader, criterion, schedule, self.balanced)
        # convex, and scored without the network only by its own loss: the last epoch is the one to keep
        fit(objective, dataclasses.replace(run, selector=None), schedule)

    def _fit_blocks(
        self,
        model: Model,
        loader: Loader | Patches,
        criterion: Criterion,
        plan: Plan,
        penalty: nn.Module | None,
        pixel_weights: PixelWeights | None,
        run: Run,
    ) -> None:
        lr_factors = trained_blocks(model, self.scope, self.blocks, plan, head_lr_factor=self.head_lr_factor)
        measured = self.layer_rates == "auto_rgn"
        rates = RelativeGradientRates(model, lr_factors, plan.names("new")) if measured else None
        objective = Supervised(
            model,
            loader,
            criterion,
            batch_size=self.schedule.batch_size,
            steps_per_epoch=self.schedule.steps_per_epoch,
            augmentation=self.augmentation,
            lr_factors=lr_factors,
            freeze_batch_stats=self.freeze_batch_stats,
            balanced=self.balanced,
            penalty=penalty,
            rates=rates,
            pixel_weights=pixel_weights,
        )
        history = fit(objective, run, self.schedule)
        if rates is not None:
            run.record("learning_rates", rates.table([row["lr"] for row in history.rows]))
        if self.estimate_batch_stats:
            self._estimate_batch_stats(model, loader, self.schedule, run)

    def _estimate_batch_stats(
        self, model: Model, loader: Loader | Patches, schedule: Schedule, run: Run
    ) -> None:
        generator, device = run.generator("batch statistics"), run.fabric.device
        estimate_batch_stats(model, loader, generator, batch_size=schedule.batch_size, device=device)


class HeadOnFeatures(Objective):
    """Train a classifier's head on features that were computed once, the network being frozen.

    Args:
        model: whose head is trained.
        features: (N, D) float32, one row per row of the loader's cohort.
        loader: gives the truth.
        criterion: (outputs, truth) -> scalar loss.
        schedule: its batch size and steps per epoch.
        balanced: draw every class equally often.
    """

    loss_is_sample_mean = True

    def __init__(
        self,
        model: Model,
        features: Tensor,
        loader: Loader,
        criterion: Criterion,
        schedule: Schedule,
        balanced: bool = False,
    ) -> None:
        super().__init__(model)
        self.features, self.truth = features, truth_of(loader)
        self.criterion, self.schedule = criterion, schedule
        self.sampling_weights = balanced_weights(loader.cohort.labels) if balanced else None
        self._groups = block_groups(model, {list(model.blocks())[-1]: 1.0})
        super().train(False)

    def train(self, mode: bool = True) -> HeadOnFeatures:
        """The network stays in evaluation mode."""
        return self

    def groups(self, phase: str) -> list[ParamGroup]:
        """The head alone."""
        return self._groups

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled rows of the feature table."""
        return self._steps(run, progress)

    def _steps(self, run: Run, progress: Progress) -> Iterator[Step]:
        rows = draw_batches(
            len(self.features),
            self.schedule.batch_size,
            run.generator("batches", progress.epoch),
            self.schedule.steps_per_epoch,
            self.sampling_weights,
        )
        for batch in rows:
            yield Step({"features": self.features[batch], "truth": self.truth[batch]})

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The criterion on one batch of features."""
        return Loss(self.criterion(self.model.head_outputs(step.tensors["features"]), step.tensors["truth"]))


def truth_of(loader: Loader) -> Tensor:
    """The labels of all rows of a labelled classification cohort: (N,) int64 or (N, K) float32."""
    import torch

    return torch.from_numpy(loader.cohort.labels)
