"""A backbone for colour images behind a module that colours one-channel images, and that module's files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from medgraft.errors import ModelError
from medgraft.models.colorization import RGB, ColorModule, one_channel
from medgraft.models.model import Model, register
from medgraft.models.spec import ModelSpec, with_channels
from medgraft.models.storage import load_model
from medgraft.types import JSON, Kind

BLOCK = "colorization"
"""The name of the module in a `Colorized` model, and of its block of parameters."""


@register
class Colorized(Model):
    """A backbone for colour images behind a module that colours one-channel images for it.

    Blocks: `colorization`, then the backbone's. Images are prepared without mean and standard deviation: the module
    brings its output to the backbone's range.

    Args:
        spec: that of the backbone but for its one channel; see `around`.
        colorization: the module.
        backbone: a model of images with three channels.

    Raises:
        ModelError: the backbone sees other than three channels, or the spec other than one.

    >>> import torch
    >>> from medgraft.models.colorization import DECONV
    >>> from medgraft.models.sources import open_source
    >>> backbone = open_source("random/test_resnet", classes=("benign", "malignant"))
    >>> model = Colorized.around(backbone, DECONV(width=4, blocks=1))
    >>> list(model.blocks())[:3], model(torch.zeros(2, 1, 40, 40)).shape
    (['colorization', 'stem', 'stage1'], torch.Size([2, 2]))
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("classify", "multilabel", "segment", "encode"))
    wraps: ClassVar[str | None] = "backbone"
    colorization: ColorModule
    backbone: Model

    def __init__(self, spec: ModelSpec, *, colorization: ColorModule, backbone: Model) -> None:
        seen = backbone.spec.preparation
        if seen.channels != RGB or seen.dimensions != 2 or seen.slices != 1:
            raise ModelError(
                "Colorized", "a backbone of images with three channels",
                f"got {type(backbone).__name__} for {seen.channels} channels in {seen.dimensions} dimensions",
                "Start from an RGB source, such as packaged/efficientnet_lite0 or timm/resnet18.a1_in1k.",
            )  # fmt: skip
        if spec.channels != 1:
            raise ModelError(
                "Colorized", "one channel, which it colours", f"the spec has {spec.channels}",
                "Leave the channels at 1, or take its inner model `backbone`.",
            )  # fmt: skip
        super().__init__(spec)
        self.colorization, self.backbone = colorization, backbone

    @classmethod
    def around(cls, backbone: Model, module: ColorModule) -> Colorized:
        """A backbone, itself and not a copy, behind a copy of a module in the backbone's range."""
        preparation = backbone.spec.preparation
        spec = backbone.spec.changed(channels=1, preparation=one_channel(preparation))
        return cls(spec, colorization=module.in_front_of(preparation), backbone=backbone)

    def bare_backbone(self) -> Model:
        """A copy of the backbone alone, that prepares images as this model does, in three channels."""
        backbone = copy.deepcopy(self.backbone)
        seen, own = backbone.spec.preparation, with_channels(self.spec.preparation, RGB)
        backbone.spec = self.spec.changed(
            channels=RGB, preparation=own.model_copy(update={"mean": seen.mean, "std": seen.std})
        )
        return backbone

    def config(self) -> JSON:
        """Both parts."""
        return {BLOCK: self.colorization, "backbone": self.backbone}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to what the backbone puts out."""
        outputs: Tensor = self.backbone(self.colorization(images))
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) to the backbone's features (B, D)."""
        return self.backbone.features(self.colorization(images))

    def head_outputs(self, features: Tensor) -> Tensor:
        """(B, D) to (B, K)."""
        return self.backbone.head_outputs(features)

    def outputs_of_both_heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) to what the backbone's own head and the one kept from the source put out."""
        return self.backbone.outputs_of_both_heads(self.colorization(images))

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """`colorization`, then the backbone's blocks."""
        named = {BLOCK: tuple(f"{BLOCK}.{name}" for name, _ in self.colorization.named_parameters())}
        for block, names in self.backbone.blocks().items():
            named[block] = tuple(f"backbone.{name}" for name in names)
        return named


def save_colorization(model: Model, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a colorization module alone, to be used in front of other backbones.

    Args:
        model: the module, or a `Colorized` model that has one.
        folder: to be created; see `save_model`.
        overwrite: replace a model that is there already.

    Raises:
        ModelError: the model has no such module, or the folder exists.
    """
    return _module_of(model, "save_colorization").save(folder, overwrite=overwrite)


def load_colorization(folder: str | Path) -> ColorModule:
    """Read a module that `save_colorization` wrote, or take that of a saved `Colorized` model.

    Raises:
        ModelError: the folder holds no model, a damaged one, or one without such a module.
    """
    return _module_of(load_model(folder), f"load_colorization({str(folder)!r})")


def _module_of(model: Model, who: str) -> ColorModule:
    module = model.colorization if isinstance(model, Colorized) else model
    if not isinstance(module, ColorModule):
        raise ModelError(
            who, "a colorization module, or a model that has one", f"got a {type(model).__name__}",
            "Give what save_colorization wrote or the method colorization returned.",
        )  # fmt: skip
    return module
