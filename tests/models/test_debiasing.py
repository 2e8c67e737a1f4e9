"""Debiasing losses, worked by hand and differentiated numerically."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.models.debiasing import (
    AuxiliaryHead,
    GradientReversal,
    confusion_loss,
    inverse_frequency_weights,
    negative_entropy,
    reverse_gradient,
)

LOSSES = [negative_entropy, confusion_loss]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 6])
def test_equal_chances_give_the_logarithm_of_their_number(classes: int) -> None:
    logits = torch.full((3, classes), 5.0)
    assert negative_entropy(logits).item() == pytest.approx(-math.log(classes), abs=1e-6)
    assert confusion_loss(logits).item() == pytest.approx(math.log(classes), abs=1e-6)


def test_losses_are_worked_by_hand() -> None:
    chances = torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    entropy = [0.5 * math.log(2) + 0.5 * math.log(4), -0.8 * math.log(0.8) - 0.2 * math.log(0.1)]
    assert negative_entropy(chances.log()).item() == pytest.approx(-sum(entropy) / 2, abs=1e-6)
    against_equal = [(math.log(2) + 2 * math.log(4)) / 3, -(math.log(0.8) + 2 * math.log(0.1)) / 3]
    assert confusion_loss(chances.log()).item() == pytest.approx(sum(against_equal) / 2, abs=1e-6)


def test_losses_are_those_of_torch() -> None:
    logits = rand(5, 6)
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    torch.testing.assert_close(negative_entropy(logits), -entropy)
    uniform = torch.full_like(logits, 1 / 6)
    torch.testing.assert_close(confusion_loss(logits), functional.cross_entropy(logits, uniform))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_right(loss) -> None:
    assert torch.autograd.gradcheck(loss, rand(4, 5).requires_grad_())
    assert torch.autograd.gradgradcheck(loss, rand(3, 4).requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_following_the_gradient_makes_chances_equal(loss) -> None:
    logits = (0.5 * rand(4, 6)).requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=5.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits).backward()
        optimizer.step()
    assert (logits.softmax(dim=1) - 1 / 6).abs().max() < 1e-3


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_extreme_logits_have_finite_losses_and_gradients(loss, size: float, kind: torch.dtype) -> None:
    logits = torch.tensor([[size, -size, 0.0], [-size, -size, size]], dtype=kind, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
    assert value.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    if loss is negative_entropy:
        assert value == 0
    else:  # (0 + 2s + s) / 3 and (2s + 2s + 0) / 3
        assert value.item() == pytest.approx((3 + 4) / 6 * float(logits.detach()[0, 0]), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 3, 4)])
def test_other_logits_are_refused(loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"logits \(B, K\)"):
        loss(torch.zeros(shape))


@pytest.mark.parametrize("scale", [0.0, 0.1, 2.0])
def test_reversal_multiplies_gradients_by_minus_scale(scale: float) -> None:
    plain, turned = rand(4, 5).requires_grad_(), rand(4, 5).requires_grad_()
    through = GradientReversal(scale)(turned)
    assert torch.equal(through, plain)
    confusion_loss(plain).backward()
    confusion_loss(through).backward()
    torch.testing.assert_close(turned.grad, -scale * plain.grad)


def test_reversal_twice_is_the_product_of_scales_and_differentiates_again() -> None:
    twice = lambda values: reverse_gradient(reverse_gradient(values, 0.5), 2.0)  # noqa: E731
    assert torch.autograd.gradcheck(twice, rand(3, 2).requires_grad_())
    values = rand(3).requires_grad_()
    (first,) = torch.autograd.grad(reverse_gradient(values, 0.5).pow(3).sum(), values, create_graph=True)
    torch.testing.assert_close(first, -0.5 * 3 * values**2)
    (second,) = torch.autograd.grad(first.sum(), values)
    torch.testing.assert_close(second, -0.5 * 6 * values * -0.5)  # the graph passes the reversal again


def test_reversal_trains_the_head_and_untrains_the_encoder() -> None:
    torch.manual_seed(0)
    encoder, head = nn.Linear(4, 3), AuxiliaryHead(3, 2)
    images, bias = torch.randn(8, 4), torch.tensor([0, 1] * 4)
    gradients = {}
    for name, layer in (("plain", nn.Identity()), ("reversed", GradientReversal(0.1))):
        for module in (encoder, head):
            module.zero_grad()
        functional.cross_entropy(head(layer(encoder(images))), bias).backward()
        gradients[name] = (encoder.weight.grad.clone(), next(head.parameters()).grad.clone())
    torch.testing.assert_close(gradients["reversed"][0], -0.1 * gradients["plain"][0])
    torch.testing.assert_close(gradients["reversed"][1], gradients["plain"][1])


@pytest.mark.parametrize("scale", [-0.1, math.nan, math.inf])
def test_other_scales_are_refused(scale: float) -> None:
    with pytest.raises(SettingsError, match="a scale of at least 0"):
        GradientReversal(scale)


def test_head_is_linear_or_has_layers_and_takes_one_image() -> None:
    linear, deep = AuxiliaryHead(8, 6), AuxiliaryHead(8, 6, hidden=(5, 4))
    assert sum(each.numel() for each in linear.parameters()) == 8 * 6 + 6
    assert sum(each.numel() for each in deep.parameters()) == 8 * 5 + 5 + 5 * 4 + 4 + 4 * 6 + 6
    features = torch.randn(3, 8)
    for head in (linear, deep):
        assert head(features[:1]).shape == (1, 6)
        torch.testing.assert_close(head(features)[:1], head(features[:1]))
    weights = list(deep.parameters())
    inner = functional.linear(features, *weights[:2]).relu()
    inner = functional.linear(inner, *weights[2:4]).relu()
    torch.testing.assert_close(deep(features), functional.linear(inner, *weights[4:]))


def test_wrong_heads_and_features_are_refused() -> None:
    for wrong in ((0, 2, ()), (4, 1, ()), (4, 2, (0,))):
        with pytest.raises(SettingsError, match="AuxiliaryHead needs at least one feature"):
            AuxiliaryHead(*wrong)
    for shape in ((8,), (1, 8, 2, 2)):
        with pytest.raises(ShapeError, match="Pool or flatten"):
            AuxiliaryHead(8, 2)(torch.zeros(shape))


def test_weights_are_worked_by_hand() -> None:
    weights = inverse_frequency_weights(torch.tensor([0] * 6 + [1] * 3 + [2]), classes=3)
    assert weights.tolist() == pytest.approx([1 / 9, 2 / 9, 6 / 9])  # 1/6, 1/3 and 1 over their sum 3/2
    assert inverse_frequency_weights(torch.tensor([2, 0, 2]), classes=4).tolist() == pytest.approx(
        [2 / 3, 0, 1 / 3, 0]
    )
    # every class adds the same to a weighted sum
    counts = torch.tensor([6.0, 3.0, 1.0])
    torch.testing.assert_close(weights * counts, torch.full((3,), float(weights[2])))


@pytest.mark.parametrize(
    "labels", [[], [-1, 0], [0, 3], [0.0, 1.0], [[0, 1]]], ids=["none", "below", "above", "floats", "axes"]
)
def test_other_labels_are_refused(labels: list) -> None:
    with pytest.raises(DataError, match=r"labels \(N,\) from 0 to 2"):
        inverse_frequency_weights(torch.tensor(labels), classes=3)
