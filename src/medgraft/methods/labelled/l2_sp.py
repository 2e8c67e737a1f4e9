"""L2-SP: fine-tuning that is pulled back to where it started."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Literal, cast

from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor, nn

from medgraft.engine.schedule import Schedule
from medgraft.methods.labelled.fine_tune import FineTune
from medgraft.methods.scope import Part
from medgraft.models.model import Model
from medgraft.models.regraft import Plan


class L2SP(FineTune):
    """Fine-tune while every weight is pulled back to the source model's, the more the further it is away.

    The loss grows by alpha/2 |w - w0|^2 over all weights that come from the source, batch norm's included, and by
    beta/2 |w|^2 over a new head's. That takes the place of weight decay, which is 0 unless the schedule names one.

    >>> L2SP(alpha=0.05).schedule.weight_decay, L2SP(schedule=Schedule(lr=1e-4)).schedule.weight_decay
    (0.0, 0.0)

    Source: Li et al. 2018 (explicit inductive bias). ``half=False, beta=0`` is the code published with Goodman et al.
    2022 (MMTL), which has no new layers and no factor 1/2. Differs: where a head keeps the source's classes it is
    anchored too; of a first convolution that was adapted to other channels the adapted weights are the anchor.
    """

    name: ClassVar[str] = "l2_sp"

    scope: Literal[Part, "head_then_all"] | tuple[str, ...] = "all"
    """What is trained, as in fine_tune; a head that `head_then_all` trains first is not pulled meanwhile."""
    alpha: float = Setting(default=0.1, ge=0)
    """Weight of the pull to the source's weights."""
    beta: float = Setting(default=0.01, ge=0)
    """Weight of the pull of new weights to zero."""
    half: bool = True
    """Halve both terms, as the paper does; the published code of MMTL does not."""
    schedule: Schedule = Schedule(weight_decay=0.0)
    """Training; its weight decay is 0 unless named."""

    @field_validator("schedule")
    @classmethod
    def _one_pull(cls, schedule: Schedule) -> Schedule:
        named = "weight_decay" in schedule.model_fields_set
        return schedule if named else schedule.model_copy(update={"weight_decay": 0.0})

    def _penalty(self, model: Model, plan: Plan) -> nn.Module:
        return DistanceFromSource(model, plan.names("new"), alpha=self.alpha, beta=self.beta, half=self.half)


class DistanceFromSource(nn.Module):
    """The two terms that L2-SP adds to the loss.

    Args:
        model: its weights are the anchor, copied by name.
        new: names of weights that have no source; their anchor is zero.
        alpha: weight of the squared distance from the anchor.
        beta: weight of the squared norm of new weights.
        half: halve both.

    Source: Li et al. 2018 (explicit inductive bias).
    """

    def __init__(
        self, model: Model, new: Collection[str], *, alpha: float, beta: float, half: bool = True
    ) -> None:
        super().__init__()
        self.new = frozenset(new)
        self.pull, self.shrinkage = (alpha / 2, beta / 2) if half else (alpha, beta)
        self.anchored = [name for name, _ in model.named_parameters() if name not in self.new]
        parameters = dict(model.named_parameters())
        for index, name in enumerate(self.anchored):
            # not part of checkpoints: the source gives the same anchor when a run is continued
            self.register_buffer(f"anchor{index}", parameters[name].detach().clone(), persistent=False)

    def forward(self, model: Model) -> Tensor:
        """Scalar, at least 0: 0 at the source where nothing is new."""
        parameters = dict(model.named_parameters())
        pulled = [
            self.pull * (parameters[name] - cast(Tensor, getattr(self, f"anchor{index}"))).square().sum()
            for index, name in enumerate(self.anchored)
            if parameters[name].requires_grad  # frozen ones are where they were
        ]
        shrunk = [self.shrinkage * parameters[name].square().sum() for name in parameters if name in self.new]
        return sum([*pulled, *shrunk], start=next(iter(parameters.values())).new_zeros(()))
