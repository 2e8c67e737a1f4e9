"""Losses of MoCo and SimSiam against loops and hand-worked numbers; the curve of the momentum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.models.contrastive import batch_contrast, momentum_at, negative_cosine, queue_contrast


def rows(count: int, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))


@pytest.mark.parametrize(("temperature", "first"), [(0.2, 0), (1.0, 0), (0.2, 3)])
def test_a_batch_is_contrasted_as_by_a_loop_over_queries(temperature: float, first: int) -> None:
    queries, keys = rows(4), rows(9, seed=1)
    total = 0.0
    for number, query in enumerate(queries.numpy()):
        exponentials = [math.exp(cosine(query, key) / temperature) for key in keys.numpy()]
        total -= math.log(exponentials[first + number] / sum(exponentials))
    expected = 2 * temperature * total / 4
    assert batch_contrast(queries, keys, temperature, first).item() == pytest.approx(expected, rel=1e-10)


def test_two_images_told_apart_by_hand() -> None:
    """Own keys at cosine 1, the other's at 0: ln(1 + e^(-1/T)) times 2T."""
    axes = torch.eye(2)
    assert batch_contrast(3 * axes, axes, 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert batch_contrast(axes, axes.flip(0), 0.5).item() == pytest.approx(math.log(1 + math.exp(2)))
    assert batch_contrast(axes, axes, 1.0).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))


def test_rows_of_two_processes_have_the_loss_of_one() -> None:
    queries, keys = rows(6), rows(6, seed=1)
    parts = [batch_contrast(queries[:2], keys, 0.2), batch_contrast(queries[2:], keys, 0.2, first=2)]
    whole = batch_contrast(queries, keys, 0.2).item()
    assert (2 * parts[0].item() + 4 * parts[1].item()) / 6 == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_a_queue_is_contrasted_as_by_a_loop_over_queries(temperature: float) -> None:
    queries, keys = rows(4), rows(4, seed=1)
    queue = torch.nn.functional.normalize(rows(7, seed=2), dim=1)
    total = 0.0
    for query, key in zip(queries.numpy(), keys.numpy()):
        own = math.exp(cosine(query, key) / temperature)
        others = [math.exp(cosine(query, other) / temperature) for other in queue.numpy()]
        total -= math.log(own / (own + sum(others)))
    assert queue_contrast(queries, keys, queue, temperature).item() == pytest.approx(total / 4, rel=1e-10)
    blind = torch.ones(3, 2)
    told = queue_contrast(blind, blind, torch.full((7, 2), 0.5**0.5), temperature)
    assert told.item() == pytest.approx(math.log(8), rel=1e-6)


def test_an_image_is_not_told_from_its_own_earlier_key() -> None:
    queries, keys = rows(4), rows(4, seed=1)
    queue = torch.nn.functional.normalize(rows(7, seed=2), dim=1)
    images, waiting = (
        [3, 0, 5, 1],
        [5, 9, 3, 3, -1, 2, 5],
    )  # query 0 has two keys in the queue, 1 and 3 none, 2 two
    total = 0.0
    for image, query, key in zip(images, queries.numpy(), keys.numpy()):
        own = math.exp(cosine(query, key) / 0.2)
        others = [math.exp(cosine(query, k) / 0.2) for k, row in zip(queue.numpy(), waiting) if row != image]
        total -= math.log(own / (own + sum(others)))
    same = torch.tensor(images)[:, None] == torch.tensor(waiting)
    assert same.sum(1).tolist() == [2, 0, 2, 0]
    assert queue_contrast(queries, keys, queue, 0.2, same).item() == pytest.approx(total / 4, rel=1e-10)
    alone = queue_contrast(queries.requires_grad_(), keys, queue, 0.2, torch.ones(4, 7, dtype=torch.bool))
    alone.backward()
    assert alone.item() == 0 and queries.grad is not None and not queries.grad.any()
    with pytest.raises(ShapeError, match="`same`"):
        queue_contrast(queries, keys, queue, 0.2, same[:, :6])


