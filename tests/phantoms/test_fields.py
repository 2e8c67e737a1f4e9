"""Random fields: reading between grid points, smoothness, and seeds that do not depend on the order of use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medgraft.phantoms.fields import Field, draw_field, generator_for


def test_reading_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype(np.float32)
    points = np.random.default_rng(1).uniform(-3, 30, (200, 3)).astype(np.float32)
    found = Field(torch.from_numpy(values), (1.0, 2.0, 3.0), 2.0).at(torch.from_numpy(points))
    places = ((points - [1, 2, 3]) / 2).T
    expected = [map_coordinates(channel, places, order=1, mode="nearest") for channel in values]
    assert np.abs(found.numpy() - expected).max() < 1e-4


def test_a_periodic_field_repeats():
    field = draw_field(generator_for("periodic"), 1, 8, 2.0, 3.0, periodic=True)
    points = torch.rand(50, 3) * 16
    assert torch.allclose(field.at(points), field.at(points + torch.tensor([16.0, -32.0, 0.0])), atol=1e-4)
    # between the last grid point and the first one lies their mean
    middle = field.origin[0] + 2.0 * 7.5
    seam = field.at(torch.tensor([[middle, field.origin[1], field.origin[2]]]))
    assert float(seam) == pytest.approx(
        float(field.values[0, 7, 0, 0] + field.values[0, 0, 0, 0]) / 2, abs=1e-4
    )


def test_fields_are_standard_and_as_smooth_as_asked():
    field = draw_field(generator_for("smooth"), 2, 32, 1.0, 3.0)
    assert field.values.mean(dim=(1, 2, 3)) == pytest.approx([0, 0], abs=1e-5)
    assert field.values.std(dim=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-3)
    # smoothing white noise by s leaves a correlation of exp(-d^2 / 4 s^2)
    near = (field.values * field.values.roll(3, dims=1)).mean()
    assert float(near) == pytest.approx(np.exp(-9 / 36), abs=0.06)
    assert abs(float((field.values[0] * field.values[1]).mean())) < 0.3


def test_a_generator_follows_its_key_alone():
    first = generator_for("mr_brain", 0, "reference-001").normal(size=3)
    generator_for("mr_brain", 0, "reference-000").normal(size=3)
    assert np.array_equal(first, generator_for("mr_brain", 0, "reference-001").normal(size=3))
    assert not np.array_equal(first, generator_for("mr_brain", 1, "reference-001").normal(size=3))


def test_grid_points_stand_where_the_values_are():
    field = draw_field(generator_for("grid"), 1, 4, 5.0, 6.0)
    assert torch.allclose(field.at(field.grid_points())[0], field.values.flatten(), atol=1e-5)
