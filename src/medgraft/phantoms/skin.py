"""Photographs of simulated pigmented lesions on skin of any tone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import ndtr

from medgraft.images.skin_tone import THRESHOLDS, lab, typology_angle
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.phantom import Phantom, Request, Taken
from medgraft.phantoms.skin_optics import MELANIN, encoded, skin_colour
from medgraft.phantoms.skin_sites import SKIN_SITES, SkinSite

CLASSES = ("benign", "malignant")
FIELD_MM = 20.0
FINEST = 256
"""Points along each edge, at least: several lie in a pixel."""
ENDS = (67.0, *THRESHOLDS, -40.0)
"""Angles between the types; beyond the first and the last there is hardly any skin."""
MARGIN = 2.0
"""Degrees that skin keeps from the ends of its type, so that its texture does not cross them."""
SKIN_BLOOD = (0.01, 0.025)
TEXTURE = 0.03
"""Standard deviation of the logarithm of melanin within a subject's skin."""
CUE_SHIFT = 1.2
"""Standard deviations between the means of benign and malignant lesions, of each cue's normal score. Who reads all four
perfectly has an AUROC of 0.955."""
BROWN, DARK_BROWN, BLACK, RED_BLOOD = 0.10, 0.25, 0.60, 0.10
"""Melanin that colours of lesions add to that of the skin; blood of red ones."""
BLUE_GREY, VEIL = np.array([0.10, 0.13, 0.18]), 0.7
"""Linear sRGB of the veil over deep pigment, and how much of it covers what is below."""
INK, HAIR = np.array([0.02, 0.02, 0.03]), np.array([0.035, 0.022, 0.015])
"""Linear sRGB of a ruler's marks and of hair."""


class Subject(NamedTuple):
    """Skin of one person.

    fitzpatrick: 1 to 6.
    angle: individual typology angle under daylight, in degrees.
    melanin, blood: volume fractions.
    """

    fitzpatrick: int
    angle: float
    melanin: float
    blood: float


class Lesion(NamedTuple):
    """What a lesion looks like, by the cues of the ABCD rule.

    asymmetry, border: from 0 (round, smooth) to 1.
    colours: 1 to 5.
    diameter_mm: before the outline is bent.
    """

    asymmetry: float
    border: float
    colours: int
    diameter_mm: float


def draw_subject(generator: np.random.Generator, site: SkinSite) -> Subject:
    """A person whose type is one of the site's; the same numbers give other sites' types at the same place.

    The angle is uniform within the type, and melanin is what gives this angle.
    """
    which, within, blood = generator.uniform(size=3)
    fitzpatrick = site.types[int(which * len(site.types))]
    most, least = ENDS[fitzpatrick - 1] - MARGIN, ENDS[fitzpatrick] + MARGIN
    volume = float(SKIN_BLOOD[0] + blood * (SKIN_BLOOD[1] - SKIN_BLOOD[0]))
    angle = float(most + within * (least - most))
    return Subject(fitzpatrick, angle, melanin_of(angle, volume), volume)


def melanin_of(angle: float, blood: float) -> float:
    """The volume fraction of melanosomes that gives skin an angle under daylight.

    >>> melanin_of(60.0, 0.02) < melanin_of(0.0, 0.02)
    True
    """
    levels = np.geomspace(*MELANIN, 400)
    colours = lab(encoded(skin_colour(levels, np.full(400, blood))))
    angles = [typology_angle(lightness, yellowness) for lightness, _, yellowness in colours]
    return float(np.interp(-angle, -np.array(angles), levels))


def draw_lesion(generator: np.random.Generator, malignant: bool) -> Lesion:
    """A lesion whose four cues are independent but for its label; each overlaps between the two."""
    scores = generator.standard_normal(4) + (CUE_SHIFT / 2 if malignant else -CUE_SHIFT / 2)
    asymmetry, border, colours, size = (float(each) for each in ndtr(scores))
    return Lesion(asymmetry, border, 1 + min(4, int(5 * colours)), 3.2 + 5.2 * size)


