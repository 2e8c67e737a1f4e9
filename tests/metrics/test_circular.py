"""Statistics of angles, against numbers worked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import circmean, circstd

from medgraft.errors import ShapeError
from medgraft.metrics.circular import circular_mean_and_sd


def test_ten_degrees_to_either_side_of_red_are_red():
    mean, sd = circular_mean_and_sd([350.0, 10.0])
    assert mean == 0.0
    assert sd == pytest.approx(math.degrees(math.sqrt(-2 * math.log(math.cos(math.radians(10))))))


def test_weights_pull_as_vectors_do():
    mean, _ = circular_mean_and_sd([0.0, 90.0], [1.0, math.sqrt(3)])
    assert mean == pytest.approx(60.0)
    assert circular_mean_and_sd([20.0, 200.0], [1.0, 0.0]) == (
        pytest.approx(20.0),
        pytest.approx(0.0, abs=1e-5),
    )


def test_it_equals_scipy_on_angles_all_round():
    angles = np.random.default_rng(0).uniform(200, 420, size=50)
    mean, sd = circular_mean_and_sd(angles % 360)
    assert mean == pytest.approx(circmean(angles, high=360))
    assert sd == pytest.approx(circstd(angles, high=360))


def test_equal_angles_have_no_spread_and_opposite_ones_no_direction():
    assert circular_mean_and_sd([123.0] * 5) == (pytest.approx(123.0), pytest.approx(0.0, abs=1e-5))
    for nowhere in ([0.0, 180.0], []):
        assert all(map(math.isnan, circular_mean_and_sd(nowhere)))
    assert all(map(math.isnan, circular_mean_and_sd([5.0], [0.0])))
    with pytest.raises(ShapeError, match="a weight for each angle"):
        circular_mean_and_sd([1.0, 2.0], [1.0])
