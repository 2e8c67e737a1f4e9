"""Simulated heads: real tissue maps, bent, folded anew, and wrapped in skull and scalp."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medgraft.phantoms.anatomy import Composition, inside
from medgraft.phantoms.fields import Field, draw_field
from medgraft.phantoms.tissue_maps import coarse_distance, head_maps
from medgraft.phantoms.warps import Warp, draw_warp

CENTRE = (0.0, -17.0, 10.0)
"""Middle of the brain in MNI space, mm."""
LAYERS: tuple[tuple[str, float, float, float], ...] = (
    # tissue, mean thickness in mm, standard deviation over places, least thickness
    ("csf", 1.5, 0.7, 0.3),
    ("bone", 1.6, 0.3, 0.8),
    ("marrow", 2.6, 1.3, 0.3),
    ("bone", 1.8, 0.3, 0.8),
    ("fat", 4.0, 1.5, 1.0),
    ("muscle", 2.0, 0.3, 1.2),
)
"""From the brain outwards: fluid, inner table, diploe, outer table, subcutaneous fat, skin. Skull about 6 mm and scalp
about 6 mm, as measured by Hwang et al. 1999 and Hori et al. 1972, rounded."""
THICKNESS_OVER_SUBJECTS = 0.2
"""Standard deviation of the logarithm of each layer's thickness from subject to subject."""
EDGE_MM = 0.8
"""Standard deviation of the brain's border about the template's."""
FOLDING, SHARPNESS, RAREST = 0.8, 2.5, 0.02
"""Standard deviation of the noise on log-probabilities; how far the likeliest tissue wins; probability of a tissue
where the maps say none."""
RIM_MM = 1.5
TEXTURE = 0.04
FURTHEST_MM = 26.0
"""From the brain to where there is only air."""
FACE_CENTRE, FACE_RADII = (0.0, 35.0, -75.0), (62.0, 75.0, 70.0)
"""An ellipsoid of mixed soft tissue below and before the brain, where real heads have a face and a neck, mm."""
FACE_MIXTURE = (0.8, 0.0, -0.4)
"""How common muscle, fat and air are in it."""


class Head:
    """A head of its own for every generator state.

    Tissue maps give probabilities over many people. Adding smooth noise to their logarithms and letting the likeliest
    tissue win draws one cortex from them, with sulci where the maps leave them open. Layers around the brain follow
    its surface with smoothly varying thickness. Eyes, sinuses, neck, vessels and disease are missing.

    Args:
        generator: source of the subject.

    >>> from medgraft.phantoms.fields import generator_for
    >>> head = Head(generator_for("a head", 1))
    >>> found = head.at(torch.tensor([[0.0, -17.0, 10.0], [0.0, -17.0, 200.0]]))  # deep in the brain, in the air
    >>> [round(float(share), 2) for share in found.regions["brain"]]
    [1.0, 0.0]
    """

    coil_place = (0.0, -110.0, 0.0)

    def __init__(self, generator: np.random.Generator) -> None:
        self.warp: Warp = draw_warp(
            generator, CENTRE, strength_mm=5.0, tilt_degrees=4.0, shift_mm=3.0, scale=0.05
        )
        self.layers: Field = draw_field(generator, len(LAYERS) + 1, 17, 16.0, 24.0)
        self.folds: Field = draw_field(generator, 4, 40, 3.0, 3.4, periodic=True)
        self.thickness = np.exp(generator.normal(0.0, THICKNESS_OVER_SUBJECTS, len(LAYERS)))
        self.hippocampus_mm = float(generator.normal(0.0, 0.6))
        """Added to the radius of the hippocampi."""

    def at(self, points: Tensor) -> Composition:
        """What lies at points (N, 3) in mm."""
        places = self.warp.apply(points)
        face = ((places - torch.tensor(FACE_CENTRE)) / torch.tensor(FACE_RADII)).norm(dim=1)
        near = (coarse_distance().at(places)[0] < FURTHEST_MM) | (face < 1.1)
        return spread_out(self._near(places[near], face[near]), near)

    def _near(self, places: Tensor, face: Tensor) -> Composition:
        """What lies at places in the template that are near enough; `face` is 1 at its ellipsoid's border."""
        grey, white, fluid, distance, hippocampal = head_maps().at(places)
        smooth, folds = self.layers.at(places), self.folds.at(places)
        brain = inside(distance + EDGE_MM * smooth[-1])
        # the hippocampus is grey, in a rim of white matter (alveus, fimbria) that sets it off
        core = inside(hippocampal - self.hippocampus_mm)
        shell = inside(hippocampal - self.hippocampus_mm - RIM_MM)
        shares = self._cortex(torch.stack([grey, white, fluid]), folds) * brain * (1 - shell)
        tissues = {
            "grey matter": shares[0] + brain * core,
            "white matter": shares[1] + brain * (shell - core),
            "csf": shares[2],
        }
        regions = {"brain": brain, "hippocampus": brain * core, **tissues}
        self._wrap(tissues, brain, distance, smooth, folds, face)
        return Composition(tissues, regions, 1 + TEXTURE * folds[3])

    def _cortex(self, probabilities: Tensor, folds: Tensor) -> Tensor:
        """(3, N) probabilities to shares of grey, white and fluid that one subject has."""
        logarithms = (probabilities + RAREST).log() + FOLDING * folds[:3]
        return (SHARPNESS * logarithms).softmax(dim=0)

    def _wrap(
        self,
        tissues: dict[str, Tensor],
        brain: Tensor,
        distance: Tensor,
        smooth: Tensor,
        folds: Tensor,
        radii: Tensor,
    ) -> None:
        """Add the layers around the brain and what stands for the face to `tissues`."""
        within, border, skull = brain, distance, brain
        for number, (name, mean, spread, least) in enumerate(LAYERS):
            border = border - (self.thickness[number] * (mean + spread * smooth[number])).clamp(min=least)
            reached = torch.maximum(within, inside(border))
            tissues[name] = tissues.get(name, torch.zeros_like(brain)) + reached - within
            within = reached
            skull = within if name == "bone" else skull
        face = inside((radii - 1) * min(FACE_RADII))
        mixed = (2.0 * (folds[:3].T + torch.tensor(FACE_MIXTURE)).T).softmax(dim=0)
        for name, share in zip(("muscle", "fat"), mixed):  # the third is air
            tissues[name] = tissues[name] * (1 - face) + face * (1 - skull) * share


def spread_out(found: Composition, where: Tensor) -> Composition:
    """A composition of some points as one of all, the others being air."""

    def among_all(values: Tensor) -> Tensor:
        return torch.zeros(len(where)).masked_scatter(where, values)

    return Composition(
        {name: among_all(share) for name, share in found.tissues.items()},
        {name: among_all(share) for name, share in found.regions.items()},
        among_all(found.texture),
    )
