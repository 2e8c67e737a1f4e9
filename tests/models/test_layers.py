"""Layers of networks: which there are, in which order, and that nothing is in two of them."""

from __future__ import annotations

import pytest
import torch

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier
from medgraft.models.layers import find_layers
from medgraft.models.model import Model
from medgraft.models.simple import SimpleClassifier
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet

ARCHITECTURES = ("test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet", "densenet121")
"""Whose blocks, stems and heads are put together in different ways."""


def classifier(architecture: str) -> Classifier:
    torch.manual_seed(0)
    return Classifier(ModelSpec(classes=("a", "b", "c")), architecture=architecture)


def parameters_of(model: Model) -> list[str]:
    return [
        f"{module}.{name}"
        for layer in find_layers(model)
        for module in layer.modules
        for name, _ in model.get_submodule(module).named_parameters()
    ]


def test_every_convolution_of_a_unet_is_a_layer_together_with_its_norm() -> None:
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"))
    layers = find_layers(UNet(spec, width=4, depth=2, residual=True))
    assert [(layer.name, layer.level) for layer in layers] == [
        ("encoder1.first", 1), ("encoder1.second", 1), ("encoder1.shortcut", 1),
        ("encoder2.first", 2), ("encoder2.second", 2), ("encoder2.shortcut", 2),
        ("bottleneck.first", 3), ("bottleneck.second", 3), ("bottleneck.shortcut", 3),
        ("decoder2.enlarge", 2), ("decoder2.convolutions.first", 2), ("decoder2.convolutions.second", 2),
        ("decoder2.convolutions.shortcut", 2),
        ("decoder1.enlarge", 1), ("decoder1.convolutions.first", 1), ("decoder1.convolutions.second", 1),
        ("decoder1.convolutions.shortcut", 1),
        ("head", 1),
    ]  # fmt: skip
    assert layers[1].modules == ("encoder1.second", "encoder1.second_norm")
    assert layers[2].modules == ("encoder1.shortcut",) and layers[2].block == "encoder1"


def test_every_parameter_of_a_unet_lies_in_one_layer() -> None:
    model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=3, residual=True)
    assert sorted(parameters_of(model)) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_of_a_classifier_lies_in_one_layer_or_is_the_networks_own(architecture: str) -> None:
    model = classifier(architecture)
    found = parameters_of(model)
    own = {f"net.{name}" for name, _ in model.net.named_parameters(recurse=False)}
    assert len(found) == len(set(found))
    assert set(found) | own == {name for name, _ in model.named_parameters()} and not set(found) & own


def test_layers_of_a_residual_network_are_its_stem_its_blocks_and_its_head() -> None:
    layers = find_layers(classifier("resnet18"))
    assert [layer.name for layer in layers] == [
        "net.conv1", *(f"net.layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)), "net.fc",
    ]  # fmt: skip
    assert layers[0].modules == ("net.conv1", "net.bn1")
    assert [layer.block for layer in layers[:2]] == ["stem", "stage1"] and layers[-1].block == "head"


def test_networks_of_another_kind_are_refused() -> None:
    with pytest.raises(ModelError, match=r"needs a U-Net or a timm network.* but got a SimpleClassifier"):
        find_layers(SimpleClassifier(ModelSpec(classes=("a", "b")), "colour"))
