"""Random views of an image from which pre-training learns what does not matter in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator

from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation

ViewName = Literal["scan", "tissue", "photograph"]

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
VIEWS: dict[ViewName, Augmentation] = {
    "scan": _CROPPED.model_copy(update={"rotation": 10, "gamma": (0.7, 1.4), "noise_chance": 0.2}),
    "tissue": _CROPPED.model_copy(
        update={"flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": True, "hed": 0.05}
    ),
    "photograph": _CROPPED.model_copy(
        update={"flip_horizontal": 0.5, "flip_vertical": 0.5, "rotation": 15, "gamma": (0.7, 1.4)}
    ),
}
"""`scan`: crops of a fifth or more, small rotations, grey levels, blur and noise, and no flips, for left and right may
be what is asked; `tissue`: flips, quarter turns (square images) and stains instead; `photograph`: flips and rotations.
"""

_MILD = Augmentation.preset("none").model_copy(update={"crop": (0.67, 1.0)})
MILD_VIEWS: dict[ViewName, Augmentation] = {
    "scan": _MILD,
    "tissue": _MILD.model_copy(update={"flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": True}),
    "photograph": _MILD.model_copy(update={"flip_horizontal": 0.5}),
}
"""Crops of two thirds or more, for learning from what is hidden: `scan` without flips, `tissue` with flips and quarter
turns (square images), `photograph` with left and right swapped in half of the images, as published for SimMIM."""


def views(name: ViewName, among: Mapping[ViewName, Augmentation] = VIEWS) -> Augmentation:
    """Take a named set of random changes: `scan`, `tissue` or `photograph`.

    Raises:
        SettingsError: another name.

    >>> views("scan").flip_horizontal, views("tissue").quarter_turns
    (0.0, True)
    """
    if name not in among:
        raise SettingsError(
            "Pre-training", f"views among {', '.join(get_args(ViewName))}", f"got {name!r}",
            "Choose one of these, or give an Augmentation.",
        )  # fmt: skip
    return among[name]


def _changing(value: Augmentation | None) -> Augmentation | None:
    if value == Augmentation.preset("none"):
        raise ValueError("two views that are the same teach nothing: switch some change on")
    return value


def _named(value: object) -> object:
    return views(value) if isinstance(value, str) else value  # type: ignore[arg-type]


def _named_mild(value: object) -> object:
    return views(value, MILD_VIEWS) if isinstance(value, str) else value  # type: ignore[arg-type]


ViewsChoice = Annotated[Augmentation | None, BeforeValidator(_named), AfterValidator(_changing)]
"""A setting: an augmentation, the name of a set of views, or None for what suits the images."""
MildViewsChoice = Annotated[Augmentation | None, BeforeValidator(_named_mild)]
"""The same with milder views by these names; views that change nothing are allowed."""
