"""What makes a classifier learn past stains: a decoder that gives the colours back, and losses of Stain-AgLr."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.pretraining_heads import PretrainingHeads
from medgraft.types import Kind

RGB = 3
KEPT = "stain_decoder:"
"""Before the block, in the name of a decoder that lies beside a model."""
WIDEST, NARROWEST = 512, 16
"""Channels of a decoder's first stage at most (as in the published encoder), and of any stage at least."""


class StainDecoder(nn.Module):
    """Draw a colour image from the last feature map of a classifier.

    As many stages as the map was halved, each two 3 x 3 convolutions with batch norm and ReLU, then twice the size
    (nearest pixel, the last stage to the size asked for); widths halve from that of the map, 512 at most and 16 at
    least; then a 3 x 3 convolution to red, green and blue, and a sigmoid. Nothing of the encoder is skipped across.

    Args:
        channels: of the feature map.
        halvings: stages.

    Source: Raipuria et al. 2022, supplement: stacked convolutions before upsampling in each stage. Differs: widths,
        upsampling and the output's activation are not published; these are ours.

    >>> decoder = StainDecoder(channels=96, halvings=5)
    >>> decoder.widths
    (96, 48, 24, 16, 16)
    >>> decoder(torch.zeros(2, 96, 2, 2), (64, 50)).shape
    torch.Size([2, 3, 64, 50])
    """

    def __init__(self, channels: int, halvings: int) -> None:
        super().__init__()
        first = min(channels, WIDEST)
        self.widths = tuple(max(NARROWEST, first >> stage) for stage in range(halvings))
        self.stages = nn.ModuleList(_Stage(*pair) for pair in pairwise((channels, *self.widths)))
        self.colours = nn.Conv2d((channels, *self.widths)[-1], RGB, 3, padding=1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) features to (B, 3, *size) images in [0, 1]."""
        for after, stage in zip(reversed(range(len(self.stages))), self.stages):
            height, width = (-(-side // 2**after) for side in size)
            features = functional.interpolate(stage(features), (height, width), mode="nearest")
        images: Tensor = self.colours(features).sigmoid()
        return images


class _Stage(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        super().__init__(*layers)


def decoder_for(model: Model, images: Tensor) -> tuple[StainDecoder, str]:
    """A fresh decoder, and the block of the model whose output it takes: the last map of more than one pixel.

    Args:
        model: a classifier; looked at in evaluation mode.
        images: (B, 3, H, W) as prepared, of the size that will be trained on.

    Raises:
        ModelError: the model has no such map, as vision transformers have none.
    """
    blocks = [block for block in model.blocks() if block not in ("head", "source_head")]
    with evaluation_mode(model), torch.no_grad():
        for block in reversed(blocks):
            found = model.activations(images, [block])[1][block]
            if _is_map(found, images):
                shrunk = images[0, 0].numel() / found[0, 0].numel()
                return StainDecoder(found.shape[1], round(math.log2(shrunk) / 2)), block
            if found[0].numel() != found.shape[1]:  # neither pooled: tokens, or channels last
                break
    raise ModelError(
        "Regenerating stains", "a network with feature maps (B, C, h, w) up to its last block",
        f"this {type(model).__name__} has none", "Choose a convolutional network, or set regeneration_weight=0.",
    )  # fmt: skip


def keep_decoder(method: str, decoder: StainDecoder, block: str) -> PretrainingHeads:
    """What a method leaves beside a model, so that `kept_decoder` finds the decoder and the block it draws from."""
    return PretrainingHeads.record(method, {f"{KEPT}{block}": decoder})


def kept_decoder(model: Model) -> tuple[StainDecoder, str] | None:
    """The decoder that lies beside a model's weights, in evaluation mode, and the block it draws from; None without."""
    kept = model.pretraining_heads
    names = set() if kept is None else {key.split("/")[0] for key in kept.state if key.startswith(KEPT)}
    if kept is None or not names:
        return None
    (name,) = names
    state = kept.of(name)
    stages = {key.split(".")[1] for key in state if key.startswith("stages.")}
    decoder = StainDecoder(state["stages.0.0.weight"].shape[1], len(stages))
    decoder.load_state_dict(state)
    return decoder.eval(), name.removeprefix(KEPT)


def _is_map(found: Tensor, images: Tensor) -> bool:
    """Whether a block's output is a map of the images' shape, give or take a pixel of rounding."""
    if found.ndim != 4 or found.shape[2] * found.shape[3] == 1:
        return False
    (height, width), (rows, columns) = images.shape[2:], found.shape[2:]
    return abs(rows * width - columns * height) <= max(height, width)


def consistency_loss(raw: Tensor, altered: Tensor, kind: Kind = "classify") -> Tensor:
    """How far what is said of altered images is from what is said of the raw ones: KL(raw || altered).

    Args:
        raw: (B, K) logits of images as they are.
        altered: (B, K) logits of the same images in other stains.
        kind: `classify`, one softmax over classes; `multilabel`, a sigmoid per label, whose divergences are summed.

    Returns: scalar in nats, at least 0 but for rounding, float32 or more: the sum over classes, its mean over images.
        Both arguments have gradients. (`kl_div` with reduction "mean" divides by classes too: of two it gives half.)

    Raises:
        ShapeError: the two are not (B, K) alike.

    Source: Raipuria et al. 2022, equation 2. Differs: the reduction is not published; multilabel is ours.

    >>> consistency_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986123]]))  # ln(4 / 3) / 2
    tensor(0.1438)
    """
    if raw.ndim != 2 or raw.shape != altered.shape:
        raise ShapeError(
            "consistency_loss", "two (B, K) alike", f"got {tuple(raw.shape)} and {tuple(altered.shape)}",
            "Give logits of the same images in the same order.",
        )  # fmt: skip
    first, second = _log_probabilities(raw, kind), _log_probabilities(altered, kind)
    return (first.exp() * (first - second)).sum(dim=1).mean()


def _log_probabilities(logits: Tensor, kind: Kind) -> Tensor:
    """(B, K) of classes; (B, 2 K) of labels, present and absent."""
    logits = logits.float() if logits.element_size() < 4 else logits
    if kind == "multilabel":
        return functional.logsigmoid(torch.cat([logits, -logits], dim=1))
    return logits.log_softmax(dim=1)


def regeneration_loss(regenerated: Tensor, raw: Tensor) -> Tensor:
    """Squared distance of regenerated colours from the raw ones.

    Args:
        regenerated: (B, 3, H, W) in [0, 1].
        raw: (B, 3, H, W) in [0, 1], the images as they were before their stains were altered.

    Returns: scalar in [0, 3], float32 or more: the sum over channels, its mean over pixels and images, which is three
        times the usual mean squared error.

    Raises:
        ShapeError: the two have different shapes.

    Source: Raipuria et al. 2022, equation 3.

    >>> regeneration_loss(torch.full((1, 3, 2, 2), 0.5), torch.ones(1, 3, 2, 2))
    tensor(0.7500)
    """
    if regenerated.shape != raw.shape:
        raise ShapeError(
            "regeneration_loss", "two shapes alike", f"got {tuple(regenerated.shape)} and {tuple(raw.shape)}",
            "Decode to the size of the raw images.",
        )  # fmt: skip
    difference = regenerated.float() - raw.float() if raw.element_size() <= 4 else regenerated - raw
    return difference.square().sum(dim=1).mean()
