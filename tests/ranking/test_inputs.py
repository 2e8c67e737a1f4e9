"""What no score can be computed from is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft import ranking
from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.ranking.inputs import UndefinedError, check_inputs, check_probabilities

FEATURES = np.arange(12.0).reshape(6, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_good_inputs_pass_without_a_copy():
    inputs = check_inputs("LogME", FEATURES, LABELS)
    assert inputs.features is FEATURES and inputs.classes == 3
    assert check_inputs("LogME", FEATURES, LABELS.astype(float)).labels.dtype == np.int64


@pytest.mark.parametrize(
    ("features", "labels", "error", "said"),
    [
        (FEATURES[:5], LABELS, ShapeError, "features are (5, 2) and labels are (6,)"),
        (FEATURES[0], LABELS, ShapeError, "features are (2,)"),
        (np.full((6, 2), np.nan), LABELS, DataError, "row 0"),
        (np.where(np.arange(12).reshape(6, 2) == 7, np.inf, FEATURES), LABELS, DataError, "row 3"),
        (FEATURES, LABELS + 1, DataError, "they are 1, 2, 3"),
        (FEATURES, LABELS * 2, DataError, "they are 0, 2, 4"),
        (FEATURES, LABELS - 1, DataError, "they are -1, 0, 1"),
        (FEATURES, LABELS + 0.5, DataError, "float64"),
        (FEATURES, np.array(list("abcabc")), DataError, "<U1"),
        (FEATURES, np.zeros(6, int), UndefinedError, "all belong to one"),
        (np.zeros((6, 0)), LABELS, ShapeError, "(6, 0)"),
    ],
)
def test_what_is_wrong_is_named(features, labels, error, said):
    with pytest.raises(error) as told:
        check_inputs("LogME", features, labels)
    assert said in str(told.value) and str(told.value).startswith("LogME needs")


def test_a_row_far_down_is_found():
    features = np.zeros((10_000, 1))
    features[9_000] = np.nan
    with pytest.raises(DataError, match="row 9000"):
        check_inputs("LogME", features, np.arange(10_000) % 2)


def test_logits_are_not_taken_for_probabilities():
    with pytest.raises(DataError, match="row 1 do not"):
        check_probabilities("LEEP", [[0.5, 0.5], [2.0, -1.0]], [0, 1])


@pytest.mark.parametrize("score", ["log_me", "parc", "sfda", "ncti_terms", "label_predictability"])
def test_a_variant_that_does_not_exist_is_refused(score):
    features = np.random.default_rng(0).normal(size=(90, 4))
    with pytest.raises(SettingsError, match="it got 'published'"):
        getattr(ranking, score)(features, np.arange(90) % 3, variant="published")
