"""Simulated heads: shares that add up, skull and scalp of human thickness, subjects that differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.head import CENTRE, Head
from medgraft.phantoms.scanner import Frame

FRAME = Frame((0.0, -17.0), 240.0, 96, (15.0,))


@pytest.fixture(scope="module")
def found():
    return Head(generator_for("test head", 0)).at(FRAME.points(15.0))


def test_shares_add_up_to_one_and_the_rest_is_air(found):
    total = sum(found.tissues.values())
    assert float(total.max()) < 1 + 1e-4
    assert min(float(share.min()) for share in found.tissues.values()) > -1e-5
    corner = {name: float(share[0]) for name, share in found.tissues.items()}
    assert max(corner.values()) < 1e-3


def test_the_brain_is_grey_white_and_fluid(found):
    regions = found.regions
    inner = regions["grey matter"] + regions["white matter"] + regions["csf"]
    assert torch.allclose(inner, regions["brain"], atol=1e-5)
    part = {
        name: float(regions[name].sum() / regions["brain"].sum()) for name in ("grey matter", "white matter")
    }
    assert 0.35 < part["grey matter"] < 0.65
    assert 0.25 < part["white matter"] < 0.5


def test_skull_and_scalp_are_as_thick_as_people_have_them():
    head = Head(generator_for("test head", 2))
    outward = torch.arange(0, 130, 0.25)
    thick = {"skull": [], "scalp": []}
    for angle in np.linspace(-0.5, 3.6, 12):  # not through the face
        ray = torch.stack(
            [outward * float(np.cos(angle)), -outward * abs(float(np.sin(angle))), outward * 0 + 25], 1
        )
        found = head.at(ray + torch.tensor([0.0, CENTRE[1], 0.0])).tissues
        thick["skull"].append(float(found["bone"].sum() + found["marrow"].sum()) * 0.25)
        thick["scalp"].append(float(found["fat"].sum() + found["muscle"].sum()) * 0.25)
    assert 4 < np.mean(thick["skull"]) < 10
    assert 3.5 < np.mean(thick["scalp"]) < 11


def test_every_layer_from_brain_to_air_is_crossed_in_order():
    head = Head(generator_for("test head", 1))
    ray = torch.stack(
        [torch.arange(0, 120, 0.25), torch.full((480,), -17.0), torch.full((480,), 30.0)], dim=1
    )
    found = head.at(ray)
    peaks = [int(found.tissues[name].argmax()) for name in ("marrow", "fat", "muscle")]
    assert peaks == sorted(peaks)
    assert int((found.regions["brain"] > 0.5).nonzero().max()) < peaks[0]
    assert float(sum(found.tissues.values())[-1]) < 0.01


def test_folds_are_the_subjects_own():
    first = Head(generator_for("test head", 3)).at(FRAME.points(15.0)).regions
    second = Head(generator_for("test head", 4)).at(FRAME.points(15.0)).regions
    both = (first["brain"] > 0.9) & (second["brain"] > 0.9)
    differs = ((first["grey matter"] > 0.5) != (second["grey matter"] > 0.5))[both].float().mean()
    assert 0.1 < float(differs) < 0.5


def test_the_hippocampus_lies_in_the_brain_and_varies():
    volumes = []
    axis = torch.arange(-50.0, 50.0, 1.5)
    points = torch.stack(
        torch.meshgrid(axis, axis - 22, torch.arange(-45.0, 20, 1.5), indexing="ij"), dim=-1
    ).view(-1, 3)
    for seed in range(4):
        regions = Head(generator_for("hippocampi", seed)).at(points).regions
        assert bool((regions["hippocampus"] <= regions["brain"] + 1e-6).all())
        assert bool((regions["hippocampus"] <= regions["grey matter"] + 1e-5).all())
        volumes.append(float(regions["hippocampus"].sum()) * 1.5**3 / 2000)
    assert min(volumes) > 1.5 and max(volumes) < 7  # ml of one side
    assert np.std(volumes) > 0.1
