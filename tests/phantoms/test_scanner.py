"""Scanners: noise, bias, blur and thickness do what they say, and truth is the middle plane's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rice

from medgraft.phantoms.anatomy import Composition
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.mr_physics import TISSUES
from medgraft.phantoms.mr_sites import Site
from medgraft.phantoms.scanner import Frame, add_noise, look, receive, scan

PLAIN = Site(
    sequence="spin_echo", repetition_ms=4000, echo_ms=20, noise=0, bias=0, resolution_mm=0, thickness_mm=2
)


class Box:
    """White matter where x > 0 and z > 0 mm, air elsewhere."""

    coil_place = (0.0, -40.0, 0.0)

    def at(self, points):
        share = ((points[:, 0] > 0) & (points[:, 2] > 0)).float()
        return Composition({"white matter": share}, {"box": share}, torch.ones(len(points)))


def take(site: Site, heights=(10.0,), side=32, key="box"):
    frame = Frame((0.0, 0.0), 64.0, side, heights)
    return scan(Box(), site, frame, ("box",), ("white matter",), generator_for(key))


def test_pixels_run_from_the_front_and_from_the_right():
    points = Frame((5.0, -7.0), 8.0, 4, (3.0,)).points(3.0).view(4, 4, 3)
    assert points[0, 0].tolist() == [8.0, -4.0, 3.0]
    assert points[-1, -1].tolist() == [2.0, -10.0, 3.0]
    assert Frame((0.0, 0.0), 240.0, 64, ()).pixel_mm == 3.75
    finer = Frame((5.0, -7.0), 8.0, 4, (3.0,)).points(3.0, 2).view(4, 2, 4, 2, 3).mean(dim=(1, 3))
    assert torch.allclose(finer, points)


def test_an_image_without_flaws_is_the_signal_of_what_is_there():
    images, truth = take(PLAIN)
    assert truth.shape == images.shape == (1, 32, 32)
    assert (truth[0, :, :16] == 1).all() and (
        truth[0, :, 16:] == 0
    ).all()  # the patient's right is on the left
    inner, outer = images[0, :, :16], images[0, :, 16:]
    assert len(np.unique(inner)) == 1 and (outer == 0).all()
    # 90 for the organ's mean signal, but for subject and scan: 3 % and 10 % of spread
    assert inner[0, 0] == pytest.approx(90, rel=0.4)
    brighter = take(PLAIN.model_copy(update={"gain": 1.5})).images[0, :, :16]
    assert brighter[0, 0] == pytest.approx(1.5 * inner[0, 0], abs=1.1)


def test_noise_is_rician():
    signal = np.full((400, 400), 0.3)
    found = add_noise(signal, 0.2, np.random.default_rng(0))
    expected = rice(0.3 / 0.2, scale=0.2)
    assert found.mean() == pytest.approx(expected.mean(), abs=0.002)
    assert found.std() == pytest.approx(expected.std(), abs=0.002)
    # where nothing is, it is Rayleigh: never negative, mean sigma * sqrt(pi / 2)
    empty = add_noise(np.zeros((400, 400)), 0.2, np.random.default_rng(1))
    assert empty.min() >= 0
    assert empty.mean() == pytest.approx(0.2 * np.sqrt(np.pi / 2), abs=0.002)


def test_thick_slices_average_and_truth_stays_that_of_the_middle():
    frame = Frame((0.0, 0.0), 64.0, 32, ())
    strength = {"white matter": 1.0}
    for height, thickness, share, inside in (
        (1.0, 10.0, 3 / 5, 1),
        (-1.0, 10.0, 2 / 5, 0),
        (1.0, 2.0, 1.0, 1),
    ):
        signal, truth = look(Box(), strength, thickness, frame, height, ("box",))
        assert signal[0, 0] == pytest.approx(share)
        assert truth[0, 0] == inside


def test_truth_does_not_depend_on_the_site():
    noisy = PLAIN.model_copy(update={"noise": 0.5, "thickness_mm": 9.0, "resolution_mm": 6.0})
    heights = (-3.0, 1.0, 4.0)
    assert np.array_equal(take(PLAIN, heights).truth, take(noisy, heights, key="else").truth)


def test_blur_has_the_width_it_is_given():
    image = take(PLAIN.model_copy(update={"resolution_mm": 8.0})).images[0, 16].astype(float)
    slope = -np.diff(image)  # the derivative of a blurred edge is the blur
    places = np.arange(31) * 2.0
    mean = (slope * places).sum() / slope.sum()
    sigma = np.sqrt((slope * (places - mean) ** 2).sum() / slope.sum())
    assert sigma * 2.3548 == pytest.approx(8.0, rel=0.1)


def test_bias_multiplies_smoothly_and_a_coil_brightens_what_lies_at_it():
    frame = Frame((0.0, 0.0), 200.0, 50, ())
    bias = None
    from medgraft.phantoms.fields import draw_field

    bias = draw_field(generator_for("bias"), 1, 9, 40.0, 60.0)
    field = receive(frame, 0.0, PLAIN.model_copy(update={"bias": 0.3}), bias, (0.0, -40.0, 0.0))
    assert 0.05 < np.log(field).std() < 0.6
    assert np.abs(np.diff(np.log(field), axis=0)).max() < 0.1
    coil = receive(frame, 0.0, PLAIN.model_copy(update={"coil": 4.0}), bias, (2.0, -42.0, 0.0))
    assert coil.max() == pytest.approx(5.0, abs=1e-4)
    assert np.unravel_index(coil.argmax(), coil.shape) == (35, 24)  # 42 mm to the back
    assert coil[0, 0] == pytest.approx(1.0, abs=0.01)


def test_the_signal_is_that_of_the_equations():
    class Two(Box):
        def at(self, points):
            half = torch.full((len(points),), 0.5)
            return Composition({"white matter": half, "csf": half}, {"box": half}, torch.ones(len(points)))

    strength = {name: PLAIN.signal(TISSUES[name]) for name in ("white matter", "csf")}
    signal, _ = look(Two(), strength, 2.0, Frame((0.0, 0.0), 64.0, 8, ()), 0.0, ("box",))
    white = 0.70 * (1 - np.exp(-4000 / 680)) * np.exp(-20 / 72)
    fluid = 1.0 * (1 - np.exp(-4000 / 4300)) * np.exp(-20 / 2000)
    assert signal == pytest.approx(np.full((8, 8), (white + fluid) / 2), rel=1e-5)
