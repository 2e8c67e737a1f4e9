"""Fine-tuning that goes on with what the optimiser of the source training remembered."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.optimizers import CLASSES
from medgraft.engine.patches import open_rows
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Supervised
from medgraft.errors import ModelError
from medgraft.methods.graft import OnImages, graft
from medgraft.methods.labelled.weigh_by_risk import weigh_by_risk
from medgraft.methods.scope import Part, trained_blocks
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.optimizer_history import OptimizerHistory
from medgraft.types import Kind

SLOTS = {"SGD": ("momentum_buffer",), "Adam": ("exp_avg", "exp_avg_sq")}
"""What is continued, by torch's class of optimiser."""
REASONS = {
    "avagrad": "its step sizes are shared out over all parameters by their second moments, so one without a history, "
    "such as a new head, would take nearly all",
    "adamw": "the paper defines it for optimisers whose weight decay, if any, is part of the gradient",
}
"""Why not others; of those not listed, nobody has said what continuing them means."""


class OCTL(OnImages):
    """Train on the target's labelled images with the momentum or the moments of the source training (OCTL).

    The source model must have been trained with SGD with momentum or with Adam, and saved with what the optimiser
    remembered (`--save-optimizer`, `Run(save_optimizer=True)`). Expect help with many labels and harm with few.

    >>> OCTL().schedule.betas
    (0.99, 0.999)

    Source: Goodman et al., "Supervised domain adaptation using gradients transfer for improved medical image
    analysis", 2022 (optimizer-continuation transfer learning, algorithms 2 and 3). Differs: Adam's first moment
    averages the gradient, whose square in the paper's line for M is a misprint; parameters are matched by name, and
    those without a history (a new head, adapted channels) start as in a new optimiser. With the momentum 0.99, what was
    summed with 0.9 lasts ten times longer: where the training runs away, lower `schedule.lr`.
    """

    name: ClassVar[str] = "octl"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    start_step: int = Setting(default=100, ge=0)
    """Of Adam: how many steps its bias corrections count as taken when the training begins. Few forget the history
    quickly, many weigh it heavily."""
    scope: Part | tuple[str, ...] = "all"
    """What is trained: everything, the first or last `blocks` as in fine_tune, or blocks by name. A new head always is;
    it starts without a history."""
    blocks: int = Setting(default=1, ge=1)
    """How many blocks `first` and `last` train."""
    loss: LossSettings | None = None
    """None takes the usual loss of the task's kind; `risk_map` weighs pixels by what the source says of them."""
    schedule: Schedule = Schedule(
        epochs=60,
        steps_per_epoch=100,
        batch_size=16,
        optimizer="adam",
        weight_decay=0.0,
        shape="step",
        momentum=0.99,
        betas=(0.99, 0.999),
    )
    """`optimizer` is `sgd` or `adam`, the one that trained the source. `momentum` and `betas` decide how long its
    history lasts; the paper's are 0.99 and (0.99, 0.999)."""

    @field_validator("schedule")
    @classmethod
    def _continues(cls, schedule: Schedule) -> Schedule:
        if schedule.optimizer not in ("sgd", "adam"):
            reason = REASONS.get(schedule.optimizer, "it was published for these two only")
            raise ValueError(f"OCTL continues sgd and adam, not {schedule.optimizer}: {reason}")
        if schedule.optimizer == "sgd" and schedule.momentum == 0:
            raise ValueError("without momentum sgd continues nothing; the paper's momentum is 0.99")
        return schedule

    @property
    def needs(self) -> Needs:
        """Labelled target images; patients where the cohort names them."""
        return Needs.of(target=("images", "truth"), optional_target=("patients",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Regraft the model onto the target's classes and train everything from the source's history on.

        Raises:
            ModelError: the source model has no history, or that of another optimiser.
        """
        assert task.target is not None
        history = self._history_of(model)
        adapted, plan = graft(model, task, run, size=self.size, changes=self.preparation)
        rows = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        settings = self.loss or LossSettings.default(task.kind)
        objective = Supervised(
            adapted,
            rows,
            build_loss(settings, task.kind),
            batch_size=self.schedule.batch_size,
            steps_per_epoch=self.schedule.steps_per_epoch,
            augmentation=self.augmentation,
            lr_factors=trained_blocks(adapted, self.scope, self.blocks, plan),
            pixel_weights=weigh_by_risk(model, rows, settings, run),
        )
        fit(objective, run, self.schedule, continued(history, plan.names("loaded"), self.start_step))
        return adapted

    def _history_of(self, model: Model) -> OptimizerHistory:
        history, wanted = model.optimizer_history, CLASSES[self.schedule.optimizer].__name__
        again = f"with --save-optimizer (Run(save_optimizer=True)) and schedule.optimizer={self.schedule.optimizer}"
        if history is None:
            raise ModelError(
                "OCTL", "a source model that was saved with what its optimiser remembered", "this one was not",
                f"Train the source {again}, then adapt from its folder.",
            )  # fmt: skip
        if history.optimizer != wanted:
            raise ModelError(
                "OCTL", f"what {wanted} remembered of the source training",
                f"that was done by {history.optimizer}",
                f"Train the source {again}, or, where it is sgd or adam, choose the source's optimiser here.",
            )  # fmt: skip
        if not any(_is_whole(history, name) for name in history.state):
            raise ModelError(
                "OCTL", f"what {wanted} remembered of the source training",
                "it remembered nothing, as SGD does without momentum",
                f"Train the source {again} and schedule.momentum=0.9.",
            )  # fmt: skip
        return history


def continued(history: OptimizerHistory, kept: Collection[str], start_step: int) -> OptimizerHistory:
    """The history from which the target's training starts.

    Args:
        history: of SGD with momentum, or of Adam, at the end of the source training.
        kept: names of parameters that are as they were in the source.
        start_step: what Adam's step counters are set to.

    Returns: momentum buffers or moments of these parameters as they were; nothing of others.

    >>> source = OptimizerHistory("SGD", {"body": {"momentum_buffer": torch.ones(2)}, "head": {}})
    >>> continued(source, ["body", "head"], 100).state
    {'body': {'momentum_buffer': tensor([1., 1.])}}
    """
    state: dict[str, dict[str, Tensor | float]] = {}
    for name in history.state:
        if name in kept and _is_whole(history, name):
            state[name] = {slot: history.state[name][slot] for slot in SLOTS[history.optimizer]}
            if history.optimizer == "Adam":
                state[name]["step"] = torch.tensor(float(start_step))  # torch wants a tensor
    return OptimizerHistory(history.optimizer, state)


def _is_whole(history: OptimizerHistory, name: str) -> bool:
    slots = history.state[name]
    return all(isinstance(slots.get(slot), Tensor) for slot in SLOTS[history.optimizer])
