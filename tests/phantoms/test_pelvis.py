"""Schematic pelves: ellipsoids, painted over one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.pelvis import GLAND, Pelvis, ellipsoid_distance, paint

AXIS = torch.arange(-40.0, 40.0, 2.0)
POINTS = torch.stack(torch.meshgrid(AXIS, AXIS, AXIS, indexing="ij"), dim=-1).view(-1, 3)


def test_distance_to_a_ball_is_exact():
    points = torch.tensor([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 7.0]])
    assert ellipsoid_distance(points, (0, 0, 0), (2, 2, 2)).tolist() == pytest.approx([3.0, -1.0, 5.0])


def test_distance_to_an_ellipsoid_has_the_right_border_and_slope():
    border = torch.tensor([[24.0, 0.0, 0.0], [0.0, 17.0, 0.0]])
    assert ellipsoid_distance(border, (0, 0, 0), GLAND).tolist() == pytest.approx([0, 0], abs=1e-5)
    beyond = torch.tensor([[25.0, 0.0, 0.0], [0.0, 18.0, 0.0]])
    assert ellipsoid_distance(beyond, (0, 0, 0), GLAND).tolist() == pytest.approx([1, 1], abs=0.01)


def test_painting_takes_from_what_is_there():
    tissues = {"fat": torch.tensor([1.0, 1.0]), "muscle": torch.tensor([0.0, 0.0])}
    paint(tissues, "bone", torch.tensor([0.25, 1.0]))
    assert tissues["fat"].tolist() == [0.75, 0.0]
    paint(tissues, "fat", torch.tensor([0.5, 0.5]))
    assert tissues["fat"].tolist() == [0.875, 0.5]
    assert tissues["bone"].tolist() == [0.125, 0.5]


def test_zones_make_up_the_gland_and_glands_differ():
    volumes, parts = [], []
    for seed in range(5):
        found = Pelvis(generator_for("pelves", seed)).at(POINTS)
        regions = found.regions
        assert torch.allclose(regions["transition zone"] + regions["peripheral zone"], regions["prostate"])
        assert float(sum(found.tissues.values()).max()) < 1 + 1e-5
        volumes.append(float(regions["prostate"].sum()) * 8 / 1000)
        parts.append(float(regions["transition zone"].sum() / regions["prostate"].sum()))
    assert min(volumes) > 18 and max(volumes) < 70
    assert np.std(parts) > 0.02
    assert min(parts) > 0.1 and max(parts) < 0.6
