"""Leaks: exact, told by rows, refused unless allowed; and tasks."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.leakage import Leak, find_leaks, refuse_leaks
from medgraft.errors import LeakError


def cohort_of(patients: list[str], seed: int, units: list[str] | None = None) -> Cohort:
    images = np.random.default_rng(seed).random((len(patients), 4, 4, 1))
    return Cohort.from_arrays(images, kind="encode", patients=patients, units=units, name=f"set {seed}")


def test_shared_patients_and_pixels_are_found_exactly() -> None:
    first = cohort_of(["SECRET1", "SECRET2", "SECRET2"], 0)
    second = cohort_of(["SECRET3", "SECRET2"], 1)
    assert find_leaks(first, second) == [Leak("patient", 2, 2)]
    images = np.stack([second.picture(0).array, first.picture(2).array])
    third = Cohort.from_arrays(images, kind="encode", patients=["x", "y"], name="set 2")
    assert find_leaks(first, third) == [Leak("pixels", 3, 2)]
    assert find_leaks(first, cohort_of(["x", "y"], 5)) == []


def test_leaks_are_refused_by_row_unless_allowed() -> None:
    first, second = cohort_of(["SECRET1"], 0), cohort_of(["SECRET1"], 1)
    with pytest.raises(LeakError, match="--allow-leak") as caught:
        refuse_leaks(first, second)
    (warning,) = refuse_leaks(first, second, allow=True)
    for text in (str(caught.value), warning):
        assert "SECRET" not in text and "1" in text
    assert refuse_leaks(first, cohort_of(["other"], 2)) == []


def test_split_units_replace_patients_where_both_name_them() -> None:
    first, second = cohort_of(["p"], 0, ["left"]), cohort_of(["p"], 1, ["right"])
    assert find_leaks(first, second) == []
    assert find_leaks(first, cohort_of(["p"], 2)) == [Leak("patient", 1, 1)]
