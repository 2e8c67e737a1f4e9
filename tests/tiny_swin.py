"""A Swin transformer of 40 000 weights, in timm's registry under the name `tiny_swin` once this is imported."""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.swin_transformer import SwinTransformer


@register_model
def tiny_swin(pretrained: bool = False, **settings: Any) -> SwinTransformer:
    """Patches of 4, stride 16, 32 channels at the end."""
    known = {name: settings[name] for name in ("num_classes", "in_chans") if name in settings}
    network = SwinTransformer(
        img_size=64,
        window_size=4,
        embed_dim=8,
        depths=(1, 2, 1),
        num_heads=(1, 2, 2),
        drop_path_rate=0.0,
        **known,
    )
    network.pretrained_cfg = {"input_size": (3, 64, 64), "fixed_input_size": True}
    return network
