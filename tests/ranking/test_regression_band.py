"""The line of a scatter plot and its band, against textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgraft.errors import SettingsError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.regression_band import regression_band


def test_line_and_band_are_those_of_the_formula() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=15)
    y = 0.3 * x + random.normal(0, 0.2, 15)
    found = regression_band(x, y, level=0.9, points=7)
    line = stats.linregress(x, y)
    at = np.linspace(x.min(), x.max(), 7)
    fitted = line.intercept + line.slope * at
    spread = np.sqrt(((y - line.intercept - line.slope * x) ** 2).sum() / 13)
    half = (
        stats.t.ppf(0.95, 13) * spread * np.sqrt(1 / 15 + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    )
    assert found["score"].to_numpy() == pytest.approx(at)
    assert found["line"].to_numpy() == pytest.approx(fitted)
    assert found["low"].to_numpy() == pytest.approx(fitted - half)
    assert found["high"].to_numpy() == pytest.approx(fitted + half)


def test_what_has_no_line_is_told() -> None:
    with pytest.raises(UndefinedError, match="all are equal"):
        regression_band([1.0, 1.0, 1.0], [0.1, 0.2, 0.3])
    with pytest.raises(UndefinedError, match="got 2"):
        regression_band([1.0, 2.0], [0.1, 0.2])
    with pytest.raises(SettingsError, match="two points"):
        regression_band([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], points=1)
    with pytest.raises(ShapeError):
        regression_band([1.0, 2.0, 3.0], [0.1, 0.2])
