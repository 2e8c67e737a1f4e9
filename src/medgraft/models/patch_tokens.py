"""Patches of a vision transformer: how to hide some before positions are added, and the map that they end in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from medgraft.errors import ModelError
from medgraft.models.masked_images import MaskToken, spread_masks
from medgraft.models.model import Model


def patch_embedding(model: Model) -> PatchEmbed:
    """The layer that embeds patches of a ViT, Swin or the like.

    Raises:
        ModelError: the model embeds no square patches by themselves, as convolutional networks do not.

    >>> from medgraft.models.sources import open_source
    >>> patch_embedding(open_source("random/test_vit", kind="encode")).patch_size
    (16, 16)
    """
    embedding = getattr(getattr(model, "net", None), "patch_embed", None)
    if not isinstance(embedding, PatchEmbed) or len(set(embedding.patch_size)) > 1:
        raise ModelError(
            "Masking patches", "a network that embeds square patches one by one, such as ViT or Swin",
            f"{getattr(model, 'architecture', type(model).__name__)!r} does not",
            "Start from a vision transformer, for instance timm/swin_tiny_patch4_window7_224.",
        )  # fmt: skip
    return embedding


@contextmanager
def hidden_patches(model: Model, token: MaskToken, masks: Tensor) -> Iterator[None]:
    """Let a token stand for the hidden patches of whatever the model sees inside, before positions are added.

    Args:
        model: ViT, Swin or the like.
        token: of as many channels as a patch's embedding.
        masks: (B, h, w) bool of units, True is hidden; a unit is one patch or a square of several.

    Raises:
        ModelError: the model embeds no patches.
        ShapeError: on use, a patch would lie in two units, or the images are of another number.

    Source: Xie et al. 2022 (SimMIM), section 3.

    >>> import torch
    >>> from medgraft.models.sources import open_source
    >>> model, token = open_source("random/test_vit", kind="encode", size=(32, 32)).eval(), MaskToken(64)
    >>> with hidden_patches(model, token, torch.ones(2, 2, 2, dtype=torch.bool)):
    ...     one, other = model(torch.rand(2, 3, 32, 32))
    >>> torch.equal(one, other)  # nothing was seen
    True
    """

    def hide(embedding: PatchEmbed, images: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        height, width = images[0].shape[2:]
        spread = spread_masks(masks, *embedding.dynamic_feat_size((height, width)))
        hidden: Tensor = token(tokens, spread.flatten(1) if tokens.ndim == 3 else spread)
        return hidden

    handle = patch_embedding(model).register_forward_hook(hide)
    try:
        yield
    finally:
        handle.remove()


def as_map(network: nn.Module, images: Tensor, outputs: Tensor) -> Tensor | None:
    """What a timm network's `forward_features` gave for images, as (B, D, h, w); None where it is no map of them.

    Tokens of a list are laid out as the patches were, and those that stand for no patch (class, registers) left out.
    """
    if outputs.ndim == 4:
        return outputs.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "") == "NHWC" else outputs
    embedding = getattr(network, "patch_embed", None)
    if outputs.ndim != 3 or not isinstance(embedding, PatchEmbed):
        return None
    rows, columns = embedding.dynamic_feat_size((images.shape[2], images.shape[3]))
    patches = outputs[:, int(getattr(network, "num_prefix_tokens", 0)) :]
    if patches.shape[1] != rows * columns:
        return None
    return patches.transpose(1, 2).reshape(len(images), -1, rows, columns)
