"""The shipped tissue maps: where they lie and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from medgraft.phantoms.tissue_maps import head_maps, hippocampus_distance, signed_distance


def test_maps_are_probabilities_of_one_brain():
    grey, white, fluid, distance, _ = head_maps().values
    assert torch.allclose(grey + white + fluid, torch.ones(()), atol=1e-5)
    brain_ml = float((distance < 0).sum()) * head_maps().spacing ** 3 / 1000
    assert 1500 < brain_ml < 2100  # the MNI's average brain is larger than most, and has its fluid
    assert 0.35 < float(grey[distance < 0].mean()) < 0.6
    assert 0.2 < float(white[distance < 0].mean()) < 0.45


def test_known_places_hold_what_anatomy_says():
    places = torch.tensor(
        [[-26.0, -20.0, 30.0], [0.0, -105.0, 90.0], [12.0, -8.0, 22.0], [0.0, -60.0, -40.0]]
    )
    grey, white, fluid, distance, _ = head_maps().at(places)
    assert white[0] > 0.8  # corona radiata
    assert distance[1] > 20  # above and behind the head
    assert fluid[2] > 0.5  # lateral ventricle
    assert distance[3] < -5 and grey[3] + white[3] > 0.8  # cerebellum


def test_left_and_right_are_alike():
    points = torch.rand(500, 3) * torch.tensor([120.0, 150.0, 120.0]) - torch.tensor([60.0, 90.0, 40.0])
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    difference = (head_maps().at(points) - head_maps().at(mirrored)).abs().mean(dim=1)
    assert difference[:3].tolist() == pytest.approx([0] * 3, abs=0.03)
    assert difference[3:].tolist() == pytest.approx(
        [0, 0], abs=0.4
    )  # mm; voxels of 2 mm lie 1 mm off the middle


def test_signed_distance_of_a_slab():
    mask = np.zeros((9, 3, 3), bool)
    mask[:4] = True
    mask = np.pad(mask, ((0, 0), (9, 9), (9, 9)), mode="edge")
    found = signed_distance(mask, 2.0)[:, 9, 9]
    assert found.tolist() == [-7, -5, -3, -1, 1, 3, 5, 7, 9]


def test_the_hippocampus_is_a_tube_of_the_right_size():
    axis = torch.arange(-60.0, 60.0, 1.0)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
    inner = (hippocampus_distance(points) < 0).view(120, 120, 120)
    assert 2.5 < float(inner[60:].sum()) / 1000 < 5  # one side, ml
    assert torch.equal(inner[61:], inner[1:60].flip(0))  # both sides alike
    assert distance_transform_edt(inner.numpy()).max() == pytest.approx(6, abs=1)
    assert float(hippocampus_distance(torch.tensor([[23.0, -9.0, -31.0]]))) == pytest.approx(4.0, abs=1e-4)
