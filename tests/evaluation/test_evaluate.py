"""Scores equal scikit-learn's, intervals those of the bootstrap, and what a reader must know is said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn import metrics

from medgraft.data.cohort import Cohort
from medgraft.errors import DataError, ModelError
from medgraft.evaluation.evaluate import evaluate
from medgraft.models.model import Model
from medgraft.statistics.bootstrap import bootstrap_interval
from medgraft.testing import make_cohort, make_model

CLASSES = ("adenoma", "normal", "tumour")
REPEATS = 60


@pytest.fixture
def three(written) -> tuple[Model, Cohort, np.ndarray, np.ndarray, np.ndarray]:
    """36 images of 12 patients, three classes, with probabilities that are right more often than not."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 36)
    scores = rng.normal(size=(36, 3)) + 1.2 * np.eye(3)[truth]
    probabilities = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
    patients = [f"Patient {number}" for number in rng.permutation(np.repeat(np.arange(12), 3))]
    model, cohort = written.labels(
        probabilities, truth, CLASSES, patients=patients, split=["test"] * 36, name="colon"
    )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    return model, cohort, truth, probabilities.astype(float), np.array([numbers[name] for name in patients])


def value_of(evidence, metric: str, part: str = ""):
    facts = evidence.facts
    return facts[(facts["metric"] == metric) & (facts["part"] == part)].iloc[0]


def one_vs_rest(score, truth, probabilities):
    """The mean over the classes that have both present and absent cases."""
    values = []
    for index in range(probabilities.shape[1]):
        present = truth == index
        if present.any() and not present.all():
            values.append(score(present, probabilities[:, index]))
    return float(np.mean(values)) if values else float("nan")


def test_scores_of_three_classes_equal_scikit_learn(three):
    model, cohort, truth, probabilities, _ = three
    evidence = evaluate(model, cohort, repeats=10)
    predicted = probabilities.argmax(1)
    expected = {
        "auroc": metrics.roc_auc_score(
            truth, probabilities / probabilities.sum(1, keepdims=True), multi_class="ovr"
        ),
        "average_precision": metrics.average_precision_score(np.eye(3)[truth], probabilities),
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "brier": float(((probabilities - np.eye(3)[truth]) ** 2).sum(1).mean()),
    }
    for metric, number in expected.items():
        assert value_of(evidence, metric)["value"] == pytest.approx(number, abs=1e-6), metric
    recalls = metrics.recall_score(truth, predicted, average=None)
    for name, number in zip(CLASSES, recalls):
        assert value_of(evidence, "recall", name)["value"] == pytest.approx(number)


def test_calibration_error_equals_a_loop_over_bins(three):
    model, cohort, truth, probabilities, _ = three
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert value_of(evaluate(model, cohort, repeats=5), "ece")["value"] == pytest.approx(expected, abs=1e-6)


def test_intervals_are_the_bootstrap_of_scikit_learns_scores_over_patients(three):
    model, cohort, truth, probabilities, units = three
    evidence = evaluate(model, cohort, repeats=REPEATS)
    predicted = probabilities.argmax(1)
    scores = {
        "accuracy": lambda rows: metrics.accuracy_score(truth[rows], predicted[rows]),
        "auroc": lambda rows: one_vs_rest(metrics.roc_auc_score, truth[rows], probabilities[rows]),
    }
    for metric, score in scores.items():
        interval = bootstrap_interval(score, units, repeats=REPEATS)
        row = value_of(evidence, metric)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-6)
        assert (row["n"], row["unit"]) == (12, "patients")


def test_predictions_name_rows_and_no_patient(three):
    model, cohort, truth, probabilities, units = three
    evidence = evaluate(model, cohort, subject="ours", seed=3, repeats=5)
    table = evidence.tables["predictions/ours/3"]
    assert table.columns.tolist() == [
        "cohort", "split", "row", "unit", "truth", "predicted", "p_0", "p_1", "p_2",
    ]  # fmt: skip
    assert table["row"].tolist() == list(range(1, 37))
    assert table["unit"].tolist() == units.tolist()
    assert table["truth"].tolist() == truth.tolist()
    np.testing.assert_allclose(table[["p_0", "p_1", "p_2"]], probabilities, atol=1e-6)
    assert evidence.tables["classes/colon"].values.tolist() == [[0, "adenoma"], [1, "normal"], [2, "tumour"]]
    frames = [*evidence.tables.values(), evidence.facts]
    everything = " ".join([frame.to_csv() for frame in frames]) + str(
        (evidence.provenance, evidence.warnings)
    )
    assert "Patient" not in everything


