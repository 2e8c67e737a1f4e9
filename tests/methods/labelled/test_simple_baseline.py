"""The baselines say what class shares, a hand-made feature table and scikit-learn say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import adapt
from medgraft.engine.predict import Predicted, predict_labels
from medgraft.engine.run import Run
from medgraft.errors import DataError, NeedError
from medgraft.methods import SimpleBaseline
from medgraft.models.model import Model
from medgraft.models.simple import SimpleClassifier
from medgraft.models.spec import ModelSpec
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Preparation

CLASSES = ("adenoma", "normal", "tumour")


def colourful(labels: list[int], classes: tuple[str, ...] = CLASSES, seed: int = 0, side: int = 12) -> Cohort:
    """RGB images whose colour leans towards that of their class."""
    rng = np.random.default_rng(seed)
    tints = rng.uniform(60, 190, (len(classes), 3))
    images = [rng.normal(tints[label] + rng.normal(0, 25, 3), 30, (side, side, 3)) for label in labels]
    return Cohort.from_arrays(
        np.stack(images).clip(0, 255).astype(np.uint8), np.asarray(labels), kind="classify", classes=classes
    )


def source() -> Model:
    return SimpleClassifier(ModelSpec(classes=("a", "b"), preparation=Preparation()), "colour")


def fitted(cohort: Cohort, **settings: object) -> Model:
    return adapt(source(), Task(target=cohort), SimpleBaseline(**settings), Run(device="cpu"))  # type: ignore[arg-type]


def predicted(model: Model, cohort: Cohort) -> Predicted:
    return predict_labels(model, cohort)


def by_scikit_learn(
    features: np.ndarray, labels: list[int], seen: np.ndarray, **settings: object
) -> np.ndarray:
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(max_iter=5000, **settings).fit(scaler.transform(features), labels)
    return regression.predict_proba(scaler.transform(seen))


def colours(cohort: Cohort) -> np.ndarray:
    """Mean of red, green and blue in [0, 1], then their standard deviations."""
    rows = []
    for position in range(len(cohort)):
        array = cohort.picture(position).array / 255
        channels = [array[:, :, channel] for channel in range(3)]
        rows.append([*(c.sum() / c.size for c in channels), *(c.std(ddof=0) for c in channels)])
    return np.asarray(rows)


LABELS = [0] * 12 + [1] * 6 + [2] * 9


def test_majority_gives_the_shares_of_the_classes():
    cohort = colourful(LABELS)
    told = predicted(fitted(cohort, statistics="majority"), cohort)
    # half a case is added to each class, so that an absent one has a finite logarithm
    shares = (np.array([12, 6, 9]) + 0.5) / (27 + 1.5)
    np.testing.assert_allclose(told.probabilities, np.tile(shares, (27, 1)), rtol=1e-5)
    assert set(told.labels.tolist()) == {0}


def test_majority_knows_classes_that_it_never_saw():
    told = predicted(fitted(colourful([0] * 3 + [2] * 5), statistics="majority"), colourful([1]))
    np.testing.assert_allclose(told.probabilities[0], np.array([3.5, 0.5, 5.5]) / 9.5, rtol=1e-5)


def test_colour_features_are_mean_and_deviation_of_each_channel():
    cohort = colourful(LABELS)
    features = extract_features(fitted(cohort, statistics="colour"), cohort).numpy()
    by_hand = colours(cohort)
    np.testing.assert_allclose(features, (by_hand - by_hand.mean(0)) / by_hand.std(0), atol=1e-3)


def test_pixel_features_are_block_means():
    cohort = colourful(LABELS)
    features = extract_features(fitted(cohort, statistics="pixels", side=3), cohort).numpy()
    images = np.stack([cohort.picture(position).array for position in range(27)]) / 255
    # 12 x 12 pixels in 3 x 3 blocks of 4 x 4, channel by channel
    blocks = images.reshape(27, 3, 4, 3, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(27, 27)
    np.testing.assert_allclose(features, (blocks - blocks.mean(0)) / blocks.std(0), atol=1e-3)


@pytest.mark.parametrize(("balanced", "penalty"), [(True, 1.0), (False, 1.0), (True, 0.05)])
def test_the_regression_is_scikit_learns(balanced, penalty):
    cohort, new = colourful(LABELS), colourful([0, 1, 2] * 4, seed=1)
    told = predicted(
        fitted(cohort, statistics="colour", balanced=balanced, inverse_penalty=penalty), new
    ).probabilities
    expected = by_scikit_learn(
        colours(cohort), LABELS, colours(new), C=penalty, class_weight="balanced" if balanced else None
    )
    np.testing.assert_allclose(told, expected, atol=2e-3)


def test_two_classes_say_the_same_as_scikit_learns_single_row():
    labels = [0] * 10 + [1] * 7
    cohort, new = (
        colourful(labels, ("benign", "malignant")),
        colourful([0, 1] * 5, ("benign", "malignant"), seed=2),
    )
    told = predicted(fitted(cohort, statistics="colour", balanced=False), new).probabilities
    np.testing.assert_allclose(told, by_scikit_learn(colours(cohort), labels, colours(new)), atol=2e-3)


def test_a_class_without_training_rows_is_never_the_answer():
    told = predicted(fitted(colourful([0] * 6 + [2] * 6), statistics="colour"), colourful([0, 1, 2]))
    assert told.probabilities[:, 1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(told.probabilities.sum(1), 1, rtol=1e-5)
    labels = [0] * 6 + [2] * 6
    expected = by_scikit_learn(
        colours(colourful(labels)), labels, colours(colourful([0, 1, 2])), class_weight="balanced"
    )
    np.testing.assert_allclose(told.probabilities[:, [0, 2]], expected, atol=2e-3)


def test_a_constant_statistic_does_no_harm():
    images = np.full((8, 6, 6, 1), 50, np.uint8)
    images[4:] = 200
    cohort = Cohort.from_arrays(images, np.arange(8) // 4, kind="classify", classes=("dark", "bright"))
    model = adapt(
        make_model("classify"), Task(target=cohort), SimpleBaseline(statistics="colour"), Run(device="cpu")
    )
    told = predicted(model, cohort)
    assert np.isfinite(told.probabilities).all()
    assert told.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_only_training_rows_are_learned_from():
    cohort = make_cohort("classify")
    flipped = make_cohort("classify").table
    held_out = flipped["split"] != "train"
    flipped.loc[held_out, "label"] = flipped.loc[held_out, "label"].map({"small": "large", "large": "small"})
    other = Cohort(
        flipped, kind="classify", classes=cohort.classes, root=cohort.root, name="x", arrays=cohort._arrays
    )
    task, method = Task(target=cohort), SimpleBaseline()
    one = adapt(make_model("classify"), task, method, Run(device="cpu")).state_dict()
    two = adapt(make_model("classify"), Task(target=other), method, Run(device="cpu")).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("statistics", ["majority", "colour", "pixels"])
def test_every_promise_of_a_method_is_kept(statistics):
    assert len(check_method(SimpleBaseline(statistics=statistics, side=4))) == 8


def test_other_kinds_and_settings_are_refused():
    with pytest.raises(NeedError, match="this one's kind is 'segment'"):
        adapt(make_model("segment"), Task(target=make_cohort("segment")), SimpleBaseline(), Run(device="cpu"))
    for wrong in ({"side": 0}, {"inverse_penalty": 0}, {"statistics": "median"}, {"sides": 3}):
        with pytest.raises(ValidationError):
            SimpleBaseline(**wrong)


def test_one_training_class_is_refused_in_one_sentence():
    with pytest.raises(DataError, match="training rows of at least two classes"):
        fitted(colourful([1] * 5), statistics="colour")
