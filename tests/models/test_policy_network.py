"""The policy network and its straight-through choices, against computations written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medgraft.models.policy_network import PolicyNetwork, choose_frozen, draw_gumbel


def by_hand(network: PolicyNetwork, images: Tensor) -> Tensor:
    """In evaluation mode, from the weights by their names."""
    weights = network.state_dict()

    def norm(inner: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scaled = (inner - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    inner = functional.conv2d(images, weights["first.weight"], padding=1)
    for stage in range(3):
        name = f"blocks.{stage}"
        change = functional.conv2d(inner, weights[f"{name}.first.weight"], stride=2, padding=1)
        change = norm(change, f"{name}.first_norm").clamp(min=0)
        change = norm(
            functional.conv2d(change, weights[f"{name}.second.weight"], padding=1), f"{name}.second_norm"
        )
        for channel in range(inner.shape[1]):  # the others have nothing added
            change[:, channel] += functional.avg_pool2d(inner[:, channel : channel + 1], 2)[:, 0]
        inner = change.clamp(min=0)
    pooled = norm(inner, "norm").clamp(min=0).mean(dim=(2, 3))
    return (pooled @ weights["choice.weight"].T + weights["choice.bias"]).reshape(len(images), -1, 2)


def test_the_forward_pass_is_that_of_the_card() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(channels=2, layers=5, width=4)
    network(torch.randn(8, 2, 16, 24))  # running statistics that are not the initial ones
    images = torch.randn(3, 2, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), by_hand(network, images), rtol=1e-4, atol=1e-5)
    widths = [module.out_channels for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert widths == [4, 8, 8, 16, 16, 32, 32]


def test_the_published_size() -> None:
    network = PolicyNetwork(channels=1, layers=23)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 1.2
    assert network.choice.in_features == 256 and network.choice.out_features == 46


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (5, 9, 11), (1, 6, 16)])
def test_images_and_volumes_of_any_size_are_looked_at(size: tuple[int, ...]) -> None:
    network = PolicyNetwork(channels=1, layers=3, width=2, dimensions=len(size)).eval()
    assert network(torch.randn(2, 1, *size)).shape == (2, 3, 2)


def test_choices_are_exact_and_their_gradient_is_the_softmaxs() -> None:
    """d s1 / d z1 = s1 (1 - s1) / T, and minus that for the other logit."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 50, 2, generator=generator, requires_grad=True)
    noise, temperature = draw_gumbel((6, 50, 2), generator), 0.1
    frozen = choose_frozen(logits, noise, temperature)
    assert set(frozen.flatten().tolist()) == {0.0, 1.0}
    weights = torch.randn(6, 50, generator=generator)
    (found,) = torch.autograd.grad((frozen * weights).sum(), logits)
    for row in range(6):
        for layer in range(50):
            own, other = ((logits[row, layer] + noise[row, layer]).double() / temperature).flip(0).tolist()
            assert frozen[row, layer].item() == float(own > other)
            share = 1 / (1 + torch.tensor(other - own, dtype=torch.float64).exp())
            slope = (share * (1 - share) / temperature * weights[row, layer]).item()
            assert found[row, layer, 1].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)
            assert found[row, layer, 0].item() == pytest.approx(-slope, rel=1e-3, abs=1e-5)


def test_choices_are_drawn_with_the_softmaxs_chances() -> None:
    """The Gumbel-max trick; what is chosen does not depend on the temperature."""
    logits = torch.tensor([0.0, 1.0]).expand(1, 200_000, 2)
    noise = draw_gumbel((1, 200_000, 2), torch.Generator().manual_seed(1))
    drawn = choose_frozen(logits, noise, 0.1)
    assert drawn.mean().item() == pytest.approx(1 / (1 + torch.e**-1), abs=0.005)
    assert torch.equal(drawn, choose_frozen(logits, noise, 5.0))
