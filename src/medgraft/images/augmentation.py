"""Random changes of training images and volumes: draw parameters, then call the deterministic functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from medgraft.errors import SettingsError
from medgraft.images.geometry import Outside, affine, affine_volume, flip, turn
from medgraft.images.hed import PRESETS as HED_RANGES
from medgraft.images.preparation import ValueRange
from medgraft.images.recolouring import (
    check_colours,
    draw_colours,
    draw_stains,
    ends_of,
    recolour,
    spare_from_jitter,
)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"must be (low, high), got {pair}")
    return pair


Chance = Annotated[float, Field(ge=0, le=1)]
Extent = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Factors = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ordered)
]
Areas = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_ordered)
]
Preset = Literal["none", "light", "strong", "dihedral", "hed_light", "hed_strong"]


class Parameters(NamedTuple):
    """What happens to each image of a batch; CPU tensors whose first dimension is the batch."""

    turns: Tensor
    """(B,) int64, counter-clockwise quarter turns."""
    horizontal: Tensor
    """(B,) bool."""
    vertical: Tensor
    """(B,) bool."""
    angle: Tensor
    """(B,) degrees, clockwise."""
    shift: Tensor
    """(B, 2) down and right, as shares of height and width."""
    shear: Tensor
    """(B, 2) degrees, along x and along y."""
    zoom: Tensor
    """(B,) factor."""
    crop: Tensor
    """(B, 4) top, left, height, width as shares of the image."""
    sharpness: Tensor
    """(B,) factor."""
    blur: Tensor
    """(B,) standard deviation in pixels."""
    equalise: Tensor
    """(B,) bool."""
    autocontrast: Tensor
    """(B,) bool."""
    contrast: Tensor
    """(B,) factor."""
    brightness: Tensor
    """(B,) factor."""
    gamma: Tensor
    """(B,) exponent."""
    noise: Tensor
    """(B,) standard deviation on the scale where black is 0 and white is 1."""
    seeds: Tensor
    """(B,) int64, of the noise."""
    depth: Tensor
    """(B,) bool; volumes only."""
    tilt: Tensor
    """(B, 2) degrees about the horizontal and the vertical axis; volumes only."""
    zoom_depth: Tensor
    """(B,) factor; volumes only."""
    hed_gain: Tensor
    """(B, 3) factors of haematoxylin, eosin, DAB."""
    hed_bias: Tensor
    """(B, 3) summands of the same, in the legacy scale of `rgb_to_hed`."""
    saturation: Tensor
    """(B,) factor."""
    hue: Tensor
    """(B,) turns of the circle."""
    greyscale: Tensor
    """(B,) bool."""
    solarise: Tensor
    """(B,) bool."""


class Augmentation(BaseModel):
    """Random changes of training images; masks move along. The defaults are the preset `light`.

    Applied in this order: turn, flips, one resampling for rotation, shift, shear, zoom and crop; then
    sharpness, blur, equalise, autocontrast, contrast, brightness, gamma, stains, saturation, hue, greyscale, solarise,
    noise. Left and right carry meaning
    in some images (heart side, laterality marks): set `flip_horizontal=0` there.

    Volumes change as their slices would, all alike, which suits thick slices; intensities are those of the whole volume
    and blur acts along depth too. `flip_depth`, `tilt` and `zoom_depth` move volumes across slices.

    >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> changed, mask = Augmentation()(images, torch.Generator().manual_seed(1))
    >>> changed.shape, mask
    (torch.Size([4, 1, 8, 8]), None)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_horizontal: Chance = 0.5
    """Probability of swapping left and right."""
    flip_vertical: Chance = 0.0
    """Probability of swapping top and bottom."""
    flip_depth: Chance = 0.0
    """Of volumes, probability of swapping first and last slice."""
    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees, equally often; square images only."""
    rotation: Extent = 15.0
    """Largest angle in degrees, either way."""
    tilt: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Of volumes, largest angle out of the plane of slices in degrees, either way and about either axis of a slice."""
    shift: Share = 0.05
    """Largest shift as a share of height and width, either way."""
    shear: Annotated[float, Field(ge=0, lt=45)] = 0.0
    """Largest shear in degrees, along either axis and either way."""
    zoom: Factors = (0.9, 1.1)
    """Smallest and largest enlargement."""
    zoom_depth: bool = False
    """Of volumes, whether `zoom` acts along depth too."""
    crop: Areas = (1.0, 1.0)
    """Smallest and largest share of the area that a random crop keeps; sides differ by up to 4 : 3."""
    brightness: Share = 0.1
    """Largest change of brightness as a share, either way."""
    contrast: Share = 0.1
    """Largest change of contrast as a share, either way."""
    gamma: Factors = (1.0, 1.0)
    """Smallest and largest exponent."""
    sharpness: Share = 0.0
    """Largest change of sharpness as a share, either way."""
    blur_chance: Chance = 0.0
    """Probability of blurring."""
    blur: Annotated[tuple[Extent, Extent], AfterValidator(_ordered)] = (0.1, 1.0)
    """Smallest and largest standard deviation of the blur in pixels."""
    noise_chance: Chance = 0.0
    """Probability of adding noise."""
    noise: Extent = 0.05
    """Largest standard deviation of the noise, where black is 0 and white is 1."""
    autocontrast: Chance = 0.0
    """Probability of stretching every channel to the full range."""
    equalise: Chance = 0.0
    """Probability of equalising the histogram of every channel."""
    saturation: Share = 0.0
    """Of colour images of three channels, largest change of saturation as a share, either way."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Of colour images of three channels, largest turn of the circle of hues, either way; 0.5 is half the circle."""
    jitter_chance: Chance = 1.0
    """Probability of changing brightness, contrast, saturation and hue: all of them, or none."""
    greyscale: Chance = 0.0
    """Of colour images of three channels, probability of taking their colour away."""
    solarise: Chance = 0.0
    """Probability of inverting what is brighter than the middle of the value range."""
    hed: Share = 0.0
    """Of colour images of three channels, largest change of gain and bias of each stain (haematoxylin, eosin, DAB) in
    the legacy scale; see `HEDJitter`."""
    outside: Outside = "reflect"
    """What is seen beyond the border: reflect, edge, or zero (black; label 0 in masks)."""

    @classmethod
    def preset(cls, name: Preset) -> Augmentation:
        """Take a named set: `none`, `light` (the defaults), `strong`, `dihedral`, `hed_light` or `hed_strong`.

        `dihedral`, flips and turns, suits tissue on a slide, which has no up and no left; it changes no intensities.
        `hed_light` and `hed_strong` also change brightness, contrast and stains of H&E (Tellez et al. 2019; without
        their scaling, elastic deformation, noise and blur).

        >>> Augmentation.preset("dihedral").quarter_turns
        True
        """
        if name not in PRESETS:
            raise SettingsError(
                "Augmentation",
                f"a preset among {', '.join(PRESETS)}",
                f"got {name!r}",
                "Choose one of these.",
            )
        return PRESETS[name]

    def in_place(self) -> Augmentation:
        """The same changes of intensities and colours, while everything stays where it is.

        >>> Augmentation.preset("hed_light").in_place().quarter_turns
        False
        """
        still = PRESETS["none"]
        return self.model_copy(update={name: getattr(still, name) for name in MOVING})

    def sample(
        self, batch_size: int, generator: torch.Generator, dimensions: Literal[2, 3] = 2
    ) -> Parameters:
        """Draw what shall happen to each image or volume.

        Args:
            batch_size: number of images.
            generator: on the CPU. The same numbers are drawn whatever is switched on, so switching one
                operation off leaves the others as they were.
            dimensions: 3 for volumes, for which more is drawn.

        Returns: the parameters for `apply`.
        """
        draw: Iterator[Tensor] = iter(torch.rand(DRAWS, batch_size, generator=generator, dtype=torch.float64))

        def between(low: float, high: float) -> Tensor:
            return low + (high - low) * next(draw)

        def geometric(low: float, high: float) -> Tensor:
            return torch.exp(between(math.log(low), math.log(high)))

        def chance(probability: float) -> Tensor:
            return next(draw) < probability

        turns = (4 * next(draw)).long()
        parameters = Parameters(
            turns=turns if self.quarter_turns else torch.zeros_like(turns),
            horizontal=chance(self.flip_horizontal),
            vertical=chance(self.flip_vertical),
            angle=between(-self.rotation, self.rotation),
            shift=torch.stack([between(-self.shift, self.shift) for _ in range(2)], 1),
            shear=torch.stack([between(-self.shear, self.shear) for _ in range(2)], 1),
            zoom=geometric(*self.zoom),
            crop=_crop_boxes(between(*self.crop), geometric(3 / 4, 4 / 3), next(draw), next(draw)),
            sharpness=between(1 - self.sharpness, 1 + self.sharpness),
            blur=chance(self.blur_chance) * between(*self.blur),
            equalise=chance(self.equalise),
            autocontrast=chance(self.autocontrast),
            contrast=between(1 - self.contrast, 1 + self.contrast),
            brightness=between(1 - self.brightness, 1 + self.brightness),
            gamma=geometric(*self.gamma),
            noise=chance(self.noise_chance) * between(0.0, self.noise),
            seeds=(2**31 * next(draw)).long(),
            depth=torch.zeros(batch_size, dtype=torch.bool),
            tilt=torch.zeros(batch_size, 2, dtype=torch.float64),
            zoom_depth=torch.ones(batch_size, dtype=torch.float64),
            hed_gain=torch.ones(batch_size, 3, dtype=torch.float64),
            hed_bias=torch.zeros(batch_size, 3, dtype=torch.float64),
            saturation=torch.ones(batch_size, dtype=torch.float64),
            hue=torch.zeros(batch_size, dtype=torch.float64),
            greyscale=torch.zeros(batch_size, dtype=torch.bool),
            solarise=torch.zeros(batch_size, dtype=torch.bool),
        )
        if self.hed:
            parameters = parameters._replace(**draw_stains(self.hed, parameters.seeds))
        colours = (self.saturation, self.hue, self.greyscale, self.solarise)
        if any(colours):
            parameters = parameters._replace(**draw_colours(*colours, parameters.seeds))
        if self.jitter_chance < 1:
            parameters = parameters._replace(**spare_from_jitter(parameters, self.jitter_chance))
        if dimensions == 2:
            return parameters
        draw = iter(torch.rand(DRAWS_ACROSS_SLICES, batch_size, generator=generator, dtype=torch.float64))
        return parameters._replace(
            depth=chance(self.flip_depth),
            tilt=torch.stack([between(-self.tilt, self.tilt) for _ in range(2)], 1),
            zoom_depth=parameters.zoom if self.zoom_depth else parameters.zoom_depth,
        )

    def apply(
        self,
        images: Tensor,
        parameters: Parameters,
        mask: Tensor | None = None,
        value_range: ValueRange | tuple[float, float] | None = (0.0, 1.0),
    ) -> tuple[Tensor, Tensor | None]:
        """Change a batch exactly as the parameters say.

        Args:
            images: (B, C, H, W) or (B, C, D, H, W) float, as prepared.
            parameters: from `sample`.
            mask: (B, H, W) or (B, D, H, W) integer labels that follow the geometry (nearest pixel), or None.
            value_range: the values of black and white in `images`, each a number or one per channel
                (`Preparer.value_range`); None takes each channel's own minimum and maximum.

        Returns: (images, mask), shapes and dtypes as given; intensities are clipped to the value range as
            soon as one intensity operation is on.

        Raises:
            ShapeError: stains or colours change, and these are no colour images of three channels.
            SettingsError: stains or colours change, and there is no value range.
        """
        check_colours(images, parameters, value_range)
        low, high = ends_of(images, value_range)
        images, mask = _move(images, parameters, mask, self.outside, black=low)
        return recolour(images, parameters, low, high), mask

    def __call__(
        self,
        images: Tensor,
        generator: torch.Generator,
        mask: Tensor | None = None,
        value_range: ValueRange | tuple[float, float] | None = (0.0, 1.0),
    ) -> tuple[Tensor, Tensor | None]:
        """Change a batch at random: `sample`, then `apply`."""
        parameters = self.sample(len(images), generator, 3 if images.ndim == 5 else 2)
        return self.apply(images, parameters, mask, value_range)


