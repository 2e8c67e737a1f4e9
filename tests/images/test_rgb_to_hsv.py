"""Hue, saturation and value against the standard library."""

from __future__ import annotations

import colorsys

import pytest
import torch

from medgraft.errors import ShapeError
from medgraft.images.hsv import rgb_to_hsv


def test_it_equals_the_standard_library():
    colours = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for place, special in enumerate(([0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 0.0, 0.2], [0.2, 0.9, 0.9])):
        colours[0, :, 0, place] = torch.tensor(special)
    found = rgb_to_hsv(colours)[0].flatten(1).T
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in colours[0].flatten(1).T.tolist()]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64))


def test_grey_images_are_refused():
    with pytest.raises(ShapeError, match="rgb_to_hsv"):
        rgb_to_hsv(torch.zeros(1, 1, 2, 2))
