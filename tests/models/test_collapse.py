"""Alignment and uniformity of features against hand-worked numbers and loops over pairs."""

from __future__ import annotations

import math

import pytest
import torch

from medgraft.models.collapse import alignment, effective_rank, uniformity


def features(rows: int = 7, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alignment_is_the_mean_squared_distance_of_partners_on_the_sphere() -> None:
    first, second = features(seed=1), features(seed=2)
    total = 0.0
    for one, other in zip(first.numpy(), second.numpy()):
        apart = one / math.sqrt(one @ one) - other / math.sqrt(other @ other)
        total += apart @ apart
    assert alignment(first, second).item() == pytest.approx(total / 7, rel=1e-12)
    assert alignment(first, 3 * first).item() == pytest.approx(0, abs=1e-12)
    assert alignment(first, -first).item() == pytest.approx(4)
    right, sixty = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, math.sqrt(3)]])
    assert alignment(right, sixty).item() == pytest.approx(1)  # 2 - 2 cos 60


def test_uniformity_is_the_log_mean_over_pairs_of_different_images() -> None:
    rows = features()
    unit = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    pairs = [math.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i in range(7) for j in range(7) if i != j]
    assert uniformity(rows).item() == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-10)
    assert uniformity(5 * rows).item() == pytest.approx(uniformity(rows).item(), rel=1e-10)
    # three corners of a square: two pairs with d^2 = 2, one with 4
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    expected = math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert uniformity(corners).item() == pytest.approx(expected, rel=1e-5)


def test_collapsed_features_are_aligned_and_not_uniform() -> None:
    same = torch.full((6, 4), 0.3)
    assert alignment(same, same).item() == 0
    assert uniformity(same).item() == pytest.approx(0, abs=1e-5)
    zeros = torch.zeros(6, 4)
    assert (alignment(zeros, zeros).item(), uniformity(zeros).item()) == (0, pytest.approx(0))
    spread = features(400, 300)
    assert uniformity(spread).item() == pytest.approx(-4, abs=0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(7, 5), (3, 5)])
def test_features_that_are_not_finite_have_no_rank(shape: tuple[int, int], wrong: float) -> None:
    rows = features(*shape)
    assert effective_rank(rows).isfinite()
    rows[1, 2] = wrong
    assert effective_rank(rows).isnan()


def test_half_precision_is_computed_in_single() -> None:
    rows = features().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert uniformity(rows).item() == uniformity(rows.float()).item()
    assert (
        uniformity(rows.bfloat16()).dtype
        == alignment(rows.bfloat16(), rows.bfloat16()).dtype
        == torch.float32
    )