def test_provenance_tells_what_was_measured(three):
    model, cohort, *_ = three
    (entry,) = evaluate(model, cohort, subject="ours", seed=3, selection="last", repeats=5).provenance
    assert entry["data"] == {
        "rows": 36, "units": 12, "unit": "patients", "fingerprint": cohort.fingerprint(), "licence": None,
    }  # fmt: skip
    assert (entry["subject"], entry["split"], entry["seed"], entry["selection"]) == (
        "ours",
        "test",
        3,
        "last",
    )


def test_a_model_may_know_more_classes_than_the_data_in_another_order(written):
    model, _ = written.labels([[0.1, 0.2, 0.7]], [0], CLASSES)
    probabilities = np.log(np.array([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]], np.float32))[:, None, None, :]
    cohort = Cohort.from_arrays(
        probabilities, np.array([0, 1]), kind="classify", classes=("tumour", "adenoma"), name="two"
    )
    table = evaluate(model, cohort, repeats=5).tables["predictions/model/0"]
    assert table["truth"].tolist() == [2, 0]
    assert table["predicted"].tolist() == [2, 1]


def test_missing_labels_count_nowhere(written):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (30, 2)).astype(float)
    truth[rng.random((30, 2)) < 0.3] = np.nan
    probabilities = (0.2 + 0.6 * rng.random((30, 2))).astype(np.float32)
    model, cohort = written.labels(probabilities, truth, ("effusion", "nodule"), "multilabel", name="chest")
    evidence = evaluate(model, cohort, repeats=20)
    known = ~np.isnan(truth)
    per_label = [
        (truth[known[:, k], k], probabilities[known[:, k], k], probabilities[known[:, k], k] > 0.5)
        for k in (0, 1)
    ]
    expected = {
        "auroc": np.mean([metrics.roc_auc_score(t, p) for t, p, _ in per_label]),
        "average_precision": np.mean([metrics.average_precision_score(t, p) for t, p, _ in per_label]),
        "balanced_accuracy": np.mean([metrics.balanced_accuracy_score(t, y) for t, _, y in per_label]),
        "accuracy": np.mean([t == y for a, _, b in per_label for t, y in zip(a, b)]),
        "brier": 2 * np.mean([(t - p) ** 2 for a, b, _ in per_label for t, p in zip(a, b)]),
    }
    for metric, number in expected.items():
        assert value_of(evidence, metric)["value"] == pytest.approx(number, abs=1e-6), metric
    recall = metrics.recall_score(per_label[1][0], per_label[1][2])
    assert value_of(evidence, "recall", "nodule")["value"] == pytest.approx(recall)
    table = evidence.tables["predictions/model/0"]
    assert np.isnan(table["truth_0"]).tolist() == (~known[:, 0]).tolist()


def test_smoothed_labels_are_uncertain_and_so_missing(written):
    model, cohort = written.labels(np.full((3, 1), 0.6), [[1], [0], [1]], ("effusion",), "multilabel")
    table = cohort.table
    table["label:effusion"] = ["1", "0", "-1"]
    smooth = Cohort(
        table, kind="multilabel", classes=("effusion",), root=cohort.root, name="chest", uncertain="smooth",
        arrays=cohort._arrays,
    )  # fmt: skip
    truth = evaluate(model, smooth, repeats=5).tables["predictions/model/0"]["truth_0"]
    assert truth.iloc[:2].tolist() == [1, 0] and np.isnan(truth.iloc[2])


def test_dice_pools_the_pixels_of_a_patient(written):
    truth = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]])
    guess = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    model, cohort = written.masks(
        guess, truth, ("background", "lesion"), patients=["a", "a", "b", "c"], name="skin"
    )
    evidence = evaluate(model, cohort, repeats=REPEATS)
    # patient a: 2 * 1 / (2 + 1), its empty slice earns nothing; b: one of the two empty; c: both empty
    dice, iou = np.array([2 / 3, 0.0, 1.0]), np.array([1 / 2, 0.0, 1.0])
    table = evidence.tables["scores/model/0"]
    assert table["unit"].tolist() == [0, 1, 2] and set(table["part"]) == {"lesion"}
    np.testing.assert_allclose(table["dice"], dice)
    np.testing.assert_allclose(table["iou"], iou)
    for metric, values in (("dice", dice), ("iou", iou)):
        interval = bootstrap_interval(
            lambda rows, values=values: values[rows].mean(), [0, 1, 2], repeats=REPEATS
        )
        for part in ("", "lesion"):
            row = value_of(evidence, metric, part)
            assert row["value"] == pytest.approx(values.mean())
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert "predictions/model/0" not in evidence.tables


