"""Losses against PyTorch, MONAI and naive loops; the loss of a batch is the mean of its halves, always."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from monai.losses import DiceLoss
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from medgraft.errors import SettingsError
from medgraft.models.losses import LossSettings, build_loss
from medgraft.types import Kind

K = 3
NAN = math.nan


def example(kind: Kind, size: tuple[int, ...] = (4, 5), count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    spatial = size if kind == "segment" else ()
    outputs = torch.randn(count, K, *spatial, generator=generator) * 2
    if kind == "multilabel":
        return outputs, torch.randint(0, 2, (count, K), generator=generator).float()
    return outputs, torch.randint(0, K, (count, *spatial), generator=generator)


def loss(kind: Kind, outputs: Tensor, truth: Tensor, **settings: Any) -> Tensor:
    return build_loss(LossSettings(**settings), kind)(outputs, truth)


@pytest.mark.parametrize("kind", ["classify", "segment"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(kind: Kind, smoothing: float) -> None:
    outputs, truth = example(kind)
    ours = loss(kind, outputs, truth, name="cross_entropy", label_smoothing=smoothing)
    torch.testing.assert_close(ours, functional.cross_entropy(outputs, truth, label_smoothing=smoothing))


def test_weighted_cross_entropy_equals_a_loop_and_is_not_divided_by_the_weights() -> None:
    outputs, truth = example("classify")
    weights = (0.2, 1.0, 3.0)
    by_hand = 0.0
    for row, label in zip(outputs.tolist(), truth.tolist()):
        by_hand -= weights[label] * (row[label] - math.log(sum(math.exp(value) for value in row)))
    ours = loss("classify", outputs, truth, name="cross_entropy", class_weights=weights)
    assert ours.item() == pytest.approx(by_hand / len(truth), rel=1e-5)


def test_ignored_pixels_leave_the_mean_of_their_image() -> None:
    outputs, truth = example("segment")
    truth[0, :2] = 255
    truth[1] = 255
    ours = loss("segment", outputs, truth, name="cross_entropy", ignore_label=255)
    each = [
        functional.cross_entropy(outputs[row : row + 1], truth[row : row + 1], ignore_index=255)
        for row in (0, 2, 3)
    ]
    torch.testing.assert_close(ours, torch.stack([each[0], torch.zeros(()), each[1], each[2]]).mean())


def test_ignored_images_count_as_zero() -> None:
    outputs, truth = example("classify")
    truth[2] = -1
    ours = loss("classify", outputs, truth, name="cross_entropy", ignore_label=-1)
    kept = functional.cross_entropy(outputs[[0, 1, 3]], truth[[0, 1, 3]], reduction="sum")
    torch.testing.assert_close(ours, kept / 4)


def test_binary_cross_entropy_of_labels_equals_torch() -> None:
    outputs, truth = example("multilabel")
    torch.testing.assert_close(
        loss("multilabel", outputs, truth, name="binary_cross_entropy"),
        functional.binary_cross_entropy_with_logits(outputs, truth),
    )
    weights, positive = (1.0, 0.5, 2.0), (3.0, 1.0, 0.1)
    torch.testing.assert_close(
        loss("multilabel", outputs, truth, name="binary_cross_entropy",
             class_weights=weights, positive_weights=positive),
        functional.binary_cross_entropy_with_logits(
            outputs, truth, torch.tensor(weights), pos_weight=torch.tensor(positive)
        ),
    )  # fmt: skip
    torch.testing.assert_close(
        loss("multilabel", outputs, truth, name="binary_cross_entropy", label_smoothing=0.2),
        functional.binary_cross_entropy_with_logits(outputs, truth * 0.8 + 0.1),
    )


def test_missing_labels_are_left_out_as_in_a_loop() -> None:
    outputs, truth = example("multilabel")
    truth[0, 1] = truth[1, 0] = truth[1, 2] = NAN
    truth[3] = NAN
    rows = []
    for scores, wanted in zip(outputs.tolist(), truth.tolist()):
        terms = []
        for score, label in zip(scores, wanted):
            if not math.isnan(label):
                probability = 1 / (1 + math.exp(-score))
                terms.append(-math.log(probability if label else 1 - probability))
        rows.append(sum(terms) / len(terms) if terms else 0.0)
    ours = loss("multilabel", outputs, truth, name="binary_cross_entropy")
    assert ours.item() == pytest.approx(sum(rows) / 4, rel=1e-5)


def test_missing_labels_give_no_gradient_and_no_nan() -> None:
    outputs, truth = example("multilabel")
    truth[0, 1] = NAN
    truth[3] = NAN
    outputs.requires_grad_()
    loss("multilabel", outputs, truth, name="binary_cross_entropy").backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert outputs.grad[0, 1] == 0 and not outputs.grad[3].any() and outputs.grad[0, 0] != 0


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (3, 4, 2)])
def test_soft_dice_equals_monai(background: bool, size: tuple[int, ...]) -> None:
    outputs, truth = example("segment", size)
    truth[0] = truth[0].clamp(max=1)
    theirs = DiceLoss(softmax=True, to_onehot_y=True, include_background=background)(outputs, truth[:, None])
    ours = loss("segment", outputs, truth, name="soft_dice", dice_background=background)
    torch.testing.assert_close(ours, theirs)


def test_weighted_dice_with_ignored_pixels_equals_a_loop() -> None:
    outputs, truth = example("segment")
    truth[1, 0] = 9
    weights = (1.0, 0.0, 4.0)
    total = 0.0
    for scores, labels in zip(outputs.softmax(1).reshape(4, K, -1).tolist(), truth.reshape(4, -1).tolist()):
        for label in range(K):
            pairs = [(p, float(t == label)) for p, t in zip(scores[label], labels) if t != 9]
            shared = sum(p * t for p, t in pairs)
            both = sum(p + t for p, t in pairs)
            total += weights[label] / 5 * (1 - (2 * shared + 0.5) / (both + 0.5))
    ours = loss(
        "segment", outputs, truth, name="soft_dice", class_weights=weights, ignore_label=9, dice_smoothing=0.5
    )
    assert ours.item() == pytest.approx(total / 4, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "soft_dice", "dice_cross_entropy"])
def test_losses_of_volumes_with_ignored_voxels_equal_a_loop(name: str) -> None:
    outputs, truth = example("segment", (2, 3, 4))
    truth[0, 1, :, 2:] = 7
    truth[2] = 7
    weights, smoothing = (1.0, 0.5, 4.0), 0.5
    entropies, dices = [], []
    for scores, labels in zip(outputs.tolist(), truth.tolist()):
        entropy, known = 0.0, 0
        shared, both = [0.0] * K, [0.0] * K
        for z, y, x in itertools.product(range(2), range(3), range(4)):
            label = labels[z][y][x]
            if label == 7:
                continue
            powers = [math.exp(scores[k][z][y][x]) for k in range(K)]
            entropy -= weights[label] * math.log(powers[label] / sum(powers))
            known += 1
            for k in range(K):
                shared[k] += (k == label) * powers[k] / sum(powers)
                both[k] += (k == label) + powers[k] / sum(powers)
        entropies.append(entropy / known if known else 0.0)
        lost = [1 - (2 * shared[k] + smoothing) / (both[k] + smoothing) for k in range(K)]
        dices.append(sum(w * one for w, one in zip(weights, lost)) / sum(weights))
    parts = {"cross_entropy": sum(entropies) / 4, "soft_dice": sum(dices) / 4}
    expected = parts.get(name, sum(parts.values()) / 2)
    settings = {"class_weights": weights, "ignore_label": 7, "dice_smoothing": smoothing}
    assert loss("segment", outputs, truth, name=name, **settings).item() == pytest.approx(expected, rel=1e-5)


def test_dice_of_an_absent_class_is_zero_only_without_probability_for_it() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.int64)
    sure = torch.zeros(1, 2, 4, 4)
    sure[:, 0] = 200.0
    assert loss("segment", sure, truth, name="soft_dice").item() == pytest.approx(0.0, abs=1e-6)
    sure[0, 1, 0, 0] = 200.0
    assert loss("segment", sure, truth, name="soft_dice").item() > 0.49


def test_binary_cross_entropy_of_two_pixel_classes_is_that_of_the_foreground() -> None:
    outputs, _ = example("segment")
    outputs, truth = outputs[:, :2], (outputs[:, 2] > 0).long()
    torch.testing.assert_close(
        loss("segment", outputs, truth, name="binary_cross_entropy"),
        functional.binary_cross_entropy_with_logits(outputs[:, 1] - outputs[:, 0], truth.float()),
    )


def test_binary_cross_entropy_of_pixels_equals_one_against_the_rest() -> None:
    outputs, truth = example("segment")
    probabilities = outputs.softmax(1)
    wanted = functional.one_hot(truth, K).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(
        loss("segment", outputs, truth, name="binary_cross_entropy"),
        functional.binary_cross_entropy(probabilities, wanted),
    )
    torch.testing.assert_close(
        loss(
            "segment",
            outputs,
            truth,
            name="binary_cross_entropy",
            class_weights=(1, 0, 2),
            label_smoothing=0.1,
        ),
        functional.binary_cross_entropy(
            probabilities, wanted * 0.9 + 0.05, torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1)
        ),
    )


def test_binary_cross_entropy_stays_finite_where_probabilities_round_to_one() -> None:
    outputs = torch.tensor([[60.0, -60.0, 0.0]]).view(1, 3, 1, 1).requires_grad_()
    value = loss("segment", outputs, torch.ones(1, 1, 1, dtype=torch.int64), name="binary_cross_entropy")
    # -log p of class 1 is 120; -log(1 - p) is 60 for class 0 and about 0 for class 2
    assert value.item() == pytest.approx(60.0, rel=1e-5)
    value.backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all() and outputs.grad.any()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("dice_cross_entropy", {"soft_dice": 0.5, "cross_entropy": 0.5}),
        ("binary_cross_entropy_dice", {"binary_cross_entropy": 0.4, "soft_dice": 0.6}),
    ],
)
def test_named_sums_have_the_published_weights(name: str, parts: dict[str, float]) -> None:
    outputs, truth = example("segment")
    expected = sum(weight * loss("segment", outputs, truth, name=part) for part, weight in parts.items())
    torch.testing.assert_close(loss("segment", outputs, truth, name=name), expected)
    torch.testing.assert_close(loss("segment", outputs, truth, terms=parts), expected)


HARD: list[tuple[Kind, dict[str, Any]]] = [
    ("classify", {"name": "cross_entropy", "class_weights": (0.1, 1.0, 5.0), "ignore_label": 1}),
    ("classify", {"name": "cross_entropy", "label_smoothing": 0.2}),
    ("multilabel", {"name": "binary_cross_entropy", "positive_weights": (2.0, 1.0, 9.0)}),
    ("segment", {"name": "cross_entropy", "class_weights": (0.1, 1.0, 5.0), "ignore_label": 1}),
    ("segment", {"name": "dice_cross_entropy", "ignore_label": 2}),
    ("segment", {"name": "binary_cross_entropy_dice", "class_weights": (0.1, 1.0, 5.0), "ignore_label": 1}),
]


@pytest.mark.parametrize(("kind", "settings"), HARD)
def test_two_halves_average_to_the_whole(kind: Kind, settings: dict[str, Any]) -> None:
    outputs, truth = example(kind, count=8)
    if kind == "multilabel":
        truth[0] = NAN
        truth[5, 1] = NAN
    criterion = build_loss(LossSettings(**settings), kind)
    halves = (criterion(outputs[:4], truth[:4]) + criterion(outputs[4:], truth[4:])) / 2
    assert not torch.isclose(criterion(outputs[:4], truth[:4]), criterion(outputs[4:], truth[4:]))
    torch.testing.assert_close(criterion(outputs, truth), halves)


@pytest.mark.parametrize(("kind", "settings"), HARD)
def test_gradients_are_right(kind: Kind, settings: dict[str, Any]) -> None:
    outputs, truth = example(kind, (2, 2), count=2)
    criterion = build_loss(LossSettings(**settings), kind)
    point = outputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(criterion(point, truth), point)
    direction = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-2
    slope = (criterion(outputs + step * direction, truth) - criterion(outputs - step * direction, truth)) / (
        2 * step
    )
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=2e-2, atol=2e-4)


@pytest.mark.parametrize(("kind", "settings"), HARD)
def test_low_precision_ends_at_the_loss(kind: Kind, settings: dict[str, Any]) -> None:
    outputs, truth = example(kind)
    rounded = outputs.bfloat16()
    criterion = build_loss(LossSettings(**settings), kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = criterion(rounded, truth)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, criterion(rounded.float(), truth))


@pytest.mark.parametrize(("kind", "settings"), HARD)
def test_large_outputs_give_finite_losses(kind: Kind, settings: dict[str, Any]) -> None:
    outputs, truth = example(kind)
    assert loss(kind, outputs * 1e4, truth, **settings).isfinite()


def test_defaults_by_kind() -> None:
    assert LossSettings.default("classify").name == "cross_entropy"
    assert LossSettings.default("multilabel").name == "binary_cross_entropy"
    assert LossSettings.default("segment").name == "dice_cross_entropy"
    with pytest.raises(SettingsError, match="'encode'"):
        LossSettings.default("encode")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"name": "cross_entropy", "terms": {"soft_dice": 1.0}},
        {"terms": {}},
        {"terms": {"soft_dice": -1.0}},
        {"terms": {"soft_dice": 0.0}},
        {"name": "cross_entropy", "label_smoothing": 1.0},
        {"name": "cross_entropy", "class_weights": (0.0, 0.0)},
        {"name": "focal"},
        {"name": "cross_entropy", "gamma": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LossSettings(**settings)


def test_settings_round_trip_through_json() -> None:
    settings = LossSettings(terms={"soft_dice": 0.3, "cross_entropy": 1.0}, class_weights=(1.0, 2.0))
    assert LossSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("classify", {"name": "soft_dice"}, "terms among cross_entropy, but got soft_dice"),
        ("multilabel", {"name": "cross_entropy"}, "terms among binary_cross_entropy"),
        ("encode", {"name": "cross_entropy"}, "none, but got cross_entropy"),
        ("classify", {"name": "cross_entropy", "positive_weights": (1.0,)}, "kind 'multilabel'"),
    ],
)
def test_losses_that_do_not_suit_the_kind_are_refused(
    kind: Kind, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        build_loss(LossSettings(**settings), kind)


def test_weights_must_be_one_per_class() -> None:
    outputs, truth = example("classify")
    with pytest.raises(SettingsError, match=r"one number per class \(3\), but got 2"):
        loss("classify", outputs, truth, name="cross_entropy", class_weights=(1.0, 2.0))
