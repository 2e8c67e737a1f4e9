"""Permutation tests: what would chance give, had the names of the two methods no meaning?"""

from __future__ import annotations

from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError
from medgraft.statistics.result import TestResult, join_notes, too_few
from medgraft.statistics.scores import check_pairs, check_scores, decimals_of

AT_ONCE = 2_000_000
"""Numbers held at a time while permuting."""


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    exact_up_to: int = 2**14,
    *,
    paired: bool = True,
    repeats: int = 9999,
    alpha: float = 0.05,
) -> TestResult:
    """Test whether the means of two methods differ, assuming nothing about how scores are distributed.

    Paired: the two scores of a patient are exchanged or not, which flips the sign of the difference. Otherwise patients
    are dealt anew into the two groups. Every way is enumerated where there are at most `exact_up_to`; else `repeats`
    are drawn and p is (count + 1) / (repeats + 1), which is valid for any number of them.

    Args:
        a: (n,) one score per patient.
        b: (n,) same patients in the same order; (m,) other patients where not paired.
        seed: of the drawing; not used where all are enumerated.
        exact_up_to: ways up to which all are enumerated.
        paired: whether both hold the same patients.
        repeats: ways drawn otherwise.
        alpha: level at which the note says whether so few patients can show anything.

    Returns: a TestResult; statistic is the difference of the means, a minus b; n the patients with a difference
        (paired), or all.

    Raises:
        ShapeError: lengths differ or nothing is there.
        DataError: a score is missing.
        SettingsError: `repeats` is below 1.

    Source: Fisher 1935, section 21; p of drawn permutations: Phipson & Smyth 2010. scipy.stats.permutation_test does
        the same, but takes seconds for a thousand patients.

    >>> permutation_test([3.0, 5.0, 4.0, 5.0], [1.0, 2.0, 5.0, 1.0])  # |2 + 3 - 1 + 4| is reached by 4 of 16 signs
    TestResult(statistic=2.0, p=0.25, n=4, note='With 4 units the smallest p this test can give is 0.125: ...')
    """
    if repeats < 1:
        raise SettingsError(
            "A permutation test", "at least one repeat", f"got {repeats}", "Use for example repeats=9999."
        )
    if paired:
        first, second = check_pairs("A permutation test", a, b)
    else:
        first, second = (check_scores("A permutation test", values) for values in (a, b))
    mean = float((first - second).mean() if paired else first.mean() - second.mean())
    # Whole numbers add up exactly in any order, so that equal statistics are found equal.
    unit = 10.0 ** decimals_of(first, second)
    if paired:
        differences = np.rint((first - second) * unit)
        differing = differences[differences != 0]
        number = len(differing)
        if not number:
            return TestResult(0.0, 1.0, 0, f"No difference in any of {len(first)} units.")
        ways, twins = 2**number, 2  # every sign turned round is as extreme
        exact = ways <= exact_up_to
        p = _flip_signs(differing, None if exact else repeats, seed)
    else:
        number = len(first) + len(second)
        ways, twins = comb(number, len(first)), 2 if len(first) == len(second) else 1
        exact = ways <= exact_up_to
        p = _deal_anew(np.rint(first * unit), np.rint(second * unit), None if exact else repeats, seed)
    smallest = twins / ways if exact else max(twins / ways, 1 / (repeats + 1))
    drawn = "" if exact else f"{repeats} ways drawn."
    return TestResult(mean, p, number, join_notes(too_few(number, smallest, alpha), drawn))


def _flip_signs(differences: NDArray[np.float64], repeats: int | None, seed: int) -> float:
    """p of a sum of whole numbers, by flipping their signs; None: every way."""
    generator, number = np.random.default_rng(seed), len(differences)
    observed = differences.sum()
    ways = 2**number if repeats is None else repeats
    step, reached = max(1, AT_ONCE // number), 0
    for start in range(0, ways, step):
        some = min(step, ways - start)
        if repeats is None:
            flipped = np.arange(start, start + some)[:, None] >> np.arange(number) & 1
        else:
            flipped = generator.integers(2, size=(some, number))
        sums = observed - 2 * (flipped @ differences)
        reached += int((np.abs(sums) >= abs(observed)).sum())
    return reached / ways if repeats is None else (reached + 1) / (repeats + 1)


def _deal_anew(
    first: NDArray[np.float64], second: NDArray[np.float64], repeats: int | None, seed: int
) -> float:
    """p of a difference of means of whole numbers, by dealing everyone anew into two groups; None: every way."""
    size, pooled = len(first), np.concatenate([first, second])
    number, generator = len(pooled), np.random.default_rng(seed)
    ways = comb(number, size) if repeats is None else repeats
    every = combinations(range(number), size)
    # The difference of the means, up to a factor that is the same in every way.
    observed = abs(number * first.sum() - size * pooled.sum())
    step, reached = max(1, AT_ONCE // number), 0
    for start in range(0, ways, step):
        some = min(step, ways - start)
        if repeats is None:
            dealt = pooled[np.array(list(islice(every, some)))]
        else:
            dealt = generator.permuted(np.tile(pooled, (some, 1)), axis=1)[:, :size]
        reached += int((np.abs(number * dealt.sum(axis=1) - size * pooled.sum()) >= observed).sum())
    return reached / ways if repeats is None else (reached + 1) / (repeats + 1)
