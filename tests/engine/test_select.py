from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.predict import predict_labels, predict_masks
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.select import Selector
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.testing import make_cohort, make_model

from .conftest import OnFixedRows, make_line


def test_a_classifier_is_scored_by_macro_auroc() -> None:
    cohort = make_cohort("classify", "B", patients=12)
    model = regraft(make_model("classify"), cohort.classes)[0]
    probabilities = predict_labels(model, cohort).probabilities
    labels = cohort.labels
    expected = (
        roc_auc_score(labels, probabilities[:, 1])
        if probabilities.shape[1] == 2
        else roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    assert Selector("target_validation", cohort).score(model) == pytest.approx(expected)


def test_a_segmenter_is_scored_by_mean_foreground_dice_over_patients() -> None:
    cohort, model = make_cohort("segment", "B", patients=4), make_model("segment")
    found = {mask.row: mask.labels for mask in predict_masks(model, cohort)}
    scores = []
    for patient in dict.fromkeys(cohort.patients.tolist()):
        rows = np.flatnonzero(cohort.patients == patient)
        truth = np.concatenate([cohort.mask(row).array[..., 0].ravel() for row in rows])
        guess = np.concatenate([found[row].ravel() for row in rows])
        for index in range(1, len(model.spec.classes)):
            both = 2 * ((truth == index) & (guess == index)).sum()
            size = (truth == index).sum() + (guess == index).sum()
            if size:
                scores.append(both / size)
    assert Selector("target_validation", cohort).score(model) == pytest.approx(np.mean(scores))


def test_masks_that_come_by_patient_meet_their_own_truth() -> None:
    cohort, model = make_cohort("segment", "B", patients=6), make_model("segment")
    weight, bias = (model.get_parameter(name) for name in model.blocks()["head"])
    weight.data.mul_(300)  # masks that are not all alike
    bias.data.sub_(outputs_of(model, cohort).mean(dim=0))
    mixed = cohort.take([5, 0, 7, 1, 11, 2, 10, 3, 9, 4, 8, 6])
    expected = Selector("target_validation", mixed).score(model)
    model.predict_by = "patient"
    assert Selector("target_validation", mixed).score(model) == pytest.approx(expected)
    assert 0.1 < expected < 0.9


def outputs_of(model: Model, cohort: Cohort) -> Tensor:
    """(pixels, classes)"""
    images = Loader(cohort, model.spec.preparation)(range(len(cohort))).images
    return model.eval()(images).detach().movedim(1, -1).flatten(0, -2)


class Undefined:
    rule = "target_validation"

    def score(self, model: object) -> float:
        return float("nan")


def test_where_no_score_is_defined_the_rule_told_is_the_one_that_was_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(device="cpu", progress=False, selector=Undefined())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        history = fit(OnFixedRows(make_line()), run, Schedule(epochs=2))
    assert (history.rule, history.kept) == ("last", 1)
    assert "no epoch had a defined validation score" in caplog.text
