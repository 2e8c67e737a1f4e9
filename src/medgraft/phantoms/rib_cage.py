"""The bones of a schematic chest: ribs as tilted rings, clavicles, spine, shoulder blades, humeral heads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medgraft.phantoms.chords import curve, ellipsoid_chord, line_distance, tube_chord

RIBS = 10
WALL_MM, MARROW = 0.8, 0.12
"""Thickness of a rib's compact bone, and how much compact bone a mm of its spongy core is worth."""
VERTEBRA_MM, DISC_MM = 27.0, 6.0


class RibCage(NamedTuple):
    """Sizes of the bones, mm.

    half_widths: of each rib's ring.
    heights: where each rib starts at the spine.
    drops: how much lower its front end lies.
    fronts: how far from the middle its bone ends in front, where cartilage begins.
    radius: of a rib.
    depth: from the middle of the chest to its back.
    clavicle: height of its inner end, and how much higher the outer one lies.
    spine: radius of the vertebrae.
    """

    half_widths: tuple[float, ...]
    heights: tuple[float, ...]
    drops: tuple[float, ...]
    fronts: tuple[float, ...]
    radius: float
    depth: float
    clavicle: tuple[float, float]
    spine: float


def draw_rib_cage(generator: np.random.Generator, width: float, depth: float, apex: float) -> RibCage:
    """Ribs around a chest of this inner half-width and depth, whose lungs end at the height `apex`, mm."""
    steps = np.arange(RIBS)
    gap = generator.normal(22.5, 0.8)
    heights = apex + 6 - gap * steps + generator.normal(0, 0.8, RIBS)
    sizes = np.array([0.50, 0.70, 0.83, 0.91, 0.96, 1.0, 1.02, 1.03, 1.03, 1.01]) * (width + 3)
    drops = (34 + 9.5 * steps).clip(max=92) * generator.normal(1.0, 0.07)
    fronts = (26 + 5.5 * steps) * generator.normal(1.0, 0.08) + generator.normal(0, 2.0, RIBS)
    return RibCage(
        tuple(sizes.tolist()), tuple(heights.tolist()), tuple(drops.tolist()), tuple(fronts.tolist()),
        float(generator.normal(6.0, 0.4)), depth,
        (apex - 22 + float(generator.normal(0, 4)), float(generator.normal(22, 6))), float(generator.normal(17, 1)),
    )  # fmt: skip


def bone_chord(cage: RibCage, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Compact bone along rays through the places (x, z), mm, (H, W) as `x`."""
    bone: np.ndarray = _spine(cage, x, z) + _shoulders(cage, np.abs(x), z)
    lowest, highest = z.min(axis=-1), z.max(axis=-1)
    for number in range(RIBS):
        top = cage.heights[number] + cage.radius
        bottom = cage.heights[number] - cage.drops[number] - cage.radius
        rows = (highest > bottom) & (lowest < top)  # the others it cannot reach
        bone[rows] += _rib(cage, number, np.abs(x[rows]), z[rows])
    return bone


def _rib(cage: RibCage, number: int, aside: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A ring, tilted so that its front lies lower: seen from the front it is an ellipse."""
    width, drop = cage.half_widths[number], cage.drops[number] / 2
    across, up = aside / width, (z - (cage.heights[number] - drop)) / drop
    length = np.hypot(across, up).clip(min=1e-3)
    slope = np.hypot(across / width, up / drop) / length
    distance = (length - 1) / slope.clip(min=1e-6)
    sine, cosine = across / length, up / length
    flat = (width * cosine) ** 2 + (drop * sine) ** 2
    # where the ring runs along the rays, at the side of the chest, they stay longer within it
    longer = np.sqrt(1 + (cage.depth * sine) ** 2 / flat.clip(min=1)).clip(max=2.5)
    core = tube_chord(distance, cage.radius - WALL_MM)
    compact = tube_chord(distance, cage.radius) - core * (1 - MARROW)
    ends = (up > 0) | (aside > cage.fronts[number])
    behind_spine = aside > 12
    bone: np.ndarray = compact * longer * ends * behind_spine
    return bone


def _spine(cage: RibCage, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Vertebral bodies with gaps for discs, and a row of spinous processes."""
    step = (z / VERTEBRA_MM) % 1 - 0.5
    body = 1 / (1 + np.exp((np.abs(step) - 0.5 + DISC_MM / 2 / VERTEBRA_MM) * 60))
    waist = cage.spine * (1 - 0.12 * np.cos(2 * np.pi * step))
    column = np.sqrt((1 - (x / waist) ** 2).clip(min=0))
    process = ellipsoid_chord(x, (step + 0.25) * VERTEBRA_MM, (0.0, 0.0), (3.5, 6.0, 6.0))
    bone: np.ndarray = column * (2.5 + 5.5 * body) + process
    return bone


def _shoulders(cage: RibCage, aside: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Clavicles, blades and humeral heads, alike on both sides."""
    low, rise = cage.clavicle
    middle = curve(((13.0, low), (60.0, low - 4), (95.0, low + rise + 14), (150.0, low + rise)), 8)
    distance = line_distance(aside, z, middle)
    clavicle = tube_chord(distance, 6.5) - 0.8 * tube_chord(distance, 5.2)
    blade = ellipsoid_chord(aside, z, (132.0, low - 50), (20.0, 1.6, 60.0), -12.0)
    humerus = ellipsoid_chord(aside, z, (172.0, low + 2), (23.0, 7.0, 25.0))
    bone: np.ndarray = clavicle + blade + humerus
    return bone
