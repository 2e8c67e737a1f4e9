"""The small network of studies on stains, known to timm as `stain_cnn`, so that `random/stain_cnn` opens it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256, 512)
HIDDEN = 256


class StainCNN(nn.Module):
    """Five stages of two 3 x 3 convolutions with batch norm and ReLU, of which the second halves the size; their mean;
    dropout; a dense layer of 256; the head.

    Args:
        num_classes: outputs; 0 puts out what the head would see.
        in_chans: channels of the images.
        drop_rate: chance of dropping each of the 512 means.

    Source: Raipuria et al. 2022, supplement, after Tellez et al. 2019. Differs: raw outputs, where its table prints a
        ReLU; halving by the stride of the second convolution, which it does not tell.

    >>> import torch
    >>> StainCNN(num_classes=2).eval().forward_features(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 512, 2, 2])
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.5) -> None:
        super().__init__()
        self.num_features, self.pretrained_cfg = WIDTHS[-1], {"input_size": (in_chans, 256, 256)}
        self.stages = nn.Sequential(*(_stage(*pair) for pair in pairwise((in_chans, *WIDTHS))))
        self.drop = nn.Dropout(drop_rate)
        self.hidden = nn.Linear(WIDTHS[-1], HIDDEN)
        self.head: nn.Module = nn.Linear(HIDDEN, num_classes) if num_classes else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """How timm lists the layers, input to output."""
        return {"stages": r"^stages\.(\d+)", "dense": r"^(?:hidden|head)"}

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 512, H / 32, W / 32)."""
        maps: Tensor = self.stages(images)
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps to (B, num_classes), or to the (B, 256) that the head sees."""
        features = self.hidden(self.drop(maps.mean(dim=(2, 3)))).relu()
        outputs: Tensor = features if pre_logits else self.head(features)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, stride in ((inputs, 1), (outputs, 2)):
        layers += [
            nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


@register_model
def stain_cnn(pretrained: bool = False, **settings: Any) -> StainCNN:
    """timm's way to `StainCNN`; there are no weights."""
    known = ("num_classes", "in_chans", "drop_rate")
    return StainCNN(**{name: value for name, value in settings.items() if name in known})
