"""Radiographs: photons that pass a subject are scattered, counted and shown."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from medgraft.phantoms.thorax import FILM_MM, Paths
from medgraft.phantoms.xray_sites import XraySite, attenuation

SCATTER_MM = 38.0
"""Standard deviation of how far scattered photons land from their ray."""
FWHM = 2.3548
WINDOW = (1.0, 99.0)
"""Percentiles that the display shows as black and white, of the middle of the film as automatic windows do it."""
MIDDLE = 0.1
"""Part of the film that is left out at each edge when the window is chosen."""


def transmission(paths: Paths, kev: float) -> np.ndarray:
    """Share of the photons that pass without being absorbed or scattered (Beer-Lambert).

    Args:
        paths: mm of each material, (H, W).
        kev: energy of the photons, 30 to 100.

    Returns: (H, W) in (0, 1].

    >>> paths = Paths(np.array([[100.0]]), np.zeros((1, 1)), np.zeros((1, 1)))
    >>> round(float(transmission(paths, 60.0)[0, 0]), 4)  # exp(-0.2059 * 10)
    0.1276
    """
    depth = attenuation("soft", kev) * paths.soft + attenuation("bone", kev) * paths.bone
    passed: np.ndarray = np.exp(-(depth + attenuation("metal", kev) * paths.metal) / 10)
    return passed


def expose(passed: np.ndarray, site: XraySite, generator: np.random.Generator) -> np.ndarray:
    """Photons that a detector counts in each pixel.

    Args:
        passed: (H, W) share that passes, the film's own pixels.
        site: the room.
        generator: source of the counts, which are Poisson numbers.

    Returns: (H, W) counts of photons.
    """
    pixel = FILM_MM / len(passed)
    veil = gaussian_filter(passed, SCATTER_MM / pixel, mode="nearest", truncate=3.0)
    middle = _middle(passed).mean() / max(float(_middle(veil).mean()), 1e-12)
    expected = passed + veil * middle * site.scatter / (1 - site.scatter)
    if site.blur_mm:
        expected = gaussian_filter(expected, site.blur_mm / FWHM / pixel, mode="nearest")
    counts: np.ndarray = generator.poisson(site.photons * expected)
    return counts


def show(counts: np.ndarray, site: XraySite, generator: np.random.Generator) -> np.ndarray:
    """Counted photons as a picture, dense parts bright.

    Args:
        counts: (H, W) photons.
        site: the room.
        generator: source of the grain.

    Returns: (H, W) uint8.
    """
    darkness = -np.log((counts + 0.5) / site.photons)
    low, high = np.percentile(_middle(darkness), WINDOW)
    shown = (site.gain * (darkness - low) / max(high - low, 1e-6)).clip(0, 1) ** site.gamma
    shown = shown + site.grain * generator.standard_normal(shown.shape)
    picture: np.ndarray = (255 * shown).round().clip(0, 255).astype(np.uint8)
    return picture


def _middle(film: np.ndarray) -> np.ndarray:
    rows, columns = (round(MIDDLE * length) for length in film.shape)
    return film[rows : len(film) - rows, columns : film.shape[1] - columns]
