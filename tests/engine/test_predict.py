from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.engine.predict import batch_rows, predict_labels, predict_masks
from medgraft.errors import ModelError
from medgraft.testing import make_cohort, make_model


def test_predictions_are_those_of_one_image_at_a_time() -> None:
    cohort, model = make_cohort("classify", "B", patients=5), make_model("classify")
    found = predict_labels(model, cohort, batch_size=4)
    model.eval()
    loader = Loader(cohort, model.spec.preparation)
    for row in range(len(cohort)):
        with torch.no_grad():
            alone = model(loader([row]).images).softmax(dim=1)[0]
        assert np.allclose(found.probabilities[row], alone.numpy(), atol=1e-5)
        assert found.labels[row] == int(alone.argmax())


def test_multilabel_probabilities_are_sigmoids() -> None:
    cohort, model = make_cohort("multilabel", "B", patients=4), make_model("multilabel")
    found = predict_labels(model, cohort)
    model.eval()
    with torch.no_grad():
        outputs = model(Loader(cohort, model.spec.preparation)(range(len(cohort))).images)
    assert np.allclose(found.probabilities, torch.sigmoid(outputs).numpy(), atol=1e-5)
    assert np.array_equal(found.labels, (found.probabilities >= 0.5).astype(int))


def test_whole_patients_are_predicted_together_and_order_is_restored() -> None:
    cohort, model = make_cohort("classify", "B", patients=5), make_model("classify")
    shuffled = cohort.take(np.random.default_rng(0).permutation(len(cohort)))
    plain = predict_labels(model, shuffled)
    model.predict_by = "patient"
    groups = batch_rows(model, shuffled, batch_size=2)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(shuffled)))
    assert all(len(set(shuffled.patients[rows])) == 1 for rows in groups)
    by_patient = predict_labels(model, shuffled)
    assert np.allclose(plain.probabilities, by_patient.probabilities, atol=1e-5)


def test_masks_come_back_in_the_image_s_own_size() -> None:
    cohort, model = make_cohort("segment", "B", patients=3), make_model("segment")
    model.spec = model.spec.changed(preparation=model.spec.preparation.model_copy(update={"size": (16, 24)}))
    masks = list(predict_masks(model, cohort, batch_size=2))
    assert [mask.row for mask in masks] == list(range(len(cohort)))
    for mask in masks:
        assert mask.labels.shape == mask.confidence.shape == cohort.picture(mask.row).array.shape[:2]
        assert set(np.unique(mask.labels)) <= set(range(len(model.spec.classes)))
        assert (mask.confidence >= 1 / len(model.spec.classes) - 1e-6).all() and (mask.confidence <= 1).all()


def test_features_are_what_the_head_sees() -> None:
    cohort, model = make_cohort("classify", "B", patients=4), make_model("classify")
    model.train()
    features = extract_features(model, cohort, batch_size=3)
    assert model.training
    predicted = predict_labels(model, cohort)
    with torch.no_grad():
        outputs = model.head_outputs(features)
    assert np.allclose(outputs.softmax(dim=1).numpy(), predicted.probabilities, atol=1e-5)


def test_features_of_a_model_of_whole_patients_are_found_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, model = make_cohort("classify", "B", patients=2), make_model("classify")
    plain = extract_features(model, cohort)
    model.predict_by = "patient"
    seen: list[int] = []
    features = model.features
    monkeypatch.setattr(model, "features", lambda images: [seen.append(len(images)), features(images)][1])
    assert torch.allclose(extract_features(model, cohort, batch_size=1), plain, atol=1e-5)
    of_patient = max(np.unique(cohort.patients, return_counts=True)[1])
    assert max(seen) == 1 < of_patient


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="Use predict_masks"):
        predict_labels(make_model("segment"), make_cohort("segment"))
    with pytest.raises(ModelError, match="Use predict_labels"):
        next(predict_masks(make_model("classify"), make_cohort("classify")))


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_keeps_the_memory_order_it_was_found_in(trained: bool) -> None:
    cohort, model = make_cohort("classify", "B", patients=3), make_model("classify")
    if trained:
        model.to(memory_format=torch.channels_last)
    filters = next(p for p in model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1)
    before = filters.stride()
    predict_labels(model, cohort)
    extract_features(model, cohort)
    assert filters.stride() == before
