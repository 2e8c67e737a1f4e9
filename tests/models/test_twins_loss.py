"""The loss of Barlow Twins against the published code, a loop and its own two forms; the projector; collapse."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.models.collapse import effective_rank, feature_deviation
from medgraft.models.projector import Projector
from medgraft.models.twins_loss import (
    barlow_twins_loss,
    redundancy,
    squares_by_gram,
    squares_directly,
    standardise,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "barlow_twins.npz"


def embeddings(
    rows: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Two views that have something in common, on a scale and around a mean of each dimension's own."""
    generator = torch.Generator().manual_seed(seed)
    shared, one, other = torch.randn(3, rows, width, generator=generator, dtype=dtype)
    scale, mean = torch.rand(2, width, generator=generator, dtype=dtype)
    return (shared + 0.5 * one) * (scale + 0.1) + 5 * mean, shared + 0.7 * other - mean


def by_loop(first: np.ndarray, second: np.ndarray, weight: float) -> float:
    rows, width = first.shape
    total = 0.0
    for i in range(width):
        for j in range(width):
            a, b = first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean()
            spread = math.sqrt((a @ a / rows + 1e-5) * (b @ b / rows + 1e-5))
            c = sum(a[n] * b[n] for n in range(rows)) / rows / spread
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def test_it_is_what_the_published_code_computes() -> None:
    golden = np.load(GOLDEN)
    first, second = torch.from_numpy(golden["z1"]), torch.from_numpy(golden["z2"])
    parts = redundancy(first, second)
    assert parts.on_diagonal.item() == pytest.approx(float(golden["on_diag"]), rel=1e-5)
    assert parts.off_diagonal.item() == pytest.approx(float(golden["off_diag"]), rel=1e-5)
    loss = barlow_twins_loss(first, second, float(golden["lambd"]))
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=1e-5)
    correlation = standardise(first).T @ standardise(second) / len(first)
    np.testing.assert_allclose(correlation.numpy(), golden["c"], atol=1e-6)
    assert redundancy(first, first + 1).on_diagonal.item() < 1e-6  # the same view, moved


@pytest.mark.parametrize(("rows", "width"), [(9, 4), (4, 9), (6, 6), (2, 3)])
def test_it_is_the_loop_over_pairs_of_dimensions(rows: int, width: int) -> None:
    first, second = embeddings(rows, width)
    expected = by_loop(first.numpy(), second.numpy(), 0.3)
    assert barlow_twins_loss(first, second, 0.3).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("rows", "width"), [(5, 40), (16, 17), (40, 5)])
def test_both_forms_are_one_number_with_one_gradient(rows: int, width: int) -> None:
    z1, z2 = (standardise(view).requires_grad_() for view in embeddings(rows, width, dtype=torch.float32))
    direct, gram = squares_directly(z1, z2), squares_by_gram(z1, z2)
    assert gram.item() == pytest.approx(direct.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(direct, (z1, z2)), torch.autograd.grad(gram, (z1, z2))):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_the_smaller_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def noting(name: str) -> object:
        return lambda z1, z2: (taken.append(name), torch.zeros(()))[1]

    for name in ("squares_directly", "squares_by_gram"):
        monkeypatch.setattr(f"medgraft.models.twins_loss.{name}", noting(name))
    for rows, width in ((8, 3), (3, 8)):
        redundancy(*embeddings(rows, width))
    assert taken == ["squares_directly", "squares_by_gram"]


@pytest.mark.parametrize(("rows", "width"), [(6, 3), (3, 6)])
def test_gradients_are_those_of_differences(rows: int, width: int) -> None:
    views = tuple(view.requires_grad_() for view in embeddings(rows, width))
    assert torch.autograd.gradcheck(lambda *pair: barlow_twins_loss(*pair, 0.3), views)


def test_shuffled_partners_have_nothing_in_common() -> None:
    first, _ = embeddings(4000, 6)
    apart = first[torch.randperm(4000, generator=torch.Generator().manual_seed(1))]
    assert redundancy(first, apart).on_diagonal.item() == pytest.approx(6, rel=0.1)
    assert redundancy(first, first).on_diagonal.item() < 1e-4


@pytest.mark.parametrize(("rows", "width"), [(8, 4), (4, 8)])
def test_constant_dimensions_add_one_and_have_a_gradient(rows: int, width: int) -> None:
    first, second = embeddings(rows, width)
    whole = redundancy(first[:, 1:], second[:, 1:])
    first, second = first.clone(), second.clone()
    first[:, 0], second[:, 0] = 3.0, -2.0
    first.requires_grad_()
    parts = redundancy(first, second)
    assert parts.on_diagonal.item() == pytest.approx(1 + whole.on_diagonal.item(), rel=1e-9)
    assert parts.off_diagonal.item() == pytest.approx(whole.off_diagonal.item(), rel=1e-9)
    (parts.on_diagonal + parts.off_diagonal).backward()
    assert first.grad is not None
    assert bool(torch.isfinite(first.grad).all())


def test_half_precision_is_summed_in_single() -> None:
    first, second = embeddings(6, 20, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert first.mm(second.T).dtype == torch.bfloat16
        inside = barlow_twins_loss(first, second)
    assert inside.dtype == torch.float32
    assert inside.item() == barlow_twins_loss(first, second).item()
    halves = barlow_twins_loss(first.bfloat16(), second.bfloat16())
    rounded = barlow_twins_loss(first.bfloat16().double(), second.bfloat16().double())
    assert halves.item() == pytest.approx(rounded.item(), rel=1e-4)


@pytest.mark.parametrize("shapes", [((1, 4), (1, 4)), ((3, 4), (3, 5)), ((3, 4, 2), (3, 4, 2))])
def test_what_are_no_two_views_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ShapeError, match="two embeddings"):
        barlow_twins_loss(*(torch.zeros(shape) for shape in shapes))


def test_the_projector_ends_in_a_plain_linear_layer() -> None:
    projector = Projector(5, (7, 6, 4))
    shapes = [tuple(weight.shape) for weight in projector.parameters() if weight.ndim == 2]
    assert shapes == [(7, 5), (6, 7), (4, 6)]
    assert not any(
        name.endswith("bias") and weight.ndim == 2 for name, weight in projector.named_parameters()
    )
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert projector(rows).min() < 0  # no ReLU behind it
    first, norm = projector.layers[0], projector.layers[1]
    hidden = rows @ first.weight.T  # type: ignore[operator, union-attr]
    torch.testing.assert_close(
        norm(hidden), (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    )
    with pytest.raises(SettingsError, match="at least one layer"):
        Projector(5, ())


def test_effective_rank_is_that_of_the_singular_values() -> None:
    for rows, width in ((20, 6), (6, 20)):
        features, _ = embeddings(rows, width)
        values = np.linalg.svd(features.numpy() - features.numpy().mean(0), compute_uv=False)
        shares = values[values > 1e-9] / values.sum()
        expected = math.exp(-(shares * np.log(shares)).sum())
        assert effective_rank(features).item() == pytest.approx(expected, rel=1e-6)
        assert effective_rank(7 * features + 3).item() == pytest.approx(expected, rel=1e-6)
        assert feature_deviation(features).item() == pytest.approx(features.numpy().std(0).mean())


def test_collapsed_features_have_rank_one_or_none() -> None:
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[3.0, -1.0, 2.0]])
    assert effective_rank(line).item() == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.full((9, 3), 0.1)).item() == 0
    assert feature_deviation(torch.full((9, 3), 0.5)).item() == 0
