"""Classes that are far more or less frequent at one site than elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.01
"""Chance of a false alarm in a whole data set (family-wise, after Holm) where all sites have the same rates."""
LEAST_ODDS_RATIO = 3.0
"""With many patients trifles are significant; smaller differences are not told. 50 % against 25 % is 3."""


class LabelRate(NamedTuple):
    """How often a class occurs at a site and elsewhere, in patients.

    p: of Fisher's exact test, two-sided, corrected by Holm over all classes and sites.
    """

    site: str
    name: str
    here: int
    here_of: int
    elsewhere: int
    elsewhere_of: int
    p: float


def compare_label_rates(
    shown: Mapping[str, np.ndarray],
    known: Mapping[str, np.ndarray],
    sites: np.ndarray,
    patients: np.ndarray,
) -> list[LabelRate]:
    """Find sites with suspicious rates of a class: a model could learn the site instead of the disease.

    A patient shows a class if any of their images does. Of two sites only the one with the higher rate is told, of
    two classes of which each image has one only the second.

    Args:
        shown: class -> (N,) bool, images that show it.
        known: class -> (N,) bool, images of which it is known.
        sites, patients: (N,) text.

    Returns: those with p below 0.01 and odds a factor of 3 apart, the clearest first.

    Source: Fisher 1922; Holm 1979.

    >>> sites = np.repeat(["a", "b"], 50)
    >>> ill = np.concatenate([np.arange(50) < 46, np.arange(50) < 15])
    >>> patients = np.arange(100).astype(str)
    >>> (rate,) = compare_label_rates({"ill": ill}, {"ill": np.ones(100, bool)}, sites, patients)
    >>> rate.site, rate.here, rate.elsewhere, rate.p < 1e-6
    ('a', 46, 15, True)
    """
    names = list(shown)
    if len(names) == 2 and np.array_equal(shown[names[0]], ~shown[names[1]]):
        names = names[1:]
    found = sorted(set(sites.tolist()))
    rates = [
        rate for name in names for rate in _rates(name, shown[name], known[name], found, sites, patients)
    ]
    return [rate for rate in _correct(rates) if rate.p < LEVEL and _odds_ratio(rate) >= LEAST_ODDS_RATIO]


def _rates(
    name: str,
    shown: np.ndarray,
    known: np.ndarray,
    found: Sequence[str],
    sites: np.ndarray,
    patients: np.ndarray,
) -> list[LabelRate]:
    """Of each site, with p as the test gives it."""
    from scipy.stats import fisher_exact

    everyone = set(zip(sites[known].tolist(), patients[known].tolist()))
    ill = set(zip(sites[known & shown].tolist(), patients[known & shown].tolist()))
    of = {site: sum(where == site for where, _ in everyone) for site in found}
    with_class = {site: sum(where == site for where, _ in ill) for site in found}
    rates = []
    for site in found:
        here, here_of = with_class[site], of[site]
        elsewhere, elsewhere_of = len(ill) - here, len(everyone) - here_of
        if not here_of or not elsewhere_of:
            continue
        if len(found) == 2 and here * elsewhere_of < elsewhere * here_of:
            continue  # the other of two sites says the same
        table = [[here, here_of - here], [elsewhere, elsewhere_of - elsewhere]]
        p = float(fisher_exact(table).pvalue)
        rates.append(LabelRate(site, name, here, here_of, elsewhere, elsewhere_of, p))
    return rates


def _correct(rates: Sequence[LabelRate]) -> list[LabelRate]:
    """Holm: the smallest p times the number of tests, the next times one less, never falling."""
    corrected, highest = [], 0.0
    for index, rate in enumerate(sorted(rates, key=lambda rate: rate.p)):
        highest = max(highest, min(1.0, rate.p * (len(rates) - index)))
        corrected.append(rate._replace(p=highest))
    return corrected


def _odds_ratio(rate: LabelRate) -> float:
    """Of the more frequent to the less, half a patient added to each count so that none is zero."""
    here = (rate.here + 0.5) / (rate.here_of - rate.here + 0.5)
    elsewhere = (rate.elsewhere + 0.5) / (rate.elsewhere_of - rate.elsewhere + 0.5)
    return max(here / elsewhere, elsewhere / here)
