"""Splits keep patients whole, shares near what was asked, and classes in proportion."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.splits import split_by_patient
from medgraft.errors import DataError, SettingsError

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def patients_with_classes(seed: int = 0) -> Cohort:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 8, 120)
    patients = np.repeat(np.arange(120), sizes)
    labels = np.repeat(generator.choice(3, 120, p=[0.7, 0.22, 0.08]), sizes)
    images = np.zeros((len(labels), 1, 1, 1))
    return Cohort.from_arrays(
        images, labels, kind="classify", classes=("a", "b", "c"), patients=[f"p{p}" for p in patients]
    )


def class_error(labels: np.ndarray, split: np.ndarray) -> float:
    """Largest distance of a class's share in a split from what was asked."""
    return max(
        abs((split[labels == kind] == name).mean() - share)
        for kind in range(3)
        for name, share in SHARES.items()
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_keep_patients_together_and_classes_in_proportion(seed: int) -> None:
    cohort = patients_with_classes()
    divided = split_by_patient(cohort, seed=seed)
    split = divided.table["split"].to_numpy()
    for patient in set(cohort.patients):
        assert len(set(split[cohort.patients == patient])) == 1
    for name, share in SHARES.items():
        assert abs((split == name).mean() - share) < 0.03
    generator = np.random.default_rng(seed)
    naive, names, shares = [], list(SHARES), list(SHARES.values())
    for _ in range(50):
        of_patient = {patient: generator.choice(names, p=shares) for patient in set(cohort.patients)}
        naive.append(
            class_error(cohort.labels, np.array([of_patient[patient] for patient in cohort.patients]))
        )
    assert class_error(cohort.labels, split) < np.median(naive) / 2
    assert split_by_patient(cohort, seed=seed).table.equals(divided.table)
    assert not split_by_patient(cohort, seed=seed + 10).table.equals(divided.table)


def test_a_published_split_is_respected() -> None:
    cohort = patients_with_classes()
    published = cohort.with_splits(["test"] * len(cohort))
    assert split_by_patient(published, seed=9) is published


def test_split_units_stay_whole_where_they_are_named() -> None:
    cohort = Cohort.from_arrays(
        np.zeros((12, 1, 1, 1)),
        kind="encode",
        patients=["one"] * 12,
        units=[f"block {i // 2}" for i in range(12)],
    )
    split = split_by_patient(cohort).table["split"].to_numpy().reshape(6, 2)
    assert (split[:, 0] == split[:, 1]).all() and set(split.ravel()) == set(SHARES)


def test_many_labels_are_balanced_each(seed: int = 0) -> None:
    truth = (np.random.default_rng(seed).random((400, 8)) < 0.2).astype(float)
    cohort = Cohort.from_arrays(
        np.zeros((400, 1, 1, 1)), truth, kind="multilabel", classes=[f"l{index}" for index in range(8)]
    )
    split = split_by_patient(cohort).table["split"].to_numpy()
    for name, share in SHARES.items():
        np.testing.assert_allclose(truth[split == name].sum(0) / truth.sum(0), share, atol=0.06)


def test_what_cannot_be_divided_is_refused() -> None:
    cohort = patients_with_classes()
    with pytest.raises(SettingsError):
        split_by_patient(cohort, {"train": 0.7, "test": 0.2})
    with pytest.raises(DataError, match="at least 3 patients"):
        split_by_patient(cohort.take(np.flatnonzero(np.isin(cohort.patients, ["p0", "p1"]))))
