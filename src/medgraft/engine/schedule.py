"""How long and how fast to train: frozen data, no behaviour beyond the learning-rate curve."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

OptimizerName = Literal["sgd", "adam", "adamw", "nadam", "rmsprop"]


class Schedule(BaseModel):
    """Length, optimiser and learning-rate curve of one training (or of one of its phases).

    The learning rate changes at epoch boundaries; cut long epochs by `steps_per_epoch` for a finer curve.

    >>> schedule = Schedule(epochs=10, lr=0.1, shape="cosine")
    >>> [round(schedule.learning_rate(epoch), 4) for epoch in (0, 5, 9)]
    [0.1, 0.05, 0.0024]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=20, ge=1)
    """Passes over the training rows, or over `steps_per_epoch` steps."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """Steps that make an epoch; None is one pass over the rows."""
    batch_size: int = Field(default=32, ge=1)
    """Rows per step at most; a pass is cut into batches as equal as can be."""
    optimizer: OptimizerName = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate at the top of the curve."""
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For sgd and rmsprop."""
    nesterov: bool = False
    """For sgd."""
    betas: tuple[float, float] = (0.9, 0.999)
    """For adam, adamw and nadam."""
    shape: Literal["constant", "cosine", "step", "polynomial"] = "cosine"
    """`cosine`: half a cosine to 0; `step`: times `gamma` at each milestone; `polynomial`: (1 - t) ** power."""
    milestones: tuple[float, ...] = (0.75,)
    """For `step`: shares of the epochs, in (0, 1)."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    power: float = Field(default=0.9, gt=0)
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs of linear warm-up before the curve starts."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient of a phase."""
    clip_value: float | None = Field(default=None, gt=0)
    """Largest absolute gradient element."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better selection score; needs a selection rule other than `last`."""

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value exclude each other")
        if any(not 0 < share < 1 for share in self.milestones):
            raise ValueError("milestones are shares of the epochs and lie in (0, 1)")
        return self

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            return self.lr * (epoch + 1) / (self.warmup_epochs + 1)
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        if self.shape == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        if self.shape == "polynomial":
            return float(self.lr * (1 - done) ** self.power)
        if self.shape == "step":
            return float(self.lr * self.gamma ** sum(done >= share for share in self.milestones))
        return self.lr
