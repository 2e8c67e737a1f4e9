"""Losses and accuracy of POPAR. tests/golden/popar_loss.npz: the formula of the authors' popar_swin.py at ec74e6b."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medgraft.errors import ShapeError
from medgraft.models.popar import SubTasks, order_accuracy, order_loss, popar_loss, restoration_errors

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "popar_loss.npz")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return golden("order_logits").reshape(3, 16, 16), golden("perm"), golden("pred"), golden("gt")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("permuted", [[True, True, True], [True, False, True], [False, False, False]])
def test_losses_match_the_published_formula(permuted: list[bool]) -> None:
    logits, order, restored, clean = inputs()
    assert float(order_loss(logits, order)) == pytest.approx(float(GOLDEN["ce"]), abs=1e-6)
    assert float(restoration_errors(restored, clean).mean()) == pytest.approx(float(GOLDEN["mse"]), abs=1e-6)
    loss = popar_loss(logits, order, restored, clean, torch.tensor(permuted))
    assert float(loss.total) == pytest.approx(float(GOLDEN["loss"]), abs=1e-6)
    assert float(loss.misplaced + loss.transformed) == pytest.approx(float(GOLDEN["mse"]), abs=1e-6)


@pytest.mark.parametrize(
    "weights", [(0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, 0.7, 0), (0.2, 0, 2), (0, 0.1, 0.9)]
)
def test_each_subtask_counts_its_images_by_its_weight(weights: tuple[float, float, float]) -> None:
    logits, order, restored, clean = (
        values.double() if values.is_floating_point() else values for values in inputs()
    )
    permuted = [True, False, True]
    expected = 0.0
    for image in range(3):
        for place in range(16):
            scores = logits[image, place].tolist()
            chance = math.exp(scores[int(order[image, place])]) / sum(map(math.exp, scores))
            expected -= weights[0] * math.log(chance) / (3 * 16)
        squares = [
            (a - b) ** 2 for a, b in zip(restored[image].flatten().tolist(), clean[image].flatten().tolist())
        ]
        expected += weights[1 if permuted[image] else 2] * sum(squares) / len(squares) / 3
    subtasks = SubTasks(order=weights[0], misplaced=weights[1], transformed=weights[2])
    loss = popar_loss(logits, order, restored, clean, torch.tensor(permuted), subtasks)
    assert float(loss.total) == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_a_batch_is_the_mean_of_its_images() -> None:
    logits, order, restored, clean = inputs()
    permuted, subtasks = torch.tensor([True, False, True]), SubTasks(misplaced=0.2, transformed=3)
    together = popar_loss(logits, order, restored, clean, permuted, subtasks)
    alone = [
        popar_loss(
            *(values[row : row + 1] for values in (logits, order, restored, clean, permuted)), subtasks
        )
        for row in range(3)
    ]
    for term, parts in zip(together, zip(*alone)):
        torch.testing.assert_close(term, torch.stack(parts).mean())


def test_switched_off_subtasks_give_no_gradient() -> None:
    logits, order, restored, clean = inputs()
    logits, restored = logits.requires_grad_(), restored.requires_grad_()
    permuted = torch.tensor([True, False, True])
    popar_loss(logits, order, restored, clean, permuted, SubTasks(order=0, misplaced=0)).total.backward()
    assert logits.grad is not None and not logits.grad.any()
    assert restored.grad is not None and not restored.grad[permuted].any() and restored.grad[1].all()


def test_half_precision_is_summed_in_single() -> None:
    logits, order, restored, clean = inputs()
    loss = popar_loss(logits.half(), order, restored.half(), clean.half(), torch.tensor([True] * 3))
    assert all(term.dtype == torch.float32 for term in loss)
    assert float(loss.total) == pytest.approx(float(GOLDEN["loss"]), rel=1e-2)


@pytest.mark.parametrize(
    ("off", "chance"),
    [
        ((), 0.5),
        (("order",), 0.5),
        (("misplaced",), 0.5),
        (("transformed",), 0.0),
        (("order", "transformed"), 0.0),
        (("order", "misplaced"), 1.0),
    ],
)
def test_images_are_permuted_only_where_that_is_learned_from(off: tuple[str, ...], chance: float) -> None:
    assert SubTasks(**dict.fromkeys(off, 0.0)).identity_chance == chance


def test_accuracy_by_hand() -> None:
    order = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2], [0, 1, 2, 3], [1, 0, 3, 2]])
    permuted = torch.tensor([False, True, False, True])
    perfect = torch.nn.functional.one_hot(order, 4).float()
    assert order_accuracy(perfect, order, permuted) == (1.0, 1.0)
    said = torch.tensor([[0, 1, 2, 0], [3, 1, 2, 0], [0, 0, 0, 0], [1, 0, 3, 1]])  # right: 3, 2, 1, 3 of 4
    scores = torch.nn.functional.one_hot(said, 4) - 7.0
    assert order_accuracy(scores, order, permuted) == (5 / 8, 4 / 8)
    assert order_accuracy(scores[1:2], order[1:2], permuted[1:2])[0] == 0.5
    assert math.isnan(order_accuracy(scores[1:2], order[1:2], permuted[1:2]).identity)
    assert math.isnan(order_accuracy(scores[:1], order[:1], permuted[:1]).permuted)


def test_repeating_the_position_is_perfect_on_identity_and_chance_on_permuted_images() -> None:
    order = torch.rand(4000, 8, generator=seeded()).argsort(1)
    order[:100] = torch.arange(8)
    permuted = (order != torch.arange(8)).any(1)
    copying = order_accuracy(torch.eye(8).expand(4000, 8, 8), order, permuted)
    assert copying.identity == 1.0
    assert copying.permuted == pytest.approx(1 / 8, abs=0.01)
    guessing = order_accuracy(torch.rand(4000, 8, 8, generator=seeded(1)), order, permuted)
    assert guessing.permuted == pytest.approx(1 / 8, abs=0.01)
    assert guessing.identity == pytest.approx(1 / 8, abs=0.05)


def test_what_does_not_fit_together_is_told() -> None:
    logits, order, restored, clean = inputs()
    permuted = torch.tensor([True] * 3)
    for wrong in (logits[:, :, :9], logits[:, :9], logits.flatten(0, 1), logits[:2], logits[:0]):
        with pytest.raises(ShapeError, match="order_loss needs logits"):
            order_loss(wrong, order)
    with pytest.raises(ShapeError, match="order_accuracy needs logits"):
        order_accuracy(logits[:, :9], order, permuted)
    for flags in (permuted[:2], permuted.int()):
        with pytest.raises(ShapeError, match="order_accuracy needs for each image"):
            order_accuracy(logits, order, flags)
    for arguments in ((restored[..., :16], clean), (restored[0], clean[0]), (restored[:0], clean[:0])):
        with pytest.raises(ShapeError, match="restoration_errors needs"):
            restoration_errors(*arguments)
    for images, flags in ((clean, permuted[:2]), (clean[:2], permuted), (clean, permuted.int())):
        with pytest.raises(ShapeError, match="popar_loss needs for each image"):
            popar_loss(logits, order, images, images, flags)
    for weights in ({"order": -1}, {"order": 0, "misplaced": 0, "transformed": 0}, {"order": math.inf}):
        with pytest.raises(ValidationError):
            SubTasks(**weights)
