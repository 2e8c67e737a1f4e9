"""Sites: frozen settings that fit together, each with its own contrast."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from medgraft.phantoms.mr_physics import TISSUES, inversion_recovery, spoiled_gradient_echo
from medgraft.phantoms.mr_sites import BRAIN_SITES, PROSTATE_SITES, Site


def ratio(site: Site, first: str, second: str) -> float:
    return site.signal(TISSUES[first]) / site.signal(TISSUES[second])


def test_there_are_a_reference_with_six_sites_and_three_sites():
    assert next(iter(BRAIN_SITES)) == "reference" and len(BRAIN_SITES) == 7
    assert len(PROSTATE_SITES) == 3
    assert len({site.model_dump_json() for site in [*BRAIN_SITES.values(), *PROSTATE_SITES.values()]}) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": "spin_echo", "inversion_ms": 100},
        {"sequence": "inversion_recovery"},
        {"sequence": "gradient_echo"},
        {"sequence": "spin_echo", "flip_degrees": 30},
        {"sequence": "spin_echo", "echo_ms": 900},
        {"sequence": "inversion_recovery", "inversion_ms": 495},
        {"sequence": "spin_echo", "tesla": 0},
        {"sequence": "spin_echo", "noise": -1},
        {"sequence": "spin_echo", "unknown": 1},
        {"sequence": "echo_planar"},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValidationError):
        Site(**({"repetition_ms": 500, "echo_ms": 10} | wrong))


def test_each_sequence_uses_its_own_equation():
    grey = TISSUES["grey matter"]
    reference = BRAIN_SITES["reference"]
    assert reference.signal(grey) == spoiled_gradient_echo(grey, 22, 9.2, 30, 1.5)
    inversion = BRAIN_SITES["inversion_recovery_3t"]
    assert inversion.signal(grey) == inversion_recovery(grey, 2300, 3, 900, 3.0)


def test_contrasts_are_as_their_names_say():
    for name in ("reference", "gradient_echo_3t", "spin_echo_t1", "inversion_recovery_3t", "low_field"):
        assert ratio(BRAIN_SITES[name], "grey matter", "white matter") < 0.97, name
        assert ratio(BRAIN_SITES[name], "csf", "grey matter") < 0.8, name
    assert 1.0 < ratio(BRAIN_SITES["proton_density"], "grey matter", "white matter") < 1.3
    assert ratio(BRAIN_SITES["t2"], "csf", "grey matter") > 1.7
    zones = {name: ratio(site, "peripheral zone", "transition zone") for name, site in PROSTATE_SITES.items()}
    assert zones["body_coil_3t"] > 1.4 and zones["endorectal_coil"] > 1.4
    assert zones["t1"] == pytest.approx(1.0, abs=0.15)


def test_sites_cannot_be_changed():
    with pytest.raises(ValidationError):
        BRAIN_SITES["reference"].noise = 1.0
    with pytest.raises(TypeError):
        BRAIN_SITES["reference"] = BRAIN_SITES["t2"]
