from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress, t

from medgraft.ranking.regression_band import regression_band
from medgraft.reports.ranking.regression import fit_line, student_quantile


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 31, 200])
def test_the_quantile_of_student_is_that_of_scipy(freedom: int, level: float) -> None:
    assert student_quantile(freedom, level) == pytest.approx(t.ppf((1 + level) / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("sources", [3, 4, 9])
def test_the_band_is_that_of_statsmodels(sources: int) -> None:
    random = np.random.default_rng(sources)
    x, y = random.normal(3, 2, sources), random.normal(0.8, 0.05, sources)
    line, expected = fit_line(x, y, points=7), regression_band(x, y, points=7)
    assert line is not None
    for found, name in zip((line.places, line.middle, line.low, line.high), expected, strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-8)
    assert (line.slope, line.correlation) == pytest.approx(linregress(x, y)[0:3:2])


def test_two_points_or_equal_scores_have_no_line_and_equal_performance_no_correlation() -> None:
    assert fit_line(np.array([0.0, 1.0]), np.array([0.0, 1.0])) is None
    assert fit_line(np.ones(4), np.arange(4.0)) is None
    flat = fit_line(np.arange(3.0), np.full(3, 0.5))
    assert flat is not None and np.isnan(flat.correlation) and flat.slope == 0
    np.testing.assert_allclose(flat.low, 0.5)
