"""Any timm network as a classifier or encoder."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from typing import Any, ClassVar

import timm
from timm.layers.patch_embed import PatchEmbed
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

from medgraft.errors import ModelError, ShapeError
from medgraft.models import stain_cnn  # noqa: F401 - timm knows it once it is imported
from medgraft.models.model import Model, no_source_head, register
from medgraft.models.patch_tokens import as_map
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind

HEAD_STD = 0.01
"""Standard deviation of a new head's weights, whatever the architecture."""


@register
class Classifier(Model):
    """A timm network that classifies, labels or encodes images.

    Args:
        spec: kind `classify`, `multilabel` or `encode`. `preparation.size` also sets the input size of
            networks that have one (ViT, Swin); None keeps the network's own.
        architecture: name as timm lists it, without weights tag, e.g. ``"resnet18"``.
        source_classes: class names of a second head kept from the source; empty for none.

    Raises:
        ModelError: timm does not know the architecture, or its head is not one linear layer.

    >>> import torch
    >>> spec = ModelSpec(kind="classify", classes=("benign", "malignant"))
    >>> model = Classifier(spec, architecture="test_resnet")
    >>> list(model.blocks())
    ['stem', 'stage1', 'stage2', 'stage3', 'stage4', 'head']
    >>> model(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 2])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("classify", "multilabel", "encode"))

    def __init__(self, spec: ModelSpec, *, architecture: str, source_classes: Sequence[str] = ()) -> None:
        super().__init__(spec)
        self.architecture = architecture
        self.source_classes = tuple(source_classes)
        self.net = create_network(architecture, len(spec.classes), spec.channels)
        self._set_size(spec.preparation.size)
        head = self.net.get_classifier()
        if not isinstance(head, nn.Identity if spec.kind == "encode" else nn.Linear | nn.Conv2d):
            raise ModelError(
                "Classifier", "a network whose head is one linear layer",
                f"that of {architecture!r} is {type(head).__name__}", "Choose another architecture.",
            )  # fmt: skip
        self.source_head: nn.Module | None = None
        if self.source_classes:
            self.source_head = self._head_for(len(self.source_classes))

    @classmethod
    def create(cls, name: str, spec: ModelSpec, pretrained: bool = False) -> Classifier:
        """A classifier on the timm network `name`, with a new head.

        Args:
            name: architecture, optionally with a weights tag: ``"resnet18"``, ``"resnet18.a1_in1k"``.
            spec: what the model is for; its head is new, its channels are adapted.
            pretrained: download weights; otherwise initialise from the global generator.
        """
        if not pretrained:
            return cls(spec, architecture=name)
        from medgraft.models.regraft import regraft
        from medgraft.models.sources import open_source

        source = open_source(f"timm/{name}", channels=spec.channels)
        model = regraft(source, spec.classes, kind=spec.kind, size=spec.preparation.size)[0]
        assert isinstance(model, cls)
        model.spec = spec.changed(provenance=source.spec.provenance | spec.provenance)
        return model

    def config(self) -> JSON:
        """Architecture and kept source classes."""
        return {"architecture": self.architecture, "source_classes": list(self.source_classes)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, K), or to features (B, D) for `encode`."""
        self._check(images)
        outputs: Tensor = self.net(images)
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """What the head sees: (B, C, H, W) to (B, D)."""
        self._check(images)
        if self.spec.kind == "encode":
            encoded: Tensor = self.net(images)
            return encoded
        inner: Tensor = self.net.forward_head(self.net.forward_features(images), pre_logits=True)
        return inner.flatten(1)

    def last_map(self, images: Tensor) -> Tensor:
        """What features are pooled from: (B, C, H, W) to (B, D, h, w); of a ViT its patches without class token.

        Raises:
            ModelError: the network keeps no map of the image up to its head.

        >>> import torch
        >>> spec = ModelSpec(kind="encode", preparation={"size": (32, 48)})
        >>> Classifier(spec, architecture="test_vit").last_map(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 64, 2, 3])
        """
        self._check(images)
        found = as_map(self.net, images, self.net.forward_features(images))
        return super().last_map(images) if found is None else found

    @property
    def reduction(self) -> int | None:
        """Pixels per place of the last map along each axis, as timm tells it; of a ViT the side of a patch."""
        stages = getattr(self.net, "feature_info", None)
        return int(stages[-1]["reduction"]) if stages else None

    def head_outputs(self, features: Tensor) -> Tensor:
        """The head alone: features (B, D) to logits (B, K)."""
        if self.spec.kind == "encode":
            return super().head_outputs(features)
        return _apply_head(self.net.get_classifier(), features)

    def source_outputs(self, features: Tensor) -> Tensor:
        """The head kept from the source: features (B, D) to logits over `source_classes`.

        Raises:
            ModelError: none was kept.
        """
        if self.source_head is None:
            raise no_source_head("source_outputs")
        return _apply_head(self.source_head, features)

    def outputs_of_both_heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to logits over `spec.classes` and over `source_classes`."""
        features = self.features(images)
        return self.head_outputs(features), self.source_outputs(features)

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Parameter names by block: stem, stage1 .. stageN, neck (a last norm or the like, if any), head.

        The head is the classifying layer alone; a kept source head comes just before it.
        """
        prefix = _module_name(self.net, self.net.get_classifier()) + "."
        named: dict[str, tuple[str, ...]] = {}
        for place, names in enumerate(parameter_groups(self.net, f"{prefix}weight")):
            body = tuple(f"net.{name}" for name in names if not name.startswith(prefix))
            # timm may put a final norm and the head into one last group; what remains of it is the neck.
            block = "stem" if place == 0 else "neck" if len(body) < len(names) else f"stage{place}"
            if body:
                named[block] = body
        if self.source_head is not None:
            named["source_head"] = tuple(
                f"source_head.{name}" for name, _ in self.source_head.named_parameters()
            )
        head = tuple(f"net.{prefix}{name}" for name, _ in self.net.get_classifier().named_parameters())
        return named | ({"head": head} if head else {})

    def resized_state(self, size: tuple[int, ...]) -> dict[str, Tensor]:
        """This model's weights as they are for another input size: position embeddings interpolated."""
        net = copy.deepcopy(self.net)
        if hasattr(net, "set_input_size"):
            net.set_input_size(img_size=size)
        resized = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        return {name: resized.get(name, tensor) for name, tensor in self.state_dict().items()}

    def _head_for(self, classes: int) -> nn.Module:
        net = create_network(self.architecture, classes, self.spec.channels)
        head: nn.Module = net.get_classifier()
        return head

    def _set_size(self, size: tuple[int, ...] | None) -> None:
        own = own_size(self.net)
        if size is None or own is None or size == own:
            return
        if not hasattr(self.net, "set_input_size"):
            raise ModelError(
                "Classifier", f"images of {own[0]}x{own[1]} for {self.architecture!r}, which is fixed",
                f"preparation.size is {size[0]}x{size[1]}", "Use that size or another architecture.",
            )  # fmt: skip
        embedding = getattr(self.net, "patch_embed", None)
        if isinstance(embedding, PatchEmbed) and not embedding.dynamic_img_pad:
            fitting = [-(-side // patch) * patch for side, patch in zip(size, embedding.patch_size)]
            if fitting != list(size):
                raise ModelError(
                    "Classifier", f"a size that the patches of {self.architecture!r} divide, {embedding.patch_size[0]} "
                    "pixels each", f"{size[0]}x{size[1]} would leave a rest", f"Take {fitting[0]}x{fitting[1]}.",
                )  # fmt: skip
        try:
            self.net.set_input_size(img_size=size)
        except (AssertionError, ValueError, RuntimeError) as problem:
            raise ModelError(
                "Classifier", f"an input size that suits {self.architecture!r}",
                f"{size[0]}x{size[1]} does not ({problem})", "Use a multiple of its patch size.",
            ) from problem  # fmt: skip

    def _check(self, images: Tensor) -> None:
        size = own_size(self.net)
        if images.ndim != 4 or images.shape[1] != self.spec.channels:
            raise ShapeError(
                f"The model ({self.architecture})", f"images of shape (B, {self.spec.channels}, H, W)",
                f"got {tuple(images.shape)}",
                "Prepare them as model.spec.preparation says, or regraft its channels.",
            )  # fmt: skip
        if size is not None and tuple(images.shape[2:]) != size:
            raise ShapeError(
                f"The model ({self.architecture})", f"images of {size[0]}x{size[1]} pixels",
                f"got {images.shape[2]}x{images.shape[3]}",
                "Resize them, or use regraft(model, classes, size=(H, W)).",
            )  # fmt: skip


def create_network(architecture: str, classes: int, channels: int) -> Any:
    """A randomly initialised timm network.

    Raises:
        ModelError: timm does not know the architecture; the nearest names are listed.
    """
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=4) or ["resnet18"]
        raise ModelError(
            "Classifier",
            "an architecture that timm knows",
            f"got {architecture!r}",
            f"Try one of: {', '.join(near)}.",
        )
    network: Any = timm.create_model(architecture, pretrained=False, num_classes=classes, in_chans=channels)
    head = network.get_classifier()
    for layer in head.modules() if isinstance(head, nn.Module) else ():
        # some of timm's rules grow as classes get fewer: three classes would start at a loss of four instead of ln 3
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=HEAD_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def own_size(network: Any) -> tuple[int, ...] | None:
    """The only image size (H, W) a timm network takes, or None where any will do."""
    if not network.pretrained_cfg.get("fixed_input_size"):
        return None
    embedding = getattr(network, "patch_embed", None)
    height, width = getattr(embedding, "img_size", None) or network.pretrained_cfg["input_size"][-2:]
    return int(height), int(width)


def parameter_groups(network: Any, head: str, coarse: bool = True) -> list[list[str]]:
    """Parameter names of a timm network in blocks, input to output; `head` is listed even if it is gone.

    coarse: stages; else what they consist of, such as residual blocks.
    """
    names = list(dict.fromkeys([*(name for name, _ in network.named_parameters()), head]))
    if hasattr(network, "group_matcher"):
        matcher = network.group_matcher(coarse=coarse)
        groups = group_with_matcher(iter([(name, None) for name in names]), matcher)
        return [groups[place] for place in sorted(groups)]
    by_child: dict[str, list[str]] = {}
    for name in names:
        by_child.setdefault(name.split(".")[0], []).append(name)
    return list(by_child.values())


def _module_name(network: nn.Module, wanted: nn.Module) -> str:
    name: str = next(name for name, module in network.named_modules() if module is wanted)
    return name


def _apply_head(head: nn.Module, features: Tensor) -> Tensor:
    shaped = features[:, :, None, None] if isinstance(head, nn.Conv2d) else features
    outputs: Tensor = head(shaped)
    return outputs.flatten(1)
