"""What a frozen source says of pixels: sums against a loop, weights, and that the source stays as it was."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.patches import Patches
from medgraft.engine.pixel_risk import PixelRisk, RiskSums, freeze, say, sum_risk
from medgraft.engine.randomness import seeded
from medgraft.metrics.expected_prediction import labels_given_source
from medgraft.models.model import Model
from medgraft.models.risk_map import RiskMap
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import make_cohort, make_model
from medgraft.types import JSON, Kind, Preparation

CPU = torch.device("cpu")


class Told(Model):
    """A source whose outputs are looked up by the stored grey value, (values, Z)."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})

    def __init__(self, outputs: Tensor) -> None:
        names = tuple(f"source {number}" for number in range(outputs.shape[1]))
        preparation = Preparation(channels=1, intensity="none")
        super().__init__(ModelSpec(kind="segment", classes=names, channels=1, preparation=preparation))
        self.outputs = nn.Parameter(outputs)

    def config(self) -> JSON:
        return {}

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs[images[:, 0].round().long()].movedim(-1, 1)


def cohort(values: np.ndarray, labels: np.ndarray, classes: int = 3) -> Cohort:
    """Images whose grey values are given, (N, H, W) each."""
    return Cohort.from_arrays(
        values[..., None].astype(np.uint8),
        labels.astype(np.uint8),
        kind="segment",
        classes=tuple(f"label {number}" for number in range(classes)),
        patients=[str(row) for row in range(len(values))],
    )


def opened(rows: Cohort) -> Loader:
    return Loader(rows, Preparation(channels=1, intensity="none"), workers=0)


def summed(source: Model, rows: Loader | Patches, **options: Any) -> RiskSums:
    return sum_risk(freeze(source, CPU), rows, lambda: torch.Generator().manual_seed(0), **options)


