"""Which blocks of a network a method trains."""

from __future__ import annotations

from typing import Literal

from medgraft.errors import SettingsError
from medgraft.models.model import Model
from medgraft.models.regraft import Plan

Part = Literal["all", "last", "first"]
"""`all` blocks, or so many on the input side, or before the head (and the head)."""


def trained_blocks(
    model: Model,
    scope: str | tuple[str, ...],
    blocks: int,
    plan: Plan,
    *,
    head_lr_factor: float = 1.0,
) -> dict[str, float]:
    """The learning-rate factor of each block that is trained; blocks not named are frozen.

    Args:
        model: regrafted onto the target.
        scope: `first`, `last`, `head`, names of blocks; anything else is all of them.
        blocks: how many `first` and `last` name.
        plan: of the regrafting. A new head is always trained.
        head_lr_factor: of a new head.

    Raises:
        SettingsError: a name that is none of the model's blocks.

    >>> from medgraft.models.regraft import regraft
    >>> from medgraft.testing import make_model
    >>> model, plan = regraft(make_model("segment"), ("background", "vessel"))
    >>> trained_blocks(model, "first", 1, plan, head_lr_factor=10)
    {'encoder1': 1.0, 'head': 10}
    """
    names = list(model.blocks())
    body, head = names[:-1], names[-1]
    new_head = bool(set(plan.names("new")) & set(model.blocks()[head]))
    if isinstance(scope, tuple):
        unknown = [name for name in scope if name not in names]
        if unknown:
            raise SettingsError(
                "The setting 'scope'", f"blocks of this model ({', '.join(names)})",
                f"it names '{unknown[0]}'", "Choose among these.",
            )  # fmt: skip
        trained = list(scope)
    elif scope == "first":
        trained = body[:blocks]
    elif scope == "last":
        trained = [*[name for name in body if name != "source_head"][-blocks:], head]
    elif scope == "head":
        trained = [head]
    else:
        trained = names
    if new_head and head not in trained:
        trained.append(head)
    return {name: head_lr_factor if name == head and new_head else 1.0 for name in trained}
