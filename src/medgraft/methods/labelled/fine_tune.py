"""Fine-tuning with target labels, in the scopes that the literature compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, cast

import pandas as pd
from pydantic import Field as Setting
from pydantic import ValidationError, field_validator, model_validator
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.batch_stats import estimate_batch_stats
from medgraft.engine.checkpoint import Saved
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.objective import Objective
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import FOREGROUND, Patches, open_rows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, Supervised, balanced_weights, block_groups, draw_batches
from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation, Preset
from medgraft.models.backbones import Classifier
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import Plan, regraft, reinitialise
from medgraft.types import Kind, Loss, Preparation, Progress, Step

Scope = Literal["all", "head", "last", "first", "head_then_all", "from_scratch"]


class FineTune(MethodSettings):
    """Train a source model on the target's labelled images.

    >>> FineTune(scope="head_then_all").needs.target == {"images", "truth"}
    True

    Source: the scopes as compared by Lee et al. 2023 (surgical fine-tuning), Shirokikh et al. 2020 (first layers) and
    Kumar et al. 2022 (head, then all). Differs: a new head is always trained, whatever the scope.
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
    """Compute the running statistics of batch norm anew from the training rows at the end. Short trainings need it,
    most of all `from_scratch`; epochs are selected before."""
    head_lr_factor: float = Setting(default=1.0, gt=0)
    """Multiplies the learning rate of a new head."""
    balanced: bool = False
    """Draw every class equally often (one label per image only)."""
    size: tuple[int, ...] | None = None
    """(H, W) in pixels to resize images to, (D, H, W) of volumes; None keeps the source model's."""
    preparation: Mapping[str, Any] = Setting(default_factory=dict)
    """Other changes to how the source model prepares images: `spacing`, `intensity`, `window`, `patch`, `slices`,
    `channels`; see `Preparation`."""
    foreground: float = Setting(default=FOREGROUND, ge=0, le=1)
    """Of volumes and patches, share of samples that must show a class other than the first."""
    loss: LossSettings | None = None
    """None takes cross-entropy, binary cross-entropy or Dice + cross-entropy, by the task's kind."""
    augmentation: Augmentation | None = Augmentation()
    """None trains on images as they are."""
    schedule: Schedule = Schedule()
    """Training of everything but a head on frozen features."""
    head_schedule: Schedule = Schedule(epochs=100, lr=1e-2, weight_decay=1e-4)
    """Training of the head on features, in `head` and in the first part of `head_then_all`."""

    @field_validator("augmentation", mode="before")
    @classmethod
    def _preset(cls, value: object) -> object:
        return Augmentation.preset(cast(Preset, value)) if isinstance(value, str) else value

    @field_validator("preparation")
    @classmethod
    def _known_changes(cls, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        offered = [name for name in Preparation.model_fields if name not in ("size", "dimensions")]
        for name in changes:
            if name not in offered:
                raise ValueError(f"{name} is not one of {', '.join(offered)}")
        return changes

    @model_validator(mode="after")
    def _one_choice_of_statistics(self) -> FineTune:
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
        channels = self.preparation.get("channels")
        adapted, plan = regraft(source, task.classes, channels, kind=task.kind, size=self.size)
        adapted.spec = adapted.spec.changed(preparation=self._changed(adapted.spec.preparation))
        run.record("plan", pd.DataFrame(plan.table()))
        if self.balanced and task.kind != "classify":
            raise SettingsError(
                "FineTune with balanced=True", "a task with one label per image", f"the kind is '{task.kind}'",
                "Leave it out, or weight classes in the loss.",
            )  # fmt: skip
        loader = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        criterion = build_loss(self.loss or LossSettings.default(task.kind), task.kind)
        on_features = isinstance(adapted, Classifier) and self.scope in ("head", "head_then_all")
        if on_features and isinstance(loader, Loader):
            part = run.child("head") if self.scope == "head_then_all" else run
            self._fit_head_on_features(adapted, loader, criterion, part)
        if not on_features or self.scope == "head_then_all":
            self._fit_blocks(adapted, loader, criterion, plan, run)
        return adapted

    def _changed(self, preparation: Preparation) -> Preparation:
        changes = dict(self.preparation)
        if "spacing" in changes:
            changes.setdefault("size", None)
        try:
            return Preparation.model_validate(preparation.model_dump() | changes)
        except ValidationError as error:
            problem = error.errors()[0]
            raise SettingsError(
                "FineTune.preparation", "changes that go together with the source model's preparation",
                problem["msg"].removeprefix("Value error, "), "Correct them.",
            ) from error  # fmt: skip

    def _fit_head_on_features(self, model: Model, loader: Loader, criterion: Criterion, run: Run) -> None:
        schedule = self.head_schedule.model_copy(update={"patience": None})
        device = run.fabric.device
        features = run.once(
            "features", lambda: Saved({"features": extract_features(model, loader.cohort, device=device)})
        ).tensors["features"]
        objective = HeadOnFeatures(model, features, loader, criterion, schedule, self.balanced)
        # convex, and scored without the network only by its own loss: the last epoch is the one to keep
        fit(objective, dataclasses.replace(run, selector=None), schedule)

    def _fit_blocks(
        self, model: Model, loader: Loader | Patches, criterion: Criterion, plan: Plan, run: Run
    ) -> None:
        objective = Supervised(
            model,
            loader,
            criterion,
            batch_size=self.schedule.batch_size,
            steps_per_epoch=self.schedule.steps_per_epoch,
            augmentation=self.augmentation,
            lr_factors=self._lr_factors(model, new_head=_has_new_head(model, plan)),
            freeze_batch_stats=self.freeze_batch_stats,
            balanced=self.balanced,
        )
        fit(objective, run, self.schedule)
        if self.estimate_batch_stats:
            estimate_batch_stats(
                model,
                loader,
                run.generator("batch statistics"),
                batch_size=self.schedule.batch_size,
                device=run.fabric.device,
            )

    def _lr_factors(self, model: Model, *, new_head: bool) -> dict[str, float]:
        """Learning-rate factor of each trained block, by scope."""
        names = list(model.blocks())
        body, head = names[:-1], names[-1]
        if isinstance(self.scope, tuple):
            unknown = [name for name in self.scope if name not in names]
            if unknown:
                raise SettingsError(
                    "FineTune.scope", f"blocks of this model ({', '.join(names)})", f"it names '{unknown[0]}'",
                    "Choose among these.",
                )  # fmt: skip
            trained = list(self.scope)
        elif self.scope == "first":
            trained = body[: self.blocks]
        elif self.scope == "last":
            trained = [*[name for name in body if name != "source_head"][-self.blocks :], head]
        elif self.scope == "head":
            trained = [head]
        else:
            trained = names
        if new_head and head not in trained:
            trained.append(head)
        return {name: self.head_lr_factor if name == head and new_head else 1.0 for name in trained}


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


def _has_new_head(model: Model, plan: Plan) -> bool:
    return bool(set(plan.names("new")) & set(list(model.blocks().values())[-1]))


def truth_of(loader: Loader) -> Tensor:
    """The labels of all rows of a labelled classification cohort: (N,) int64 or (N, K) float32."""
    import torch

    return torch.from_numpy(loader.cohort.labels)
