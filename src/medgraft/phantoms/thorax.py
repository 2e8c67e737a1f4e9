"""Schematic chests, seen from the front: what lies along every ray, in mm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from medgraft.phantoms.chords import curve, ellipsoid_chord, line_distance, tube_chord, turned
from medgraft.phantoms.fields import Field, draw_field
from medgraft.phantoms.rib_cage import RibCage, bone_chord, draw_rib_cage

FILM_MM = 360.0
LUNG_DENSITY = 0.26
"""Share of a healthy lung that is tissue or blood."""
DOME_RADIUS_MM = 75.0
"""Of the diaphragm, from front to back."""
HEART_RATIO, HEART_SPREAD = 0.466, 0.05
"""Mean and standard deviation of the cardiothoracic ratio: a quarter of all subjects is above one half."""
LARGE_HEART = 0.5
BEND_MM = 4.0
HILUM = (36.0, 6.0)
"""Distance from the middle and height of the root of a lung, mm."""


class Plane(NamedTuple):
    """Where a film lies before the subject.

    side: rays along each edge.
    shift: (x, z) mm of the subject on the film.
    tilt_degrees: of the subject on the film.
    """

    side: int
    shift: tuple[float, float] = (0.0, 0.0)
    tilt_degrees: float = 0.0

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(side, side) float32 mm: x to the right of the film, which is the subject's left, and z to the head."""
        step = FILM_MM / self.side
        axis = ((np.arange(self.side) + 0.5) * step - FILM_MM / 2).astype(np.float32)
        return turned(axis[None, :] - self.shift[0], -axis[:, None] - self.shift[1], self.tilt_degrees)


class Paths(NamedTuple):
    """Millimetres of each material along every ray, (H, W) float."""

    soft: np.ndarray
    bone: np.ndarray
    metal: np.ndarray


class Layers(NamedTuple):
    """What lies along every ray, (H, W) float32, in mm unless told otherwise: findings change these.

    x, z: places in the subject, the left half of the film being its right side; bent with the subject.
    body: everything within the skin.
    cavity: room within the ribs.
    middle: heart, great vessels and mediastinum.
    above: height above the diaphragm, negative below it.
    dome: how much lower the diaphragm lies there than at its top.
    fluid: in the pleural space.
    vessels: of the lungs.
    solid: tissue that stands in a lung.
    haze: share in [0, 1] of the air that gave way to fluid.
    density: share in [0, 1] of a lung that is tissue.
    pleural_air: share in [0, 1] of a ray's lung that air outside the lung has pushed away.
    gas: air elsewhere.
    bone, metal: as they are called.
    """

    x: np.ndarray
    z: np.ndarray
    body: np.ndarray
    cavity: np.ndarray
    middle: np.ndarray
    above: np.ndarray
    dome: np.ndarray
    fluid: np.ndarray
    vessels: np.ndarray
    solid: np.ndarray
    haze: np.ndarray
    density: np.ndarray
    pleural_air: np.ndarray
    gas: np.ndarray
    bone: np.ndarray
    metal: np.ndarray

    def lung(self) -> np.ndarray:
        """Lung along every ray, mm, and the air around it."""
        below = 2 * np.sqrt(2 * DOME_RADIUS_MM * (-self.above).clip(min=0))
        room: np.ndarray = (self.cavity - self.middle - below - self.fluid).clip(min=0)
        return room

    def paths(self) -> Paths:
        """Add up: tissue stands wherever neither air nor bone is."""
        lung, kept = self.lung(), 1 - self.pleural_air
        air = lung * (1 - self.density * kept) * (1 - self.haze * kept)
        air = (air - (self.vessels + self.solid) * kept * (lung > 0)).clip(min=0)
        soft = (self.body - air - self.gas - self.bone).clip(min=0)
        return Paths(soft, self.bone, self.metal)


