"""How methods that train on labelled images put a source model onto the target's classes and preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic import Field as Setting

from medgraft.data.task import Task
from medgraft.engine.method import MethodSettings
from medgraft.engine.patches import FOREGROUND
from medgraft.engine.run import Run
from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation, Preset
from medgraft.models.model import Model
from medgraft.models.regraft import Plan, regraft
from medgraft.types import Preparation


def _known(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    offered = [name for name in Preparation.model_fields if name not in ("size", "dimensions")]
    for name in changes:
        if name not in offered:
            raise ValueError(f"{name} is not one of {', '.join(offered)}")
    return changes


def _preset(value: object) -> object:
    return Augmentation.preset(cast(Preset, value)) if isinstance(value, str) else value


PreparationChanges = Annotated[Mapping[str, Any], AfterValidator(_known)]
"""A setting: fields of `Preparation` to change, by name; the size has a setting of its own."""
AugmentationChoice = Annotated[Augmentation | None, BeforeValidator(_preset)]
"""A setting: an augmentation, the name of a preset, or None."""


class OnWholeImages(MethodSettings):
    """What methods that train let choose about their images, which the network sees whole."""

    size: tuple[int, ...] | None = None
    """(H, W) in pixels to resize images to, (D, H, W) of volumes; None keeps the source model's."""
    preparation: PreparationChanges = Setting(default_factory=dict)
    """Other changes to how the source model prepares images: `spacing`, `intensity`, `window`, `patch`, `slices`,
    `channels`; see `Preparation`."""
    augmentation: AugmentationChoice = Augmentation()
    """None trains on images as they are."""


class OnImages(OnWholeImages):
    """What methods let choose that also train on volumes and patches."""

    foreground: float = Setting(default=FOREGROUND, ge=0, le=1)
    """Of volumes and patches, share of samples that must show a class other than the first."""


def graft(
    model: Model,
    task: Task,
    run: Run,
    *,
    size: tuple[int, ...] | None = None,
    changes: Mapping[str, Any] | None = None,
    keep_source_head: bool = False,
    deep_supervision: bool = False,
) -> tuple[Model, Plan]:
    """A copy of a model for the target's classes, prepared as the settings say; the plan becomes evidence of the run.

    Args:
        model: the source model.
        task: its target's kind and classes are those of the copy.
        run: receives the table "plan".
        size: (H, W) or (D, H, W) in pixels to resize to; None keeps the source model's.
        changes: other fields of `Preparation` to change.
        keep_source_head: also keep the source's head.
        deep_supervision: give inner decoders of a U-Net heads.

    Raises:
        SettingsError: the changes do not go together with the model's preparation.
        ModelError: the model cannot serve the target; see `regraft`.

    >>> from medgraft.testing import make_cohort, make_model
    >>> target = Task(target=make_cohort("classify"))
    >>> model, plan = graft(make_model("classify"), target, Run(), changes={"intensity": "zscore"})
    >>> model.spec.classes, model.spec.preparation.intensity, plan.has_new_head
    (('small', 'large'), 'zscore', True)
    """
    changes = dict(changes or {})
    adapted, plan = regraft(
        model,
        task.classes,
        changes.get("channels"),
        kind=task.kind,
        size=size,
        keep_source_head=keep_source_head,
        deep_supervision=deep_supervision,
    )
    adapted.spec = adapted.spec.changed(preparation=_changed(adapted.spec.preparation, changes))
    run.record("plan", pd.DataFrame(plan.table()))
    return adapted, plan


def _changed(preparation: Preparation, changes: dict[str, Any]) -> Preparation:
    if "spacing" in changes:
        changes.setdefault("size", None)
    try:
        return Preparation.model_validate(preparation.model_dump() | changes)
    except ValidationError as error:
        problem = error.errors()[0]
        raise SettingsError(
            "The setting 'preparation'", "changes that go together with the source model's preparation",
            problem["msg"].removeprefix("Value error, "), "Correct them.",
        ) from error  # fmt: skip
