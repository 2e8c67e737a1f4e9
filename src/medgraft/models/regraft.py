"""Put a new head, other channels or another image size on a model, and say what became of every tensor."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError
from torch import Tensor

from medgraft.errors import ModelError
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec, refused, with_channels
from medgraft.models.storage import from_tree, tree
from medgraft.types import Kind, Preparation

Outcome = Literal["loaded", "adapted", "dropped", "new"]
logger = logging.getLogger(__name__)


class PlanRow(NamedTuple):
    """What became of one tensor; `shape_from` is None where it is new, `shape_to` where it was dropped."""

    tensor: str
    outcome: Outcome
    shape_from: tuple[int, ...] | None
    shape_to: tuple[int, ...] | None


class Plan(NamedTuple):
    """What became of every tensor of a source: loaded, adapted (channels, positions, depth), dropped or new."""

    rows: tuple[PlanRow, ...]

    def names(self, outcome: Outcome) -> tuple[str, ...]:
        """Tensors with this outcome."""
        return tuple(row.tensor for row in self.rows if row.outcome == outcome)

    @property
    def has_new_head(self) -> bool:
        """Whether something has to be trained before the model is of use: only heads may be new."""
        return bool(self.names("new"))

    def summary(self) -> str:
        """One sentence: how many tensors had which outcome, and which were not simply loaded.

        >>> rows = (PlanRow("a", "loaded", (2,), (2,)), PlanRow("b", "new", None, (3,)))
        >>> Plan(rows).summary()
        '1 loaded, 1 new (b).'
        """
        parts = []
        for outcome in get_args(Outcome):
            names = self.names(outcome)
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            if names:
                parts.append(f"{len(names)} {outcome}" + (f" ({shown})" if outcome != "loaded" else ""))
        return ", ".join(parts) + "."

    def table(self) -> list[dict[str, str]]:
        """One dictionary per tensor: tensor, outcome, from, to; shapes as in ``"64x3x7x7"``, or empty."""
        return [
            {
                "tensor": row.tensor,
                "outcome": row.outcome,
                "from": _shape(row.shape_from),
                "to": _shape(row.shape_to),
            }
            for row in self.rows
        ]


def regraft(
    model: Model,
    classes: Sequence[str],
    channels: int | None = None,
    *,
    kind: Kind | None = None,
    size: tuple[int, ...] | None = None,
    dimensions: Literal[2, 3] | None = None,
    keep_source_head: bool = False,
    deep_supervision: bool = False,
) -> tuple[Model, Plan]:
    """A copy of a model for other classes, channels, kind, image size or for volumes; the model given stays as it was.

    The head is loaded where kind and class names (in order) are the same, else newly initialised from the
    global generator. First convolutions are adapted to other channels, position embeddings to another size, filters
    of images to volumes (`inflate`).
    The copy lies on the CPU, in training mode, with every parameter trainable.

    Args:
        model: any model; of one that wraps another and says which (`Model.wraps`), the inner one is regrafted and the
            rest copied.
        classes: names in output order; empty with ``kind="encode"``.
        channels: input channels; None keeps them.
        kind: what the copy is for; None keeps it, and turns an encoder into a classifier (a U-Net into a
            segmenter).
        size: (H, W) or (D, H, W) in pixels to prepare images to; None keeps it.
        dimensions: 3 makes a U-Net of images one of volumes, whose preparation has no size, spacing or patch yet;
            None keeps what it is.
        keep_source_head: also keep the source's head, as `source_head`.
        deep_supervision: give inner decoders of a U-Net heads for training; those of the source are loaded where its
            head is. Without it they are dropped.

    Returns: the copy, and the plan that says what became of every tensor.

    Raises:
        ModelError: the model cannot serve that kind, wraps another without saying which, or its body would not be
            carried over whole.

    >>> from medgraft.models.backbones import Classifier
    >>> source = Classifier(ModelSpec(classes=("cat", "dog")), architecture="test_resnet")
    >>> model, plan = regraft(source, ["benign", "malignant", "unsure"], channels=1)
    >>> plan.names("adapted"), plan.names("new")
    (('net.conv1.0.weight',), ('net.fc.weight', 'net.fc.bias'))
    """
    spec = _target_spec(model, tuple(classes), channels, kind, size, dimensions)
    config = model.config()
    if model.wraps is not None:
        inner, plan = regraft(
            config[model.wraps],
            spec.classes,
            kind=spec.kind,
            size=size,
            keep_source_head=keep_source_head,
            deep_supervision=deep_supervision,
        )
        return _told(model, *_wrapped_again(model, inner, plan, spec))
    if any(isinstance(value, Model) for value in config.values()):
        raise ModelError(
            "regraft",
            "a model that does not wrap another",
            f"{type(model).__name__} does",
            "Regraft its inner model.",
        )
    state = model.resized_state(spec.preparation.size) if spec.preparation.size else model.state_dict()
    source_head = [name for name in model.blocks().get("head", ()) if not name.startswith("deep_head")]
    if keep_source_head:
        if not source_head or "source_classes" not in config:
            raise ModelError(
                "regraft", "a classifier or a U-Net with a head to keep", f"got a {type(model).__name__} of kind "
                f"{model.spec.kind!r}", "Leave keep_source_head out, or start from a model that has classes.",
            )  # fmt: skip
        state |= {_kept_name(name): state[name] for name in source_head}
    if "source_classes" in config:
        config["source_classes"] = list(model.spec.classes) if keep_source_head else []
    if deep_supervision and "deep_supervision" not in config:
        raise ModelError(
            "Deep supervision", "a U-Net", f"got a {type(model).__name__}", "Leave deep_supervision out."
        )
    if "deep_supervision" in config:
        config["deep_supervision"] = deep_supervision
    grafted = type(model).from_config(config, spec)

    same_head = (model.spec.kind, model.spec.classes) == (spec.kind, spec.classes)
    fresh = frozenset(name for name in grafted.blocks().get("head", ()) if not (same_head and name in state))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes |= {_kept_name(name): shapes[name] for name in source_head if keep_source_head}
    plan = transfer(state, grafted, fresh, channels=(model.spec.channels, spec.channels), shapes=shapes)
    missing = [name for name in plan.names("new") if name not in fresh]
    if missing:
        raise ModelError(
            "regraft", "to carry over everything but the head",
            f"{len(missing)} tensors do not fit, the first "
            f"{missing[0]!r}", "Keep channels and size as they were, or start from another source.",
        )  # fmt: skip
    return _told(model, grafted, plan)


def _told(model: Model, grafted: Model, plan: Plan) -> tuple[Model, Plan]:
    """The regrafted model with what happened in its provenance."""
    provenance = grafted.spec.provenance
    history = [*provenance.get("history", []), f"regrafted: {plan.summary()}"]
    grafted.spec = grafted.spec.changed(provenance=provenance | {"history": history})
    logger.info("Regrafted %s: %s", provenance.get("source", type(model).__name__), plan.summary())
    return grafted, plan


def _wrapped_again(model: Model, inner: Model, plan: Plan, spec: ModelSpec) -> tuple[Model, Plan]:
    """A copy of a wrapper around another inner model, and the inner one's plan as that of the whole."""
    name = str(model.wraps)
    config = {key: copy.deepcopy(value) for key, value in model.config().items() if key != name}
    wrapper = type(model).from_config(config | {name: inner}, spec)
    wrapper.cpu().train().requires_grad_(True)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    kept = [
        PlanRow(key, "loaded", shape, shape)
        for key, shape in shapes.items()
        if not key.startswith(f"{name}.")
    ]
    return wrapper, Plan((*kept, *(row._replace(tensor=f"{name}.{row.tensor}") for row in plan.rows)))


