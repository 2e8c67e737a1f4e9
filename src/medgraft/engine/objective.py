"""What a method hands to the training loop: data, losses and parameter groups, but no loop of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from medgraft.engine.checkpoint import Saved
from medgraft.engine.optimizers import ParamGroup
from medgraft.models.model import Model
from medgraft.types import Loss, Progress, Step

if TYPE_CHECKING:
    from medgraft.engine.run import Run


class Objective(nn.Module):
    """Base of all trainings. Learned things are parameters or buffers; the rest of the state goes through `state`.

    Override `batches` and `loss`; override `groups`, `train`, `state` and `load_state` where the default does not fit.

    model: what is evaluated for selection, and returned.
    phases: more than one where a batch is descended on several losses in turn (adversary, confusion).
    loss_is_sample_mean: the loss of a batch is the mean of its rows' losses, so processes can share a batch exactly.
    """

    model: Model
    phases: tuple[str, ...] = ("main",)
    loss_is_sample_mean: bool = False

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def groups(self, phase: str) -> list[ParamGroup]:
        """Parameters that a phase trains; asked anew before each epoch. Parameters in no group are frozen."""
        return [ParamGroup(list(self.parameters()))]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Prepare an epoch in evaluation mode (cluster, relabel), then return its batches, the same in every process.

        Must not be a generator function itself: what it prepares has to happen before it returns.
        """
        raise NotImplementedError(f"{type(self).__name__} must define batches")

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss | None:
        """The loss of one batch in one phase; None skips the phase for this batch."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def forward(self, step: Step, phase: str, progress: Progress) -> Loss | None:
        """Call `loss`; the loop calls the wrapped module, so that precision and processes apply."""
        loss = self.loss(step, phase, progress)
        if loss is None:
            return None
        return Loss(loss.total, {name: part.detach() for name, part in loss.parts.items()})

    def state(self) -> Saved:
        """What an exact resume needs beyond parameters and buffers."""
        return Saved({})

    def load_state(self, saved: Saved) -> None:
        """Put back what `state` gave."""


def freeze_normalisation(modules: Sequence[nn.Module]) -> None:
    """Put layers that keep running statistics (batch norm) in evaluation mode, so the statistics stay as they are."""
    for module in modules:
        for layer in module.modules():
            if getattr(layer, "running_mean", None) is not None:
                layer.eval()
