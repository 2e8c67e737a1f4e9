"""Schematic chests: dense where they should be, no two alike, and a heart whose label is its size."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.rib_cage import _rib, bone_chord
from medgraft.phantoms.thorax import FILM_MM, LUNG_DENSITY, Plane, Thorax


@pytest.fixture(scope="module")
def subjects():
    return [Thorax(generator_for("chests", number)) for number in range(12)]


def at(array, layers, x, z):
    """The value where the place (x, z) mm of the subject lies."""
    row, column = np.unravel_index(np.argmin((layers.x - x) ** 2 + (layers.z - z) ** 2), layers.x.shape)
    return float(array[row, column])


def test_a_plane_has_its_pixels_in_the_middle_of_equal_squares():
    x, z = Plane(4).places()
    assert x[0].tolist() == [-135, -45, 45, 135] and z[:, 0].tolist() == [135, 45, -45, -135]
    moved, _ = Plane(4, shift=(10.0, 0.0)).places()
    assert moved[0].tolist() == [-145, -55, 35, 125]
    tilted = Plane(4, tilt_degrees=90.0).places()
    assert tilted[0][:, 0].tolist() == pytest.approx([135, 45, -45, -135], abs=1e-4)


def test_lungs_are_thin_and_the_middle_and_the_belly_are_dense(subjects):
    for subject in subjects:
        layers = subject.project(Plane(96))
        soft = layers.paths().soft
        lungs = [at(soft, layers, side * 80, 0) for side in (-1, 1)]
        assert max(lungs) < 120
        assert at(soft, layers, 4, -20) > 150 and at(soft, layers, -60, -160) > 150
        assert soft[0, 0] == 0 and soft.min() >= 0


def test_a_ray_through_a_lung_crosses_a_quarter_of_its_depth_and_the_walls(subjects):
    layers = subjects[0].project(Plane(96))._replace(vessels=np.zeros((96, 96), np.float32))
    paths, lung = layers.paths(), layers.lung()
    inside = (lung > 50) & (layers.gas == 0)
    expected = layers.body - lung * (1 - LUNG_DENSITY) - layers.bone
    assert inside.sum() > 500
    assert paths.soft[inside] == pytest.approx(expected[inside], abs=1e-2)


def test_the_label_of_the_heart_is_the_ratio_measured_on_its_shadow(subjects):
    for subject in subjects:
        layers = subject.project(Plane(360))
        heart = subject._heart(layers.x, layers.z, 1.0) > 0
        chest = (layers.cavity > 0) & (layers.above > 0)
        widths = [np.ptp(np.flatnonzero(shape.any(axis=0))) + 1 for shape in (heart, chest)]
        assert subject.cardiothoracic_ratio == pytest.approx(widths[0] / widths[1], abs=0.012)


def test_hearts_are_large_in_a_quarter_of_all_subjects_and_follow_their_score():
    many = [Thorax(generator_for("hearts", number)) for number in range(250)]
    ratios = np.array([subject.cardiothoracic_ratio for subject in many])
    assert 0.18 < (ratios > 0.5).mean() < 0.34
    assert np.corrcoef(ratios, [subject.heart_score for subject in many])[0, 1] > 0.85


def test_magnification_widens_the_shadow_of_the_heart_alone(subjects):
    plain, larger = (subjects[0].project(Plane(96), factor) for factor in (1.0, 1.2))
    assert larger.lung().sum() < 0.985 * plain.lung().sum()
    assert np.array_equal(larger.cavity, plain.cavity) and np.array_equal(larger.bone, plain.bone)


@pytest.mark.parametrize(("aside", "crossings"), [(25, 1), (90, 2)])
def test_a_rib_is_crossed_behind_and_in_front_but_for_its_cartilage(subjects, aside, crossings):
    heights = np.linspace(160, -160, 1600, dtype=np.float32)[:, None]
    bone = _rib(subjects[0].cage, 4, np.full_like(heights, aside), heights)[:, 0] > 0
    assert (np.diff(bone.astype(int)) == 1).sum() == crossings
    assert not bone[heights[:, 0] > subjects[0].cage.heights[4] + 7].any()


def test_there_is_a_rib_every_22_mm_beside_the_spine(subjects):
    heights = np.linspace(100, -60, 400, dtype=np.float32)[:, None]
    bone = bone_chord(subjects[0].cage, np.full_like(heights, 25), heights)[:, 0] > 0.4
    assert 6 <= (np.diff(bone.astype(int)) == 1).sum() <= 8


def test_ribs_that_lie_beyond_the_rows_make_no_difference(subjects):
    x, z = Plane(64).places()
    whole = bone_chord(subjects[0].cage, x, z)
    parts = np.concatenate(
        [bone_chord(subjects[0].cage, x[rows], z[rows]) for rows in np.split(np.arange(64), 8)]
    )
    assert np.array_equal(whole, parts)


def test_the_diaphragm_is_higher_on_the_right_and_falls_to_the_sides(subjects):
    subject = subjects[0]
    layers = subject.project(Plane(96))
    assert at(layers.above, layers, 55, -60) - at(layers.above, layers, -55, -60) == pytest.approx(
        subject.left_lower, abs=4
    )
    assert at(layers.dome, layers, -55, -60) < 2 < 25 < at(layers.dome, layers, -120, -60)


def test_vessels_fade_to_the_border(subjects):
    layers = subjects[0].project(Plane(128))
    reach = np.hypot(np.abs(layers.x) - 36, layers.z - 6)
    lung = layers.lung() > 40
    near, far = (layers.vessels[lung & band].mean() for band in ((reach < 45), (reach > 80)))
    assert near > 3 * far > 0


def test_the_same_generator_state_gives_the_same_chest_and_another_one_another():
    first, again, other = (Thorax(generator_for("one chest", seed)) for seed in (0, 0, 1))
    plane = Plane(32)
    assert np.array_equal(first.project(plane).paths().soft, again.project(plane).paths().soft)
    assert np.abs(first.project(plane).paths().soft - other.project(plane).paths().soft).max() > 20


def test_a_finer_film_shows_the_same_chest(subjects):
    coarse, fine = (subjects[0].project(Plane(side)).paths().soft for side in (64, 256))
    halved = fine.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(halved - coarse).mean() < 4
    assert FILM_MM == 360
