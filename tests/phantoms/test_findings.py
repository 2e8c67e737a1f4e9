"""Findings: each changes what it must, where it must, and more so when it is severe."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.findings import CORRELATION, FINDINGS, Drawn, draw_findings
from medgraft.phantoms.thorax import Plane, Thorax

SIDE = 128
MM2 = (360 / SIDE) ** 2


@pytest.fixture(scope="module")
def subject():
    return Thorax(generator_for("a chest with findings", 3))


@pytest.fixture(scope="module")
def healthy(subject):
    return subject.project(Plane(SIDE))


@pytest.fixture
def change(subject, healthy):
    def of(name, severity=0.6, side=1, key=0):
        drawn = Drawn(severity, side)
        return FINDINGS[name].change(healthy, subject, drawn, generator_for("where", name, key))

    return of


def added(changed, healthy):
    """Soft tissue that was added along each ray, mm."""
    return changed.paths().soft - healthy.paths().soft


@pytest.mark.parametrize("name", ["consolidation", "oedema", "effusion", "nodule", "mass"])
def test_what_fills_a_lung_makes_it_denser_and_nothing_thinner(name, change, healthy):
    more = added(change(name), healthy)
    assert more.max() > 5 and more.min() > -1e-3
    assert (more[healthy.lung() <= 0] < 1e-3).all()


@pytest.mark.parametrize("name", ["consolidation", "oedema", "effusion", "nodule", "mass"])
def test_severe_findings_change_more(name, change, healthy):
    mild, severe = (
        np.mean([np.abs(added(change(name, severity, key=key), healthy)).sum() for key in range(4)])
        for severity in (0.0, 1.0)
    )
    assert severe > 1.7 * mild > 0


@pytest.mark.parametrize("name", ["consolidation", "nodule", "mass", "pneumothorax"])
@pytest.mark.parametrize("side", [-1, 1])
def test_findings_of_one_lung_leave_the_other_alone(name, side, change, healthy):
    changes = np.abs(added(change(name, side=side), healthy))
    assert changes[healthy.x * side > 0].max() > 3
    assert changes[healthy.x * side < -1].max() < 1e-3


@pytest.mark.parametrize(("severity", "radius"), [(0.0, 5.0), (0.5, 10.0), (1.0, 15.0)])
def test_a_nodule_is_a_ball(severity, radius, change, healthy):
    ball = change("nodule", severity).solid
    assert ball.max() == pytest.approx(2 * radius, abs=1.5)
    assert ball.sum() * MM2 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.2)


def test_a_mass_is_larger_than_any_nodule(change):
    widths = {
        name: np.sqrt((change(name, severity).solid > 0).sum() * MM2 / np.pi)
        for name, severity in (("nodule", 1.0), ("mass", 0.0))
    }
    assert widths["mass"] > 0.85 * widths["nodule"]
    assert np.sqrt((change("mass", 1.0).solid > 0).sum() * MM2 / np.pi) == pytest.approx(32, abs=6)


@pytest.mark.parametrize("name", ["nodule", "mass", "consolidation"])
def test_what_stands_in_a_lung_can_be_seen(name, change, healthy):
    for key in range(12):
        assert added(change(name, 0.3, side=(-1) ** key, key=key), healthy).max() > 6, key


def test_a_pneumothorax_has_air_without_vessels_at_the_border_and_a_line(change, healthy):
    changed = change("pneumothorax", 0.6, 1)
    air = (changed.pleural_air > 0.9) & (healthy.lung() > 20)
    assert air.sum() * MM2 > 500
    assert (added(changed, healthy)[air & (healthy.vessels < 50)] < -3).all()
    assert np.abs(healthy.x[air]).mean() > 60 and healthy.z[air].mean() > 0
    assert (changed.body - healthy.body).max() > 2
    full = changed._replace(vessels=np.full_like(healthy.vessels, 9.0)).paths().soft
    assert full[air] == pytest.approx(changed.paths().soft[air], abs=1.5)


def test_emphysema_has_more_air_and_a_low_flat_diaphragm(change, healthy):
    changed = change("emphysema", 1.0)
    assert changed.paths().soft.sum() < healthy.paths().soft.sum()
    assert changed.density.max() < healthy.density.min()
    middle = (np.abs(np.abs(healthy.x) - 60) < 5) & (np.abs(healthy.z + 60) < 5)
    assert (changed.above - healthy.above)[middle].min() > 15
    assert changed.dome.max() < 0.3 * healthy.dome.max()


def test_an_effusion_lies_at_the_bottom_and_rises_at_the_side(change, subject):
    changed = change("effusion", 0.8, -1)
    fluid = (changed.fluid > 0) & (changed.cavity > 0) & (changed.x < 0)
    columns = {aside: fluid & (np.abs(changed.x + aside) < 4) for aside in (60, 118)}
    tops = {aside: changed.z[column].max() for aside, column in columns.items()}
    assert tops[118] > tops[60] + 8
    assert changed.z[fluid].max() < 40


def test_an_effusion_is_on_both_sides_in_some(change):
    sides = [
        len(set(np.sign(change("effusion", 0.5, 1, key).x[change("effusion", 0.5, 1, key).fluid > 0])))
        for key in range(20)
    ]
    assert {1, 2} == set(sides)


def test_oedema_is_at_the_roots_of_both_lungs(change, healthy):
    haze = change("oedema", 0.8).haze
    near, far = (
        haze[(np.abs(np.abs(healthy.x) - place) < 8) & (np.abs(healthy.z - up) < 8)].mean()
        for place, up in ((45, 0), (115, 60))
    )
    assert near > 4 * far
    assert haze[healthy.x < -20].max() > 0.15 and haze[healthy.x > 20].max() > 0.15


def test_devices_are_of_metal_and_of_three_kinds(change):
    amounts = []
    for key in range(12):
        changed = change("device", 0.5, key=key)
        assert changed.metal.max() > 0.05
        amounts.append(float(changed.metal.sum() * MM2))
    assert max(amounts) > 5 * min(amounts)


def test_findings_never_change_what_they_are_given(subject):
    layers = subject.project(Plane(32))
    before = [array.copy() for array in layers]
    for name, finding in FINDINGS.items():
        finding.change(layers, subject, Drawn(0.5, 1), generator_for("keeps", name))
    assert all(np.array_equal(first, second) for first, second in zip(before, layers))


def test_a_quarter_of_all_films_show_each_finding_and_a_weak_heart_links_some():
    generator = generator_for("prevalence")
    scores = generator.standard_normal(4000)
    found = [draw_findings(generator, score) for score in scores]
    shown = {name: np.array([name in film for film in found]) for name in FINDINGS}
    for name, films in shown.items():
        assert films.mean() == pytest.approx(0.25, abs=0.03), name
    large = scores > 0.674  # the upper quarter
    for first, second, least in (
        (shown["oedema"], large, 0.25), (shown["effusion"], large, 0.18), (shown["effusion"], shown["oedema"], 0.25)
    ):  # fmt: skip
        assert np.corrcoef(first, second)[0, 1] > least
    assert abs(np.corrcoef(shown["mass"], large)[0, 1]) < 0.05
    assert abs(np.corrcoef(shown["nodule"], shown["mass"])[0, 1]) < 0.05
    assert np.linalg.eigvalsh(CORRELATION).min() > 0


def test_nothing_stands_in_a_lung_that_a_pneumothorax_pushes_away():
    generator = generator_for("opposite")
    both = [
        film
        for film in (draw_findings(generator, 0.0) for _ in range(600))
        if {"pneumothorax", "mass"} <= set(film)
    ]
    assert len(both) > 15
    assert all(film["mass"].side == -film["pneumothorax"].side for film in both)