PRESETS: dict[Preset, Augmentation] = {
    "none": Augmentation(flip_horizontal=0, rotation=0, shift=0, zoom=(1, 1), brightness=0, contrast=0),
    "light": Augmentation(),
    "strong": Augmentation(
        rotation=30,
        shift=0.1,
        shear=10,
        zoom=(0.8, 1.25),
        crop=(0.6, 1.0),
        brightness=0.3,
        contrast=0.3,
        gamma=(0.7, 1.4),
        sharpness=0.5,
        blur_chance=0.2,
        noise_chance=0.2,
        autocontrast=0.1,
        equalise=0.1,
    ),
    "dihedral": Augmentation(
        flip_vertical=0.5, quarter_turns=True, rotation=0, shift=0, zoom=(1, 1), brightness=0, contrast=0
    ),
}
PRESETS["hed_light"], PRESETS["hed_strong"] = (
    PRESETS["dihedral"].model_copy(update={"brightness": 0.35, "contrast": 0.5, "hed": extent})
    for extent in (HED_RANGES["light"], HED_RANGES["strong"])
)

MOVING = (
    "flip_horizontal", "flip_vertical", "flip_depth", "quarter_turns",
    "rotation", "tilt", "shift", "shear", "zoom", "crop",
)  # fmt: skip
"""Settings that change where things are."""

