"""Training on the source alone, with nothing said about the target: what other methods for unseen sites start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.patches import Patches, open_rows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, Supervised
from medgraft.errors import SettingsError
from medgraft.methods.graft import OnImages, graft
from medgraft.methods.unseen.bias_labels import ITA, BiasLabels, bias_labels, groups_of
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.types import Field, Kind, Step

WEIGHT = "weight"


class ERM(OnImages):
    """Train on labelled source images (empirical risk minimisation); the target is not looked at.

    The baseline of all methods that make a model ready for sites or patients never seen. With `balance` it is also
    what they must beat where an attribute goes with the label: groups drawn equally often, or weighed equally.

    >>> sorted(ERM(balance="group", attributes=("camera",)).needs.source)
    ['attributes', 'images', 'truth']

    Source: Vapnik 1992; balanced sampling and reweighting as compared by Idrissi et al. 2022.
    """

    name: ClassVar[str] = "erm"
    unlearns: ClassVar[bool] = False
    """Whether `attributes` serve for more than making groups."""
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    balance: Literal["none", "class", "group"] = "none"
    """What counts equally: every image; every class; or every group, a class with the same `attributes`. Of tasks with
    one label per image."""
    balance_by: Literal["sampling", "weights"] = "sampling"
    """Draw classes or groups equally often, or weigh the losses of their images."""
    attributes: tuple[str, ...] = ()
    """Columns of the manifest that make groups. `ita`: the Fitzpatrick type, measured in the pictures."""
    loss: LossSettings | None = None
    """None takes the usual one of the task's kind."""
    schedule: Schedule = Setting(default_factory=Schedule)

    @model_validator(mode="after")
    def _choices_that_go_together(self) -> ERM:
        if self.balance == "group" and not self.attributes:
            raise ValueError(
                "balance='group' needs attributes that make groups beside the classes: name columns"
            )
        if self.attributes and self.balance != "group" and not self.unlearns:
            raise ValueError(
                "attributes make groups, which only balance='group' uses: set it, or leave them out"
            )
        if self.loss is not None and self.loss.risk_map is not None:
            raise ValueError("loss.risk_map weighs pixels by a target's truth, which this method never sees")
        return self

    @property
    def needs(self) -> Needs:
        """Labelled source images; attributes where groups are made of them; patients and sites where they are named."""
        source: tuple[Field, ...] = ("images", "truth")
        if set(self.attributes) - {ITA, "site"}:
            source += ("attributes",)
        optional: tuple[Field, ...] = ("patients", "sites")
        return Needs.of(
            source=source, optional_source=(*optional, "attributes") if self.attributes else optional
        )

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Train a copy of the model, with a head for the source's classes.

        Raises:
            DataError: an attribute is missing or does not vary.
            SettingsError: classes of images are balanced that have not one label each.
        """
        assert task.source is not None
        adapted, _ = graft(model, Task(source=task.source), run, size=self.size, changes=self.preparation)
        rows = open_rows(task.source, adapted.spec.preparation, run, self.foreground)
        labels = bias_labels(type(self).__name__, task.source, self.attributes, run)
        objective = self._objective(adapted, rows, labels, run)
        fit(objective, run, self._schedules())
        objective.show(run)
        return adapted

    def _schedules(self) -> Schedule | Mapping[str, Schedule]:
        return self.schedule

    def _objective(
        self, model: Model, rows: Loader | Patches, labels: Sequence[BiasLabels], run: Run
    ) -> SourceImages:
        return SourceImages(model, rows, labels, self)


class SourceImages(Supervised):
    """Descend on the loss of labelled source rows, in which classes or groups may count equally.

    Args:
        model: trained in place.
        rows: labelled source rows, or patches of them.
        labels: of the attributes, in the order of the rows.
        method: how they are balanced, its loss, augmentation and schedule.

    Raises:
        SettingsError: classes of images are balanced that have not one label each.
    """

    def __init__(
        self, model: Model, rows: Loader | Patches, labels: Sequence[BiasLabels], method: ERM
    ) -> None:
        kind = rows.cohort.kind
        if method.balance != "none" and kind != "classify":
            raise SettingsError(
                f"balance='{method.balance}'", "a task with one label per image", f"the kind is '{kind}'",
                "Leave it out, or weight classes in the loss.",
            )  # fmt: skip
        shares = _equal_shares(rows.cohort, labels, method) if method.balance != "none" else None
        by_sampling = method.balance_by == "sampling"
        super().__init__(
            model,
            rows,
            criterion_of(method, kind),
            batch_size=method.schedule.batch_size,
            steps_per_epoch=method.schedule.steps_per_epoch,
            augmentation=method.augmentation,
            row_tensors={} if shares is None or by_sampling else {WEIGHT: shares.float()},
        )
        if shares is not None and by_sampling:
            self.sampling_weights = shares

    def show(self, run: Run) -> None:
        """Record what a reader should see of the finished training: here nothing."""

    def weigh_pixels(self, step: Step) -> Tensor | None:
        """(B,) factors of the images, where they count unequally."""
        return step.tensors.get(WEIGHT)


def criterion_of(method: ERM, kind: Kind) -> Criterion:
    """The method's loss of a kind, a mean over images."""
    return build_loss(method.loss or LossSettings.default(kind), kind)


def _equal_shares(cohort: Cohort, labels: Sequence[BiasLabels], method: ERM) -> Tensor:
    """(N,) float64 factors of mean 1 with which all classes or groups sum to the same."""
    classes = torch.from_numpy(cohort.labels)
    groups = groups_of(classes, labels if method.balance == "group" else ())
    counts = torch.bincount(groups)
    return len(groups) / (len(counts) * counts[groups].double())
