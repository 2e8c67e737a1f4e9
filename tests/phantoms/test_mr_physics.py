"""Signal equations against hand-worked numbers and a simulation of the Bloch equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medgraft.phantoms.mr_physics import (
    TISSUES,
    Tissue,
    inversion_recovery,
    spin_echo,
    spoiled_gradient_echo,
)

WATERY = Tissue(t1_ms=1000.0, t1_power=0.5, t2_ms=100.0, density=0.8)


def test_spin_echo_by_hand():
    # TR = T1 ln 2 recovers half, TE = T2 ln 2 loses half: 0.8 * 0.5 * 0.5
    assert spin_echo(WATERY, 1000 * math.log(2), 100 * math.log(2), 1.5) == pytest.approx(0.2)


def test_spoiled_gradient_echo_by_hand():
    # E1 = 1/2 and 60 degrees: sin 60 * (1/2) / (1 - 1/4) = 0.57735; at 1.5 T 1/T2* = 0.01 + 0.00255
    decayed = math.exp(-10 * 0.01255)
    assert spoiled_gradient_echo(WATERY, 1000 * math.log(2), 10, 60, 1.5) == pytest.approx(
        0.8 * math.sqrt(3) / 2 * 0.5 / 0.75 * decayed
    )


def test_inversion_recovery_by_hand():
    # TI = T1 ln 4: 1 - 2/4 = 1/2, and E(TR) = 1/8 with TR = T1 ln 8
    assert inversion_recovery(WATERY, 1000 * math.log(8), 0, 1000 * math.log(4), 1.5) == pytest.approx(0.5)
    # TI = 0 with full recovery: the whole magnetisation upside down, as a magnitude
    assert inversion_recovery(WATERY, 1e9, 0, 1e-9, 1.5) == pytest.approx(0.8)


def test_gradient_echo_is_the_steady_state_of_repeated_excitation():
    e1, angle = math.exp(-25 / 1000), math.radians(30)
    along = 1.0
    for _ in range(2000):  # flip, lose what is across, recover
        across, along = along * math.sin(angle), along * math.cos(angle)
        along = 1 + (along - 1) * e1
    assert across == pytest.approx(spoiled_gradient_echo(Tissue(1000, 0, 1e12, 1), 25, 0, 30, 1.5), rel=1e-6)


def test_inversion_recovery_is_the_steady_state_of_repeated_inversion():
    t1, tr, ti = 900.0, 2300.0, 700.0
    along = 1.0
    for _ in range(50):  # invert, wait TI, excite by 90 degrees, wait for the rest of TR
        along = 1 + (-along - 1) * math.exp(-ti / t1)
        seen, along = abs(along), 0.0
        along = 1 - math.exp(-(tr - ti) / t1)
    assert seen == pytest.approx(inversion_recovery(Tissue(t1, 0, 1e12, 1), tr, 0, ti, 1.5), rel=1e-9)


def test_t1_grows_with_the_field_as_its_power_says():
    assert WATERY.t1_at(1.5) == 1000
    assert WATERY.t1_at(6.0) == pytest.approx(2000)


@pytest.mark.parametrize(
    ("name", "at_three_tesla", "tolerance"),
    [
        ("grey matter", 1541, 5),  # Rooney et al. 2007: 0.376 as the power
        ("white matter", 887, 5),  # 0.583 * 3**0.382
        ("muscle", 1412, 10),  # Stanisz et al. 2005
        ("fat", 382, 2),  # de Bazelaire et al. 2004
        ("transition zone", 1597, 5),
        ("csf", 4300, 0.1),
    ],
)
def test_t1_at_three_tesla_is_as_published(name, at_three_tesla, tolerance):
    assert TISSUES[name].t1_at(3.0) == pytest.approx(at_three_tesla, abs=tolerance)


def test_t2_star_lies_near_what_was_measured():
    # Peters et al. 2007, grey and white matter at 1.5 and 3 T
    for name, field, measured in (
        ("grey matter", 1.5, 84), ("grey matter", 3, 66), ("white matter", 1.5, 66), ("white matter", 3, 53)
    ):  # fmt: skip
        assert TISSUES[name].t2_star_at(field) == pytest.approx(measured, rel=0.1)


def test_contrast_turns_round_between_t1_and_t2_weighting():
    def order(signal):
        return sorted(("csf", "grey matter", "white matter"), key=lambda name: signal(TISSUES[name]))

    assert order(lambda tissue: spin_echo(tissue, 500, 14, 1.5)) == ["csf", "grey matter", "white matter"]
    assert order(lambda tissue: spin_echo(tissue, 4000, 100, 1.5)) == ["white matter", "grey matter", "csf"]


def test_bone_is_dark_at_every_echo_in_use():
    assert spin_echo(TISSUES["bone"], 4000, 9, 1.5) < 1e-6


def test_every_tissue_is_possible():
    for tissue in TISSUES.values():
        assert 0 < tissue.density <= 1
        assert tissue.t2_ms <= tissue.t1_ms
        assert np.isfinite(tissue.t1_at(7.0))
