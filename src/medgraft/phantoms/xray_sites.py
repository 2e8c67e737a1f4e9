"""Simulated radiography rooms: tube, detector and display, and the named sites that have them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Material = Literal["soft", "bone", "metal"]

ENERGY_SHARE = 0.45
"""Effective energy in keV as a part of the tube's voltage in kV: a filtered spectrum, taken for a single energy."""
ENERGIES_KEV = (30.0, 40.0, 60.0, 80.0, 100.0)
ATTENUATION: Mapping[Material, tuple[float, ...]] = MappingProxyType(
    {
        "soft": (0.3756, 0.2683, 0.2059, 0.1837, 0.1707),
        "bone": tuple(1.92 * value for value in (1.331, 0.6655, 0.3148, 0.2229, 0.1855)),
        "metal": tuple(7.874 * value for value in (8.176, 3.629, 1.205, 0.5952, 0.3717)),
    }
)
"""Per cm at `ENERGIES_KEV`: water, cortical bone and iron; density times mass attenuation in cm2/g.

Source: Hubbell and Seltzer, NIST tables of X-ray mass attenuation coefficients, rounded as commonly quoted.
"""


def attenuation(material: Material, kev: float) -> float:
    """Linear attenuation coefficient per cm, by interpolation of logarithms.

    Args:
        material: soft tissue is taken for water, metal for iron.
        kev: energy of the photons, within the table: 30 to 100.

    >>> round(attenuation("soft", 60.0), 4)
    0.2059
    """
    return float(np.exp(np.interp(np.log(kev), np.log(ENERGIES_KEV), np.log(ATTENUATION[material]))))


class XraySite(BaseModel):
    """One radiography room; every film at a site is made with these settings.

    >>> XraySite(kilovolts=100).energy_kev
    45.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kilovolts: float = Field(default=120.0, ge=70, le=150)
    """Peak voltage of the tube."""
    photons: float = Field(default=30_000.0, gt=0)
    """That reach a pixel of the film where nothing is in the way, whatever the pixel's size: fewer give more noise."""
    scatter: float = Field(default=0.3, ge=0, lt=1)
    """Share of the photons in the middle of the film that were scattered: a veil over the picture."""
    blur_mm: float = Field(default=0.5, ge=0)
    """Full width at half maximum of the blur, beside that of the pixels."""
    heart_magnification: float = Field(default=1.0, ge=0.8, le=1.5)
    """Of the heart's shadow against that of the chest: more than 1 where the film lies at the subject's back."""
    grain: float = Field(default=0.0, ge=0)
    """Standard deviation of the noise that the display adds, as a part of its range."""
    gain: float = Field(default=1.0, gt=0)
    """1 lets the window of the display end where the film's densest parts lie; brighter is cut."""
    gamma: float = Field(default=1.0, gt=0)
    """Above 1 darkens what is neither black nor white."""

    @property
    def energy_kev(self) -> float:
        """What the tube's spectrum is taken for."""
        return ENERGY_SHARE * self.kilovolts


XRAY_SITES: Mapping[str, XraySite] = MappingProxyType(
    {
        # upright, film in front, digital, with a grid: the site that others are compared with
        "clinic": XraySite(),
        # portable, film behind, no grid: soft rays, veil, noise, a larger shadow of the heart
        "ward": XraySite(
            kilovolts=85, photons=3000, scatter=0.6, blur_mm=2.0, heart_magnification=1.15, gain=0.95
        ),
        # film and screen, digitised later: steep curve, blur, grain
        "film": XraySite(
            kilovolts=110, photons=8000, scatter=0.4, blur_mm=4.0, grain=0.02, gain=1.1, gamma=1.3
        ),
    }
)
"""The reference and two others."""
