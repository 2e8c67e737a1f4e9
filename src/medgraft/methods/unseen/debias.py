"""Features from which an attribute, such as the tone of skin, cannot be told: LNTL, TABE and CLGR."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field as Setting
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from medgraft.engine.loading import Loader
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import Patches
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError
from medgraft.methods.unseen.bias_labels import UNKNOWN, BiasLabels
from medgraft.methods.unseen.erm import ERM, SourceImages
from medgraft.models.debiasing import (
    PUBLISHED_SCALE,
    AuxiliaryHead,
    confusion_loss,
    inverse_frequency_weights,
    negative_entropy,
    reverse_gradient,
)
from medgraft.models.model import Model, evaluation_mode
from medgraft.types import Kind, Loss, Progress, Step

CODES, CODE_WEIGHTS = "attributes", "attribute_weights"
"""Names of the tensors of a batch: (B, A) numbers of values, and their weights."""
PUBLISHED_CONFUSION = 0.03


class Debias(ERM):
    """What LNTL, TABE and CLGR share: a second head looks for each attribute in the features, in turn with the first.

    First phase, on all weights but the second heads': the usual loss, and `weight` times the confusion of the second
    heads. Second phase, with a forward pass of its own: the second heads learn the attribute; where the gradient is
    reversed, the features learn to hide it. The heads are not part of the returned model. Watch `loss_bias` in the
    history (about ln K where nothing can be told of K values) and `bias_told`, the share of known values told right.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel"})
    unlearns: ClassVar[bool] = True

    attributes: tuple[str, ...] = Setting(default=..., min_length=1)
    """Columns of the manifest that features shall not tell, each with a head of its own; rows where one is empty teach
    its head nothing. `ita`: the Fitzpatrick type, measured in the pictures."""
    hidden: tuple[int, ...] = ()
    """Outputs of layers of the second heads before their last one; published heads have none."""
    scale: float = Setting(default=PUBLISHED_SCALE, ge=0)
    """Of the gradient, where it is reversed on its way from the second heads to the features."""
    bias_lr_factor: float = Setting(default=1.0, gt=0)
    """Multiplies the schedule's learning rate for the second heads."""
    schedule: Schedule = Schedule(
        epochs=30, batch_size=64, optimizer="sgd", lr=3e-4, momentum=0.9, weight_decay=0.0, shape="constant"
    )
    """Of both phases, by default as published for pre-trained networks and thousands of images, where nothing was
    augmented and the head saw features with dropout of 0.5."""

    def _schedules(self) -> Mapping[str, Schedule]:
        return dict.fromkeys(Debiased.phases, self.schedule)

    def _objective(
        self, model: Model, rows: Loader | Patches, labels: Sequence[BiasLabels], run: Run
    ) -> Debiased:
        if isinstance(rows, Patches):
            raise DataError(
                type(self).__name__, "single images that the network sees whole",
                f"{rows.cohort.name} has volumes, or the preparation cuts patches",
                "Give each slice a row of its own, and set a size instead of a patch.",
            )  # fmt: skip
        with evaluation_mode(model), torch.no_grad():
            width = model.features(rows([0]).images).shape[1]
        with seeded(run.seed, run.path, "second heads"):
            heads = [AuxiliaryHead(width, len(each.values), self.hidden) for each in labels]
        return Debiased(model, rows, labels, heads, self)

    @property
    @abstractmethod
    def reverses(self) -> bool:
        """Whether the second phase trains the features too, by the reversed gradient."""

    @abstractmethod
    def confuse(self, logits: Tensor) -> Tensor:
        """What the first phase adds for one attribute: the less, the less its head (B, K) knows; a mean over images."""


class LNTL(Debias):
    """Train on the source while a second head's entropy is raised and its gradient into the features reversed (LNTL).

    >>> LNTL(attributes=("camera",)).weight
    0.01

    Source: Kim et al. 2019 (Learning Not To Learn), for skin by Bevan & Atapour-Abarghouei 2022, whose values are the
        defaults. Differs: one output per class; see `Debiased` for the second phase.
    """

    name: ClassVar[str] = "lntl"

    weight: float = Setting(default=0.01, ge=0)
    """Of the entropy of the second heads."""
    reverse_gradient: bool = True
    """False lets the second phase train the second heads alone."""

    @property
    def reverses(self) -> bool:
        """As the setting says."""
        return self.reverse_gradient

    def confuse(self, logits: Tensor) -> Tensor:
        """Minus the entropy, weighed."""
        return self.weight * negative_entropy(logits)


