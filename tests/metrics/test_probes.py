"""Probes tell labels of held-out patients: compared with loops, and with what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.metrics.probes import linear_probe, neighbours_probe

PROBES = [linear_probe, neighbours_probe]


def rows(shift: float, patients: int = 30, images: int = 4, labels: int = 2, seed: int = 0):
    """Features of patients, whose label moves them along one axis; patients differ among themselves, too."""
    rng = np.random.default_rng(seed)
    of_patient = np.repeat(np.arange(patients), images)
    codes = of_patient % labels
    features = rng.normal(size=(len(codes), 6)) + 2 * rng.normal(size=(patients, 6))[of_patient]
    features[:, 0] += shift * codes
    return features, codes, of_patient


@pytest.mark.parametrize("probe", PROBES)
def test_what_lies_apart_is_told_and_what_does_not_is_not(probe):
    apart = probe(*rows(60.0))
    assert apart.balanced_accuracy == apart.auroc == 1.0
    # every patient has features of its own: a probe that had seen the patient would tell almost all
    alike = [probe(*rows(0.0, patients=60, seed=seed)).balanced_accuracy for seed in range(5)]
    assert abs(np.mean(alike) - 0.5) < 0.08


def test_patients_are_never_on_both_sides():
    features, codes, patients = rows(0.0, patients=40)
    together = neighbours_probe(features, codes, patients, neighbours=1)
    apart = neighbours_probe(features, codes, np.arange(len(codes)), neighbours=1)
    assert apart.balanced_accuracy > 0.7 > 0.6 > together.balanced_accuracy


@pytest.mark.parametrize("probe", PROBES)
def test_scores_are_those_of_another_library(probe):
    found = probe(*rows(1.5, labels=3))
    assert np.allclose(found.probabilities.sum(axis=1), 1) and found.probabilities.shape == (120, 3)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(found.labels, found.predicted))
    expected = roc_auc_score(found.labels, found.probabilities, multi_class="ovr")
    assert found.auroc == pytest.approx(expected)


def test_a_frequent_label_is_not_favoured():
    features = np.repeat([[0.0], [1.0]], [60, 120], axis=0)
    codes = np.repeat([0, 1, 0], [40, 20, 120])
    found = neighbours_probe(features, codes, np.arange(180), neighbours=40)
    # two thirds of the 60 near ones have the first label, but of all images eight ninths have it
    assert (found.predicted == np.repeat([1, 0], [60, 120])).all()


@pytest.mark.parametrize("probe", PROBES)
def test_seeds_decide_which_patients_are_held_out_and_nothing_else(probe):
    data = rows(1.0)
    first, again, other = probe(*data), probe(*data), probe(*data, seed=1)
    assert np.array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.probabilities, other.probabilities)


@pytest.mark.parametrize("probe", PROBES)
def test_two_patients_of_each_label_are_enough(probe):
    features, codes, patients = rows(60.0, patients=4)
    assert probe(features[:, :1], codes, patients).auroc == 1.0


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda f, c, p: (f[:, 0], c, p), ShapeError),
        (lambda f, c, p: (f, c[:-1], p), ShapeError),
        (lambda f, c, p: (f, c, p[:-1]), ShapeError),
        (lambda f, c, p: (np.where(f > 1, np.nan, f), c, p), DataError),
        (lambda f, c, p: (f, np.zeros_like(c), p), DataError),
        (lambda f, c, p: (f, 2 * c, p), DataError),
        (lambda f, c, p: (f, c, np.where(c == 1, 1, p)), DataError),
    ],
)
def test_what_does_not_fit_is_refused(probe, change, error):
    with pytest.raises(error):
        probe(*change(*rows(1.0)))


def test_one_fold_or_no_neighbour_is_refused():
    with pytest.raises(SettingsError):
        linear_probe(*rows(1.0), folds=1)
    with pytest.raises(SettingsError):
        neighbours_probe(*rows(1.0), neighbours=0)