class Thorax:
    """A schematic chest of its own for every generator state: ellipsoids and tubes, bent by a smooth displacement.

    Not anatomy: lungs without lobes, a heart of one ellipsoid, ribs that are rings.

    Args:
        generator: source of the subject.

    >>> from medgraft.phantoms.fields import generator_for
    >>> subject = Thorax(generator_for("a chest", 0))
    >>> paths = subject.project(Plane(8)).paths()
    >>> paths.soft.shape, 0.3 < subject.cardiothoracic_ratio < 0.7
    ((8, 8), True)
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.size = float(np.exp(generator.normal(0, 0.04)))
        self.width = float(generator.normal(136, 5))
        """Inner half-width of the chest, mm."""
        self.depth = float(generator.normal(92, 5))
        self.apex = float(generator.normal(126, 5))
        self.floor = float(generator.normal(-78, 7))
        """Height of the right dome of the diaphragm."""
        self.left_lower = float(generator.normal(10, 4))
        self.dome_drop = float(generator.normal(52, 5))
        self.fat = float(np.clip(generator.normal(24, 5), 14, 40))
        """Thickness of the chest's wall at the side."""
        self.breast = float(generator.uniform(18, 42)) * (generator.uniform() < 0.5)
        self.stomach_air = float(generator.uniform(0, 26))
        self.heart_score = float(np.clip(generator.normal(), -2.5, 2.8))
        """Standard normal: the size of the heart, which other findings go along with."""
        self.heart_place = (float(generator.normal(21, 3)), float(generator.normal(-44, 4)))
        self.heart_tilt = float(generator.normal(-32, 6))
        self.aorta = float(generator.uniform(0.7, 1.35))
        self.cage: RibCage = draw_rib_cage(generator, self.width, self.depth, self.apex)
        self.bend: Field = draw_field(generator, 2, 21, 20.0, 42.0)
        self.texture: Field = draw_field(generator, 1, 32, 1.0, 1.0, periodic=True)
        """Of its own scale: read at numbers, not at mm."""
        self.cardiothoracic_ratio = self._measure_ratio()

    def project(self, plane: Plane, heart_magnification: float = 1.0) -> Layers:
        """What lies along every ray of a film.

        Args:
            plane: where the film lies.
            heart_magnification: of the shadow of the heart against that of the chest: more than 1 where the film
                lies at the subject's back.
        """
        x, z = self._bent(*plane.places())
        wide = self._half_width(z)
        cavity = 2 * self.depth * np.sqrt((1 - (x / wide.clip(min=1)) ** 2).clip(min=0)) * (wide > 1)
        # the chest is as deep at its apex as it is wide there
        cavity *= (wide / self.width).clip(max=1) ** 0.5
        above, dome = self._diaphragm(x, z)
        nothing = np.zeros_like(x)
        return Layers(
            x=x, z=z, body=self._body(x, z), cavity=cavity, middle=self._middle(x, z, heart_magnification),
            above=above, dome=dome, fluid=nothing, vessels=self._vessels(x, z), solid=nothing, haze=nothing,
            density=np.full_like(x, LUNG_DENSITY), pleural_air=nothing, gas=self._gas(x, z),
            bone=bone_chord(self.cage, x, z), metal=nothing,
        )  # fmt: skip

    def half_width(self, height: float) -> float:
        """Of the chest within the ribs, mm, at a height in mm."""
        return float(self._half_width(np.array([height]))[0])

    def noise_at(self, x: np.ndarray, z: np.ndarray, scale_mm: float) -> np.ndarray:
        """Smooth noise of the subject's own, standard deviation about 1, shape of `x`."""
        places = torch.from_numpy(np.stack([x, z, np.full_like(x, 7.0)], axis=-1).astype(np.float32))
        places[..., :2] /= scale_mm
        return self.texture.at(places.view(-1, 3)).numpy().reshape(np.shape(x))

    def _bent(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = torch.from_numpy(np.stack([x, np.zeros_like(x), z], axis=-1).astype(np.float32)).view(-1, 3)
        moved = BEND_MM * self.bend.at(points).numpy().reshape(2, *x.shape)
        return x / np.float32(self.size) + moved[0], z / np.float32(self.size) + moved[1]

    def _half_width(self, z: np.ndarray) -> np.ndarray:
        """Widest a hand above the angles, a little narrower below, round at the apex."""
        low = -70.0
        upper = ((z - low) / (self.apex - low)).clip(min=0)
        lower = ((low - z) / 260.0).clip(min=0)
        wide: np.ndarray = self.width * (1 - upper**2.3).clip(min=0) ** (1 / 2.3) * (1 - lower)
        return wide

    def _diaphragm(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        aside = np.abs(x)
        outer = ((aside - 54) / (self.width - 54)).clip(min=0) ** 1.8 * self.dome_drop
        inner = ((54 - aside) / 50).clip(min=0) ** 2 * 10
        dome = outer + inner
        top = np.where(x > 0, self.floor - self.left_lower, self.floor).astype(np.float32)
        return z - top + dome, dome

    def _body(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        trunk = ellipsoid_chord(
            x, np.minimum(z, 0), (0.0, 0.0), (self.width + self.fat, self.depth + 14, 900.0)
        )
        trunk = trunk / (1 + np.exp((z - self.apex + 10) / 7))
        neck = ellipsoid_chord(x, z, (0.0, 0.0), (56.0, 58.0, np.inf)) * (z > 0)
        shoulders = ellipsoid_chord(x, z, (0.0, self.apex - 42), (215.0, 80.0, 74.0))
        breast = ellipsoid_chord(np.abs(x), z, (72.0, -58.0), (56.0, self.breast / 2, 52.0))
        body: np.ndarray = np.maximum(np.maximum(trunk, neck), shoulders) + breast
        return body

    def _middle(self, x: np.ndarray, z: np.ndarray, magnification: float) -> np.ndarray:
        deep = self.depth + 4
        wide = 25 + 10 / (1 + np.exp(-(z - 95) / 14)) + 4 / (1 + np.exp((z + 20) / 20))
        slab = 2 * deep * np.sqrt((1 - ((x - 2) / wide) ** 2).clip(min=0))
        knob = ellipsoid_chord(x, z, (26.0, 52.0), (16.0 * self.aorta, 32.0, 17.0 * self.aorta))
        aorta = ellipsoid_chord(x, z, (20.0, -20.0), (15.0, 14.0, 90.0))
        trunk = ellipsoid_chord(x, z, (26.0, 20.0), (19.0, 34.0, 19.0))
        vein = ellipsoid_chord(x, z, (-20.0, 55.0), (15.0, 30.0, 60.0))
        heart = self._heart(x, z, magnification)
        longest: np.ndarray = np.maximum.reduce([slab, knob + trunk + vein + aorta, heart])
        return longest

    def _heart(self, x: np.ndarray, z: np.ndarray, magnification: float) -> np.ndarray:
        half = (HEART_RATIO + HEART_SPREAD * self.heart_score) * self.width * magnification
        # 0.955: an ellipse of axes 1 and 0.82, tilted by 32 degrees, is that wide
        long = half / 0.955
        centre = (self.heart_place[0] * (0.6 + 0.4 * half / 63), self.heart_place[1])
        return ellipsoid_chord(x, z, centre, (long, 0.95 * long, 0.82 * long), self.heart_tilt)

    def _gas(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        windpipe = tube_chord(line_distance(x, z, np.array([[0.0, 200.0], [-1.0, 32.0]])), 8.0)
        branch = curve(((-1.0, 36.0), (12.0, 22.0), (40.0, 6.0)), 3)
        bronchi = tube_chord(line_distance(np.abs(x), z, branch), 5.5)
        place = (62.0, self.floor - self.left_lower - 22)
        stomach = ellipsoid_chord(
            x, z, place, (self.stomach_air + 1, self.stomach_air, 0.6 * self.stomach_air + 1)
        )
        chord: np.ndarray = np.maximum(windpipe, bronchi) + stomach
        return chord

    def _vessels(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Streaks that leave the root of each lung, branch, and fade to its border: ridges of noise in polar places."""
        vessels = np.zeros_like(x)
        rows = (z.max(axis=1) > self.floor - self.dome_drop - 30) & (
            z.min(axis=1) < self.apex
        )  # of the lungs
        vessels[rows] = self._streaks(x[rows], z[rows])
        root = ellipsoid_chord(np.abs(x), z, HILUM, (13.0, 15.0, 24.0)) * (0.8 + 0.2 * np.sign(vessels - 4))
        streaks: np.ndarray = (vessels + root).astype(np.float32)
        return streaks

    def _streaks(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        across, up = np.abs(x) - HILUM[0] + 10, z - HILUM[1]
        reach = np.hypot(across, up).clip(min=4)
        angle = np.arctan2(up, across)
        vessels = np.zeros_like(x)
        for layer, (branches, thick) in enumerate(((4.5, 6.0), (8.5, 4.0))):
            slab = np.where(x > 0, 4.0 + 9 * layer, 24.0 + 9 * layer)
            places = np.stack([angle * branches, np.log(reach) * 2.2, slab], axis=-1).astype(np.float32)
            level = self.texture.at(torch.from_numpy(places).view(-1, 3)).numpy().reshape(x.shape)
            width = thick * np.exp(-reach / 75)
            vessels += (
                2.4 * width * np.exp(-((level / (branches * width / reach).clip(min=0.08, max=0.8)) ** 2))
            )
        return vessels

    def _measure_ratio(self) -> float:
        """Greatest width of the heart over greatest inner width of the chest, as a reader measures them, to 1 mm."""
        columns, rows = np.arange(-180, 180, dtype=np.float32), np.arange(-140, 140, 4, dtype=np.float32)
        x, z = self._bent(*np.meshgrid(columns, rows))
        inside = (np.abs(x) < self._half_width(z)) & (self._diaphragm(x, z)[0] > 0)
        return _width(self._heart(x, z, 1.0) > 0) / _width(inside)


def _width(shape: np.ndarray) -> int:
    """Columns from the first to the last that a shape reaches."""
    columns = np.flatnonzero(shape.any(axis=0))
    return int(columns[-1] - columns[0] + 1)