class TABE(Debias):
    """Train on the source while a second head is confused: to it, all values of an attribute shall look alike (TABE).

    >>> TABE(attributes=("camera",)).reverses, CLGR(attributes=("camera",)).reverses
    (False, True)

    Source: Alvi et al. 2018 (Turning a Blind Eye), for skin by Bevan & Atapour-Abarghouei 2022. Differs: confusion aims
        at equal chances, see `confusion_loss`; the second phase trains the second heads only, as Alvi et al. have it,
        while the later code makes the features tell the attribute; features take one step in the first phase, not two.
    """

    name: ClassVar[str] = "tabe"

    bias_lr_factor: float = Setting(default=10.0, gt=0)
    """Multiplies the schedule's learning rate for the second heads; by default to 3e-3, as published."""
    weight: float | None = Setting(default=None, ge=0)
    """Of the confusion. None: 0.03 K / 2 for an attribute of K values, as strong as published: 0.03 and targets whose
    sum is about K / 2."""

    @property
    def reverses(self) -> bool:
        """No."""
        return False

    def confuse(self, logits: Tensor) -> Tensor:
        """Cross-entropy with equal chances, weighed."""
        weight = PUBLISHED_CONFUSION * logits.shape[1] / 2 if self.weight is None else self.weight
        return weight * confusion_loss(logits)


class CLGR(TABE):
    """TABE whose second phase trains the features too, by the reversed gradient (CLGR).

    >>> CLGR(attributes=("camera",)).scale
    0.1

    Source: Bevan & Atapour-Abarghouei 2022. Differs: see `TABE`.
    """

    name: ClassVar[str] = "clgr"

    @property
    def reverses(self) -> bool:
        """Yes."""
        return True


class Debiased(SourceImages):
    """Descend on the task's loss and on confusing second heads, then on telling attributes by these heads.

    The second phase makes a forward pass of its own, after the first one's step and in training mode like it.

    Args:
        model: a classifier, trained in place; by the second phase, but for its head, where the gradient is reversed.
        rows: labelled source rows.
        labels: of the attributes.
        heads: one `AuxiliaryHead` per attribute, trained in place by the second phase.
        method: the rest.

    Source: Bevan & Atapour-Abarghouei 2022 (their code's order; the paper's text has the second phase first). Differs:
        values of an attribute count equally over the training set, where the code divides by the weights in a batch.
    """

    phases = ("main", "bias")

    def __init__(
        self,
        model: Model,
        rows: Loader,
        labels: Sequence[BiasLabels],
        heads: Sequence[AuxiliaryHead],
        method: Debias,
    ) -> None:
        super().__init__(model, rows, labels, method)
        self.heads, self.method = nn.ModuleList(heads), method
        self.row_tensors[CODES] = torch.stack([each.codes for each in labels], dim=1)
        self.row_tensors[CODE_WEIGHTS] = torch.stack([_weights(each) for each in labels], dim=1)

    def groups(self, phase: str) -> list[ParamGroup]:
        """The model; then the second heads, and the features where they learn from these."""
        if phase == "main":
            return self._groups
        heads = ParamGroup(list(self.heads.parameters()), self.method.bias_lr_factor)
        return [heads, *self._groups[:-1]] if self.method.reverses else [heads]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The loss of the task with the confusion, or that of telling the attributes."""
        return self._main(step) if phase == "main" else self._bias(step)

    def _main(self, step: Step) -> Loss:
        features = self.model.features(step.tensors["images"])
        outputs, weights = self.model.head_outputs(features), self.weigh_pixels(step)
        known = (outputs, step.tensors["truth"])
        task = self.criterion(*known) if weights is None else self.criterion(*known, weights)
        # the second heads stand still: without gradients of their own, which would be thrown away
        confused = [
            self.method.confuse(functional_call(head, _detached(head), features)) for head in self.heads
        ]
        total = torch.stack([task, *confused]).sum()
        # named "loss" as well, so that the learning curve is that of the first phase
        return Loss(total, {"loss": total, "task": task, "confusion": total - task})

    def _bias(self, step: Step) -> Loss:
        images, codes = step.tensors["images"], step.tensors[CODES]
        if self.method.reverses:
            features = reverse_gradient(self.model.features(images), self.method.scale)
        else:
            with torch.no_grad():
                features = self.model.features(images)
        losses = []
        told = torch.zeros(2, device=codes.device)
        for index, head in enumerate(self.heads):
            logits, code = head(features).float(), codes[:, index]
            each = functional.cross_entropy(logits, code, ignore_index=UNKNOWN, reduction="none")
            losses.append((each * step.tensors[CODE_WEIGHTS][:, index]).mean())
            told += torch.stack([(logits.argmax(dim=1) == code).sum(), (code != UNKNOWN).sum()])
        return Loss(torch.stack(losses).sum(), {"bias_told": told})


def _detached(head: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in head.named_parameters()}


def _weights(label: BiasLabels) -> Tensor:
    """(N,) float32 factors of mean 1 with which all values of an attribute sum to the same; 0 where it is unknown."""
    known = label.codes != UNKNOWN
    by_value = inverse_frequency_weights(label.codes[known], len(label.values))
    weights = torch.where(known, by_value[label.codes.clamp(min=0)], 0.0)
    return weights / weights.mean()
