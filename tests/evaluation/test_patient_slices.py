"""One slice of every patient, the same whatever the model says."""

from __future__ import annotations

import numpy as np
import pytest

import medgraft as mg
from medgraft.evaluation.patient_slices import draw_patients, fullest_slice
from medgraft.testing import make_cohort, make_model


def mask(*pixels: int) -> np.ndarray:
    """A volume whose slices have so many pixels of foreground."""
    volume = np.zeros((len(pixels), 4, 4), int)
    for place, count in enumerate(pixels):
        volume[place].flat[:count] = 1
    return volume


def test_the_slice_with_most_truth_is_kept_whatever_was_predicted() -> None:
    truth, predicted = mask(2, 7, 7, 1), mask(16, 0, 3, 9)
    found = fullest_slice(None, 3, truth, predicted)
    assert (found.row, found.pixels, found.masks.place, found.masks.slices) == (3, 7, 1, 4)
    kept = found.masks.masks()
    np.testing.assert_array_equal(kept[0], truth[1])
    np.testing.assert_array_equal(kept[1], predicted[1])


def test_of_several_rows_the_fullest_is_kept_and_of_equal_ones_the_first() -> None:
    found = fullest_slice(None, 0, mask(3)[0], mask(1)[0])
    assert found.masks.slices == 0
    assert fullest_slice(found, 1, mask(3)[0], mask(9)[0]) is found
    assert fullest_slice(found, 2, mask(4)[0], mask(0)[0]).row == 2


def test_a_patient_without_any_structure_is_drawn_too() -> None:
    cohort = make_cohort("segment", patients=1)
    blank = np.zeros(cohort.mask(0).array.shape[:2], int)
    (drawn,) = draw_patients(cohort, {0: fullest_slice(None, 0, blank, blank)}, ["Dice nan"] * len(cohort))
    assert drawn.picture.shape[-1] == 3
    assert drawn.line == {"unit": 0, "row": int(cohort.table.index[0]), "slice": "", "scores": "Dice nan"}


@pytest.mark.parametrize("asked", [True, False])
def test_evaluate_keeps_a_picture_of_every_patient_where_asked_for(asked: bool) -> None:
    cohort, model = make_cohort("segment", patients=5), make_model("segment")
    evidence = mg.evaluate(model, cohort, subject="a", seed=2, repeats=20, examples=0, picture_patients=asked)
    assert ("patient_pictures" in evidence.tables) == asked == bool(evidence.images)
    if asked:
        table = evidence.tables["patient_pictures"]
        assert table["unit"].tolist() == list(range(5)) and set(table["image"]) == set(evidence.images)
        foreground = [np.count_nonzero(cohort.mask(row).array) for row in range(len(cohort))]
        for unit, row in zip(table["unit"], table["row"], strict=True):
            own = np.flatnonzero(cohort.patients == np.unique(cohort.patients)[unit])
            place = cohort.table.index.tolist().index(row)
            assert place in own and foreground[place] == max(foreground[one] for one in own)
