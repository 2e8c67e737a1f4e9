"""Label rates: the statistics are those of the textbook, and equal rates give no alarm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import hypergeom

from medgraft.data.label_rates import LabelRate, compare_label_rates

SITES = ("north", "south", "west")


def compare(
    counts: dict[str, Sequence[tuple[int, int]]], images: int = 1, sites: Sequence[str] = SITES
) -> list[LabelRate]:
    """counts: class -> for each site how many patients show it, of how many; `images` of each patient."""
    sizes = [of for _, of in next(iter(counts.values()))]
    names = np.repeat(np.repeat(sites[: len(sizes)], sizes), images)
    patients = np.repeat([f"{one}" for of in sizes for one in range(of)], images)
    shown = {
        name: np.repeat(np.concatenate([np.arange(of) < with_it for with_it, of in some]), images)
        for name, some in counts.items()
    }
    known = {name: np.ones(len(names), bool) for name in counts}
    return compare_label_rates(shown, known, names, patients)


def exact_p(here: int, here_of: int, elsewhere: int, elsewhere_of: int) -> float:
    """Fisher's test from its definition: tables with the same margins that are no more likely than this one."""
    law = hypergeom(here_of + elsewhere_of, here + elsewhere, here_of)
    chances = law.pmf(np.arange(here_of + 1))
    return float(chances[chances <= law.pmf(here) * (1 + 1e-9)].sum())


def corrected(values: Sequence[float]) -> list[float]:
    """Holm from its definition: each the largest of (number - place) * p among those no greater."""
    ranked = sorted(values)
    return [
        min(1.0, max((len(values) - place) * p for place, p in enumerate(ranked) if p <= one))
        for one in values
    ]


def test_p_is_that_of_fisher_corrected_by_holm_over_all_classes_and_sites() -> None:
    counts = {
        "ill": [(40, 60), (15, 70), (20, 80)],
        "well": [(20, 60), (50, 70), (15, 80)],
        "same": [(30, 60), (35, 70), (40, 80)],
    }
    expected = {}
    for name, some in counts.items():
        for site, (here, here_of) in zip(SITES, some):
            elsewhere = sum(with_it for with_it, _ in some) - here
            elsewhere_of = sum(of for _, of in some) - here_of
            expected[site, name] = (here, here_of, elsewhere, elsewhere_of)
    p = dict(zip(expected, corrected([exact_p(*numbers) for numbers in expected.values()])))
    found = {(rate.site, rate.name): rate for rate in compare(counts)}
    assert set(found) == {("north", "ill"), ("south", "well"), ("west", "well")}
    for key, rate in found.items():
        assert rate[2:6] == expected[key]
        assert rate.p == pytest.approx(p[key], rel=1e-6)
    assert [rate.p for rate in compare(counts)] == sorted(rate.p for rate in found.values())


def test_a_textbook_correction_by_hand() -> None:
    assert corrected([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_that_is_clear_alone_may_not_be_after_correction() -> None:
    one = {"ill": [(14, 20), (12, 40)]}
    alone = exact_p(14, 20, 12, 40)
    assert 0.002 < alone < 0.01
    assert [rate.p for rate in compare(one)] == [pytest.approx(alone)]
    many = {**one, **{f"other{number}": [(10, 20), (20, 40)] for number in range(9)}}
    assert compare(many) == []


def test_two_sites_are_told_once_by_the_higher_rate() -> None:
    (rate,) = compare({"ill": [(10, 50), (40, 50)]})
    assert rate[:6] == ("south", "ill", 40, 50, 10, 50)


def test_two_classes_that_exclude_each_other_are_told_once() -> None:
    sick, sites = np.concatenate([np.arange(50) < 45, np.arange(50) < 10]), np.repeat(["a", "b"], 50)
    known = {"well": np.ones(100, bool), "ill": np.ones(100, bool)}
    names = np.arange(100).astype(str)
    (rate,) = compare_label_rates({"well": ~sick, "ill": sick}, known, sites, names)
    assert (rate.name, rate.site, rate.here, rate.elsewhere) == ("ill", "a", 45, 10)
    both = sick.copy()
    both[0] = False  # one image shows neither: two questions
    assert len(compare_label_rates({"well": ~sick, "ill": both}, known, sites, names)) == 2


def test_patients_are_counted_and_not_their_images() -> None:
    few = {"ill": [(4, 6), (1, 6)]}
    assert compare(few) == []
    assert compare(few, images=50) == []
    (rate,) = compare({"ill": [(46, 50), (15, 50)]}, images=3)
    assert rate[2:6] == (46, 50, 15, 50)


def test_a_patient_shows_what_any_of_their_images_shows() -> None:
    sites = np.repeat(["a", "b"], 80)
    patients = np.tile(np.repeat(np.arange(40), 2), 2).astype(
        str
    )  # the same names at both sites: other people
    shown = np.zeros(160, bool)
    shown[:80:2] = True  # the first image of each patient at a
    (rate,) = compare_label_rates({"ill": shown}, {"ill": np.ones(160, bool)}, sites, patients)
    assert rate[2:6] == (40, 40, 0, 40)


def test_images_of_which_it_is_not_known_do_not_count() -> None:
    sites, patients = np.repeat(["a", "b"], 60), np.arange(120).astype(str)
    shown = np.concatenate([np.arange(60) < 50, np.zeros(60, bool)])
    known = np.concatenate([np.ones(60, bool), np.arange(60) < 40])
    (rate,) = compare_label_rates({"ill": shown}, {"ill": known}, sites, patients)
    assert rate[2:6] == (50, 60, 0, 40)
    nowhere_else = np.repeat([True, False], 60)
    assert compare_label_rates({"ill": shown}, {"ill": nowhere_else}, sites, patients) == []


def test_trifles_among_many_patients_are_not_told() -> None:
    assert exact_p(1200, 2000, 800, 2000) < 1e-30
    assert compare({"ill": [(1200, 2000), (800, 2000)]}) == []  # odds 2.25 apart
    assert len(compare({"ill": [(1300, 2000), (700, 2000)]})) == 1  # 3.4 apart


def test_one_site_is_not_compared() -> None:
    assert compare({"ill": [(30, 60)]}) == []


def test_equal_rates_raise_hardly_any_alarm() -> None:
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        counts = {
            name: [(int(random.binomial(40, rate)), 40) for _ in SITES]
            for name, rate in (("common", 0.5), ("rare", 0.1), ("usual", 0.3))
        }
        alarms += len(compare(counts)) > 0
    assert alarms <= 5  # of 200 at a family-wise level of 0.01: 2 are expected, 6 or more one time in 60


def test_rates_that_differ_are_nearly_always_found() -> None:
    random = np.random.default_rng(1)
    found = [
        compare({"ill": [(int(random.binomial(60, rate)), 60) for rate in (0.75, 0.25, 0.25)]})
        for _ in range(50)
    ]
    assert sum(any(rate.site == "north" for rate in rates) for rates in found) >= 49
