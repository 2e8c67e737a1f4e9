"""The real tissue maps that simulated heads are bent from."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medgraft.data.samples import FOLDER
from medgraft.phantoms.fields import Field

FILE = "head_maps.npz"
MARGIN_MM = 32.0
"""How far beyond the brain distances are known: further than the scalp."""
HIPPOCAMPUS = (  # (x, y, z) mm and radius mm along the right one, from its head to its tail
    (23.0, -9.0, -21.0, 6.0),
    (28.0, -16.0, -18.0, 6.0),
    (31.0, -25.0, -12.0, 4.8),
    (29.0, -34.0, -5.0, 4.0),
    (23.0, -39.0, 1.0, 3.0),
)
"""A bent tube about where the hippocampus lies in the MNI space, of about 3.5 ml; not a segmentation."""

AROUND, REACH = (0.0, -24.0, -10.0), (50.0, 34.0, 30.0)
"""A box that holds both and 15 mm around them, mm."""


@cache
def head_maps() -> Field:
    """Maps of the head in MNI space, mm.

    Returns: channels: probability of grey matter, of white matter, of fluid (these sum to 1 in the brain); signed
        distance to the brain's border and to the hippocampi's, mm, negative inside.

    Source: tissue maps of ICBM152 2009a, Fonov et al. 2011, as in nilearn; see `docs/samples.md`.

    >>> head_maps().values.shape[0]
    5
    """
    with np.load(FOLDER / FILE) as file:
        stored = {name: file[name] for name in ("grey", "white", "brain", "origin_mm", "spacing_mm")}
    spacing = float(stored["spacing_mm"])
    margin = int(MARGIN_MM / spacing)
    grey, white, brain = (np.pad(stored[name], margin) for name in ("grey", "white", "brain"))
    origin = stored["origin_mm"] - margin * spacing
    matter = np.stack([grey, white]).astype(np.float32) / 255
    matter /= np.maximum(matter.sum(axis=0), 1.0)
    fluid = 1.0 - matter.sum(axis=0)
    distance = signed_distance(brain > 127, spacing)
    place = tuple(float(number) for number in origin)
    far = np.full_like(distance, MARGIN_MM)
    values = torch.from_numpy(np.stack([*matter, fluid, distance, far]).astype(np.float32))
    maps = Field(values, (place[0], place[1], place[2]), spacing)
    points = maps.grid_points()
    near = ((points - torch.tensor(AROUND)).abs() < torch.tensor(REACH)).all(dim=1)
    values[4].view(-1)[near] = hippocampus_distance(points[near]).clamp(max=MARGIN_MM)
    return maps


@cache
def coarse_distance() -> Field:
    """The distance to the brain's border on every second grid point: quickly read, to leave out what is far."""
    maps = head_maps()
    return Field(maps.values[3:4, ::2, ::2, ::2].contiguous(), maps.origin, 2 * maps.spacing)


def signed_distance(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Distance to the border of a mask in mm, negative inside; the border runs between voxels."""
    outside = distance_transform_edt(~mask) - 0.5
    within = distance_transform_edt(mask) - 0.5
    return np.asarray(np.where(mask, -within, outside) * spacing)


def hippocampus_distance(points: Tensor) -> Tensor:
    """Distance in mm from points (N, 3) to the nearer of two bent tubes, negative inside."""
    mirrored = points.clone()
    mirrored[:, 0] = points[:, 0].abs()
    nodes = torch.tensor(HIPPOCAMPUS)
    nearest = torch.full((len(points),), float("inf"))
    for first, second in pairwise(nodes):
        along = second[:3] - first[:3]
        share = (((mirrored - first[:3]) @ along) / along.dot(along)).clamp(0, 1)
        from_axis = (mirrored - first[:3] - share[:, None] * along).norm(dim=1)
        nearest = torch.minimum(nearest, from_axis - (first[3] + share * (second[3] - first[3])))
    return nearest
