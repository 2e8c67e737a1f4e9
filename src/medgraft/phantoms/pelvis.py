"""Schematic pelves: a prostate of two zones among ellipsoids and tubes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medgraft.phantoms.anatomy import Composition, inside
from medgraft.phantoms.fields import Field, draw_field
from medgraft.phantoms.warps import Warp, draw_warp

Shape = tuple[tuple[str, ...], tuple[float, float, float], tuple[float, float, float]]

ORGANS: tuple[Shape, ...] = (
    # tissues from the outside in, a layer of 3 mm each but the last; centre; radii (inf: a tube); mm
    (("muscle",), (58.0, 0.0, 0.0), (13.0, 42.0, 60.0)),
    (("muscle",), (-58.0, 0.0, 0.0), (13.0, 42.0, 60.0)),
    (("bone", "marrow"), (88.0, 8.0, 10.0), (26.0, 26.0, 26.0)),
    (("bone", "marrow"), (-88.0, 8.0, 10.0), (26.0, 26.0, 26.0)),
    (("bone", "marrow"), (0.0, 52.0, -8.0), (24.0, 13.0, 20.0)),
    (("muscle",), (0.0, -66.0, 0.0), (70.0, 18.0, 80.0)),
    (("muscle", "urine"), (0.0, 18.0, 46.0), (36.0, 27.0, 24.0)),
    (("muscle", "air"), (0.0, -34.0, 0.0), (15.0, 12.0, float("inf"))),
)
"""Obturator muscles, femoral heads, pubic bone, gluteal muscles, bladder, rectum; the rest is fat."""
WALL_MM = 3.0
GLAND = (24.0, 17.0, 21.0)
"""Radii in mm: 36 ml."""
TRANSITION = (0.66, 0.62, 0.66)
TRANSITION_PLACE = (0.0, 4.0, 2.0)
"""The inner zone's radii as parts of the gland's, and its centre, mm."""
GROWTH = 0.12
"""Standard deviation of the logarithm of the inner zone's size: it grows with age."""
TEXTURE = 0.08


class Pelvis:
    """A schematic pelvis of its own for every generator state: simple bodies, bent by a smooth warp.

    Not anatomy: no vessels, nerves, seminal vesicles, urethra, capsule or disease, and the same organs in everybody.

    Args:
        generator: source of the subject.

    >>> from medgraft.phantoms.fields import generator_for
    >>> found = Pelvis(generator_for("a pelvis", 0)).at(torch.tensor([[0.0, 4.0, 2.0], [0.0, -34.0, 0.0]]))
    >>> [round(float(share)) for share in found.regions["prostate"]]
    [1, 0]
    """

    coil_place = (0.0, -34.0, 0.0)

    def __init__(self, generator: np.random.Generator) -> None:
        self.warp: Warp = draw_warp(
            generator, (0.0, 0.0, 0.0), strength_mm=5.0, tilt_degrees=4.0, shift_mm=3.0, scale=0.08
        )
        self.texture: Field = draw_field(generator, 1, 40, 3.0, 3.4, periodic=True)
        growth = float(np.exp(generator.normal(0.0, GROWTH)).clip(0.75, 1.25))
        self.transition = tuple(whole * part * growth for whole, part in zip(GLAND, TRANSITION))

    def at(self, points: Tensor) -> Composition:
        """What lies at points (N, 3) in mm."""
        places = self.warp.apply(points)
        tissues: dict[str, Tensor] = {"fat": torch.ones(len(points))}
        for names, centre, radii in ORGANS:
            distance = ellipsoid_distance(places, centre, radii)
            for number, name in enumerate(names):
                paint(tissues, name, inside(distance + WALL_MM * number))
        gland = inside(ellipsoid_distance(places, (0.0, 0.0, 0.0), GLAND))
        inner = gland * inside(ellipsoid_distance(places, TRANSITION_PLACE, self.transition))
        paint(tissues, "peripheral zone", gland)
        paint(tissues, "transition zone", inner)
        tissues.pop("air", None)
        regions = {"prostate": gland, "transition zone": inner, "peripheral zone": gland - inner}
        return Composition(tissues, regions, 1 + TEXTURE * self.texture.at(places)[0])


def ellipsoid_distance(points: Tensor, centre: tuple[float, ...], radii: tuple[float, ...]) -> Tensor:
    """About the distance in mm from points (N, 3) to an ellipsoid, negative inside; exact at its border.

    >>> ellipsoid_distance(torch.tensor([[12.0, 0.0, 99.0]]), (0.0, 0.0, 0.0), (10.0, 10.0, float("inf")))
    tensor([2.0000])
    """
    scaled = (points - torch.tensor(centre)) / torch.tensor(radii)
    length = scaled.norm(dim=1).clamp(min=1e-6)
    slope = (scaled / torch.tensor(radii)).norm(dim=1) / length  # of the length, per mm
    distance: Tensor = (length - 1) / slope.clamp(min=1e-6)
    return distance


def paint(tissues: dict[str, Tensor], name: str, share: Tensor) -> None:
    """Let a tissue take this share of each point from what is there."""
    for other in tissues:
        tissues[other] = tissues[other] * (1 - share)
    tissues[name] = tissues.get(name, torch.zeros_like(share)) + share
