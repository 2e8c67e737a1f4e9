"""timm networks as classifiers: blocks cover every parameter, heads split from bodies, sizes are checked."""

from __future__ import annotations

import math

import pytest
import timm
import torch

from medgraft.errors import ModelError, ShapeError
from medgraft.models.backbones import Classifier, own_size
from medgraft.models.spec import ModelSpec
from medgraft.types import Preparation

FAMILIES = {
    "resnet18": ["stem", "stage1", "stage2", "stage3", "stage4", "head"],
    "tf_efficientnet_lite0": ["stem", *(f"stage{n}" for n in range(1, 8)), "head"],
    "mobilenetv2_100": ["stem", *(f"stage{n}" for n in range(1, 8)), "head"],
    "vit_tiny_patch16_224": ["stem", *(f"stage{n}" for n in range(1, 13)), "head"],
    "convnext_atto": ["stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"],
    "densenet121": ["stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"],
    "swin_tiny_patch4_window7_224": ["stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"],
}
TINY = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_maxvit", "test_byobnet"]


def classifier(architecture: str, kind: str = "classify", **fields: object) -> Classifier:
    torch.manual_seed(0)
    classes = () if kind == "encode" else ("a", "b", "c")
    spec = ModelSpec.model_validate({"kind": kind, "classes": classes, **fields})
    return Classifier(spec, architecture=architecture)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_blocks_run_from_stem_to_head_and_cover_every_parameter_once(architecture: str) -> None:
    model = classifier(architecture)
    blocks = model.blocks()
    assert list(blocks) == FAMILIES[architecture]
    listed = [name for names in blocks.values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    head = model.net.get_classifier()
    assert {id(model.get_parameter(name)) for name in blocks["head"]} == {id(p) for p in head.parameters()}


@pytest.mark.parametrize("architecture", ["resnet18", "convnext_atto", "test_vit"])
def test_an_encoder_has_the_blocks_of_the_classifier_but_no_head(architecture: str) -> None:
    with_head, without = classifier(architecture), classifier(architecture, "encode")
    assert [*without.blocks(), "head"] == list(with_head.blocks())
    assert {name: with_head.blocks()[name] for name in without.blocks()} == without.blocks()


@pytest.mark.parametrize("architecture", TINY)
def test_the_head_on_features_equals_the_whole(architecture: str) -> None:
    model = classifier(architecture).eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        features = model.features(images)
        assert features.ndim == 2
        torch.testing.assert_close(model.head_outputs(features), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", TINY)
def test_every_block_can_be_tapped_and_the_last_one_is_the_output(architecture: str) -> None:
    model = classifier(architecture).eval()
    with torch.no_grad():
        outputs, inner = model.activations(torch.randn(1, 3, 160, 160), list(model.blocks()))
    assert list(inner) == list(model.blocks())
    torch.testing.assert_close(inner["head"], outputs)


def test_a_stage_is_the_output_of_the_layer_of_that_name() -> None:
    model = classifier("test_resnet").eval()
    images = torch.randn(1, 3, 64, 64)
    _, inner = model.activations(images, ["stage2", "net.layer2"])
    by_hand = model.net.layer2(model.net.layer1(model.net.maxpool(model.net.act1(
        model.net.bn1(model.net.conv1(images))))))  # fmt: skip
    torch.testing.assert_close(inner["stage2"], by_hand)
    torch.testing.assert_close(inner["net.layer2"], by_hand)


def test_it_computes_what_timm_computes() -> None:
    model = classifier("test_efficientnet").eval()
    twin = timm.create_model("test_efficientnet", num_classes=3).eval()
    twin.load_state_dict(model.net.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), twin(images))
    pooled = twin.forward_features(images).mean((2, 3))
    torch.testing.assert_close(model.features(images), pooled)


def test_an_encoder_puts_out_its_features_and_has_no_head() -> None:
    model = classifier("test_resnet", "encode").eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), model.features(images))
    with pytest.raises(ModelError, match="'encode'"):
        model.head_outputs(torch.zeros(1, 96))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels: int) -> None:
    model = classifier("test_resnet", channels=channels, preparation=Preparation(channels=channels))
    assert model(torch.zeros(2, channels, 64, 64)).shape == (2, 3)


def test_wrong_channels_get_one_sentence() -> None:
    with pytest.raises(ShapeError, match=r"\(B, 3, H, W\), but got \(1, 1, 64, 64\)"):
        classifier("test_resnet")(torch.zeros(1, 1, 64, 64))


def test_networks_of_one_size_take_that_of_the_preparation() -> None:
    model = classifier("test_vit", preparation=Preparation(size=(96, 64)))
    assert model(torch.zeros(1, 3, 96, 64)).shape == (1, 3)
    with pytest.raises(ShapeError, match="96x64 pixels, but got 160x160"):
        model(torch.zeros(1, 3, 160, 160))


def test_networks_of_a_fixed_size_say_so() -> None:
    with pytest.raises(ModelError, match="224x224 for 'mixer_s32_224'"):
        classifier("mixer_s32_224", preparation=Preparation(size=(96, 96)))


@pytest.mark.parametrize("architecture", ["test_vit", "vit_tiny_patch16_224"])
def test_sizes_that_patches_do_not_divide_are_refused(architecture: str) -> None:
    with pytest.raises(ModelError, match=r"16 pixels each.*40x64 would leave a rest. Take 48x64\."):
        classifier(architecture, "encode", preparation=Preparation(size=(40, 64)))
    fitting = classifier("test_vit", "encode", preparation=Preparation(size=(48, 64)))
    assert fitting(torch.zeros(1, 3, 48, 64)).shape == (1, 64)


def test_an_unknown_architecture_is_answered_with_near_ones() -> None:
    with pytest.raises(ModelError, match=r"'rsnet18'.*resnet18"):
        classifier("rsnet18")


def test_two_headed_networks_are_refused() -> None:
    with pytest.raises(ModelError, match=r"one linear layer.*tuple"):
        classifier("deit_tiny_distilled_patch16_224")


def test_create_builds_from_the_global_generator() -> None:
    spec = ModelSpec(classes=("a", "b", "c"))
    torch.manual_seed(0)
    created = Classifier.create("test_resnet", spec)
    assert torch.equal(created.net.fc.weight, classifier("test_resnet").net.fc.weight)


@pytest.mark.parametrize("architecture", [*TINY, "tf_efficientnet_lite0"])
def test_an_untrained_head_starts_undecided_whatever_the_architecture(architecture: str) -> None:
    model = classifier(architecture).eval()
    with torch.no_grad():
        outputs = model.head_outputs(
            torch.randn(64, model.features(torch.rand(1, 3, *size_of(model))).shape[1])
        )
    loss = torch.nn.functional.cross_entropy(outputs, torch.arange(64) % 3)
    assert abs(float(loss) - math.log(3)) < 0.15


def size_of(model: Classifier) -> tuple[int, int]:
    return own_size(model.net) or (64, 64)