def take_photograph(
    subject: Subject,
    lesion: Lesion | None,
    site: SkinSite,
    side: int,
    key: tuple[object, ...],
    site_name: str,
) -> np.ndarray:
    """One photograph, 20 mm wide.

    Args:
        subject, lesion: what is seen; without a lesion, plain skin.
        site, site_name: the clinic.
        side: pixels along each edge.
        key: of the photograph: where everything lies; with the site's name, hair, ruler, light and noise.

    Returns: (side, side, 3) uint8, red, green, blue.
    """
    points = side * -(-FINEST // side)
    down, along = np.meshgrid(
        *[(np.arange(points) + 0.5) * FIELD_MM / points - FIELD_MM / 2] * 2, indexing="ij"
    )
    generator = generator_for(*key, "skin")
    melanin = subject.melanin * np.exp(TEXTURE * _noise(generator, 0.4, points))
    light = _lesion_on(melanin, subject, lesion, generator_for(*key, "lesion"), down, along)
    generator = generator_for(*key, "at", site_name)
    for _ in range(generator.poisson(site.hairs)):
        _cover(light, _hair(generator, down, along), HAIR * generator.uniform(0.3, 1.5))
    if generator.uniform() < site.rulers:
        _cover(light, _ruler(generator, down, along), INK)
    angle, strength = generator.uniform(0, 2 * np.pi), generator.uniform(0, site.uneven_light)
    slope = 1 + strength * (np.cos(angle) * along + np.sin(angle) * down) / (FIELD_MM / 2)
    light *= slope[..., None] * site.exposure * (1 + site.warmth * np.array([1.0, 0.0, -1.0]))
    sigma = site.blur_mm / 2.355 * points / FIELD_MM
    light = gaussian_filter(light, (sigma, sigma, 0))
    rays = points // side
    pixels = encoded(light.reshape(side, rays, side, rays, 3).mean(axis=(1, 3)))
    pixels = pixels + site.noise * generator.standard_normal(pixels.shape)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def photograph_subject(request: Request) -> Taken:
    """Photograph several lesions of one subject, each with its own label."""
    key = (request.phantom, request.seed, request.subject)
    site = request.settings
    subject = draw_subject(generator_for(*key), site)
    images, labels, lesions = [], [], []
    for number in range(request.slices):
        generator = generator_for(*key, "lesion", number)
        labels.append(generator.uniform() < site.malignant_share(subject.fitzpatrick))
        lesions.append(draw_lesion(generator, labels[-1]))
        of_photograph = (*key, "photograph", number)
        images.append(take_photograph(subject, lesions[-1], site, request.side, of_photograph, request.site))
    spacing = f"{FIELD_MM / request.side:g}"
    attributes = {
        "fitzpatrick": [str(subject.fitzpatrick)] * request.slices,
        "asymmetry": [f"{lesion.asymmetry:.3f}" for lesion in lesions],
        "border": [f"{lesion.border:.3f}" for lesion in lesions],
        "colours": [str(lesion.colours) for lesion in lesions],
        "diameter_mm": [f"{lesion.diameter_mm:.2f}" for lesion in lesions],
    }
    return Taken(np.stack(images), np.array(labels, np.uint8), f"{spacing} {spacing}", attributes)


def lesion_mask(
    lesion: Lesion, generator: np.random.Generator, down: np.ndarray, along: np.ndarray
) -> np.ndarray:
    """How much of the lesion lies at points: 0 to 1, with a soft edge.

    Args:
        lesion: what it looks like.
        generator: where it lies and how it is bent; the same numbers bend others in the same way.
        down, along: (H, W) mm from the middle of the picture.
    """
    middle = generator.uniform(-0.7, 0.7, 2)
    turns = generator.uniform(0, 2 * np.pi, 3)
    order = np.arange(7, 16)
    heights, phases = generator.standard_normal(9), generator.uniform(0, 2 * np.pi, 9)
    distance, angle = (
        np.hypot(down - middle[0], along - middle[1]),
        np.arctan2(down - middle[0], along - middle[1]),
    )
    waves = np.cos(angle[..., None] * order + phases) @ (heights / np.sqrt((heights**2).sum() / 2))
    bent = np.cos(3 * (angle - turns[1])) + 0.6 * np.cos(angle - turns[2])
    outline = (
        1
        + 0.1 * np.cos(2 * (angle - turns[0]))
        + 0.22 * lesion.asymmetry * bent
        + 0.07 * lesion.border * waves
    )
    inside: np.ndarray = 1 / (1 + np.exp((distance - lesion.diameter_mm / 2 * outline) / 0.12))
    return inside


def _lesion_on(
    melanin: np.ndarray,
    subject: Subject,
    lesion: Lesion | None,
    generator: np.random.Generator,
    down: np.ndarray,
    along: np.ndarray,
) -> np.ndarray:
    """Linear sRGB of skin with a lesion: (H, W, 3)."""
    blood = np.full_like(melanin, subject.blood)
    veil = np.zeros_like(melanin)
    if lesion is not None:
        inside = lesion_mask(lesion, generator, down, along)
        added, others = np.full_like(melanin, BROWN), generator.permutation(4)
        for number in range(4):  # all are drawn, so that fewer colours leave the rest as it is
            patch = ndtr(6 * (_noise(generator, 1.0, len(down)) - 0.7))
            if number >= lesion.colours - 1:
                continue
            kind = others[number]
            if kind < 2:
                added += patch * ((DARK_BROWN, BLACK)[kind] - added)
            elif kind == 2:
                blood += inside * patch * (RED_BLOOD - blood)
            else:
                veil = VEIL * inside * patch
        melanin = melanin + inside * added * np.exp(0.2 * _noise(generator, 0.3, len(down)))
    light = skin_colour(melanin, blood)
    _cover(light, veil, BLUE_GREY)
    return light


def _noise(generator: np.random.Generator, smoothness_mm: float, points: int) -> np.ndarray:
    """Smooth noise on (points, points), mean 0 and standard deviation 1, the same whatever their number."""
    grid = generator.standard_normal((128, 128))
    smooth = gaussian_filter(grid, smoothness_mm * 128 / FIELD_MM, mode="wrap")
    smooth = (smooth - smooth.mean()) / smooth.std()
    places = (np.arange(points) + 0.5) * 128 / points - 0.5
    found: np.ndarray = map_coordinates(
        smooth, np.meshgrid(places, places, indexing="ij"), order=1, mode="nearest"
    )
    return found


def _cover(light: np.ndarray, share: np.ndarray, colour: np.ndarray) -> None:
    light += share[..., None] * (colour - light)


def _hair(generator: np.random.Generator, down: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A bent hair that begins and ends anywhere: which part of each point it covers."""
    half = FIELD_MM / 2
    root, angle = generator.uniform(-half, half, 2), generator.uniform(0, 2 * np.pi)
    length, bend, width = (
        generator.uniform(5, 16),
        generator.uniform(-0.04, 0.04),
        generator.uniform(0.05, 0.12),
    )
    forward = (along - root[1]) * np.cos(angle) + (down - root[0]) * np.sin(angle)
    sideways = (down - root[0]) * np.cos(angle) - (along - root[1]) * np.sin(angle) - bend * forward**2
    step = FIELD_MM / len(down)
    covered: np.ndarray = (((width + step / 2) - np.abs(sideways)) / step).clip(0, 1)
    covered[(forward <= 0) | (forward >= length)] = 0.0
    return covered


def _ruler(generator: np.random.Generator, down: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Marks of every millimetre along one border, every fifth longer."""
    turn = int(generator.integers(4))
    from_border, beside = ((down, along), (along, down), (-down, along), (-along, down))[turn]
    from_border, beside = from_border + FIELD_MM / 2, beside + generator.uniform(0, 1)
    nearest = np.round(beside)
    long = np.where(nearest % 5 == 0, 2.0, 1.0)
    mark: np.ndarray = (
        (np.abs(beside - nearest) < 0.08) & (from_border > 0.3) & (from_border < 0.3 + long)
    ) * 1.0
    return mark


SKIN_LESION = Phantom(
    kind="classify",
    settings=SkinSite,
    sites=SKIN_SITES,
    tasks={"lesion": CLASSES},
    take=photograph_subject,
    has_volumes=False,
    sentence="the images are simulated: pigmented lesions drawn on skin whose colour is computed from its melanin and "
    "blood; nobody was photographed.",
    licence="none needed: simulated",
    source="simulated by medgraft",
    coloured=True,
)
