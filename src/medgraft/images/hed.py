"""Stains of tissue by colour deconvolution: amounts of haematoxylin, eosin and DAB, and random changes of them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.color import check_rgb, check_unit_rgb, exp_, fresh, log, mix_channels

RGB_FROM_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density in red, green and blue of haematoxylin, eosin and DAB (rows), as published."""

Scale = Literal["modern", "legacy"]
"""`modern`: scikit-image since 0.18, -log(rgb) in units of log(1e6) = 13.8, white is 0 of each stain, tissue about 0 to
0.1. `legacy`: before 0.18, -log(rgb + 2), white is (-1.33, 0.39, -0.97), tissue about -1.3 to 0.6. Published ranges of
HED jitter mean `legacy`; the same numbers in `modern` bias about 4 times as strongly and scale about 20 times less."""

FAINTEST = 1e-6
"""Darkest value of the modern scale, which has no logarithm of 0."""
PRESETS = {"light": 0.05, "strong": 0.2}


def rgb_to_hed(images: Tensor, scale: Scale = "modern", clamp: bool = False) -> Tensor:
    """Separate colours into amounts of haematoxylin, eosin and DAB.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        scale: unit of the amounts, see `Scale`.
        clamp: set negative amounts to 0, as scikit-image does in its modern scale. They then cannot be turned back
            exactly: many pixels of tissue hold slightly negative amounts.

    Returns: (B, 3, H, W) haematoxylin, eosin, DAB, in the images' dtype.

    Raises:
        ShapeError: the images are no float RGB images.
        DataError: values leave [0, 1] by more than rounding.
        SettingsError: no such scale, or `clamp` with the legacy scale, whose amounts are negative by nature.

    Source: Ruifrok & Johnston 2001; `rgb2hed` of scikit-image. Differs: no clamping unless asked for.

    >>> rgb_to_hed(torch.ones(1, 3, 1, 1)).flatten().abs()
    tensor([0., 0., 0.])
    """
    check_unit_rgb("rgb_to_hed", images)
    _check_scale("rgb_to_hed", scale)
    _check_clamp("rgb_to_hed", scale, clamp)
    stains = mix_channels(_logarithm(_full(images), scale), _hed_from_rgb().T / _unit(scale))
    return (stains.clamp_(min=0.0) if clamp else stains).to(images.dtype)


def hed_to_rgb(stains: Tensor, scale: Scale = "modern") -> Tensor:
    """Colours of amounts of haematoxylin, eosin and DAB.

    Args:
        stains: (B, 3, H, W) float, as `rgb_to_hed` gives them.
        scale: unit of the amounts, see `Scale`.

    Returns: (B, 3, H, W) red, green, blue, clipped to [0, 1].

    Raises:
        ShapeError: there are not three float channels.
        SettingsError: no such scale.

    Source: Ruifrok & Johnston 2001; `hed2rgb` of scikit-image.

    >>> hed_to_rgb(torch.tensor([0.05, 0.0, 0.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.6383, 0.6166, 0.8185])
    """
    check_rgb("hed_to_rgb", stains)
    _check_scale("hed_to_rgb", scale)
    logarithm = mix_channels(_full(stains), _rgb_from_hed().T * _unit(scale))
    return _colours(exp_(logarithm), scale).to(stains.dtype)


def jitter_hed(
    images: Tensor, gain: Tensor, bias: Tensor, scale: Scale = "modern", clamp: bool = False
) -> Tensor:
    """Change the amount of each stain: multiply by `gain`, add `bias`.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        gain: (B, 3) of haematoxylin, eosin, DAB; 1 changes nothing.
        bias: (B, 3) in the unit of the scale; 0 changes nothing. Without bias white stays white in the modern scale,
            not in the legacy one.
        scale: see `Scale`.
        clamp: set negative amounts to 0 first, as `rgb_to_hed` does.

    Returns: like `images`, clipped to [0, 1].

    Raises:
        ShapeError: the images are no float RGB images, or gain and bias are not (B, 3).
        DataError: values leave [0, 1] by more than rounding.
        SettingsError: no such scale, or `clamp` with the legacy scale.

    Source: Tellez et al. 2018. Differs: one 3 x 3 matrix per image in log(rgb), which is the same without clamping;
        no rounding to bytes.

    >>> pink = torch.tensor([0.8, 0.5, 0.7]).view(1, 3, 1, 1)
    >>> jitter_hed(pink, torch.tensor([[1.0, 1.2, 1.0]]), torch.zeros(1, 3)).flatten()
    tensor([0.7956, 0.4628, 0.6940])
    """
    check_unit_rgb("jitter_hed", images)
    _check_scale("jitter_hed", scale)
    _check_clamp("jitter_hed", scale, clamp)
    if not gain.shape == bias.shape == (len(images), 3):
        raise ShapeError(
            "jitter_hed", f"gain and bias of shape ({len(images)}, 3)",
            f"got {tuple(gain.shape)} and {tuple(bias.shape)}", "Give three numbers of each per image.",
        )  # fmt: skip
    forward, back, unit = _hed_from_rgb(), _rgb_from_hed(), _unit(scale)
    factor, offset, full = gain.double().cpu(), unit * (bias.double().cpu() @ back), _full(images)
    if clamp:
        stains = rgb_to_hed(full, scale, clamp) * factor.to(full)[..., None, None]
        changed = _colours(exp_(mix_channels(stains, back.T * unit, offset)), scale)
    else:
        changed = _folded(full, (forward * factor[:, None] @ back).mT, offset, scale)
    return changed.to(images.dtype)


