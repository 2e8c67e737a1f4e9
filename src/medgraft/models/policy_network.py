"""The small network that looks at an image and chooses, layer by layer, between a tuned and a frozen copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 3

_CONVOLUTION: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class PolicyNetwork(nn.Module):
    """A residual network of three blocks that gives two logits per layer: tuned, frozen.

    With the default width, one input channel and 23 layers (a U-Net of depth 4) it has 1.2 million parameters.

    Args:
        channels: of the images.
        layers: L, how many layers it chooses for.
        width: channels of the first convolution, doubled by each block.
        dimensions: 2, images; 3, volumes.

    Source: the policy network published with SpotTUNet (Zakazov et al. 2021), after SpotTune (Guo et al. 2019).
        Differs: no duplicate blocks that nothing uses.

    >>> PolicyNetwork(channels=1, layers=5, width=4)(torch.zeros(2, 1, 20, 30)).shape
    torch.Size([2, 5, 2])
    """

    def __init__(self, channels: int, layers: int, width: int = 32, dimensions: int = 2) -> None:
        super().__init__()
        self.first = _CONVOLUTION[dimensions](channels, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(_Block(width * 2**stage, dimensions) for stage in range(STAGES)))
        width *= 2**STAGES
        self.norm = _BATCH_NORM[dimensions](width)
        self.choice = nn.Linear(width, 2 * layers)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) to logits (B, L, 2)."""
        inner = self.norm(self.blocks(self.first(images))).relu()
        logits: Tensor = self.choice(inner.flatten(2).mean(dim=2))
        return logits.reshape(len(logits), -1, 2)


class _Block(nn.Module):
    """Two convolutions that halve the size and double the channels; the shortcut is averaged, new channels are 0."""

    def __init__(self, inputs: int, dimensions: int) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTION[dimensions], _BATCH_NORM[dimensions]
        outputs = 2 * inputs
        self.first = convolution(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.first_norm = norm(outputs)
        self.second = convolution(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = norm(outputs)
        self.average: Any = _AVERAGE[dimensions]

    def forward(self, images: Tensor) -> Tensor:
        inner = self.first_norm(self.first(images)).relu()
        inner = self.second_norm(self.second(inner))
        sides = tuple(min(2, length) for length in images.shape[2:])
        # like the convolution, a side of odd length keeps the pixel left over
        shortcut = self.average(images, kernel_size=sides, ceil_mode=True)
        return torch.relu(inner + torch.cat([shortcut, torch.zeros_like(shortcut)], dim=1))


def draw_gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, on the CPU in float32.

    >>> draw_gumbel((100_000,), torch.Generator().manual_seed(0)).mean().round(decimals=1)  # Euler's constant
    tensor(0.6000)
    """
    return -torch.empty(shape).exponential_(generator=generator).log()


def choose_frozen(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Choices drawn by the Gumbel-max trick that pass their gradient on as a softmax does (straight-through).

    Args:
        logits: (B, L, 2), of tuned and frozen.
        noise: (B, L, 2) from `draw_gumbel`; zeros give the likelier choice.
        temperature: of the softmax, above 0; the lower, the more of the gradient is lost where a choice is clear.

    Returns: (B, L) float32, exactly 1 where the frozen copy is chosen and 0 where the tuned one is.

    Source: Jang et al. 2017. Differs from torch's `gumbel_softmax(hard=True)` in that no rounding is left in the
        choices: (1 - s) + s is not always 1.

    >>> logits = torch.tensor([[[0.0, 3.0], [3.0, 0.0]]])
    >>> choose_frozen(logits, torch.zeros(1, 2, 2), temperature=0.1)
    tensor([[1., 0.]])
    """
    perturbed = logits.float() + noise
    soft = (perturbed / temperature).softmax(dim=-1)[..., 1]
    return (perturbed[..., 1] > perturbed[..., 0]).float() + (soft - soft.detach())