def test_the_negative_cosine_is_that_of_numpy() -> None:
    predictions, embeddings = rows(4), rows(4, seed=1)
    expected = -np.mean([cosine(p, z) for p, z in zip(predictions.numpy(), embeddings.numpy())])
    assert negative_cosine(predictions, embeddings).item() == pytest.approx(expected, rel=1e-10)


def test_gradients_reach_what_asks_and_predicts_alone() -> None:
    queue = torch.nn.functional.normalize(rows(7, seed=2), dim=1)
    for loss in (
        lambda q, k: batch_contrast(q, k, 0.2),
        lambda q, k: queue_contrast(q, k, queue, 0.2),
        negative_cosine,
    ):
        asked, known = rows(4).requires_grad_(), rows(4, seed=1).requires_grad_()
        loss(asked, known).backward()
        assert asked.grad is not None and float(asked.grad.abs().max()) > 0
        assert known.grad is None
        fixed = known.detach()
        assert torch.autograd.gradcheck(lambda q, of=loss, k=fixed: of(q, k), (rows(4).requires_grad_(),))


def test_what_enters_the_queue_after_the_loss_does_not_reach_the_gradient() -> None:
    queries, keys = rows(4).requires_grad_(), rows(4, seed=1)
    queue = torch.nn.functional.normalize(rows(7, seed=2), dim=1)
    expected = torch.autograd.grad(queue_contrast(queries, keys, queue, 0.2), queries)[0]
    loss = queue_contrast(queries, keys, queue, 0.2)
    queue[:4] = keys
    assert torch.equal(torch.autograd.grad(loss, queries)[0], expected)


def test_half_precision_is_summed_in_single() -> None:
    queries, keys = rows(4).float(), rows(4, seed=1).float()
    queue = torch.nn.functional.normalize(rows(7, seed=2), dim=1).float()
    plain = [batch_contrast(queries, keys, 0.2), queue_contrast(queries, keys, queue, 0.2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert queries.mm(keys.T).dtype == torch.bfloat16
        inside = [batch_contrast(queries, keys, 0.2), queue_contrast(queries, keys, queue, 0.2)]
    assert [loss.item() for loss in plain] == [loss.item() for loss in inside]
    assert negative_cosine(queries.bfloat16(), keys.bfloat16()).dtype == torch.float32


def test_the_momentum_rises_as_half_a_cosine() -> None:
    """By hand: 1 - 0.01 (1 + cos(pi t)) / 2 at t = 0, 1/3, 1/2, 2/3, 1."""
    curve = [momentum_at(done, 0.99) for done in (0, 1 / 3, 1 / 2, 2 / 3, 1)]
    assert curve == pytest.approx([0.99, 0.9925, 0.995, 0.9975, 1.0], abs=1e-15)
    assert momentum_at(0.25, 0.0) == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_what_does_not_fit_together_is_refused() -> None:
    two, three = torch.ones(2, 4), torch.ones(3, 4)
    with pytest.raises(ShapeError, match="a key for each of the queries 2 to 3"):
        batch_contrast(two, three, 0.2, first=2)
    with pytest.raises(ShapeError, match="queries"):
        batch_contrast(two, torch.ones(2, 5), 0.2)
    with pytest.raises(ShapeError, match="queue"):
        queue_contrast(two, two, torch.ones(3, 5), 0.2)
    with pytest.raises(ShapeError, match="queue_contrast needs a key for each"):
        queue_contrast(two, three, torch.ones(3, 4), 0.2)
    with pytest.raises(ShapeError, match="predictions"):
        negative_cosine(two, three)
    for loss in (lambda: batch_contrast(two, two, 0.0), lambda: queue_contrast(two, two, three, -1.0)):
        with pytest.raises(SettingsError, match="temperature above 0"):
            loss()
