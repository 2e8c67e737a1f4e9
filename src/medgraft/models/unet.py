"""A U-Net for images or volumes whose blocks have names, so that "first layers" and "bottleneck" mean something."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import gcd
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.model import Model, no_source_head, register
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind

Norm = Literal["batch", "instance", "group", "none"]
MOST_GROUPS = 8

_ByDimensions = dict[int, Callable[..., nn.Module]]
_CONVOLUTION: _ByDimensions = {2: nn.Conv2d, 3: nn.Conv3d}
_ENLARGEMENT: _ByDimensions = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM: _ByDimensions = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORM: _ByDimensions = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_POOL: dict[int, Callable[..., Tensor]] = {2: functional.max_pool2d, 3: functional.max_pool3d}


@register
class UNet(Model):
    """A U-Net that gives every pixel of an image, or voxel of a volume, a class.

    Blocks from input to output: encoder1 .. encoderN, bottleneck, decoderN .. decoder1, head. Inputs of any
    size work: they are padded inside by repeating their edge, and the outputs are cropped back.

    Args:
        spec: kind `segment`; or `encode`, which puts out the bottleneck's mean and has no head. Its preparation
            decides between images (B, C, H, W) and volumes (B, C, D, H, W).
        width: channels of encoder1, doubled at every level below.
        depth: number of halvings, N.
        residual: add a shortcut around each pair of convolutions.
        norm: after each convolution; `group` has at most 8 groups.
        source_classes: class names of a second head kept from the source; empty for none.
        deep_supervision: also give inner decoders but the lowest a head, for training only; see `outputs_at_levels`.
        flat_levels: of a volume with thick slices, how many first levels convolve and halve within slices only
            (1x3x3, 1x2x2); each is worth a factor of about two between slice distance and pixel spacing.

    Source: Ronneberger et al. 2015; Cicek et al. 2016 for volumes; Isensee et al. 2021 for thick slices.
        Differs: padded convolutions, a norm, a quarter of the width by default.

    >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=2)
    >>> list(model.blocks())
    ['encoder1', 'encoder2', 'bottleneck', 'decoder2', 'decoder1', 'head']
    >>> model(torch.zeros(1, 3, 50, 37)).shape
    torch.Size([1, 2, 50, 37])
    >>> from medgraft.types import Preparation
    >>> preparation = Preparation(dimensions=3, channels=1)
    >>> volumes = ModelSpec(kind="segment", classes=("rest", "lesion"), channels=1, preparation=preparation)
    >>> UNet(volumes, width=4, depth=2, flat_levels=1)(torch.zeros(1, 1, 7, 50, 37)).shape
    torch.Size([1, 2, 7, 50, 37])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("segment", "encode"))
    dimensions: ClassVar[frozenset[int]] = frozenset((2, 3))

    def __init__(
        self,
        spec: ModelSpec,
        *,
        width: int = 16,
        depth: int = 4,
        residual: bool = False,
        norm: Norm = "batch",
        flat_levels: int = 0,
        source_classes: Sequence[str] = (),
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(spec)
        if width < 1 or depth < 1 or norm not in get_args(Norm):
            raise ModelError(
                "UNet", f"width and depth of at least 1 and a norm among {', '.join(get_args(Norm))}",
                f"got width={width}, depth={depth}, norm={norm!r}", "Change these settings.",
            )  # fmt: skip
        axes = spec.preparation.dimensions
        if not 0 <= flat_levels <= (depth if axes == 3 else 0):
            raise ModelError(
                "UNet", f"at most {depth} flat levels, one per halving, and none for images",
                f"got flat_levels={flat_levels} for {axes} dimensions", "Change flat_levels.",
            )  # fmt: skip
        self.width, self.depth, self.residual = width, depth, residual
        self.norm: Norm = norm
        self.flat_levels = flat_levels
        self.source_classes = tuple(source_classes)
        self.deep_supervision = deep_supervision
        layers = _Layers(axes, norm, residual)
        channels = spec.channels
        for level in range(1, depth + 1):
            flat = level <= flat_levels
            self.add_module(f"encoder{level}", _Convolutions(channels, width, layers, flat))
            channels, width = width, width * 2
        self.bottleneck = _Convolutions(channels, width, layers, flat=False)
        for level in range(depth, 0, -1):
            self.add_module(f"decoder{level}", _Decoder(width, layers, flat=level <= flat_levels))
            width //= 2
        self.source_head: nn.Module | None = None
        if self.source_classes:
            self.source_head = layers.convolution(width, len(self.source_classes), (1,) * axes)
        self.deep_levels = range(2, depth) if deep_supervision and spec.kind == "segment" else range(0)
        for level in self.deep_levels:
            head = layers.convolution(width * 2 ** (level - 1), len(spec.classes), (1,) * axes)
            self.add_module(f"deep_head{level}", head)
        if spec.kind == "segment":
            self.head = layers.convolution(width, len(spec.classes), (1,) * axes)

    def config(self) -> JSON:
        """Width, depth, residual, norm, flat levels, kept source classes, whether inner decoders have heads."""
        names = ("width", "depth", "residual", "norm", "flat_levels", "deep_supervision")
        return {name: getattr(self, name) for name in names} | {"source_classes": list(self.source_classes)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) to logits (B, K, *spatial), or to features (B, D) for `encode`."""
        if self.spec.kind == "encode":
            return self.features(images)
        return self._outputs(images, [self.head])[0]

    def outputs_of_both_heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) to logits over `spec.classes` and over `source_classes`."""
        if self.source_head is None:
            raise no_source_head("outputs_of_both_heads")
        own, kept = self._outputs(images, [self.head, self.source_head])
        return own, kept

    def outputs_at_levels(self, images: Tensor, truth: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Logits of every head with the truth as it looks at that resolution, finest first.

        Args:
            images: (B, C, *spatial).
            truth: (B, *spatial) int64; edges are repeated and pixels picked (nearest), as large as the logits.

        Source: Isensee et al. 2021 (nnU-Net).

        >>> spec = ModelSpec(kind="segment", classes=("rest", "nucleus"))
        >>> model = UNet(spec, width=4, depth=3, deep_supervision=True)
        >>> pairs = model.outputs_at_levels(torch.zeros(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.int64))
        >>> [tuple(logits.shape) for logits, _ in pairs]
        [(1, 2, 32, 32), (1, 2, 16, 16)]
        """
        if not self.deep_levels:
            return super().outputs_at_levels(images, truth)
        padded, before = self._pad(images)
        decoded = self._decode(padded, [1, *self.deep_levels])
        pairs = [(self._cropped(self.head(decoded[1]), before, images.shape[2:]), truth)]
        whole = self._extended(truth[:, None].to(images.dtype), self._edges(truth.shape[1:]))
        for level in self.deep_levels:
            logits = self.get_submodule(f"deep_head{level}")(decoded[level])
            seen = functional.interpolate(whole, logits.shape[2:], mode="nearest")
            pairs.append((logits, seen[:, 0].to(truth.dtype)))
        return pairs

    def _outputs(self, images: Tensor, heads: Sequence[nn.Module]) -> list[Tensor]:
        padded, before = self._pad(images)
        inner = self._decode(padded, [1])[1]
        return [self._cropped(head(inner), before, images.shape[2:]) for head in heads]

    def _decode(self, padded: Tensor, levels: Collection[int]) -> dict[int, Tensor]:
        """What the decoders of these levels put out."""
        inner, skipped = self._encode(padded)
        found = {}
        for level in range(self.depth, 0, -1):
            inner = self.get_submodule(f"decoder{level}")(inner, skipped[level - 1])
            if level in levels:
                found[level] = inner
        return found

    @staticmethod
    def _cropped(outputs: Tensor, before: Sequence[int], lengths: Sequence[int]) -> Tensor:
        for axis, (start, length) in enumerate(zip(before, lengths), start=2):
            outputs = outputs.narrow(axis, start, length)
        return outputs

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Parameter names by block, input to output; the heads of inner decoders belong to the head."""
        found = super().blocks()
        deep = [name for level in self.deep_levels for name in found.pop(f"deep_head{level}")]
        if deep:
            found["head"] = (*deep, *found["head"])
        return found

    def layer_groups(self) -> dict[str, tuple[str, ...]]:
        """As nnU-Net calls its convolutions: those going down, after enlarging, enlarging, and putting out classes.

        >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=1)
        >>> {group: len(names) for group, names in model.layer_groups().items()}
        {'context': 12, 'localization': 6, 'transpose': 2, 'segmentation': 2}
        """
        found: dict[str, list[str]] = {
            group: [] for group in ("context", "localization", "transpose", "segmentation")
        }
        for name, _ in self.named_parameters():
            block, _, inner = name.partition(".")
            if block.startswith(("encoder", "bottleneck")):
                found["context"].append(name)
            elif not block.startswith("decoder"):
                found["segmentation"].append(name)
            else:
                found["transpose" if inner.startswith("enlarge.") else "localization"].append(name)
        return {group: tuple(names) for group, names in found.items()}

    def features(self, images: Tensor) -> Tensor:
        """Mean of the bottleneck over space: (B, C, *spatial) to (B, width * 2**depth)."""
        inner, _ = self._encode(self._pad(images)[0])
        return inner.mean(dim=tuple(range(2, inner.ndim)))

    def _encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        axes = self.spec.preparation.dimensions
        skipped: list[Tensor] = []
        inner = images
        for level in range(1, self.depth + 1):
            inner = self.get_submodule(f"encoder{level}")(inner)
            skipped.append(inner)
            inner = _POOL[axes](inner, kernel_size=_sides(2, axes, flat=level <= self.flat_levels))
        return self.bottleneck(inner), skipped

    def margins(self, sides: Sequence[int]) -> list[tuple[int, int]]:
        """How much is put before and after each axis of an image, so that inner maps can be laid over it.

        Height and width become at least two multiples of what is halved: norms need more than one value per channel.

        >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=2)
        >>> model.margins((50, 37))
        [(1, 1), (1, 2)]
        """
        found: list[tuple[int, int]] = []
        for axis, length in zip("DHW"[-self.spec.preparation.dimensions :], sides):
            unit, fewest = 2**self.depth, 2
            if axis == "D":
                unit, fewest = 2 ** (self.depth - self.flat_levels), 1
            missing = max(fewest, -(-length // unit)) * unit - length
            found.append((missing // 2, missing - missing // 2))
        return found

    def _pad(self, images: Tensor) -> tuple[Tensor, list[int]]:
        """Pad to a multiple of what is halved, and tell how much was put before each axis."""
        axes = "DHW"[-self.spec.preparation.dimensions :]
        if images.ndim != 2 + len(axes) or images.shape[1] != self.spec.channels:
            raise ShapeError(
                "UNet", f"images of shape (B, {self.spec.channels}, {', '.join(axes)})",
                f"got {tuple(images.shape)}",
                "Prepare them as model.spec.preparation says, or regraft its channels.",
            )  # fmt: skip
        margins = self.margins(images.shape[2:])
        return self._extended(images, self._edges(images.shape[2:])), [before for before, _ in margins]

    def _edges(self, sides: Sequence[int]) -> list[int]:
        """Margins as torch lists them, the last axis first."""
        return [side for margin in reversed(self.margins(sides)) for side in margin]

    @staticmethod
    def _extended(images: Tensor, edges: Sequence[int]) -> Tensor:
        return functional.pad(images, list(edges), mode="replicate") if any(edges) else images


class _Layers(NamedTuple):
    """What the layers of one network have in common."""

    dimensions: int
    norm: Norm
    residual: bool

    def convolution(self, inputs: int, outputs: int, sides: tuple[int, ...], bias: bool = True) -> nn.Module:
        around = tuple(side // 2 for side in sides)
        return _CONVOLUTION[self.dimensions](inputs, outputs, sides, padding=around, bias=bias)

    def enlargement(self, inputs: int, outputs: int, sides: tuple[int, ...]) -> nn.Module:
        return _ENLARGEMENT[self.dimensions](inputs, outputs, sides, stride=sides)

    def normalisation(self, channels: int) -> nn.Module:
        if self.norm == "batch":
            return _BATCH_NORM[self.dimensions](channels)
        if self.norm == "instance":
            return _INSTANCE_NORM[self.dimensions](channels, affine=True)
        if self.norm == "group":
            return nn.GroupNorm(gcd(MOST_GROUPS, channels), channels)
        return nn.Identity()


class _Convolutions(nn.Module):
    """Two convolutions of side 3, each with norm and ReLU; `residual` adds a shortcut before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, layers: _Layers, flat: bool) -> None:
        super().__init__()
        sides = _sides(3, layers.dimensions, flat)
        bias = layers.norm == "none"
        self.first = layers.convolution(inputs, outputs, sides, bias)
        self.first_norm = layers.normalisation(outputs)
        self.second = layers.convolution(outputs, outputs, sides, bias)
        self.second_norm = layers.normalisation(outputs)
        self.shortcut: nn.Module | None = None
        if layers.residual:
            ones = (1,) * layers.dimensions
            self.shortcut = layers.convolution(inputs, outputs, ones) if inputs != outputs else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        inner = self.first_norm(self.first(images)).relu()
        inner = self.second_norm(self.second(inner))
        if self.shortcut is not None:
            inner = inner + self.shortcut(images)
        return torch.relu(inner)


class _Decoder(nn.Module):
    """Doubles the size, halves the channels, and convolves together with what the encoder skipped across."""

    def __init__(self, inputs: int, layers: _Layers, flat: bool) -> None:
        super().__init__()
        self.enlarge = layers.enlargement(inputs, inputs // 2, _sides(2, layers.dimensions, flat))
        self.convolutions = _Convolutions(inputs, inputs // 2, layers, flat)

    def forward(self, inner: Tensor, skipped: Tensor) -> Tensor:
        outputs: Tensor = self.convolutions(torch.cat([skipped, self.enlarge(inner)], dim=1))
        return outputs


def _sides(side: int, dimensions: int, flat: bool) -> tuple[int, ...]:
    """Sides of a kernel; a flat one reaches over one slice only."""
    return (1, side, side) if flat else (side,) * dimensions
