"""Random views of an image from which pre-training learns what does not matter in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator

from medgraft.engine.loading import Loader
from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation
from medgraft.pretraining.images_alone import shows_grey

ViewName = Literal["scan", "tissue", "dermoscopy", "photograph"]

_CROPPED = Augmentation(
    flip_horizontal=0,
    rotation=0,
    shift=0,
    zoom=(1, 1),
    crop=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    blur_chance=0.5,
    blur=(0.1, 2.0),
)
_PHOTOGRAPHED = _CROPPED.model_copy(
    update={
        "flip_horizontal": 0.5,
        "flip_vertical": 0.5,
        "rotation": 15,
        "gamma": (0.7, 1.4),
        "saturation": 0.2,
        "hue": 0.1,
        "greyscale": 0.2,
    }
)
VIEWS: dict[ViewName, Augmentation] = {
    "scan": _CROPPED.model_copy(update={"rotation": 10, "gamma": (0.7, 1.4), "noise_chance": 0.2}),
    "tissue": _CROPPED.model_copy(
        update={"flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": True, "hed": 0.05}
    ),
    "dermoscopy": _PHOTOGRAPHED.model_copy(update={"rotation": 180, "hue": 0.02, "greyscale": 0.0}),
    "photograph": _PHOTOGRAPHED.model_copy(update={"jitter_chance": 0.8}),
}
"""`scan` (X-ray, CT, MR): crops of a fifth or more, small rotations, grey levels, blur and noise, and no flips, for
left and right may be what is asked; `tissue` (H&E): flips, quarter turns (square images) and stains instead;
`photograph`: flips, rotations, hue and saturation in four views of five, and a fifth of the views grey;
`dermoscopy`: rotations by any angle, and colours that change little, for they are part of the diagnosis.
"""

_MILD = Augmentation.preset("none").model_copy(update={"crop": (0.67, 1.0)})
MILD_VIEWS: dict[ViewName, Augmentation] = {
    "scan": _MILD,
    "tissue": _MILD.model_copy(update={"flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": True}),
    "dermoscopy": _MILD.model_copy(update={"flip_horizontal": 0.5, "flip_vertical": 0.5}),
    "photograph": _MILD.model_copy(update={"flip_horizontal": 0.5}),
}
"""Crops of two thirds or more, for learning from what is hidden: `scan` without flips, `tissue` with flips and quarter
turns (square images), `dermoscopy` with flips, `photograph` with left and right swapped in half of the images, as
published for SimMIM."""


def views(name: ViewName, among: Mapping[ViewName, Augmentation] = VIEWS) -> Augmentation:
    """Take a named set of random changes.

    Raises:
        SettingsError: another name.

    >>> views("scan").flip_horizontal, views("tissue").quarter_turns
    (0.0, True)
    """
    if not isinstance(name, str) or name not in among:
        raise SettingsError(
            "Pre-training", f"views among {', '.join(get_args(ViewName))}", f"got {name!r}",
            "Choose one of these.",
        )  # fmt: skip
    return among[name]


def suiting(rows: Loader) -> ViewName:
    """The views that suit images which nobody named any for.

    Returns: `scan` of networks with one channel per slice and of images that show grey, however many channels they are
        stored or read with (most of a thousand that are looked at; left and right may matter in them); else
        `photograph`.
    """
    preparation = rows.preparer.preparation
    one_channel = preparation.channels == preparation.slices  # neighbouring slices are no colours
    return "scan" if one_channel or shows_grey(rows.cohort) else "photograph"


def uneven(changes: Augmentation) -> tuple[Augmentation, Augmentation]:
    """The same changes for two views, but each first one blurred, and a tenth of the second blurred, a fifth solarised.

    Source: Grill et al. 2020 (BYOL), as Barlow Twins and MoCo v3 took it over.

    >>> first, second = uneven(views("scan"))
    >>> first.blur_chance, second.blur_chance, first.solarise, second.solarise
    (1.0, 0.1, 0.0, 0.2)
    """
    first = {"blur_chance": 1.0, "solarise": 0.0}
    second = {"blur_chance": 0.1, "solarise": 0.2}
    return changes.model_copy(update=first), changes.model_copy(update=second)


def _changing(value: Augmentation | None) -> Augmentation | None:
    if value == Augmentation.preset("none"):
        raise ValueError("two views that are the same teach nothing: switch some change on")
    return value


def _over_a_set(value: object, among: Mapping[ViewName, Augmentation]) -> object:
    """A named set; or a table's settings over those of the set that its `base` names."""
    if isinstance(value, str):
        return views(value, among)  # type: ignore[arg-type]
    if not isinstance(value, Mapping) or set(Augmentation.model_fields) <= set(value):
        return value
    if "base" not in value:
        raise SettingsError(
            "Pre-training", "views with the set that they change",
            f"the table has {', '.join(map(str, value)) or 'nothing'} and no base",
            f"Add base, one of {', '.join(among)} (--set views.base=scan).",
        )  # fmt: skip
    own = {name: setting for name, setting in value.items() if name != "base"}
    return views(value["base"], among).model_dump() | own


ViewsChoice = Annotated[
    Augmentation | None, BeforeValidator(partial(_over_a_set, among=VIEWS)), AfterValidator(_changing)
]
"""A setting: an augmentation, the name of a set of views, a table of settings over the set that its `base` names (one
of every setting needs none), or None for what suits the images."""
MildViewsChoice = Annotated[Augmentation | None, BeforeValidator(partial(_over_a_set, among=MILD_VIEWS))]
"""The same with milder views by these names; views that change nothing are allowed."""
