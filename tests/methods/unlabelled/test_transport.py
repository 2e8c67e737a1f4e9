"""Costs against naive double loops, plans against a linear programme and all permutations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional

from medgraft.methods.unlabelled.transport import feature_costs, label_costs, transport_plan

SIZES = [(1, 1), (5, 5), (8, 8), (3, 5), (6, 4), (1, 7), (7, 1)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cheapest(costs: np.ndarray) -> float:
    """The optimum of the definition: any plan that is not negative and has these sums of rows and columns."""
    n, m = costs.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    sums = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
    return float(linprog(costs.ravel(), A_eq=np.r_[rows, columns], b_eq=sums).fun)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_a_plan_shares_out_both_sides_at_the_lowest_cost(n: int, m: int) -> None:
    for seed in range(5):
        costs = drawn(n, m, seed=seed)
        plan = transport_plan(costs)
        assert plan.dtype == torch.float64 and (plan >= 0).all()
        torch.testing.assert_close(plan.sum(dim=1), torch.full((n,), 1 / n, dtype=torch.float64))
        torch.testing.assert_close(plan.sum(dim=0), torch.full((m,), 1 / m, dtype=torch.float64))
        assert float((plan * costs).sum()) == pytest.approx(cheapest(costs.numpy()), rel=1e-9)


def test_between_equal_sides_it_is_the_best_of_all_permutations() -> None:
    costs = drawn(6, 6, seed=2)
    plan = transport_plan(costs)
    sums = {order: sum(float(costs[row, column]) for row, column in enumerate(order)) / 6
            for order in itertools.permutations(range(6))}  # fmt: skip
    best = min(sums, key=lambda order: sums[order])
    torch.testing.assert_close(plan, torch.eye(6, dtype=torch.float64)[list(best)] / 6)


def test_no_gradient_flows_through_a_plan() -> None:
    costs = drawn(3, 3).requires_grad_()
    plan = transport_plan(costs)
    assert not plan.requires_grad
    (plan * costs).sum().backward()
    torch.testing.assert_close(costs.grad, plan)


def test_costs_that_are_not_finite_stay_so_in_the_sum() -> None:
    for bad in (torch.nan, torch.inf):
        costs = drawn(3, 3)
        costs[1, 2] = bad
        assert not (transport_plan(costs) * costs).sum().isfinite()


def test_feature_costs_are_those_of_a_double_loop() -> None:
    source, target = (
        drawn(4, 7).float() + 100,
        drawn(3, 7, seed=1).float() + 100,
    )  # far from 0, near one another
    found = feature_costs(source, target)
    for i, j in itertools.product(range(4), range(3)):
        expected = sum((float(source[i, d]) - float(target[j, d])) ** 2 for d in range(7)) / 7
        assert float(found[i, j]) == pytest.approx(expected, rel=1e-8)
    assert feature_costs(source, source).diagonal().abs().max() < 1e-9


@pytest.mark.parametrize("sides", [(), (5, 6)])
@pytest.mark.parametrize("ignore_label", [None, 255])
def test_label_costs_are_those_of_a_double_loop(sides: tuple[int, ...], ignore_label: int | None) -> None:
    truth = (drawn(4, *sides) * 3).long()
    if ignore_label is not None:
        truth[0] = ignore_label  # nothing is known of this one
        truth.view(4, -1)[2, ::2] = ignore_label
    outputs = drawn(3, 3, *sides, seed=1).float() * 9
    found = label_costs(truth, outputs, ignore_label)
    for i, j in itertools.product(range(4), range(3)):
        each = functional.cross_entropy(
            outputs[j : j + 1], truth[i : i + 1], ignore_index=-1 if ignore_label is None else ignore_label
        )
        assert float(found[i, j]) == pytest.approx(float(each.nan_to_num()), rel=1e-5)


def test_gradients_flow_through_both_costs() -> None:
    source, target = drawn(2, 3).requires_grad_(), drawn(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(feature_costs, (source, target))
    outputs = drawn(2, 2, 3, 3).requires_grad_()
    truth = (drawn(2, 3, 3, seed=1) * 2).long()
    assert torch.autograd.gradcheck(lambda raw: label_costs(truth, raw), (outputs,))
