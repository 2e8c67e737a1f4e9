"""Two copies of every layer: the chosen one's outputs bit for bit, and the frozen one never changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medgraft.errors import ModelError, ShapeError
from medgraft.models.backbones import Classifier
from medgraft.models.layers import find_layers
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.simple import SimpleClassifier
from medgraft.models.spec import ModelSpec
from medgraft.models.spot_tuned import SpotTuned, _mixing
from medgraft.models.storage import load_model
from medgraft.models.unet import UNet
from medgraft.types import Preparation


def unet() -> tuple[Model, Tensor]:
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"))
    return UNet(spec, width=4, depth=2, residual=True), torch.randn(4, 3, 21, 18)


def unet_of_volumes() -> tuple[Model, Tensor]:
    preparation = Preparation(dimensions=3, channels=1)
    spec = ModelSpec(kind="segment", classes=("rest", "lesion"), channels=1, preparation=preparation)
    return UNet(spec, width=4, depth=2, flat_levels=1), torch.randn(4, 1, 6, 17, 20)


def timm_network(architecture: str, side: int = 64) -> Callable[[], tuple[Model, Tensor]]:
    def make() -> tuple[Model, Tensor]:
        spec = ModelSpec(classes=("a", "b", "c"))
        return Classifier(spec, architecture=architecture), torch.randn(4, 3, side, side)

    return make


CASES = {
    "U-Net": unet,
    "U-Net of volumes": unet_of_volumes,
    "residual": timm_network("test_resnet"),
    "inverted residual": timm_network("test_efficientnet"),
    "transformer": timm_network("test_vit", 160),
    "convnext": timm_network("test_convnext"),
    "dense": timm_network("densenet121", 32),
}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name == "dense" else []) for name in CASES]
)
def case(request: pytest.FixtureRequest) -> tuple[Model, Tensor, SpotTuned]:
    """A network with batch statistics of its own, images, and the two copies after the tuned one has changed."""
    torch.manual_seed(0)
    network, images = CASES[request.param]()
    with torch.no_grad():
        network.train()(images)
    network.eval()
    model = SpotTuned(network.spec, network, policy_width=4).eval()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in model.tuned_names():
            parameters[name] += 0.1 * torch.randn_like(parameters[name])
        for buffer in (buffer for name, buffer in model.tuned.named_buffers() if "running" in name):
            buffer *= 1.3
    return network, images, model


def all_of(model: SpotTuned, rows: int, frozen: float) -> Tensor:
    return torch.full((rows, len(model.layers)), frozen)


def test_frozen_everywhere_is_the_source_bit_for_bit(case: tuple[Model, Tensor, SpotTuned]) -> None:
    network, images, model = case
    with torch.no_grad():
        expected = network(images)
        assert torch.equal(model.outputs_under(images, all_of(model, 4, 1.0)), expected)
        assert not torch.allclose(model.tuned(images), expected, atol=1e-3)


def test_frozen_nowhere_is_the_tuned_network_bit_for_bit(case: tuple[Model, Tensor, SpotTuned]) -> None:
    _, images, model = case
    with torch.no_grad():
        assert torch.equal(model.outputs_under(images, all_of(model, 4, 0.0)), model.tuned(images))


def test_each_image_has_its_own_choices(case: tuple[Model, Tensor, SpotTuned]) -> None:
    network, images, model = case
    frozen = all_of(model, 4, 0.0)
    frozen[[0, 3]] = 1.0
    with torch.no_grad():
        found, ours, old = model.outputs_under(images, frozen), model.tuned(images), network(images)
    assert torch.equal(found[[0, 3]], old[[0, 3]]) and torch.equal(found[1:3], ours[1:3])


def test_freezing_one_layer_is_putting_its_weights_back(case: tuple[Model, Tensor, SpotTuned]) -> None:
    """Shows that every layer is reached by its choice; of the many dense ones a few are tried."""
    network, images, model = case
    state = network.state_dict()
    step = max(1, len(model.layers) // 12)
    for index in range(0, len(model.layers), step):
        transplanted = copy.deepcopy(model.tuned)
        own = transplanted.state_dict()
        for name in own:
            if any(name.startswith(f"{module}.") for module in model.layers[index].modules):
                own[name].copy_(state[name])
        frozen = all_of(model, 4, 0.0)
        frozen[:, index] = 1.0
        with torch.no_grad():
            found = model.outputs_under(images, frozen)
            assert torch.equal(found, transplanted(images)), model.layers[index].name
            assert not torch.equal(found, model.tuned(images)), model.layers[index].name


def test_in_training_frozen_nowhere_is_plain_training_and_frozen_copies_stay(
    case: tuple[Model, Tensor, SpotTuned],
) -> None:
    """Outputs, gradients and batch statistics; choices that carry gradients take the way through both copies."""
    network, images, model = case
    plain = copy.deepcopy(model.tuned).train()
    before = {name: tensor.clone() for name, tensor in model.source.state_dict().items()}
    model.train()
    frozen = all_of(model, 4, 0.0).requires_grad_()
    outputs, expected = model.outputs_under(images, frozen), plain(images)
    assert torch.equal(outputs, expected)
    outputs.square().mean().backward()
    expected.square().mean().backward()
    assert frozen.grad is not None and (frozen.grad != 0).any()
    for name, parameter in plain.named_parameters():
        grad = model.tuned.get_parameter(name).grad
        assert parameter.grad is not None and grad is not None
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-6)
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, model.tuned.get_buffer(name))
    for name, tensor in model.source.state_dict().items():
        assert torch.equal(tensor, before[name]) and torch.equal(tensor, network.state_dict()[name])
    assert all(parameter.grad is None for parameter in model.source.parameters())


def test_a_choice_has_the_gradient_of_the_published_sum() -> None:
    """Of tuned * (1 - p) + frozen * p, for choices, weights of the tuned copy and inputs."""
    torch.manual_seed(0)
    ours, old = nn.Conv2d(2, 3, 3).double(), nn.Conv2d(2, 3, 3).double().requires_grad_(False)
    images = torch.randn(3, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 3, 4, 3, dtype=torch.float64)
    p = chosen[:, None, None, None]
    wanted = (chosen, images, ours.weight)
    published = torch.autograd.grad(((ours(images) * (1 - p) + old(images) * p) * weights).sum(), wanted)
    found = torch.autograd.grad((_mixing("x", ours, old, chosen)(images) * weights).sum(), wanted)
    for gradient, expected in zip(found, published, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_the_forward_pass_follows_the_policy_and_predictions_repeat() -> None:
    torch.manual_seed(3)
    network, images = unet()
    model = SpotTuned(network.spec, network, policy_width=4)
    with torch.no_grad():
        model.policy_network.choice.weight.mul_(20)
    policy = model.policy(images)
    assert policy.shape == (4, 18) and set(policy.flatten().tolist()) == {0, 1}
    assert model.training and model.tuned.training and not model.source.training  # found as it was
    first = model.predict(images)
    assert torch.equal(first.outputs, model.predict(images).outputs)
    with torch.no_grad():
        assert torch.equal(first.outputs, model.eval().outputs_under(images, policy.float()))
        assert model.features(images).shape == network.features(images).shape


def test_copies_that_no_image_uses_are_not_run_at_inference() -> None:
    network, images = unet()
    model = SpotTuned(network.spec, network, policy_width=4).eval()
    ran: list[str] = []
    for layer in model.layers:
        module = model.source.get_submodule(layer.name)
        module.register_forward_hook(lambda *_, name=layer.name: ran.append(name))
    frozen = all_of(model, 4, 0.0)
    frozen[1, 2] = frozen[:, 5] = 1.0
    with torch.no_grad():
        model.outputs_under(images, frozen)
    assert ran == [model.layers[index].name for index in (2, 5)]


def test_inner_maps_are_those_of_the_chosen_copies() -> None:
    torch.manual_seed(0)
    network, images = unet()
    model = SpotTuned(network.spec, network, policy_width=4).eval()
    with torch.no_grad():
        model.tuned.get_parameter("encoder1.first.weight").add_(1.0)
        model.policy_network.choice.weight.zero_()
        model.policy_network.choice.bias.copy_(torch.tensor([0.0, 1.0]).repeat(18))  # frozen everywhere
        _, found = model.activations(images, ["bottleneck"])
        _, expected = network.eval().activations(images, ["bottleneck"])
    assert torch.equal(found["bottleneck"], expected["bottleneck"])


def test_layers_are_as_before_after_a_failure() -> None:
    network, _ = unet()
    model = SpotTuned(network.spec, network, policy_width=4).eval()
    with pytest.raises(ShapeError):
        model.outputs_under(torch.randn(1, 2, 16, 16), all_of(model, 1, 1.0))
    assert not any("forward" in vars(module) for module in model.modules())
    with pytest.raises(ShapeError, match="needs images of 4 dimensions with 3 channels second"):
        model.policy(torch.randn(1, 2, 16, 16))


@pytest.mark.parametrize("make", [unet, unet_of_volumes, timm_network("test_resnet")])
def test_saved_equals_loaded(tmp_path: Path, make: Callable[[], tuple[Model, Tensor]]) -> None:
    network, images = make()
    last = find_layers(network)[-1].name
    model = SpotTuned(network.spec, network, always_tuned=[last], policy_width=4)
    with torch.no_grad():
        model.train()(images)  # other statistics in the two copies
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, SpotTuned) and loaded.layers == model.layers and loaded.always_tuned == (last,)
    assert torch.equal(loaded.policy(images), model.policy(images))
    assert torch.equal(loaded.predict(images).outputs, model.predict(images).outputs)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in loaded.source.parameters())


def test_every_parameter_lies_in_one_block_and_only_the_tuned_copys_are_tuned() -> None:
    network, _ = timm_network("test_vit", 160)()
    model = SpotTuned(network.spec, network, policy_width=4)
    blocks = model.blocks()
    listed = [name for names in blocks.values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    assert list(blocks)[:3] == ["source", "policy_network", "stem"] and list(blocks)[-1] == "head"
    assert blocks["head"] == ("tuned.net.head.weight", "tuned.net.head.bias")
    tuned = {f"tuned.{name}" for name, _ in network.named_parameters()}
    assert tuned - set(model.tuned_names()) == {"tuned.net.cls_token", "tuned.net.pos_embed"}


def test_a_head_without_a_frozen_copy_works_on_features() -> None:
    network, images = timm_network("test_resnet")()
    model = SpotTuned(network.spec, network, always_tuned=["net.fc"], policy_width=4).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.head_outputs(model.features(images)), model(images))
    both = SpotTuned(network.spec, network, policy_width=4)
    with pytest.raises(ModelError, match="needs one copy of the head, but the image decides between two"):
        both.head_outputs(torch.zeros(1, 8))


def test_what_cannot_be_is_refused_in_one_sentence() -> None:
    network, _ = unet()
    simple = SimpleClassifier(ModelSpec(classes=("a", "b")), "colour")
    with pytest.raises(ModelError, match=r"needs a U-Net or a timm network.* but got a SimpleClassifier"):
        SpotTuned(simple.spec, simple)
    with pytest.raises(ModelError, match=r"but got 'encoder9\.first'"):
        SpotTuned(network.spec, network, always_tuned=["encoder9.first"])
    with pytest.raises(ModelError, match="0 layers are left"):
        SpotTuned(network.spec, network, always_tuned=[layer.name for layer in find_layers(network)])
    model = SpotTuned(network.spec, network, policy_width=4)
    with pytest.raises(ModelError, match="Regraft its inner model"):
        regraft(model, ["rest", "other"])
    with pytest.raises(ModelError, match="but got a SpotTuned"):
        SpotTuned(model.spec, model)
