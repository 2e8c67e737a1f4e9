"""Warps: followed step by step they arrive at the same place, and they never fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.phantoms.fields import Field, generator_for
from medgraft.phantoms.warps import (
    SIDE,
    SPACING_MM,
    draw_velocity,
    draw_warp,
    integrate,
    rotation,
    smallest_jacobian,
)


def test_squaring_arrives_where_small_steps_arrive():
    velocity = draw_velocity(generator_for("velocity"), 6.0)
    displacement = integrate(velocity)
    start = velocity.grid_points()[::97]
    points = start.clone()
    for _ in range(500):
        points = points + velocity.at(points).T / 500
    arrived = start + displacement.at(start).T
    assert (points - start).norm(dim=1).max() > 5
    # both round off on the grid of 8 mm
    assert float((arrived - points).norm(dim=1).mean()) < 0.15
    assert float((arrived - points).norm(dim=1).max()) < 1.5


def test_the_way_back_undoes_the_way():
    velocity = draw_velocity(generator_for("back"), 6.0)
    there, back = integrate(velocity), integrate(velocity._replace(values=-velocity.values))
    points = torch.rand(500, 3) * 160 - 80
    moved = points + there.at(points).T
    returned = moved + back.at(moved).T
    assert float((returned - points).norm(dim=1).mean()) < 0.3
    assert float((moved - points).norm(dim=1).mean()) > 2


@pytest.mark.parametrize("seed", range(8))
def test_no_warp_folds(seed):
    warp = draw_warp(
        generator_for("fold", seed),
        (0.0, 0.0, 0.0),
        strength_mm=6.0,
        tilt_degrees=4.0,
        shift_mm=3.0,
        scale=0.05,
    )
    assert smallest_jacobian(warp.displacement) > 0.1
    # independently, by differences of the map itself between points that are no grid points
    points = torch.rand(2000, 3) * 160 - 80
    steps = torch.eye(3) * 0.5
    columns = [(warp.apply(points + step) - warp.apply(points - step)) for step in steps]
    assert float(torch.linalg.det(torch.stack(columns, dim=2)).min()) > 0


def test_a_velocity_that_would_fold_is_weakened():
    generator = generator_for("strong")
    warp = draw_warp(generator, (0.0, 0.0, 0.0), strength_mm=60.0, tilt_degrees=0, shift_mm=0, scale=0)
    assert smallest_jacobian(warp.displacement) >= 0.1


def test_the_jacobian_of_a_shear_and_of_a_fold():
    points = Field(torch.zeros(3, 5, 5, 5), (0.0, 0.0, 0.0), 2.0)
    x, y, _ = points.grid_points().view(5, 5, 5, 3).permute(3, 0, 1, 2)
    shear = torch.stack([0.5 * y, torch.zeros_like(y), torch.zeros_like(y)])
    assert smallest_jacobian(points._replace(values=shear)) == pytest.approx(1.0)
    fold = torch.stack([-1.5 * x, torch.zeros_like(x), torch.zeros_like(x)])
    assert smallest_jacobian(points._replace(values=fold)) == pytest.approx(-0.5)


def test_nothing_moves_at_the_border_of_the_cube():
    velocity = draw_velocity(generator_for("border"), 6.0).values
    assert float(velocity[:, 0].abs().max()) == pytest.approx(0, abs=1e-3)
    assert velocity.shape == (3, SIDE, SIDE, SIDE)
    assert SIDE * SPACING_MM > 256


def test_rotation_turns_about_each_axis():
    quarter = rotation(np.array([0.0, 0.0, np.pi / 2]))
    assert quarter @ [1, 0, 0] == pytest.approx([0, 1, 0])
    turn = rotation(np.array([0.3, -0.2, 0.1]))
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_larger_subjects_are_shrunk_to_the_template():
    centre = (0.0, -17.0, 10.0)
    warp = draw_warp(
        generator_for("size", 3), centre, strength_mm=1e-6, tilt_degrees=1e-6, shift_mm=1e-6, scale=0.2
    )
    point = torch.tensor([[50.0, -17.0, 10.0]])
    expected = (50.0 * warp.matrix[0, 0]).item()
    assert warp.apply(point)[0].tolist() == pytest.approx([expected, -17.0, 10.0], abs=1e-3)
