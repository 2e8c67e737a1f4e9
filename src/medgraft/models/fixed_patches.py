"""What MoCo v3 keeps fixed in a vision transformer: how patches are embedded, and where they are said to be."""

from __future__ import annotations

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import nn

from medgraft.models.model import Model


def find_transformer(model: nn.Module) -> VisionTransformer | None:
    """The vision transformer (ViT, not Swin and its like) that a model is made of; None for others."""
    return next((part for part in model.modules() if isinstance(part, VisionTransformer)), None)


def fix_positions(model: Model) -> None:
    """Give a vision transformer sine-cosine positions, in place; other models, and such without positions, stay.

    A quarter of the dimensions each is the sine and the cosine of the row and of the column, times frequencies that
    fall from 1 to 1/10000; class and register tokens are at 0.

    Source: Chen et al. 2021 (MoCo v3), section 4. Differs: the quarters' order, which has no meaning where patches are
        projected at random.

    >>> from medgraft.models.sources import open_source
    >>> model = open_source("random/test_vit", kind="encode")
    >>> fix_positions(model)
    >>> model.net.pos_embed.shape, model.net.pos_embed[0, 0].abs().max().item()  # the class token's
    (torch.Size([1, 101, 64]), 0.0)
    """
    network = find_transformer(model)
    if network is None or network.pos_embed is None:
        return
    held = network.pos_embed
    positions = build_sincos2d_pos_embed(list(network.patch_embed.grid_size), held.shape[2])
    with torch.no_grad():
        held.zero_()
        held[0, held.shape[1] - len(positions) :] = positions


def fixed_parameters(model: Model) -> frozenset[str]:
    """Names of the parameters that embed patches and say where they are; none but in a vision transformer.

    Source: Chen et al. 2021 (MoCo v3), section 3.3: trained, they make the training of a transformer unstable.

    >>> from medgraft.models.sources import open_source
    >>> sorted(fixed_parameters(open_source("random/test_vit", kind="encode")))
    ['net.patch_embed.proj.bias', 'net.patch_embed.proj.weight', 'net.pos_embed']
    """
    network = find_transformer(model)
    if network is None:
        return frozenset()
    fixed = {*network.patch_embed.proj.parameters(), network.pos_embed}
    return frozenset(name for name, parameter in model.named_parameters() if parameter in fixed)