def reinitialise(model: Model) -> Model:
    """The same architecture and spec with everything it learned forgotten, batch-norm statistics included.

    Drawn from the global generator, so the same seed gives the same weights; the model given stays as it was.

    >>> import torch
    >>> from medgraft.models.backbones import Classifier
    >>> model = Classifier(ModelSpec(classes=("benign", "malignant")), architecture="test_resnet")
    >>> bool(torch.equal(reinitialise(model).net.fc.weight, model.net.fc.weight))
    False
    """
    fresh = from_tree(tree(model))
    fresh.spec = model.spec.changed(
        provenance={
            "source": "random",
            "architecture_of": model.spec.provenance.get("source", "an unnamed source"),
        }
    )
    return fresh


def transfer(
    state: Mapping[str, Tensor],
    model: Model,
    fresh: frozenset[str] = frozenset(),
    *,
    channels: tuple[int, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Plan:
    """Copy every tensor that fits into a model, in place, and say what became of each.

    Args:
        state: tensors by the names they have in `model`.
        model: receives them.
        fresh: names that stay as they are in `model` whatever `state` holds.
        channels: (from, to) input channels; weights differing in just these are adapted.
        shapes: shapes to report as `shape_from` where they differ from those in `state`.
    """
    known = shapes or {}
    rows: list[PlanRow] = []
    taken: dict[str, Tensor] = {}
    own = model.state_dict()
    for name, target in own.items():
        source = None if name in fresh else state.get(name)
        if source is not None and (source.ndim, target.ndim) == (4, 5):
            source = inflate(source, target.shape[2])
        if source is not None and _differs_in_channels(source, target, channels):
            source = adapt_channels(source, target.shape[1])
        if source is None or source.shape != target.shape:
            rows.append(PlanRow(name, "new", None, tuple(target.shape)))
            continue
        taken[name] = source
        before = known.get(name, tuple(state[name].shape))
        outcome: Outcome = "loaded" if before == tuple(target.shape) else "adapted"
        rows.append(PlanRow(name, outcome, before, tuple(target.shape)))
    model.load_state_dict(taken, strict=False)
    dropped = [name for name in state if name not in taken]
    rows.extend(PlanRow(name, "dropped", known.get(name, tuple(state[name].shape)), None) for name in dropped)
    return Plan(tuple(rows))


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """First-layer weights for another number of input channels, keeping the size of its response.

    To one channel the weights are summed: exact for a grey image that was replicated. To more they are
    repeated in turn and scaled by old / new channels.

    Args:
        weight: (O, C, ...) float.
        channels: new C.

    Source: timm's `adapt_input_conv`, there for three channels only.

    >>> import torch
    >>> adapt_channels(torch.tensor([[1.0, 2.0, 3.0]]), 1)
    tensor([[6.]])
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    order = [channel % weight.shape[1] for channel in range(channels)]
    return weight[:, order] * (weight.shape[1] / channels)


def inflate(weight: Tensor, depth: int) -> Tensor:
    """Filters of images as filters of volumes that see in every slice what they saw in an image.

    In odd depths the filter is the middle plane and the others are zero until training fills them. In even depths,
    those of enlarging filters, every plane is the filter, as each of them makes a slice of its own.

    Args:
        weight: (O, C, H, W) float.
        depth: planes of the result.

    Returns: (O, C, depth, H, W).

    Source: Arnab et al. 2021, section 3.4, central frame. Differs from Carreira & Zisserman 2017, who repeat the filter
        and divide by the depth: that dims the outermost slices, which are padded with zeros, and blurs along depth.

    >>> import torch
    >>> inflate(torch.tensor([[[[2.0]]]]), 3).flatten()
    tensor([0., 2., 0.])
    """
    repeated = weight.unsqueeze(2).repeat(1, 1, depth, 1, 1)
    if depth % 2:
        repeated[:, :, : depth // 2] = 0
        repeated[:, :, depth // 2 + 1 :] = 0
    return repeated


def _target_spec(
    model: Model,
    classes: tuple[str, ...],
    channels: int | None,
    kind: Kind | None,
    size: tuple[int, ...] | None,
    dimensions: Literal[2, 3] | None,
) -> ModelSpec:
    able = type(model).kinds
    if kind is None:
        kind = model.spec.kind
        if kind == "encode" and classes:
            kind = "classify" if "classify" in able else "segment"
    if kind not in able:
        raise ModelError(
            "regraft", f"a model that can {kind}",
            f"{type(model).__name__} can only {', '.join(sorted(able))}",
            "Start from random/unet or a saved U-Net." if kind == "segment" else "Start from a timm network.",
        )  # fmt: skip
    preparation = model.spec.preparation
    if dimensions not in (None, preparation.dimensions):
        preparation = _of_volumes(model)
    try:
        preparation = with_channels(preparation, preparation.channels if channels is None else channels)
        sized: dict[str, Any] = {} if size is None else {"size": size, "spacing": None}
        return model.spec.changed(
            kind=kind,
            classes=classes,
            channels=preparation.channels,
            preparation=type(preparation)(**preparation.model_dump() | sized),
        )
    except ValidationError as problem:
        raise refused("regraft", problem) from problem


def _of_volumes(model: Model) -> Preparation:
    """The preparation of an image model as that of a volume model."""
    preparation = model.spec.preparation
    if 3 not in model.dimensions or preparation.dimensions == 3:
        raise ModelError(
            "regraft to other dimensions", "a U-Net of images, to become one of volumes",
            f"got a {type(model).__name__} of {preparation.dimensions} dimensions", "Start from another source.",
        )  # fmt: skip
    if preparation.slices > 1:
        raise ModelError(
            "regraft to other dimensions", "a model that sees one slice at a time",
            f"this one sees {preparation.slices} as channels", "Start from another source.",
        )  # fmt: skip
    # sizes of images say nothing about volumes
    return preparation.model_copy(update={"dimensions": 3, "size": None, "spacing": None, "patch": None})


def _differs_in_channels(source: Tensor, target: Tensor, channels: tuple[int, int] | None) -> bool:
    if channels is None or channels[0] == channels[1] or source.ndim < 2 or source.ndim != target.ndim:
        return False
    rest = (*source.shape[:1], *source.shape[2:]) == (*target.shape[:1], *target.shape[2:])
    return rest and (source.shape[1], target.shape[1]) == channels


def _kept_name(name: str) -> str:
    return f"source_head.{name.rsplit('.', 1)[1]}"


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "x".join(map(str, shape)) or "scalar"