def test_the_mean_over_classes_leaves_out_the_background(written):
    truth = np.array([[[0, 1], [2, 2]]])
    guess = np.array([[[0, 1], [2, 0]]])
    model, cohort = written.masks(guess, truth, ("background", "liver", "tumour"))
    evidence = evaluate(model, cohort, repeats=5)
    assert value_of(evidence, "dice", "tumour")["value"] == pytest.approx(2 / 3)
    assert value_of(evidence, "dice")["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(value_of(evidence, "dice")["low"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"notes": {"silver_labels": True}}, "the truth is silver"),
        ({"notes": {"simulated": True}}, "the images are simulated"),
        (
            {"units": ["x", "y"] * 10, "notes": {"unit_name": "blocks of one slide"}},
            "intervals are over 2 blocks of one slide, not patients",
        ),
        ({"patients": None}, "intervals are over 20 images, not patients"),
        ({"patients": ["a", "b", "c", "d"] * 5}, "4 patients are few"),
        ({"split": ["train"] * 20}, "rows of the split 'train' are included"),
    ],
)
def test_what_weakens_a_result_is_said(written, more, words):
    plain = {"patients": [f"p{number}" for number in range(20)], "split": ["test"] * 20}
    model, cohort = written.labels(
        np.tile([[0.6, 0.4], [0.3, 0.7]], (10, 1)), [0, 1] * 10, ("a", "b"), **(plain | more)
    )
    warnings = evaluate(model, cohort, repeats=5).warnings
    assert any(words in warning for warning in warnings), warnings


def test_a_plain_result_warns_of_nothing(three):
    model, cohort, *_ = three
    assert evaluate(model, cohort, repeats=5).warnings == ()


def test_the_split_names_itself(three):
    model, cohort, *_ = three
    assert set(evaluate(model, cohort, repeats=5).facts["split"]) == {"test"}
    assert set(evaluate(model, cohort, split="strip", repeats=5).facts["split"]) == {"strip"}
    mixed = cohort.with_splits(["validation", "test"] * 18)
    assert set(evaluate(model, mixed, repeats=5).facts["split"]) == {"validation+test"}


def test_examples_show_the_worst_first(three):
    model, cohort, truth, probabilities, _ = three
    evidence = evaluate(model, cohort, subject="ours", repeats=5, examples=6)
    shown = evidence.tables["examples"]
    wrong = probabilities.argmax(1) != truth
    worst = max(np.flatnonzero(wrong), key=lambda row: probabilities[row].max())
    first = shown.iloc[0]
    assert (first["row"], first["truth"], first["predicted"]) == (
        worst + 1, CLASSES[truth[worst]], CLASSES[probabilities[worst].argmax()],
    )  # fmt: skip
    assert shown["worst"].tolist() == [True] * 4 + [False] * 2
    for name in shown["image"]:
        picture = evidence.images[name]
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert evaluate(model, cohort, repeats=5, examples=0).images == {}


def test_examples_of_masks_tell_their_overlap(written):
    truth = np.zeros((3, 8, 8), int)
    truth[:, 2:6, 2:6] = 1
    guess = truth.copy()
    guess[1] = 0
    model, cohort = written.masks(guess, truth, ("background", "lesion"))
    shown = evaluate(model, cohort, repeats=5, examples=3).tables["examples"]
    assert shown["row"].tolist()[0] == 2
    assert shown["scores"].iloc[0] == "Dice 0.00"


def test_kinds_that_differ_are_refused():
    with pytest.raises(
        ModelError, match=r"the kind of made-up site A, 'segment', but this one's kind is 'classify'"
    ):
        evaluate(make_model("classify"), make_cohort("segment"))


def test_classes_that_the_model_does_not_know_are_refused():
    with pytest.raises(ModelError, match=r"\(small, large\), but this one's are first, second, third"):
        evaluate(make_model("classify"), make_cohort("classify"))


def test_no_rows_and_no_truth_are_refused(three):
    model, cohort, *_ = three
    with pytest.raises(DataError, match="this view of colon has none"):
        evaluate(model, cohort.split("validation"))
    with pytest.raises(DataError, match="rows with truth"):
        evaluate(model, cohort.only({"images"}))


def test_evidence_survives_its_folder(three, tmp_path):
    from medgraft.evidence import Evidence

    model, cohort, *_ = three
    evidence = evaluate(model, cohort, repeats=5)
    evidence.save(tmp_path / "evidence")
    found = Evidence.load(tmp_path / "evidence")
    assert dataclasses.is_dataclass(found)
    assert found.facts.equals(evidence.facts)
    assert found.tables.keys() == evidence.tables.keys()
