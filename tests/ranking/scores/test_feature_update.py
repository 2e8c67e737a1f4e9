"""The gradient ratio against recorded values, a naive triple loop and a plain backward pass.

tests/golden/fu_gradient_ratio.npz: a small network, its images and the values that the authors' code (MIT) gives with
pytorch-metric-learning 2.9.0.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medgraft.data.cohort import Cohort
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.errors import DataError, ShapeError
from medgraft.models.backbones import Classifier
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.feature_update import feature_update, first_convolutions, triplet_loss
from medgraft.testing import make_cohort
from medgraft.types import Kind, Preparation

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "fu_gradient_ratio.npz"))
RAW = ModelSpec(kind="encode", preparation=Preparation(intensity="none"))


class SmallNetwork(Model):
    """The recorded network, in its evaluation mode; the convolutions are named against their order."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})

    def __init__(self) -> None:
        super().__init__(RAW)
        self.fc = nn.Linear(6, 5)
        self.z_first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.a_second = nn.Conv2d(4, 6, 3, padding=1)
        names = {"fc": self.fc, "conv1": self.z_first, "bn": self.bn, "conv2": self.a_second}
        for name, part in names.items():
            own = {
                key[len(name) + 3 :]: value for key, value in GOLDEN.items() if key.startswith(f"w_{name}_")
            }
            part.load_state_dict({key: torch.from_numpy(value) for key, value in own.items()}, strict=False)

    def config(self) -> dict:
        return {}

    def features(self, images: Tensor) -> Tensor:
        inner = torch.relu(self.bn(self.z_first(images)))
        return self.fc(torch.relu(self.a_second(inner)).mean((2, 3)))


def recorded_cohort() -> Cohort:
    images = np.moveaxis(GOLDEN["x"], 1, -1)
    return Cohort.from_arrays(
        images, GOLDEN["y"], kind="classify", classes=tuple("abcdef"[: GOLDEN["y"].max() + 1])
    )


def naive_loss(embeddings: Tensor, labels: np.ndarray, margin: float = 0.05) -> Tensor:
    """Every triplet in turn."""
    unit = normalize(embeddings, dim=1)
    losses = []
    for anchor, positive, negative in product(range(len(labels)), repeat=3):
        if anchor == positive or labels[anchor] != labels[positive] or labels[anchor] == labels[negative]:
            continue
        loss = (unit[anchor] - unit[positive]).norm() - (unit[anchor] - unit[negative]).norm() + margin
        if loss > 0:
            losses.append(loss)
    return torch.stack(losses).mean() if losses else embeddings.sum() * 0


@pytest.mark.parametrize("batch_size", [32, 3, 1])
def test_the_ratio_is_the_recorded_one_whatever_fits_into_memory(batch_size: int) -> None:
    model, cohort = SmallNetwork(), recorded_cohort()
    features = extract_features(model, cohort)
    assert np.allclose(features.numpy(), GOLDEN["embeddings"], atol=1e-5)
    score = feature_update(model, cohort, features, seed=None, batch_size=batch_size)
    assert score == pytest.approx(float(GOLDEN["fu_score"]), rel=1e-4)