class HEDParameters(NamedTuple):
    """What happens to the stains of each image of a batch."""

    gain: Tensor
    """(B, 3) factors of haematoxylin, eosin, DAB."""
    bias: Tensor
    """(B, 3) in the unit of the scale."""


class HEDJitter(BaseModel):
    """Random amounts of each stain, independently for each image: what other laboratories do to colours.

    Source: Tellez et al. 2018 and 2019 (HED-light 0.05, HED-strong 0.2, both in the legacy scale).

    >>> tiles = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> HEDJitter.preset("light")(tiles, torch.Generator().manual_seed(1)).shape
    torch.Size([4, 3, 8, 8])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain: Annotated[float, Field(ge=0, lt=1)] = PRESETS["light"]
    """Largest change of the factor, which lies in [1 - gain, 1 + gain]."""
    bias: Annotated[float, Field(ge=0)] = PRESETS["light"]
    """Largest summand, either way, in the unit of the scale."""
    scale: Scale = "legacy"
    """Unit of the amounts; `legacy` is what the published ranges mean."""

    @classmethod
    def preset(cls, name: Literal["light", "strong"]) -> HEDJitter:
        """Take a published range: `light` (0.05) or `strong` (0.2), in the legacy scale.

        >>> HEDJitter.preset("strong")
        HEDJitter(gain=0.2, bias=0.2, scale='legacy')
        """
        if name not in PRESETS:
            raise SettingsError(
                "HEDJitter", f"a preset among {', '.join(PRESETS)}", f"got {name!r}", "Choose one of these."
            )
        return cls(gain=PRESETS[name], bias=PRESETS[name])

    def sample(self, batch_size: int, generator: torch.Generator) -> HEDParameters:
        """Draw gain and bias of each stain of each image, with a generator on the CPU."""
        gain, bias = 2 * torch.rand(2, batch_size, 3, generator=generator, dtype=torch.float64) - 1
        return HEDParameters(1 + self.gain * gain, self.bias * bias)

    def apply(self, images: Tensor, parameters: HEDParameters) -> Tensor:
        """Change (B, 3, H, W) images in [0, 1] exactly as the parameters say."""
        return jitter_hed(images, *parameters, scale=self.scale)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch at random: `sample`, then `apply`."""
        return self.apply(images, self.sample(len(images), generator))


def _rgb_from_hed() -> Tensor:
    return torch.tensor(RGB_FROM_HED, dtype=torch.float64)


def _hed_from_rgb() -> Tensor:
    inverse: Tensor = torch.linalg.inv(_rgb_from_hed())
    return inverse


def _unit(scale: Scale) -> float:
    """What an amount of 1 with a density of 1 adds to the logarithm of a colour."""
    return math.log(FAINTEST) if scale == "modern" else -1.0


def _folded(images: Tensor, weights: Tensor, offset: Tensor, scale: Scale) -> Tensor:
    """Each image's logarithm times its (3, 3) of `weights`, plus its (3,) of `offset`, and back."""
    result = fresh(images)
    weights = torch.cat([weights, offset[..., None]], 2).mul_(math.log2(math.e)).to(images)
    together = 1 if images.device.type == "cpu" else max(1, len(images))  # one image fits into the cache
    logarithm = images.new_ones(together, 4, *images.shape[2:])  # the fourth channel takes the offset
    for start in range(0, len(images), together):
        some = slice(start, start + together)
        _logarithm(images[some], scale, out=logarithm[:, :3])
        rows = torch.bmm(weights[some], logarithm.flatten(2), out=result[some].flatten(2))
        _colours(rows.exp2_(), scale)
    return result


def _logarithm(images: Tensor, scale: Scale, out: Tensor | None = None) -> Tensor:
    light = (
        torch.clamp(images, min=FAINTEST, out=out) if scale == "modern" else torch.add(images, 2.0, out=out)
    )
    return log(light, out=light)


def _colours(light: Tensor, scale: Scale) -> Tensor:
    return (light if scale == "modern" else light.sub_(2.0)).clamp_(0.0, 1.0)


def _full(values: Tensor) -> Tensor:
    return values.float() if values.element_size() < 4 else values


def _check_scale(who: str, scale: Scale) -> None:
    if scale not in ("modern", "legacy"):
        raise SettingsError(who, "the scale 'modern' or 'legacy'", f"got {scale!r}", "Choose one of these.")


def _check_clamp(who: str, scale: Scale, clamp: bool) -> None:
    if clamp and scale == "legacy":
        raise SettingsError(
            who, "the modern scale for clamping", "got clamp with 'legacy', where white itself is negative",
            "Leave out clamp, or take the modern scale.",
        )  # fmt: skip
