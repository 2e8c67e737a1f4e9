"""Chords and distances, against numeric integration and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.phantoms.chords import curve, ellipsoid_chord, line_distance, tube_chord, turned


def test_the_chord_of_an_ellipsoid_is_the_length_inside_it():
    generator = np.random.default_rng(0)
    x, z = generator.uniform(-12, 12, (2, 40))
    centre, radii, tilt = (1.0, -2.0), (9.0, 6.0, 5.0), 30.0
    depths = np.linspace(-7, 7, 14_001)
    along = np.cos(np.deg2rad(tilt)) * (x - 1) + np.sin(np.deg2rad(tilt)) * (z + 2)
    up = -np.sin(np.deg2rad(tilt)) * (x - 1) + np.cos(np.deg2rad(tilt)) * (z + 2)
    inside = (along / 9)[:, None] ** 2 + (depths / 6) ** 2 + (up / 5)[:, None] ** 2 < 1
    counted = inside.sum(axis=1) * (depths[1] - depths[0])
    assert (counted > 0).sum() > 5
    assert ellipsoid_chord(x, z, centre, radii, tilt) == pytest.approx(counted, abs=0.01)


def test_the_chords_of_an_ellipsoid_fill_its_volume():
    axis = np.arange(-12, 12, 0.05)
    chords = ellipsoid_chord(*np.meshgrid(axis, axis), (0.3, 0.2), (9.0, 6.0, 5.0), 20.0)
    assert chords.sum() * 0.05**2 == pytest.approx(4 / 3 * np.pi * 9 * 6 * 5, rel=1e-3)


def test_a_tube_is_crossed_as_a_circle_is():
    assert tube_chord(np.array([0.0, 4.0, 5.0, 9.0]), 5.0).tolist() == [10.0, 6.0, 0.0, 0.0]
    assert tube_chord(np.zeros(1), -1.0).tolist() == [0.0]


def test_the_distance_to_a_line_is_that_to_its_nearest_point():
    line = np.array([[0.0, 0.0], [10.0, 5.0], [4.0, 12.0]])
    x, z = np.random.default_rng(1).uniform(-5, 15, (2, 30))
    parts = np.linspace(0, 1, 4001)[:, None]
    points = np.concatenate([line[0] + parts * (line[1] - line[0]), line[1] + parts * (line[2] - line[1])])
    nearest = np.hypot(x[:, None] - points[:, 0], z[:, None] - points[:, 1]).min(axis=1)
    assert line_distance(x, z, line) == pytest.approx(nearest, abs=1e-3)


def test_a_curve_keeps_its_ends_and_follows_its_equation():
    found = curve(((0.0, 0.0), (0.0, 8.0), (8.0, 8.0), (8.0, 0.0)), 4)
    part = 0.25
    weights = [(1 - part) ** 3, 3 * part * (1 - part) ** 2, 3 * part**2 * (1 - part), part**3]
    expected = [8 * (weights[2] + weights[3]), 8 * (weights[1] + weights[2])]
    assert found[0].tolist() == [0, 0] and found[-1].tolist() == [8, 0]
    assert found[1].tolist() == pytest.approx(expected)


def test_turned_axes_keep_lengths():
    x, z = turned(np.array([3.0]), np.array([4.0]), 90.0)
    assert x[0] == pytest.approx(4) and z[0] == pytest.approx(-3)