def test_triplet_losses_are_the_recorded_ones() -> None:
    embeddings, labels = GOLDEN["embeddings"], GOLDEN["y"]
    assert triplet_loss(embeddings, labels).value == pytest.approx(
        float(GOLDEN["triplet_full_batch"]), rel=1e-4
    )
    found = [triplet_loss(embeddings[s : s + 4], labels[s : s + 4]).value for s in range(0, 26, 4)]
    assert found == pytest.approx(GOLDEN["batch_losses"].tolist(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_triplets_counted_by_sorting_are_those_of_a_triple_loop(margin: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 14)
    given = torch.from_numpy(rng.normal(size=(14, 4)) * 7 + labels[:, None]).requires_grad_()
    wanted = naive_loss(given, labels, margin)
    wanted.backward()
    found = triplet_loss(given.detach().numpy(), labels, margin)
    assert found.value == pytest.approx(wanted.item(), rel=1e-12)
    assert np.allclose(found.gradient, given.grad.numpy(), atol=1e-12)
    assert np.abs(found.gradient).max() > 1e-3


def test_equal_embeddings_pull_with_the_margin_alone_and_nowhere() -> None:
    found = triplet_loss(np.ones((4, 3)), [0, 0, 1, 1])
    assert found.value == pytest.approx(0.05)
    assert np.abs(found.gradient).max() == 0


def test_a_triplet_at_the_very_margin_does_not_count() -> None:
    # the first image is as far from its own class as from the third, and nearer to the fourth
    given, labels = np.array([[1.0, 0], [0, 1], [0, -1], [0.8, 0.6]]), np.array([0, 0, 1, 1])
    found = triplet_loss(given, labels, margin=0)
    assert found.value == pytest.approx(naive_loss(torch.from_numpy(given), labels, 0).item(), rel=1e-12)


def test_an_embedding_of_zeros_is_taken_and_not_pulled() -> None:
    given = np.random.default_rng(0).normal(size=(6, 3))
    given[2] = 0
    found = triplet_loss(given, [0, 1, 0, 1, 0, 1], margin=1)
    assert found.value == pytest.approx(naive_loss(torch.from_numpy(given), np.arange(6) % 2, 1).item())
    assert np.isfinite(found.gradient).all() and not found.gradient[2].any() and found.gradient[3].any()


def test_the_ratio_is_that_of_plain_backward_passes_on_a_timm_network() -> None:
    cohort = make_cohort("classify", patients=10)
    torch.manual_seed(0)
    model = Classifier(ModelSpec(classes=cohort.classes), architecture="test_resnet")
    found = feature_update(model, cohort, extract_features(model, cohort), seed=None, batch_size=2)
    model.eval()
    norms = []
    loader, size = Loader(cohort, model.spec.preparation), len(cohort) // 6
    layers = [model.net.conv1[0], model.net.conv1[3]]  # this network's stem is three convolutions
    for start in range(0, len(cohort), size):
        rows = np.arange(start, min(start + size, len(cohort)))
        model.zero_grad()
        naive_loss(model.features(loader(rows).images), cohort.labels[rows]).backward()
        norms.append([float(layer.weight.grad.norm()) for layer in layers])
    first, second = np.mean(norms, axis=0)
    assert found == pytest.approx(second / first, rel=1e-3)


def test_the_length_of_features_does_not_matter() -> None:
    model, cohort = SmallNetwork(), recorded_cohort()
    before = feature_update(model, cohort, extract_features(model, cohort))
    with torch.no_grad():
        model.fc.weight *= 8
        model.fc.bias *= 8
    after = feature_update(model, cohort, extract_features(model, cohort))
    assert after == pytest.approx(before, rel=1e-4)


def test_nothing_of_the_model_changes() -> None:
    model, cohort = SmallNetwork(), recorded_cohort()
    model.z_first.weight.requires_grad_(False)  # as an encoder that was frozen
    model.bn.eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    features = extract_features(model, cohort)
    with torch.no_grad():
        score = feature_update(model, cohort, features)
    assert score > 0
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == ["z_first.weight"]
    assert all(one.grad is None for one in model.parameters())
    assert model.training and not model.bn.training and model.a_second.training
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_images_sorted_by_class_are_shuffled_the_same_way_every_time() -> None:
    order = np.argsort(GOLDEN["y"], kind="stable")
    model, cohort = SmallNetwork(), recorded_cohort().take(order)
    features = extract_features(model, cohort)
    state = torch.get_rng_state()
    scores = [feature_update(model, cohort, features, seed=seed) for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]
    assert torch.equal(state, torch.get_rng_state())


CARD = {
    "resnet18": ("conv1", "layer1.0.conv1"),
    "densenet121": ("features.conv0", "features.denseblock1.denselayer1.conv1"),
    "tf_efficientnetv2_s": ("conv_stem", "blocks.0.0.conv"),
    "efficientnet_lite0": ("conv_stem", "blocks.0.0.conv_dw"),
    "inception_v3": ("Conv2d_1a_3x3.conv", "Conv2d_2a_3x3.conv"),
    "mnasnet_100": ("conv_stem", "blocks.0.0.conv_dw"),
    "mobilenetv3_small_100": ("conv_stem", "blocks.0.0.conv_dw"),
    "vgg11": ("features.0", "features.3"),
    "convnext_tiny": ("stem.0", "stages.0.blocks.0.conv_dw"),
}


def classifier_without_values(architecture: str) -> Classifier:
    """Shapes only: neither initialised nor computed with, so that large networks cost nothing."""
    with torch.device("meta"):
        return Classifier(ModelSpec(classes=("a", "b")), architecture=architecture).eval()


def names_of(model: nn.Module, parts: list[nn.Module]) -> tuple[str, ...]:
    named = {id(module): name for name, module in model.named_modules()}
    return tuple(named[id(part)] for part in parts)


@pytest.mark.parametrize("architecture", CARD)
def test_the_first_two_convolutions_are_those_of_the_thesis(architecture: str) -> None:
    model = classifier_without_values(architecture)
    found = first_convolutions(model, torch.zeros(1, 3, 224, 224, device="meta"))
    assert names_of(model.net, found) == CARD[architecture]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("googlenet", "conv1.conv", "conv2.conv"), ("shufflenet_v2_x0_5", "conv1.0", "stage2.0.branch1.0")],
)
def test_networks_from_elsewhere_are_searched_the_same_way(name: str, first: str, second: str) -> None:
    import torchvision

    settings = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}

    class Foreign(Model):
        kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})

        def features(self, images: Tensor) -> Tensor:
            return self.net(images)

    model = Foreign(RAW)
    with torch.device("meta"):
        model.net = torchvision.models.get_model(name, weights=None, **settings)
    found = first_convolutions(model.eval(), torch.zeros(1, 3, 64, 64, device="meta"))
    assert names_of(model.net, found) == (first, second)


