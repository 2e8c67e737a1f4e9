"""Corrections for several tests, from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import DataError, ShapeError
from medgraft.statistics import bonferroni, holm


def step_down(p: np.ndarray) -> np.ndarray:
    """Holm's procedure as he wrote it: the smallest times m, the next times m - 1, never falling."""
    corrected, largest = np.empty(len(p)), 0.0
    for place, index in enumerate(np.argsort(p)):
        largest = max(largest, (len(p) - place) * p[index])
        corrected[index] = min(1.0, largest)
    return corrected


def test_a_hand_worked_case() -> None:
    # Sorted .005, .01, .03, .04: times 4, 3, 2, 1 gives .02, .03, .06, .04; the last may not fall.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert bonferroni([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.04, 0.16, 0.12, 0.02])


def test_they_follow_their_definition() -> None:
    random = np.random.default_rng(0)
    for number in (1, 2, 15):
        p = random.uniform(size=number) ** 3
        assert holm(p) == pytest.approx(step_down(p))
        assert bonferroni(p) == pytest.approx(np.minimum(1, number * p))
        assert (holm(p) <= bonferroni(p) + 1e-12).all()


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"p values in \[0, 1\], but got 0.1 to 1.2"):
        holm([0.1, 1.2])
    with pytest.raises(DataError, match="position 1"):
        bonferroni([0.1, np.nan])
    with pytest.raises(ShapeError):
        holm([])
