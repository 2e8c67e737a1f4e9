"""The colour of skin, from the melanin in its epidermis and the blood in its dermis."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

WAVELENGTHS = np.arange(400.0, 701.0, 10.0)
"""Nanometres at which everything here is computed."""
EPIDERMIS_CM = 0.006
SURFACE = 0.04
"""Part of the light that the surface reflects: the lower end of the 4 to 7 % of Anderson and Parrish 1981."""
SATURATION = 0.75
"""Part of the haemoglobin that carries oxygen."""
HAEMOGLOBIN = 150 / 64_500
"""Moles per litre of whole blood: 150 g/l of 64 500 g/mol."""
MELANIN = (0.005, 0.9)
"""Least and greatest volume fraction of melanosomes that is computed: from unpigmented skin to a black lesion."""
BLOOD = (0.002, 0.12)
"""Least and greatest volume fraction of blood: from pale skin to a red lesion."""
STEPS = 192, 24
"""Of the table that colours are read from."""

_OXYGENATED = np.array(
    [266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209.2, 26629.2, 23684.4, 20932.8, 20035.2, 24202.4,
     39956.8, 53236, 43016, 32613.2, 44496, 50104, 14400.8, 3200, 1506, 942, 610, 442, 368, 319.6, 294, 277.6, 276, 290]
)  # fmt: skip
_DEOXYGENATED = np.array(
    [223296, 303956, 407560, 528600, 413280, 103292, 23388.8, 16156.4, 14550, 16684, 20862, 25773.6, 31589.6, 39036.4,
     46592, 53412, 53788, 45072, 37020, 28324.4, 14677.2, 9443.6, 6509.6, 5148.8, 4345.2, 3750.12, 3226.56, 2795.12,
     2407.92, 2051.96, 1794.28]
)  # fmt: skip
"""Molar extinction, per cm and mole per litre. Source: Prahl's table, as commonly quoted."""
_DAYLIGHT = np.array(
    [82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35, 107.80, 104.79, 107.69, 104.41,
     104.05, 100.00, 96.33, 95.79, 88.69, 90.01, 89.60, 87.70, 83.29, 83.70, 80.03, 80.21, 82.28, 78.28, 69.72, 71.61]
)  # fmt: skip
"""Relative power of the CIE's illuminant D65."""
_RGB_FROM_XYZ = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)  # fmt: skip


def reflectance(melanin: np.ndarray | float, blood: np.ndarray | float) -> np.ndarray:
    """Reflectance of skin: of its surface, and of its dermis through the epidermis.

    Light crosses the epidermis, is scattered back by a deep dermis and crosses the epidermis again.

    Args:
        melanin: (...) volume fraction of melanosomes in the epidermis: 0.013 to 0.063 in light, 0.11 to 0.16 in
            moderately pigmented, 0.18 to 0.43 in dark skin.
        blood: (...) volume fraction of blood in the dermis: 0.002 to 0.07.

    Returns: (..., 31) from 0 to 1, at `WAVELENGTHS`.

    Source: absorption, scattering and volume fractions of Jacques 1998; extinction of haemoglobin by Prahl; Kubelka and
        Munk 1931 for the dermis, as Anderson and Parrish 1981 use it. Differs: light crosses the epidermis straight.

    >>> light, dark = reflectance(np.array([0.02, 0.3]), 0.02)[:, 15]  # at 550 nm
    >>> bool(light > 3 * dark)
    True
    """
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    without = 0.244 + 85.3 * np.exp(-(WAVELENGTHS - 154) / 66.2)
    pigmented = melanin * 6.6e11 * WAVELENGTHS**-3.33 + (1 - melanin) * without
    extinction = SATURATION * _OXYGENATED + (1 - SATURATION) * _DEOXYGENATED
    absorbed = blood * np.log(10) * extinction * HAEMOGLOBIN + (1 - blood) * without
    scattered = 2e5 * WAVELENGTHS**-1.5 + 2e12 * WAVELENGTHS**-4
    ratio = 2 * absorbed / (0.75 * scattered)
    deep = 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)
    found: np.ndarray = SURFACE + (1 - SURFACE) * deep * np.exp(-2 * pigmented * EPIDERMIS_CM)
    return found


def linear_rgb(spectra: np.ndarray) -> np.ndarray:
    """The colour of reflected daylight (D65) in linear sRGB; a perfect white has (1, 1, 1).

    Args:
        spectra: (..., 31) reflectance at `WAVELENGTHS`.

    Returns: (..., 3), clipped at 0.

    >>> linear_rgb(np.full(31, 0.5)).round(2).tolist()
    [0.5, 0.5, 0.5]
    """
    weights = _DAYLIGHT * colour_matching()
    # Each sum is scaled by its own white, so that what is cut off beyond the ends tints nothing.
    white = np.array([0.95047, 1.0, 1.08883]) / weights.sum(axis=1)
    linear: np.ndarray = ((spectra @ weights.T) * white @ _RGB_FROM_XYZ.T).clip(min=0.0)
    return linear


def colour_matching() -> np.ndarray:
    """What the eye's three sums of a spectrum (X, Y, Z; CIE 1931) count of each wavelength: (3, 31).

    Source: sums of Gaussians by Wyman, Sloan and Shirley 2013.

    >>> bool(WAVELENGTHS[colour_matching()[1].argmax()] in (550, 560))
    True
    """
    return np.stack(
        [
            _lobe(1.056, 599.8, 37.9, 31.0)
            + _lobe(0.362, 442.0, 16.0, 26.7)
            + _lobe(-0.065, 501.1, 20.4, 26.2),
            _lobe(0.821, 568.8, 46.9, 40.5) + _lobe(0.286, 530.9, 16.3, 31.1),
            _lobe(1.217, 437.0, 11.8, 36.0) + _lobe(0.681, 459.0, 26.0, 13.8),
        ]
    )


def skin_colour(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """Linear sRGB of skin under daylight, read from a table.

    Args:
        melanin, blood: (...) volume fractions as for `reflectance`; cut to `MELANIN` and `BLOOD`.

    Returns: (..., 3) float64.

    >>> skin_colour(np.array([0.02, 0.3]), np.array([0.02, 0.02])).shape
    (2, 3)
    """
    places = [
        np.log(np.clip(values, *ends) / ends[0]) / np.log(ends[1] / ends[0]) * (steps - 1)
        for values, ends, steps in zip((melanin, blood), (MELANIN, BLOOD), STEPS)
    ]
    table = _table()
    return np.stack([map_coordinates(table[..., channel], places, order=1) for channel in range(3)], axis=-1)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    melanin, blood = (np.geomspace(*ends, steps) for ends, steps in zip((MELANIN, BLOOD), STEPS))
    return linear_rgb(reflectance(melanin[:, None], blood))


def encoded(linear: np.ndarray) -> np.ndarray:
    """Linear sRGB to what a picture stores, from 0 to 1; brighter than white is cut.

    >>> encoded(np.array([0.0, 0.2140, 2.0])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    values = np.asarray(linear).clip(0.0, 1.0)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def _lobe(height: float, peak: float, left: float, right: float) -> np.ndarray:
    away = WAVELENGTHS - peak
    shape: np.ndarray = height * np.exp(-0.5 * (away / np.where(away < 0, left, right)) ** 2)
    return shape