def random_case() -> tuple[Told, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values, labels = rng.integers(0, 5, (3, 4, 4)), rng.integers(0, 3, (3, 4, 4))
    return Told(torch.from_numpy(rng.normal(size=(5, 4))).float()), values, labels


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_sums_equal_a_loop_over_all_training_pixels(batch_size: int) -> None:
    source, values, labels = random_case()
    found = summed(source, opened(cohort(values, labels)), batch_size=batch_size)
    probabilities = source.outputs.detach().softmax(1).double().numpy()
    joint = np.zeros((3, 4))
    for value, label in zip(values.ravel(), labels.ravel()):
        joint[label] += probabilities[value]
    np.testing.assert_allclose(found.joint.numpy(), joint, rtol=1e-6)
    logs, risks = np.zeros(3), np.zeros(3)
    for value, label in zip(values.ravel(), labels.ravel()):
        expected = sum(probabilities[value, z] * joint[label, z] / joint[:, z].sum() for z in range(4))
        logs[label] += np.log(expected)
        risks[label] -= np.log(max(expected, 1e-6))
    np.testing.assert_allclose(found.log_expected.numpy(), logs, rtol=1e-6)
    np.testing.assert_allclose(found.risk.numpy(), risks, rtol=1e-6)
    assert found.pixels.tolist() == np.bincount(labels.ravel()).tolist()
    assert found.shows.tolist() == [True] * 3


def test_ignored_pixels_count_nowhere() -> None:
    source, values, labels = random_case()
    labels[0] = 9
    found = summed(source, opened(cohort(values, labels, 10)), ignore_label=9)
    rest = summed(source, opened(cohort(values[1:], labels[1:], 10)))
    torch.testing.assert_close(found.joint, rest.joint)
    torch.testing.assert_close(found.risk, rest.risk)
    assert found.shows.tolist() == [False, True, True]


def weights(source: Told, values: np.ndarray, labels: np.ndarray, settings: RiskMap) -> Tensor:
    sums = summed(source, opened(cohort(values, labels)))
    risk = PixelRisk(freeze(source, CPU), labels_given_source(sums.joint), settings)
    return risk(torch.from_numpy(values[:, None]).float(), torch.from_numpy(labels))


@pytest.mark.parametrize("settings", [RiskMap(), RiskMap(weights="risk")])
def test_the_order_of_the_source_classes_is_irrelevant(settings: RiskMap) -> None:
    source, values, labels = random_case()
    turned = Told(source.outputs.detach()[:, [2, 0, 3, 1]])
    torch.testing.assert_close(
        weights(source, values, labels, settings), weights(turned, values, labels, settings)
    )


def test_a_source_that_names_each_label_otherwise_but_surely_has_no_risk() -> None:
    _, _, labels = random_case()
    sure = Told(
        40.0 * torch.eye(3)[[2, 0, 1]]
    )  # the image shows the label, the source calls it something else
    sums = summed(sure, opened(cohort(labels, labels)))
    assert sums.risk.abs().max() < 1e-9 and sums.log_expected.abs().max() < 1e-9
    assert weights(sure, labels, labels, RiskMap(weights="risk")).abs().max() < 1e-5
    area = np.count_nonzero(labels, axis=(1, 2))[:, None, None]
    np.testing.assert_allclose(
        weights(sure, labels, labels, RiskMap()), np.broadcast_to(16 / area, labels.shape)
    )


def test_of_a_source_that_knows_nothing_the_rarest_label_is_the_riskiest() -> None:
    _, values, labels = random_case()
    labels[labels == 2] = np.where(np.arange((labels == 2).sum()) < 3, 2, 0)
    blind = Told(torch.ones(5, 4))
    sums = summed(blind, opened(cohort(values, labels)))
    shares = np.bincount(labels.ravel()) / labels.size
    np.testing.assert_allclose(sums.risk / sums.pixels, -np.log(shares), rtol=1e-6)
    risk = PixelRisk(freeze(blind, CPU), labels_given_source(sums.joint), RiskMap())
    found = risk.risk(torch.from_numpy(values[:, None]).float(), torch.from_numpy(labels)).numpy()
    np.testing.assert_allclose(found, -np.log(shares)[labels], rtol=1e-5)
    assert shares.argmin() == 2 and np.all(labels[found == found.max()] == 2)


def test_pixels_that_the_source_takes_for_something_else_weigh_more() -> None:
    labels = np.zeros((2, 6, 6), int)
    labels[:, 1:5, 1:5] = 1
    seen = labels.copy()
    seen[:, 1, 1:5] = 0  # one row of the foreground is missed
    source = Told(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    found = weights(source, seen, labels, RiskMap()).numpy()
    assert found[:, 1, 1:5].min() > 3 * found[(seen == labels)].max()


def test_the_source_stays_as_it_is_and_looks_without_its_batch() -> None:
    with seeded("source"):
        model = make_model("segment").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = freeze(model, CPU)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    together = say(frozen, images)
    apart = torch.cat([say(frozen, images[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together.sum(-1), torch.ones(4, 16, 16))
    assert not together.requires_grad and not any(p.requires_grad for p in frozen.parameters())
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_volumes_are_looked_at_as_the_training_sees_them(dimensions: Any) -> None:
    flat = make_cohort("segment", patients=6)
    images = np.stack([flat.picture(row).array for row in range(12)]).reshape(2, 6, 32, 32, 1)
    masks = np.stack([flat.mask(row).array[..., 0] for row in range(12)]).reshape(2, 6, 32, 32)
    volumes = Cohort.from_arrays(
        images, masks, kind="segment", classes=flat.classes, patients=["a", "b"], name="volumes"
    )
    preparation = Preparation(channels=1, dimensions=dimensions)
    with seeded("source"):
        spec = ModelSpec(kind="segment", classes=("x", "y"), channels=1, preparation=preparation)
        source = UNet(spec, width=2, depth=1)
    sums = summed(source, Patches(volumes, preparation), batch_size=4)
    assert sums.pixels.tolist() == [(masks == 0).sum(), (masks == 1).sum()]
    assert len(sums.shows) == (12 if dimensions == 2 else 2)
    patched = Patches(volumes, preparation.model_copy(update={"patch": (4, 16, 16)[3 - dimensions :]}))
    first, second = summed(source, patched), summed(source, patched, batch_size=3)
    torch.testing.assert_close(first.joint, second.joint)
