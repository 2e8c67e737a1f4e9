"""How light skin is: its individual typology angle (ITA), and the Fitzpatrick type that goes with it.

An angle is measured from a picture, so that light and camera change it: treat types as groups for debiasing and for
scores by group, never as a finding about a person. `medgraft.images.skin_tone_calibration` fits thresholds to what
people said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.hair import remove_hair
from medgraft.images.preparation import LUMINANCE
from medgraft.images.resampling import resize

THRESHOLDS = (55.0, 41.0, 28.0, 19.0, 10.0)
"""Type 1 lies above the first, type 6 not above the last. Source: Groh et al. 2021, after Kinyanjui et al. 2020."""
BOXES = tuple(
    tuple(edge / 256 for edge in edges)
    for edges in (
        (230, 250, 115, 135), (5, 25, 115, 135), (115, 135, 5, 25), (115, 135, 230, 250),
        (216, 236, 216, 236), (216, 236, 20, 40), (20, 40, 20, 40), (20, 40, 216, 236),
    )
)  # fmt: skip
"""Top, bottom, left, right of eight boxes near the border, as parts of the height and width.

Source: the code of Bevan & Atapour-Abarghouei 2022, whose images have 256 x 256 pixels."""
LEAST_SIDE, MEASURED_SIDE = 32, 256
"""Pixels of the shorter side: that a box needs to hold a few; and beyond which the image is shrunk first."""
LEAST_YELLOWNESS = 2.3
"""b* of skin, at least: nearer to grey or bluer than one just noticeable difference (Mahy et al. 1994) is no skin."""
SKIN_CR, SKIN_CB = (133.0, 173.0), (77.0, 127.0)
"""Red and blue difference of skin, ends included, full range. Source: Chai & Ngan 1999."""
LEAST_SKIN = 0.05
"""Part of the image that has to look like skin."""
DRAWN = (0, 255, 255)
"""Red, green, blue of the box that is drawn: cyan, which no skin has."""


class Box(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


class SkinTone(NamedTuple):
    """What an image says of its skin.

    fitzpatrick: 1 (lightest) to 6; None is unknown: nothing in the image looks like skin.
    angle: ITA in degrees; NaN where unknown.
    box: where it was measured; None where unknown or where the whole skin was.
    """

    fitzpatrick: int | None
    angle: float
    box: Box | None = None


def lab(image: np.ndarray) -> np.ndarray:
    """CIELAB of a picture in sRGB, for the light D65 and the observer of 2 degrees.

    Args:
        image: (..., 3) uint8, or float in [0, 1].

    Returns: (..., 3) float64: L* in [0, 100], a* and b*.

    >>> lab(np.array([222, 178, 140], np.uint8)).round(1).tolist()
    [75.6, 10.8, 25.5]
    """
    encoded = image / 255.0 if image.dtype == np.uint8 else image.astype(float)
    pixels = torch.from_numpy(encoded.reshape(1, -1, 1, 3)).permute(0, 3, 1, 2)
    colours: np.ndarray = rgb_to_lab(pixels).permute(0, 2, 3, 1).numpy().reshape(image.shape)
    return colours


def typology_angle(lightness: float, yellowness: float, *, as_published: bool = False) -> float:
    """The individual typology angle of a colour, from -90 (dark) to 90 (light).

    Args:
        lightness, yellowness: L* and b*.
        as_published: arctan((L* - 50) / b*), whatever b* is. Dark blue (30, 30, 60) then has 62 degrees, the lightest
            type, and neutral grey 90.

    Returns: degrees; NaN where b* is below 2.3 (the published formula: where both parts are 0).

    Source: Chardon et al. 1991; Bevan & Atapour-Abarghouei 2022, equation 1.

    >>> round(typology_angle(75.6, 25.5), 1), typology_angle(12.8, -19.4)
    (45.1, nan)
    """
    if as_published:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.degrees(np.arctan(np.float64(lightness - 50) / yellowness)))
    if not yellowness >= LEAST_YELLOWNESS:
        return math.nan
    return math.degrees(math.atan2(lightness - 50, yellowness))


def fitzpatrick_type(angle: float, thresholds: Sequence[float] = THRESHOLDS) -> int | None:
    """The Fitzpatrick type that goes with an angle.

    Args:
        angle: ITA in degrees; NaN is unknown.
        thresholds: five, none above the one before it; a type begins just above its threshold.

    Returns: 1 to 6, or None.

    Raises:
        SettingsError: other thresholds.

    Source: Bevan & Atapour-Abarghouei 2022, equation 2.

    >>> [fitzpatrick_type(angle) for angle in (60.0, 55.0, 10.0, math.nan)]
    [1, 2, 6, None]
    """
    if len(thresholds) != 5 or not all(above >= below for above, below in pairwise(thresholds)):
        raise SettingsError(
            "The Fitzpatrick type", "five thresholds from light to dark, none above the one before",
            f"got {', '.join(str(each) for each in thresholds) or 'none'}", "Give numbers that do not rise.",
        )  # fmt: skip
    return None if math.isnan(angle) else 1 + sum(angle <= threshold for threshold in thresholds)


def skin_tone_at_border(
    image: np.ndarray, thresholds: Sequence[float] = THRESHOLDS, *, as_published: bool = False
) -> SkinTone:
    """Estimate the tone of a picture of a lesion from the lightest of eight boxes near its border.

    Hair is removed, L* and b* are averaged in each box, and the box with the highest angle wins. Grey and
    blue pixels (a ruler, a frame, gel, a cloth) are left out, and boxes that keep no more than half of their pixels are
    passed over.

    Args:
        image: (H, W, 3) uint8 or uint16, red, green, blue, sides of at least 32. Larger ones are shrunk to 256 first.
        thresholds: see `fitzpatrick_type`.
        as_published: no pixel is left out and no box passed over, see `typology_angle`: one grey box makes the image
            type 1.

    Returns: type, angle and box in the image's own pixels; unknown if every box was passed over.

    Raises:
        ShapeError: the image is grey, of another kind or too small.

    Source: Bevan & Atapour-Abarghouei 2022, section 3.2, and their code. Differs: boxes are parts of the image; hair is
        filled in as `medgraft.images.hair` says; beside its size, the image keeps its shape.

    >>> skin = np.full((64, 64, 3), (222, 178, 140), np.uint8)
    >>> tone = skin_tone_at_border(skin)
    >>> tone.fitzpatrick, round(tone.angle, 1), tone.box
    (2, 45.1, Box(top=58, bottom=63, left=29, right=34))
    """
    colours = lab(remove_hair(_shrunk(_checked("skin_tone_at_border", image))))
    angles = []
    for box in _boxes(*colours.shape[:2]):
        inside = colours[box.top : box.bottom, box.left : box.right]
        lightness, _, yellowness = inside.mean(axis=(0, 1)) if as_published else _skin_colour(inside)
        angles.append(typology_angle(lightness, yellowness, as_published=as_published))
    if all(math.isnan(angle) for angle in angles):
        return SkinTone(None, math.nan)
    lightest = int(np.nanargmax(np.round(angles, 6)))  # of equal boxes the first, whatever rounding says
    angle = angles[lightest]
    return SkinTone(fitzpatrick_type(angle, thresholds), angle, _boxes(*image.shape[:2])[lightest])


def skin_tone_of_skin(image: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> SkinTone:
    """Estimate the tone from all that looks like skin, lesions and shadows included but for their extremes.

    L* and b* are averaged over pixels of skin's colour within one standard deviation of the mean, each by itself.

    Args:
        image: (H, W, 3) uint8 or uint16, red, green, blue, sides of at least 32. Larger ones are shrunk to 256 first.
        thresholds: see `fitzpatrick_type`.

    Returns: type and angle; unknown if less than a twentieth looks like skin.

    Raises:
        ShapeError: the image is grey, of another kind or too small.

    Source: the YCbCr mask that Groh et al. 2021 use, limits of Chai & Ngan 1999, averages after Kinyanjui et al. 2020.
        Differs: the angle has no value where the average is grey or blue.

    >>> skin_tone_of_skin(np.full((64, 64, 3), (160, 110, 75), np.uint8)).fitzpatrick
    6
    """
    small = _shrunk(_checked("skin_tone_of_skin", image))
    skin = skin_mask(small)
    if skin.mean() < LEAST_SKIN:
        return SkinTone(None, math.nan)
    lightness, _, yellowness = lab(small)[skin].T
    angle = typology_angle(_middle(lightness), _middle(yellowness))
    return SkinTone(fitzpatrick_type(angle, thresholds), angle)


def skin_mask(image: np.ndarray) -> np.ndarray:
    """Which pixels have a colour that skin may have: (H, W, 3) uint8 to (H, W) bool.

    Source: limits of Chai & Ngan 1999; differences by ITU-R BT.601.

    >>> skin_mask(np.array([[[222, 178, 140], [120, 130, 150]]], np.uint8)).tolist()
    [[True, False]]
    """
    luma = image @ np.array(LUMINANCE)
    red, blue = 0.713 * (image[..., 0] - luma) + 128, 0.564 * (image[..., 2] - luma) + 128
    mask: np.ndarray = (SKIN_CR[0] <= red) & (red <= SKIN_CR[1]) & (SKIN_CB[0] <= blue) & (blue <= SKIN_CB[1])
    return mask


def draw_box(image: np.ndarray, tone: SkinTone) -> np.ndarray:
    """Show where the tone was measured: a cyan frame on a copy of the picture.

    Args:
        image: (H, W, 3) uint8 or uint16, red, green, blue.
        tone: of this image.

    Returns: (H, W, 3) uint8; a plain copy where there is no box.

    >>> skin = np.full((64, 64, 3), (222, 178, 140), np.uint8)
    >>> drawn = draw_box(skin, skin_tone_at_border(skin))
    >>> drawn[58, 29].tolist(), drawn[60, 31].tolist()
    ([0, 255, 255], [222, 178, 140])
    """
    drawn = _checked("draw_box", image).copy()
    if tone.box is not None:
        inside = drawn[tone.box.top : tone.box.bottom, tone.box.left : tone.box.right]
        line = max(1, min(image.shape[:2]) // 128)
        for edge in (inside[:line], inside[-line:], inside[:, :line], inside[:, -line:]):
            edge[:] = DRAWN
    return drawn


def _checked(who: str, image: np.ndarray) -> np.ndarray:
    """The picture in 8 bits."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ShapeError(
            who, "a colour picture (H, W, 3) uint8 or uint16", f"got {image.dtype} {image.shape}",
            "Skin tone cannot be told from grey pictures; give red, green and blue of 8 or 16 bits.",
        )  # fmt: skip
    if min(image.shape[:2]) < LEAST_SIDE:
        raise ShapeError(
            who, f"sides of at least {LEAST_SIDE} pixels", f"got {image.shape[0]} x {image.shape[1]}",
            "Give the picture as it was taken, not shrunk.",
        )  # fmt: skip
    return image if image.dtype == np.uint8 else np.rint(image / 65535 * 255).astype(np.uint8)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The picture with a shorter side of at most 256 pixels."""
    height, width = image.shape[:2]
    factor = MEASURED_SIDE / min(height, width)
    if factor >= 1:
        return image
    size = (round(height * factor), round(width * factor))
    small = resize(torch.tensor(image).permute(2, 0, 1).float(), size)
    return small.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def _boxes(height: int, width: int) -> list[Box]:
    edges = (
        (height * top, height * bottom, width * left, width * right) for top, bottom, left, right in BOXES
    )
    return [Box(*(math.floor(edge + 0.5) for edge in each)) for each in edges]


def _skin_colour(colours: np.ndarray) -> np.ndarray:
    """The mean (3,) of the colours (H, W, 3) in CIELAB that are as yellow as skin; NaN unless most of them are."""
    skin = colours[colours[..., 2] >= LEAST_YELLOWNESS]
    most = 2 * len(skin) > colours[..., 2].size
    mean: np.ndarray = skin.mean(axis=0) if most else np.full(3, np.nan)
    return mean


def _middle(values: np.ndarray) -> float:
    """The mean of what lies within one standard deviation of the mean."""
    near = np.abs(values - values.mean()) <= values.std() + 1e-9  # rounding, where all are equal
    return float(values[near].mean())
