"""Hue, saturation and value: what they are, and deterministic and random changes of them."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.color import check_unit_rgb

PRESETS = {"light": 0.1, "strong": 1.0}
HEXAGON = ((5.0,), (3.0,), (1.0,))
"""Where red, green and blue stand on the circle of hues, in sixths."""


def rgb_to_hsv(images: Tensor) -> Tensor:
    """Convert red, green and blue to hue, saturation and value.

    Args:
        images: (B, 3, H, W) float in [0, 1].

    Returns: (B, 3, H, W) hue in turns of the circle, [0, 1), 0 of greys; saturation, 0 of black; value; in [0, 1].

    Raises:
        ShapeError: the images are no float RGB images.
        DataError: values leave [0, 1] by more than rounding.

    Source: Smith 1978.

    >>> rgb_to_hsv(torch.tensor([0.0, 0.5, 0.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.3333, 1.0000, 0.5000])
    """
    check_unit_rgb("rgb_to_hsv", images)
    angle, vivid, bright = _hsv(images)
    return torch.stack([angle / 6 % 1, vivid, bright], 1)


def shift_hsv(images: Tensor, hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Turn the circle of hues, and move saturation and value towards 0 or 1.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        hue: (B,) in turns of the circle; 0 and 1 change nothing.
        saturation: (B,) in [-1, 1]: below 0 each pixel keeps the share 1 + s of its saturation, above 0 its saturation
            x becomes x (1 + (1 - x) s); grey stays grey.
        value: (B,) in [-1, 1]: below 0 each pixel keeps the share 1 + v of its value, above 0 it goes the share v of
            the way to 1.

    Returns: like `images`, in [0, 1].

    Raises:
        ShapeError: the images are no float RGB images, or there is not one number of each kind per image.
        DataError: values leave [0, 1] by more than rounding.

    Source: Tellez et al. 2019 and the published code of Faryna et al. 2021. Differs: no rounding to bytes.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> nothing = torch.zeros(1)
    >>> shift_hsv(red, torch.tensor([1 / 3]), nothing, nothing).flatten().round(decimals=3).abs()
    tensor([0., 1., 0.])
    """
    check_unit_rgb("shift_hsv", images)
    if not hue.shape == saturation.shape == value.shape == (len(images),):
        raise ShapeError(
            "shift_hsv", f"hue, saturation and value of shape ({len(images)},)",
            f"got {tuple(hue.shape)}, {tuple(saturation.shape)} and {tuple(value.shape)}",
            "Give one number of each per image.",
        )  # fmt: skip
    turned, less, darker = (change.to(images).view(-1, 1, 1) for change in (hue, saturation, value))
    angle, vivid, bright = _hsv(images)
    vivid = vivid * torch.where(less < 0, 1 + less, 1 + (1 - vivid) * less)
    bright = torch.where(darker < 0, bright * (1 + darker), bright + (1 - bright) * darker)
    place = (images.new_tensor(HEXAGON)[..., None] + (angle + 6 * turned)[:, None]) % 6
    missing = torch.minimum(place, 4 - place).clamp_(0.0, 1.0)
    return (bright[:, None] * (1 - vivid[:, None] * missing)).clamp_(0.0, 1.0)


class HSVParameters(NamedTuple):
    """What happens to the colours of each image of a batch."""

    hue: Tensor
    """(B,) turns."""
    saturation: Tensor
    """(B,) in [-1, 1]."""
    value: Tensor
    """(B,) in [-1, 1]."""


class HSVJitter(BaseModel):
    """Random hue and saturation, independently for each image.

    Source: Tellez et al. 2019 (HSV-light 0.1, HSV-strong 1; brightness is changed by its own operation).

    >>> tiles = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> HSVJitter.preset("light")(tiles, torch.Generator().manual_seed(1)).shape
    torch.Size([4, 3, 8, 8])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hue: Annotated[float, Field(ge=0, le=1)] = PRESETS["light"]
    """Largest turn of the circle of hues, either way."""
    saturation: Annotated[float, Field(ge=0, le=1)] = PRESETS["light"]
    """Largest change of saturation, either way, see `shift_hsv`."""
    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest change of value, either way, see `shift_hsv`."""

    @classmethod
    def preset(cls, name: Literal["light", "strong"]) -> HSVJitter:
        """Take a published range: `light` (0.1) or `strong` (1).

        >>> HSVJitter.preset("strong")
        HSVJitter(hue=1.0, saturation=1.0, value=0.0)
        """
        if name not in PRESETS:
            raise SettingsError(
                "HSVJitter", f"a preset among {', '.join(PRESETS)}", f"got {name!r}", "Choose one of these."
            )
        return cls(hue=PRESETS[name], saturation=PRESETS[name])

    def sample(self, batch_size: int, generator: torch.Generator) -> HSVParameters:
        """Draw the changes of each image, with a generator on the CPU."""
        draws = 2 * torch.rand(3, batch_size, generator=generator, dtype=torch.float64) - 1
        return HSVParameters(self.hue * draws[0], self.saturation * draws[1], self.value * draws[2])

    def apply(self, images: Tensor, parameters: HSVParameters) -> Tensor:
        """Change (B, 3, H, W) images in [0, 1] exactly as the parameters say."""
        return shift_hsv(images, *parameters)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch at random: `sample`, then `apply`."""
        return self.apply(images, self.sample(len(images), generator))


def _hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in sixths of the circle (0 of greys), saturation (0 of black), value; each (B, H, W)."""
    red, green, blue = images.unbind(1)
    bright = images.amax(1)
    chroma = bright - images.amin(1)
    width = torch.where(chroma > 0, chroma, 1.0)
    of_blue, of_green = (red - green) / width + 4, (blue - red) / width + 2
    angle = torch.where(
        bright == red, (green - blue) / width, torch.where(bright == green, of_green, of_blue)
    )
    return angle, chroma / torch.where(bright > 0, bright, 1.0), bright