DRAWS = 24
"""Uniform numbers that `sample` takes per image; a new operation draws its own from `seeds`, as stains and colours do,
so that all other numbers of a training stay as they were."""
DRAWS_ACROSS_SLICES = 3
"""Uniform numbers that `sample` takes per volume after these."""


def _crop_boxes(area: Tensor, ratio: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Boxes of this area and width : height, as far as they fit in the image; anywhere equally likely."""
    ratio = ratio.clamp(area, 1 / area)
    height, width = (area / ratio).sqrt(), (area * ratio).sqrt()
    return torch.stack([down * (1 - height), right * (1 - width), height, width], 1)


def _move(
    images: Tensor, parameters: Parameters, mask: Tensor | None, outside: Outside, black: Tensor
) -> tuple[Tensor, Tensor | None]:
    across = (parameters.tilt, parameters.zoom_depth)
    within_slices = not across[0].any() and bool((across[1] == 1).all())
    warped = (parameters.angle, parameters.shift, parameters.shear, parameters.zoom, parameters.crop)
    whole = parameters.crop.new_tensor([0.0, 0.0, 1.0, 1.0])
    still = not any(p.any() for p in warped[:3]) and bool(
        (warped[3] == 1).all() and (warped[4] == whole).all()
    )

    def moved(values: Tensor) -> Tensor:
        values = turn(values, parameters.turns)
        values = flip(values, parameters.horizontal, parameters.vertical, parameters.depth)
        if not within_slices:
            return affine_volume(values, *warped, *across, outside=outside)
        return values if still else affine(values, *warped, outside=outside)

    keeps_all = still and within_slices
    images = moved(images) if outside != "zero" or keeps_all else moved(images - black) + black
    return images, None if mask is None else moved(mask)
