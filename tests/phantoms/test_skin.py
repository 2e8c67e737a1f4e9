"""Simulated skin: its colour follows from melanin and blood, its lesions show their label by known cues."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from medgraft.errors import SettingsError
from medgraft.images.skin_tone import (
    THRESHOLDS,
    lab,
    skin_tone_at_border,
    skin_tone_of_skin,
)
from medgraft.phantoms import SKIN_SITES, SkinSite, load_phantom
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.skin import (
    CUE_SHIFT,
    FIELD_MM,
    Lesion,
    Subject,
    draw_lesion,
    draw_subject,
    lesion_mask,
    melanin_of,
    take_photograph,
)
from medgraft.phantoms.skin_optics import (
    BLOOD,
    MELANIN,
    SURFACE,
    WAVELENGTHS,
    colour_matching,
    encoded,
    linear_rgb,
    reflectance,
    skin_colour,
)

BARE = SkinSite(hairs=0, rulers=0, uneven_light=0, noise=0, blur_mm=0)
LARGE = Lesion(asymmetry=1.0, border=1.0, colours=5, diameter_mm=8.4)


def photograph(
    subject: Subject, lesion: Lesion | None = None, site: SkinSite = BARE, side: int = 64
) -> np.ndarray:
    return take_photograph(subject, lesion, site, side, ("a photograph", subject.angle), "here")


def subject_of(fitzpatrick: int, number: int = 0) -> Subject:
    return draw_subject(generator_for("skin", number), SkinSite(types=(fitzpatrick,)))


# Colour


def test_eyes_are_those_of_the_published_table() -> None:
    tabled = {  # CIE 1931, 2 degrees
        450: (0.3362, 0.0380, 1.7721), 500: (0.0049, 0.3230, 0.2720), 550: (0.4334, 0.9950, 0.0087),
        600: (1.0622, 0.6310, 0.0008), 650: (0.2835, 0.1070, 0.0000),
    }  # fmt: skip
    for wavelength, sums in tabled.items():
        found = colour_matching()[:, list(WAVELENGTHS).index(wavelength)]
        assert found.tolist() == pytest.approx(sums, abs=0.025)


def test_white_is_white_and_long_waves_are_red() -> None:
    assert linear_rgb(np.ones(31)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert linear_rgb((WAVELENGTHS > 600).astype(float)).argmax() == 0
    assert linear_rgb((WAVELENGTHS < 480).astype(float)).argmax() == 2
    decoded = ((encoded(np.array(0.3)) + 0.055) / 1.055) ** 2.4
    assert decoded == pytest.approx(0.3)


def test_reflectance_is_worked_by_hand_at_one_wavelength() -> None:
    # 500 nm, melanin 0.1, blood 0.02; all per cm
    without = 0.244 + 85.3 * math.exp(-(500 - 154) / 66.2)
    blood = math.log(10) * (0.75 * 20932.8 + 0.25 * 20862) * 150 / 64500
    absorbed = 0.02 * blood + 0.98 * without
    scattered = 2e5 * 500**-1.5 + 2e12 / 500**4
    assert (without, blood, scattered) == pytest.approx((0.702, 112, 49.9), rel=0.01)
    ratio = 2 * absorbed / (0.75 * scattered)
    deep = 1 + ratio - math.sqrt(ratio * (ratio + 2))
    epidermis = math.exp(-2 * 0.006 * (0.1 * 6.6e11 / 500**3.33 + 0.9 * without))
    found = reflectance(0.1, 0.02)[10]
    assert found == pytest.approx(SURFACE + (1 - SURFACE) * epidermis * deep)


def test_skin_shows_the_bands_of_oxygenated_blood_and_melanin_hides_them() -> None:
    spectrum = dict(zip(WAVELENGTHS, reflectance(0.02, 0.03)))
    assert spectrum[540] < spectrum[560] > spectrum[580] < spectrum[600]
    darker = reflectance(np.geomspace(*MELANIN, 20), 0.02)
    assert (np.diff(darker, axis=0) < 0).all()


def test_the_table_of_colours_is_what_it_was_computed_from() -> None:
    generator = np.random.default_rng(0)
    melanin, blood = (np.exp(generator.uniform(*np.log(ends), 200)) for ends in (MELANIN, BLOOD))
    np.testing.assert_allclose(
        encoded(skin_colour(melanin, blood)), encoded(linear_rgb(reflectance(melanin, blood))), atol=1 / 255
    )


# Tone


def test_the_labeller_finds_every_type_on_bare_skin() -> None:
    for fitzpatrick in range(1, 7):
        for number in range(8):
            subject = subject_of(fitzpatrick, number)
            ends = (90.0, *THRESHOLDS, -90.0)
            assert ends[fitzpatrick] < subject.angle < ends[fitzpatrick - 1]
            picture = photograph(subject)
            everywhere, lightest = skin_tone_of_skin(picture), skin_tone_at_border(picture)
            assert everywhere.fitzpatrick == lightest.fitzpatrick == fitzpatrick
            assert everywhere.angle == pytest.approx(subject.angle, abs=0.6)
            assert (
                -0.1 < lightest.angle - subject.angle < 3.5
            )  # skin is not even, and the lightest box counts


def test_measured_angles_fall_as_melanin_rises() -> None:
    levels = np.geomspace(0.01, 0.5, 12)
    pictures = [photograph(Subject(1, 0.0, float(level), 0.02)) for level in levels]
    for measure in (skin_tone_at_border, skin_tone_of_skin):
        angles = [measure(picture).angle for picture in pictures]
        assert (np.diff(angles) < -1).all()
        assert angles[0] > 55 and angles[-1] < -30  # from the lightest of people to the darkest


def test_melanin_of_the_types_is_that_of_the_literature() -> None:
    # Jacques 1998: lightly pigmented 0.013 to 0.063, moderately 0.11 to 0.16, darkly 0.18 to 0.43
    assert 0.013 < melanin_of(55, 0.0175) < 0.063
    assert 0.063 < melanin_of(28, 0.0175) < melanin_of(19, 0.0175) < 0.16
    assert 0.11 < melanin_of(10, 0.0175) < 0.18
    assert 0.18 < melanin_of(-30, 0.0175) < 0.43


def test_a_camera_makes_skin_look_darker_than_it_is() -> None:
    phone = SKIN_SITES["phone"].model_copy(update={"hairs": 0.0})
    for fitzpatrick in (2, 4):
        subject = subject_of(fitzpatrick)
        assert skin_tone_of_skin(photograph(subject, site=phone)).angle < subject.angle - 5


def test_lesions_leave_the_boxes_at_the_border_free() -> None:
    for number in range(10):
        subject = subject_of(3, number)
        bare, with_lesion = photograph(subject, side=128), photograph(subject, LARGE, side=128)
        assert skin_tone_at_border(with_lesion).angle == pytest.approx(
            skin_tone_at_border(bare).angle, abs=0.5
        )
        assert np.abs(with_lesion.astype(int) - bare).max() > 50


def test_lesions_are_harder_to_see_on_dark_skin() -> None:
    mole = Lesion(asymmetry=0.0, border=0.0, colours=1, diameter_mm=7.0)
    contrast = []
    for fitzpatrick in (1, 3, 6):
        picture = lab(photograph(subject_of(fitzpatrick), mole))
        middle, border = picture[29:35, 29:35].mean(axis=(0, 1)), picture[:8].mean(axis=(0, 1))
        contrast.append(np.linalg.norm(middle - border))
    assert contrast[0] > 1.2 * contrast[1] > 1.2 * 1.2 * contrast[2] and contrast[2] > 5


# Lesions


def test_cues_tell_the_label_as_well_as_they_were_meant_to() -> None:
    from scipy.stats import norm
    from sklearn.metrics import roc_auc_score

    labels = np.arange(4000) % 2 == 1
    lesions = [draw_lesion(generator_for("cues", row), bool(label)) for row, label in enumerate(labels)]
    one, four = norm.cdf(CUE_SHIFT / math.sqrt(2)), norm.cdf(2 * CUE_SHIFT / math.sqrt(2))
    scores = np.array([[each.asymmetry, each.border, (each.diameter_mm - 3.2) / 5.2] for each in lesions])
    for cue in scores.T:
        assert roc_auc_score(labels, cue) == pytest.approx(one, abs=0.02)
    colours = np.array([each.colours for each in lesions])
    assert set(colours) == {1, 2, 3, 4, 5}
    assert roc_auc_score(labels, colours) == pytest.approx(one, abs=0.03)
    together = norm.ppf(scores.clip(1e-6, 1 - 1e-6)).sum(1) + norm.ppf((colours - 0.5) / 5)
    assert roc_auc_score(labels, together) == pytest.approx(four, abs=0.015)
    assert four == pytest.approx(0.955, abs=0.001)


def outline(number: int = 0, **cues: float) -> np.ndarray:
    axis = (np.arange(256) + 0.5) * FIELD_MM / 256 - FIELD_MM / 2
    lesion = Lesion(0.0, 0.0, 1, 6.0)._replace(**cues)
    return (
        lesion_mask(lesion, generator_for("outline", number), *np.meshgrid(axis, axis, indexing="ij")) > 0.5
    )


def test_each_cue_changes_what_it_is_named_after() -> None:
    for number in range(5):
        areas = [outline(number, diameter_mm=size).sum() * (FIELD_MM / 256) ** 2 for size in (4.0, 8.0)]
        assert areas == pytest.approx([math.pi * 4, math.pi * 16], rel=0.03)

        crooked = []
        for asymmetry in (0.0, 0.5, 1.0):
            mask = outline(number, asymmetry=asymmetry)
            rows, columns = np.nonzero(mask)
            turned = (
                (2 * rows.mean() - rows).round().astype(int),
                (2 * columns.mean() - columns).round().astype(int),
            )
            crooked.append(1 - mask[turned].mean())  # what is outside after half a turn about the centroid
        assert crooked[0] < 0.02 < crooked[1] < crooked[2]

        rough = []
        for border in (0.0, 0.5, 1.0):
            mask = outline(number, border=border)
            rough.append((mask & ~binary_erosion(mask)).sum() / math.sqrt(mask.sum()))
        assert rough[0] < rough[1] < rough[2]


def test_more_colours_make_a_lesion_more_colourful() -> None:
    spread = []
    for colours in (1, 3, 5):
        lesion = Lesion(0.0, 0.0, colours, 8.0)
        pictures = [photograph(subject_of(2, number), lesion) for number in range(6)]
        spread.append(np.mean([lab(each[24:40, 24:40]).std(axis=(0, 1)).sum() for each in pictures]))
    assert spread[0] * 1.5 < spread[1] < spread[2]


def test_all_colours_are_those_of_their_names() -> None:
    lesion, brown = (Lesion(0.0, 0.0, colours, 8.4) for colours in (5, 1))
    found, plain = (
        np.concatenate(
            [lab(photograph(subject_of(1, n), each))[26:38, 26:38].reshape(-1, 3) for n in range(6)]
        )
        for each in (lesion, brown)
    )
    assert found[:, 0].min() < 35 and plain[:, 0].min() > 50  # black
    assert found[:, 2].min() < 0 < plain[:, 2].min()  # blue-grey
    assert found[:, 1].max() > plain[:, 1].max() + 5  # red


def test_hair_ruler_and_light_come_from_the_site() -> None:
    subject, mole = subject_of(1), Lesion(0.0, 0.0, 1, 5.0)
    bare = photograph(subject, mole).astype(int)
    hairy = photograph(subject, mole, BARE.model_copy(update={"hairs": 40.0})).astype(int)
    ruled = photograph(subject, mole, BARE.model_copy(update={"rulers": 1.0})).astype(int)
    assert (hairy.sum(2) < bare.sum(2) - 60).mean() > 0.02
    marked = ruled.sum(2) < bare.sum(2) - 60
    assert marked.any() and not marked[10:-10, 10:-10].any()
    uneven = photograph(subject, mole, BARE.model_copy(update={"uneven_light": 0.9})).astype(int)
    assert np.abs(uneven - bare)[:8].mean() + np.abs(uneven - bare)[:, :8].mean() > 4


# Cohorts


def fitzpatrick_of(cohort) -> np.ndarray:
    return cohort.table["fitzpatrick"].astype(int).to_numpy()


def pictures(cohort) -> np.ndarray:
    return np.stack([cohort.picture(row).array for row in range(len(cohort))])


def test_cohorts_are_coloured_and_tell_each_subjects_type() -> None:
    cohort = load_phantom("skin_lesion", subjects=4, slices=2, side=32, sites=["light", "dark"])
    assert cohort.kind == "classify" and cohort.classes == ("benign", "malignant") and len(cohort) == 16
    assert cohort.picture(0).array.shape == (32, 32, 3) and cohort.picture(0).array.dtype == np.uint8
    assert set(fitzpatrick_of(cohort.at("light"))) <= {1, 2} and set(fitzpatrick_of(cohort.at("dark"))) <= {
        5,
        6,
    }
    assert cohort.table.groupby("patient")["fitzpatrick"].nunique().eq(1).all()
    assert cohort.table["spacing_mm"].tolist() == ["0.625 0.625"] * 16
    assert {"asymmetry", "border", "colours", "diameter_mm"} <= set(cohort.table.columns)
    assert "nobody was photographed" in cohort.notes["simulated"]


def test_a_photograph_does_not_depend_on_how_many_others_there_are() -> None:
    few = load_phantom("skin_lesion", subjects=1, slices=1, side=32, sites=["all"])
    many = load_phantom("skin_lesion", subjects=2, slices=2, side=32, sites=["phone", "all"])
    assert np.array_equal(pictures(few)[0], pictures(many.at("all"))[0])
    assert (
        few.fingerprint()
        != load_phantom("skin_lesion", subjects=1, slices=1, side=32, sites=["all"], seed=1).fingerprint()
    )


def test_travellers_have_the_same_lesions_on_other_skin() -> None:
    cohort = load_phantom(
        "skin_lesion", subjects=6, slices=2, side=32, sites=["light", "dark"], travelling=True
    )
    light, dark = cohort.at("light"), cohort.at("dark")
    assert light.labels.tolist() == dark.labels.tolist() and 0 < light.labels.mean() < 1
    for cue in ("asymmetry", "border", "colours", "diameter_mm"):
        assert light.table[cue].tolist() == dark.table[cue].tolist()
    assert (fitzpatrick_of(dark) - fitzpatrick_of(light)).tolist() == [4] * 12
    assert pictures(light).mean() > pictures(dark).mean() + 30


def drawn(site: SkinSite, count: int) -> tuple[np.ndarray, np.ndarray]:
    types = [draw_subject(generator_for("tone", row), site).fitzpatrick for row in range(count)]
    shares = np.array([site.malignant_share(each) for each in types])
    return np.array(types), np.random.default_rng(0).uniform(size=count) < shares


def test_tone_and_label_go_together_as_asked() -> None:
    for wanted in (-0.9, 0.0, 0.5):
        types, labels = drawn(SkinSite(tone_and_label=wanted), 1500)
        assert np.bincount(types, minlength=7)[1:].min() > 200
        assert labels.mean() == pytest.approx(0.5, abs=0.05)
        # 1.708 is the standard deviation of 1 to 6, 2.5 its half range
        assert np.corrcoef(types, labels)[0, 1] == pytest.approx(wanted * 1.708 / 2.5, abs=0.06)
    rare = SkinSite(malignant=0.2, tone_and_label=1.0)
    assert [rare.malignant_share(each) for each in (1, 6)] == pytest.approx([0.0, 0.4])
    assert SkinSite(types=(6,), malignant=0.2, tone_and_label=1.0).malignant_share(6) == 0.2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sites": {"mine": {"types": []}}}, "types are some of 1 to 6"),
        ({"sites": {"mine": {"types": [0, 1]}}}, "types are some of 1 to 6"),
        ({"sites": {"mine": {"tone_and_label": 2}}}, "medgraft.phantoms.SkinSite"),
        ({"task": "acute"}, "a task among lesion"),
        ({"volumes": True}, "volumes=False"),
        ({"sites": ["clinic"]}, "sites among light, medium, dark, all, biased, phone"),
    ],
)
def test_what_does_not_exist_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_phantom("skin_lesion", subjects=1, slices=1, side=16, **wrong)


def test_the_border_labeller_is_fair_on_photographs_as_they_are_taken() -> None:
    cohort = load_phantom("skin_lesion", subjects=24, slices=1, side=64, sites=["all"])
    found = [skin_tone_at_border(picture).fitzpatrick for picture in pictures(cohort)]
    assert None not in found
    steps = np.abs(np.array(found) - fitzpatrick_of(cohort))
    assert (steps <= 1).all() and (steps == 0).mean() > 0.5
