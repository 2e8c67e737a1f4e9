"""How long and how fast to train: frozen data, no behaviour beyond the learning-rate curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medgraft.errors import SettingsError

OptimizerName = Literal["sgd", "adam", "adamw", "nadam", "rmsprop", "avagrad", "avagradw"]
PresetName = Literal["nnunet", "avagrad_25", "avagrad_50"]

_NNUNET: dict[str, Any] = {
    "epochs": 1000, "steps_per_epoch": 250, "batch_size": 12, "optimizer": "sgd", "lr": 0.01, "momentum": 0.99,
    "nesterov": True, "weight_decay": 3e-5, "shape": "polynomial", "power": 0.9, "clip_norm": 12.0,
}  # fmt: skip
_AVAGRAD = _NNUNET | {"optimizer": "avagrad", "lr": 10.0, "eps": 0.1}
PRESETS: dict[PresetName, dict[str, Any]] = {
    "nnunet": _NNUNET,
    "avagrad_25": _AVAGRAD | {"epochs": 25},
    "avagrad_50": _AVAGRAD | {"epochs": 50},
}
"""nnU-Net's own training (Isensee et al. 2021), and the same with AvaGrad and early stopping (Sheikh et al. 2022)."""


class Schedule(BaseModel):
    """Length, optimiser and learning-rate curve of one training (or of one of its phases).

    The learning rate changes at epoch boundaries; cut long epochs by `steps_per_epoch` for a finer curve.

    >>> schedule = Schedule(epochs=10, lr=0.1, shape="cosine")
    >>> [round(schedule.learning_rate(epoch), 4) for epoch in (0, 5, 9)]
    [0.1, 0.05, 0.0024]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: PresetName | None = None
    """Values for all that is not named beside it. `nnunet`: 1000 epochs of 250 steps by sgd as in nnU-Net; `avagrad_25`
    and `avagrad_50`: so many epochs by AvaGrad with the learning rate 10. Both are meant for augmented images, deep
    supervision and the sum of Dice and cross-entropy (`loss.terms={soft_dice=1,cross_entropy=1}`)."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the training rows, or over `steps_per_epoch` steps."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """Steps that make an epoch; None is one pass over the rows."""
    batch_size: int = Field(default=32, ge=1)
    """Rows per step at most; a pass is cut into batches as equal as can be."""
    optimizer: OptimizerName = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate at the top of the curve. That of avagrad and avagradw is on the scale of sgd: 0.1 to 10."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """L2 in the gradient; of adamw and avagradw apart from it, there multiplied by the learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For sgd and rmsprop."""
    nesterov: bool = False
    """For sgd."""
    betas: tuple[float, float] = (0.9, 0.999)
    """For adam, adamw, nadam, avagrad and avagradw."""
    eps: float | None = Field(default=None, gt=0)
    """Beside the root of the second moment, for all but sgd; None takes 1e-8, for avagrad and avagradw 0.1. The larger
    it is, the less steps adapt: AvaGrad with 1e6 is sgd."""
    shape: Literal["constant", "cosine", "step", "polynomial", "plateau"] = "cosine"
    """`cosine`: half a cosine to 0; `step`: times `gamma` at each milestone; `polynomial`: (1 - t) ** power;
    `plateau`: times `gamma` whenever the selection score has not improved for `plateau_epochs`."""
    milestones: tuple[float, ...] = (0.75,)
    """For `step`: shares of the epochs, in (0, 1)."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """For `step` and `plateau`: the factor."""
    plateau_epochs: int = Field(default=5, ge=1)
    """For `plateau`: epochs in a row without a better selection score; needs a selection rule other than `last`."""
    minimum_lr: float = Field(default=0.0, ge=0)
    """For `plateau`: the learning rate does not fall below it."""
    power: float = Field(default=0.9, gt=0)
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs of linear warm-up before the curve starts."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient of a phase."""
    clip_value: float | None = Field(default=None, gt=0)
    """Largest absolute gradient element."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better selection score; needs a selection rule other than `last`."""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        return fill_preset(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value exclude each other")
        if self.minimum_lr > self.lr:
            raise ValueError(f"minimum_lr ({self.minimum_lr}) must not be above lr ({self.lr})")
        if any(not 0 < share < 1 for share in self.milestones):
            raise ValueError("milestones are shares of the epochs and lie in (0, 1)")
        return self

    @property
    def needs_scores(self) -> bool:
        """True where the training depends on the selection score of its epochs."""
        return self.shape == "plateau" or self.patience is not None

    def learning_rate(self, epoch: int, scores: Sequence[float] = ()) -> float:
        """Learning rate of an epoch, counted from 0.

        Args:
            epoch: in [0, epochs).
            scores: selection scores of the epochs before it, for `plateau`; NaN counts as not better.

        >>> schedule = Schedule(lr=0.1, shape="plateau", gamma=0.5, plateau_epochs=2)
        >>> [schedule.learning_rate(n, [0.6, 0.7, 0.7, 0.6][:n]) for n in range(5)]
        [0.1, 0.1, 0.1, 0.1, 0.05]
        """
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / (self.warmup_epochs + 1)
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        if self.shape == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        if self.shape == "polynomial":
            return float(self.lr * (1 - done) ** self.power)
        if self.shape == "step":
            return float(self.lr * self.gamma ** sum(done >= share for share in self.milestones))
        return self._on_plateaus(scores[self.warmup_epochs : epoch]) if self.shape == "plateau" else self.lr

    def _on_plateaus(self, scores: Sequence[float]) -> float:
        """The state is a function of the scores so far, which the history keeps: resuming needs nothing else.

        Source: `torch.optim.lr_scheduler.ReduceLROnPlateau(mode="max", threshold=0, eps=0)`. Differs: its `patience`
        is one less than `plateau_epochs`, which counts as `patience` of early stopping does.
        """
        lr, best, waited = self.lr, -math.inf, 0
        for score in scores:
            best, waited = (score, 0) if score > best else (best, waited + 1)
            if waited == self.plateau_epochs:
                lr, waited = max(lr * self.gamma, self.minimum_lr), 0
        return lr


def fill_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a schedule with those of their preset beside them, where one is named.

    >>> fill_preset({"preset": "avagrad_25", "lr": 1.0})["epochs"], fill_preset({"lr": 1.0})
    (25, {'lr': 1.0})
    """
    return {**PRESETS.get(values.get("preset"), {}), **values}  # type: ignore[arg-type]


def schedules_per_phase(
    phases: Sequence[str], schedule: Schedule | Mapping[str, Schedule]
) -> dict[str, Schedule]:
    """One schedule for each phase of an objective; a single one serves all.

    Raises:
        SettingsError: phases without a schedule, or schedules of different length or batch size.
    """
    schedules = dict.fromkeys(phases, schedule) if isinstance(schedule, Schedule) else dict(schedule)
    if set(schedules) != set(phases):
        raise SettingsError(
            "The training", f"one schedule per phase ({', '.join(phases)})", f"it got {', '.join(schedules)}",
            "Name every phase once.",
        )  # fmt: skip
    if len({(s.epochs, s.steps_per_epoch, s.batch_size) for s in schedules.values()}) > 1:
        raise SettingsError(
            "The training", "phases of equal epochs, steps_per_epoch and batch_size", "their schedules differ",
            "They descend on the same batches in turn: give them the same length.",
        )  # fmt: skip
    return schedules


def refuse_without_scores(schedules: Mapping[str, Schedule], rule: str) -> None:
    """Refuse early stopping and `plateau` where the selection rule scores no epochs.

    Raises:
        SettingsError: the rule is `last`.
    """
    asking = next((schedule for schedule in schedules.values() if schedule.needs_scores), None)
    if asking is None or rule != "last":
        return
    if asking.shape == "plateau":
        who, instead = "The schedule 'plateau'", "choose another shape, for instance schedule.shape=cosine"
    else:
        who, instead = "Early stopping", "leave out 'patience'"
    raise SettingsError(
        who, "a selection rule that scores epochs", "the rule is 'last'",
        f"Add validation rows to the manifest (column 'split') and leave out --select last, or {instead}.",
    )  # fmt: skip
