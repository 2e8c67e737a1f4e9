"""Specs hold together, round-trip through JSON, and carry their channels into the preparation."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from medgraft.models.spec import ModelSpec, with_channels
from medgraft.types import Preparation


def test_round_trips_through_json_text() -> None:
    spec = ModelSpec(
        kind="multilabel",
        classes=("nodule", "effusion"),
        channels=1,
        preparation=Preparation(size=(64, 48), channels=1, mean=(0.5,), std=(0.25,)),
        provenance={"source": "timm/resnet18", "history": ["a", "b"]},
    )
    assert ModelSpec.model_validate(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "classify", "classes": ("a", "a")}, "repeated: a"),
        ({"kind": "classify", "classes": ("a",)}, "at least 2"),
        ({"kind": "encode", "classes": ("a",)}, "has no classes"),
        ({"kind": "encode", "channels": 1}, "must equal preparation.channels"),
        ({"kind": "encode", "color": 1}, "Extra inputs"),
    ],
)
def test_refuses_what_does_not_hold_together(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate(fields)


def test_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelSpec(kind="encode").channels = 1  # type: ignore[misc]


def test_changed_checks_again() -> None:
    spec = ModelSpec(classes=("a", "b"))
    assert spec.changed(classes=("x", "y", "z")).classes == ("x", "y", "z")
    with pytest.raises(ValidationError, match="repeated"):
        spec.changed(classes=("x", "x"))


def test_grey_preparation_averages_the_channels_and_rgb_repeats_them() -> None:
    rgb = Preparation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    grey = with_channels(rgb, 1)
    assert grey.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert grey.std == pytest.approx((0.226,))
    assert with_channels(grey, 2).mean == (grey.mean or ()) * 2
    assert with_channels(rgb, 3) == rgb
