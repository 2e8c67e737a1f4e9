"""What tests accept as scores, and from images to patients."""

from __future__ import annotations

import numpy as np
import pytest

import medgraft.statistics
from medgraft.errors import DataError, ShapeError
from medgraft.statistics.scores import check_scores, paired_differences
from medgraft.statistics.units import average_by_unit


def test_every_name_of_the_package_can_be_imported() -> None:
    for name in medgraft.statistics.__all__:
        assert callable(getattr(medgraft.statistics, name))
    assert set(medgraft.statistics.__all__) <= set(dir(medgraft.statistics))
    with pytest.raises(AttributeError):
        _ = medgraft.statistics.nothing


def test_missing_scores_are_refused_with_their_place() -> None:
    with pytest.raises(DataError, match=r"2 of 4 are not, the first at position 1\. Leave out the patient"):
        check_scores("A test", [0.1, np.nan, np.inf, 0.2])
    with pytest.raises(DataError, match="at position 1, 0"):
        check_scores("A test", [[0.1, 0.2], [np.nan, 0.2]], dimensions=2)


@pytest.mark.parametrize("scores", [[], [[0.1]], 0.1])
def test_scores_of_another_form_are_refused(scores: object) -> None:
    with pytest.raises(ShapeError, match="a flat list of scores"):
        check_scores("A test", scores)


def test_rounding_errors_make_no_difference() -> None:
    assert 0.9 - 0.8 != 0.8 - 0.7
    assert len(set(paired_differences("A test", [0.9, 0.8, 90.0], [0.8, 0.7, 89.9]).tolist())) == 1
    a = np.array([0.1 + 0.2, 0.5])
    assert paired_differences("A test", a, [0.3, 0.4]).tolist() == [0.0, 0.1]
    assert paired_differences("A test", a * 1e-8, [0.3e-8, 0.4e-8]).tolist() == [0.0, 1e-9]
    assert paired_differences("A test", [0.0, 0.0], [0.0, 0.0]).tolist() == [0.0, 0.0]


def test_pairs_must_be_of_equal_length() -> None:
    with pytest.raises(ShapeError, match="got 2 and 3 scores"):
        paired_differences("A test", [1, 2], [1, 2, 3])


def test_averages_are_those_of_a_loop() -> None:
    random = np.random.default_rng(0)
    values, units = random.normal(size=50), random.choice(list("dacb"), 50)
    expected = [values[units == name].mean() for name in "abcd"]
    assert average_by_unit(values, units) == pytest.approx(expected)
    with pytest.raises(ShapeError, match="50 scores"):
        average_by_unit(values, units[:49])
