"""Radiographs: Beer-Lambert, photons that are counted, scatter, display."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.phantoms.radiograph import expose, show, transmission
from medgraft.phantoms.thorax import Paths
from medgraft.phantoms.xray_sites import XraySite

QUIET = XraySite(photons=1e9, scatter=0, blur_mm=0)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_what_passes_falls_with_the_exponential_of_depth():
    paths = Paths(np.array([[0.0, 200.0, 50.0]]), np.array([[0.0, 0.0, 10.0]]), np.array([[0.0, 0.0, 1.0]]))
    found = transmission(paths, 60.0)[0]
    # 20 cm of water; 5 cm of water, 1 cm of bone, 0.1 cm of iron: all at 60 keV
    by_hand = [1.0, np.exp(-4.118), np.exp(-(1.0295 + 0.604416 + 0.948817))]
    assert found == pytest.approx(by_hand, rel=1e-6)


def test_counts_are_poisson_numbers():
    site = QUIET.model_copy(update={"photons": 400.0})
    counts = expose(np.full((64, 64), 0.25), site, generator())
    assert counts.mean() == pytest.approx(100, rel=0.02)
    assert counts.var() == pytest.approx(100, rel=0.1)
    assert counts.dtype.kind == "i"


def test_scattered_photons_have_their_share_and_no_edges():
    passed = np.full((64, 64), 0.2)
    passed[:, 32:] = 0.02
    direct, veiled = (
        expose(passed, QUIET.model_copy(update={"scatter": scatter}), generator()) / 1e9
        for scatter in (0.0, 0.5)
    )
    assert direct == pytest.approx(passed, abs=1e-4)
    added = veiled - passed
    middle = (slice(6, 58), slice(6, 58))
    assert added[middle].sum() / veiled[middle].sum() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(added, axis=1)).max() < 0.1 * np.abs(np.diff(passed, axis=1)).max()


def test_blur_softens_an_edge_by_its_width():
    passed = np.full((128, 128), 0.1)
    passed[:, 64:] = 0.9
    site = QUIET.model_copy(update={"blur_mm": 12.0})
    profile = np.diff(expose(passed, site, generator()).mean(axis=0) / 1e9)
    wide = (profile > profile.max() / 2).sum() * 360 / 128
    assert wide == pytest.approx(12.0, abs=3.0)


def test_dense_parts_are_bright_and_the_window_spans_the_display():
    counts = np.geomspace(1e5, 1e2, 64)[None, :].repeat(64, axis=0)
    shown = show(counts, QUIET, generator())
    assert shown.dtype == np.uint8
    assert shown[0, 0] == 0 and shown[0, -1] == 255
    assert (np.diff(shown[0].astype(int)) >= 0).all()
    # the logarithm is shown: equal factors of photons are equal steps of brightness
    steps = np.diff(shown[0, 10:54].astype(int))
    assert set(steps.tolist()) <= set(range(steps.min(), steps.min() + 2))


def test_gamma_darkens_and_gain_brightens_what_lies_between():
    counts = np.geomspace(1e5, 1e2, 64)[None, :].repeat(64, axis=0)
    plain, steep, bright = (
        show(counts, QUIET.model_copy(update=change), generator()).astype(int)
        for change in ({}, {"gamma": 2.0}, {"gain": 1.5})
    )
    assert steep[0, 32] == pytest.approx(255 * (plain[0, 32] / 255) ** 2, abs=2)
    assert bright[0, 32] == pytest.approx(1.5 * plain[0, 32], abs=2)


def test_grain_is_a_part_of_the_range():
    counts = np.full((64, 64), 1000.0)
    counts[:, :20], counts[:, 44:] = 1e5, 1e1
    shown = show(counts, QUIET.model_copy(update={"grain": 0.04}), generator()).astype(float)
    assert shown[:, 24:40].std() == pytest.approx(0.04 * 255, rel=0.1)
