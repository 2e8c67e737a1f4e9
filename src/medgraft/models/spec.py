"""What a model is for and how its images are prepared; saved beside its weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medgraft.errors import ModelError
from medgraft.types import JSON, Kind, Preparation

FEWEST_CLASSES: dict[Kind, int] = {"classify": 2, "multilabel": 1, "segment": 2, "detect": 1, "encode": 0}


class ModelSpec(BaseModel):
    """What a model is for, what its outputs mean and how files become its input.

    >>> spec = ModelSpec(kind="classify", classes=("benign", "malignant"))
    >>> ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "classify"
    """What the outputs are: one class, several labels, a class per pixel, boxes, or features (`encode`)."""
    classes: tuple[str, ...] = ()
    """Class names in output order; for `segment` the first is the background. Empty for `encode`."""
    channels: int = Field(default=3, ge=1)
    """Input channels; always equal to `preparation.channels`."""
    preparation: Preparation = Preparation()
    """How file values become network input."""
    provenance: dict[str, Any] = {}
    """Where the weights come from, as JSON: source, licence, hash, history."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        repeated = [name for name, count in Counter(self.classes).items() if count > 1]
        if repeated:
            raise ValueError(f"class names must differ; repeated: {', '.join(repeated)}")
        if self.kind == "encode" and self.classes:
            raise ValueError("kind 'encode' has no classes; leave classes empty")
        fewest = FEWEST_CLASSES[self.kind]
        if len(self.classes) < fewest:
            raise ValueError(f"kind {self.kind!r} needs at least {fewest} classes, got {len(self.classes)}")
        if self.channels != self.preparation.channels:
            raise ValueError(
                f"channels ({self.channels}) must equal preparation.channels ({self.preparation.channels})"
            )
        return self

    def changed(self, **changes: Any) -> ModelSpec:
        """The same spec with some fields replaced, validated again; `channels` also changes the preparation.

        >>> ModelSpec(kind="encode").changed(channels=1).preparation.channels
        1
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields} | changes
        preparation = fields["preparation"]
        if "channels" in changes and "preparation" not in changes:
            preparation = with_channels(preparation, changes["channels"])
        fields["preparation"] = preparation
        return ModelSpec.model_validate(fields)

    def to_json(self) -> JSON:
        """The spec as plain JSON values; `ModelSpec.model_validate` reads them back."""
        plain: JSON = self.model_dump(mode="json")
        return plain


def refused(who: str, problem: ValidationError) -> ModelError:
    """What is wrong with arguments from which no `ModelSpec` can be made, as one sentence of `who`.

    >>> try:
    ...     ModelSpec(kind="encode", classes=("benign",))
    ... except ValidationError as problem:
    ...     print(refused("open_source", problem).got)
    kind 'encode' has no classes; leave classes empty
    """
    return ModelError(
        who, "classes, channels and size that go together",
        problem.errors()[0]["msg"].removeprefix("Value error, "), "Change the arguments.",
    )  # fmt: skip


def with_channels(preparation: Preparation, channels: int) -> Preparation:
    """The preparation for another number of input channels.

    Per-channel mean and standard deviation are averaged to one value each, then repeated.

    >>> with_channels(Preparation(mean=(0.2, 0.4, 0.6), std=(0.1, 0.1, 0.1)), 1).mean
    (0.4,)
    """
    fields: dict[str, Any] = {"channels": channels}
    if channels != preparation.channels:
        for name in ("mean", "std"):
            values: tuple[float, ...] | None = getattr(preparation, name)
            if values is not None:
                fields[name] = (round(sum(values) / len(values), 12),) * channels
    return Preparation.model_validate(preparation.model_dump() | fields)
