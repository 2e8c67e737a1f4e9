"""What random changes of training images do to intensities and colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.color import (
    autocontrast,
    brightness,
    contrast,
    equalise,
    gamma,
    greyscale,
    saturation,
    solarise,
)
from medgraft.images.distortions import blur, noise, sharpness
from medgraft.images.hed import HEDJitter, HEDParameters
from medgraft.images.hsv import shift_hsv

if TYPE_CHECKING:
    from medgraft.images.augmentation import Parameters

AFTER_NOISE = 2**31
"""Added to the seeds of the noise, which are below it, for numbers of the stains; twice it for those of colours; three
times for the choice of who is spared."""


def draw_stains(extent: float, seeds: Tensor) -> dict[str, Tensor]:
    """Gains and biases of stains, for each image from its own seed."""
    jitter = HEDJitter(gain=extent, bias=extent)
    drawn = [jitter.sample(1, torch.Generator().manual_seed(AFTER_NOISE + seed)) for seed in seeds.tolist()]
    gain, bias = (torch.cat(parts) for parts in zip(*drawn))
    return {"hed_gain": gain, "hed_bias": bias}


def draw_colours(
    saturation: float, hue: float, greyscale: float, solarise: float, seeds: Tensor
) -> dict[str, Tensor]:
    """Changes of colour, for each image from its own seed: all four are drawn, whichever are on.

    Args:
        saturation: largest change of the factor, and
        hue: largest turn, either way.
        greyscale: probability, and
        solarise: probability.
        seeds: (B,) int64, of the noise.

    Returns: the parameters of the same names, (B,) each.
    """
    generators = [torch.Generator().manual_seed(2 * AFTER_NOISE + seed) for seed in seeds.tolist()]
    drawn = [torch.rand(4, generator=generator, dtype=torch.float64) for generator in generators]
    first, second, third, fourth = torch.stack(drawn, 1)
    return {
        "saturation": 1 + saturation * (2 * first - 1),
        "hue": hue * (2 * second - 1),
        "greyscale": third < greyscale,
        "solarise": fourth < solarise,
    }


def spare_from_jitter(parameters: Parameters, chance: float) -> dict[str, Tensor]:
    """Leave some images their brightness, contrast, saturation and hue, each image by its own seed.

    Args:
        parameters: that were drawn for every image.
        chance: of keeping what was drawn.

    Returns: the four parameters, neutral where an image is spared.
    """
    seeds = (3 * AFTER_NOISE + parameters.seeds).tolist()
    drawn = [torch.rand((), generator=torch.Generator().manual_seed(seed)).item() for seed in seeds]
    spared = torch.tensor(drawn, dtype=torch.float64) >= chance
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    return {name: torch.where(spared, value, getattr(parameters, name)) for name, value in neutral.items()}


def recolour(images: Tensor, parameters: Parameters, low: Tensor, high: Tensor) -> Tensor:
    """Change intensities, then colours, then add noise.

    Args:
        images: (B, C, *spatial) float.
        parameters: of these images.
        low: of black, broadcasts with the images; as does
        high: of white.

    Returns: like `images`, clipped to [low, high] where anything changes, else the images themselves.
    """
    changes: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor, float]] = [
        (sharpness, parameters.sharpness, 1.0),
        (blur, parameters.blur, 0.0),
        (_where(equalise), parameters.equalise, 0.0),
        (_where(autocontrast), parameters.autocontrast, 0.0),
        (contrast, parameters.contrast, 1.0),
        (brightness, parameters.brightness, 1.0),
        (gamma, parameters.gamma, 1.0),
        (_restain(parameters), torch.cat([parameters.hed_gain - 1, parameters.hed_bias], 1), 0.0),
        (saturation, parameters.saturation, 1.0),
        (_turn_hue, parameters.hue, 0.0),
        (_where(greyscale), parameters.greyscale, 0.0),
        (_where(solarise), parameters.solarise, 0.0),
    ]
    active = [(change, strength) for change, strength, neutral in changes if (strength != neutral).any()]
    noisy = bool(parameters.noise.any())
    if not active and not noisy:
        return images
    extent = torch.where(high > low, high - low, 1.0)
    images = ((images - low) / extent).clamp(0.0, 1.0)
    for change, strength in active:
        images = change(images, strength)
    if noisy:
        images = noise(images, parameters.noise, parameters.seeds).clamp(0.0, 1.0)
    return images * extent + low


def ends_of(
    images: Tensor, value_range: tuple[float | Sequence[float], float | Sequence[float]] | None
) -> tuple[Tensor, Tensor]:
    """Values of black and white that broadcast with the images; without a range, each channel's own ends."""
    if value_range is None:
        space = tuple(range(2, images.ndim))
        return images.amin(space, keepdim=True), images.amax(space, keepdim=True)
    shape = (1, -1, *[1] * (images.ndim - 2))
    low, high = (torch.as_tensor(end).to(images).reshape(shape) for end in value_range)
    return low, high


def check_colours(images: Tensor, parameters: Parameters, value_range: object) -> None:
    """Refuse to change stains or colours of images that have none.

    Raises:
        ShapeError: these are no colour images of three channels.
        SettingsError: there is no value range.
    """
    changing = {
        "hed": (parameters.hed_gain != 1).any() or parameters.hed_bias.any(),
        "saturation": (parameters.saturation != 1).any(),
        "hue": parameters.hue.any(),
        "greyscale": parameters.greyscale.any(),
    }
    on = [name for name, changes in changing.items() if bool(changes)]
    if not on:
        return
    who, off = f"Augmentation.{on[0]}", " and ".join(f"{name}=0" for name in on)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ShapeError(
            who, "colour images (B, 3, H, W)", f"got {tuple(images.shape)}",
            f"Set {off}: grey images and volumes have no stains and no colours.",
        )  # fmt: skip
    if value_range is None:
        raise SettingsError(
            who, "a preparation that keeps black and white", "this one standardises each image",
            f"Set preparation.intensity='unit', or {off}.",
        )  # fmt: skip


def _restain(parameters: Parameters) -> Callable[[Tensor, Tensor], Tensor]:
    stains = HEDParameters(parameters.hed_gain, parameters.hed_bias)
    return lambda images, _: HEDJitter().apply(images, stains)


def _turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    nothing = torch.zeros_like(turns)
    return shift_hsv(images, turns, nothing, nothing)


def _where(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Apply a change without strength to the chosen images only."""

    def changed(images: Tensor, chosen: Tensor) -> Tensor:
        images, chosen = images.clone(), chosen.to(images.device)
        images[chosen] = change(images[chosen])
        return images

    return changed