def test_the_first_two_convolutions_of_a_residual_u_net_leave_out_its_shortcut() -> None:
    model = UNet(ModelSpec(kind="segment", classes=("a", "b")), width=4, depth=1, residual=True)
    found = first_convolutions(model.eval(), torch.zeros(1, 3, 8, 8))
    assert names_of(model, found) == ("encoder1.first", "encoder1.second")


def test_a_model_without_two_convolutions_is_told_of() -> None:
    model = classifier_without_values("vit_tiny_patch16_224")
    with pytest.raises(UndefinedError, match="two convolutions, but vit_tiny_patch16_224 has 1 on their way"):
        first_convolutions(model, torch.zeros(1, 3, 224, 224, device="meta"))
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_a_vision_transformer_has_no_feature_update() -> None:
    cohort = make_cohort("classify", patients=10)
    preparation = Preparation(size=(160, 160))
    model = Classifier(ModelSpec(classes=cohort.classes, preparation=preparation), architecture="test_vit")
    with pytest.raises(UndefinedError, match="two convolutions"):
        feature_update(model, cohort, extract_features(model, cohort))


def test_features_that_are_apart_pull_nowhere() -> None:
    model, cohort = SmallNetwork(), recorded_cohort()
    apart = np.eye(5)[cohort.labels % 5]
    with pytest.raises(UndefinedError, match="pull at the first convolution"):
        feature_update(model, cohort, apart)


def test_batches_of_one_class_say_so() -> None:
    cohort = make_cohort("classify", patients=12)
    cohort = cohort.take(np.argsort(cohort.labels, kind="stable"))
    model = Classifier(ModelSpec(classes=cohort.classes), architecture="test_resnet")
    features = extract_features(model, cohort)
    with pytest.raises(UndefinedError, match="pull at the first"):
        feature_update(model, cohort, features, seed=None)
    assert feature_update(model, cohort, features) > 0


def test_what_it_cannot_be_computed_from_is_refused() -> None:
    model, cohort = SmallNetwork(), recorded_cohort()
    features = extract_features(model, cohort)
    with pytest.raises(UndefinedError, match="18 images or more, but there are 17"):
        feature_update(model, cohort.take(range(17)), features[:17])
    with pytest.raises(ShapeError, match="model's own features, 5 per image, but those given have 4"):
        feature_update(model, cohort, features[:, :4])
    with pytest.raises(ShapeError, match=r"features are \(25, 5\)"):
        feature_update(model, cohort, features[:25])
    with pytest.raises(DataError, match="one label each"):
        feature_update(model, make_cohort("multilabel"), features)
    one = cohort.take(np.flatnonzero(cohort.labels == 0).repeat(20))
    with pytest.raises(UndefinedError, match="all belong to one"):
        feature_update(model, one, np.zeros((len(one), 5)))
    dead = features.clone()
    dead[3] = torch.nan
    with pytest.raises(DataError, match="row 3"):
        feature_update(model, cohort, dead)
