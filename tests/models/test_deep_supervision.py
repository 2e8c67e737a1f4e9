"""Heads of inner decoders: shapes and truth by hand, carried over and dropped as asked."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import deep_loss
from medgraft.errors import ModelError
from medgraft.methods import FineTune
from medgraft.models.backbones import Classifier
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model, save_model
from medgraft.models.unet import UNet
from medgraft.testing import make_cohort
from medgraft.types import Preparation

SPEC = ModelSpec(kind="segment", classes=("rest", "nucleus"))


def deep(spec: ModelSpec = SPEC, depth: int = 4) -> UNet:
    return UNet(spec, width=4, depth=depth, deep_supervision=True).eval()


def test_the_lowest_decoder_has_no_head_and_others_put_out_half_the_size_each():
    model = deep()
    truth = torch.randint(0, 2, (2, 64, 48))
    pairs = model.outputs_at_levels(torch.rand(2, 3, 64, 48), truth)
    assert [tuple(logits.shape[2:]) for logits, _ in pairs] == [(64, 48), (32, 24), (16, 12)]
    assert torch.equal(pairs[0][1], truth)
    assert torch.equal(pairs[1][1], truth[:, ::2, ::2]) and torch.equal(pairs[2][1], truth[:, ::4, ::4])


def test_the_finest_outputs_are_those_of_the_network():
    model, images = deep(), torch.rand(1, 3, 50, 37)
    truth = torch.ones(1, 50, 37, dtype=torch.int64)
    pairs = model.outputs_at_levels(images, truth)
    assert torch.equal(pairs[0][0], model(images))
    assert all((seen == 1).all() for _, seen in pairs)  # the border is the edge repeated


def test_volumes_have_them_too():
    spec = ModelSpec(
        kind="segment",
        classes=("rest", "lesion"),
        channels=1,
        preparation=Preparation(dimensions=3, channels=1),
    )
    model = UNet(spec, width=4, depth=3, flat_levels=1, deep_supervision=True).eval()
    truth = torch.randint(0, 2, (1, 8, 32, 32))
    pairs = model.outputs_at_levels(torch.rand(1, 1, 8, 32, 32), truth)
    assert [tuple(seen.shape[1:]) for _, seen in pairs] == [(8, 32, 32), (8, 16, 16)]
    assert torch.equal(pairs[1][1], truth[:, :, ::2, ::2])


def test_they_belong_to_the_head_and_are_saved(tmp_path):
    model = deep()
    assert list(model.blocks())[-1] == "head" and "deep_head2.weight" in model.blocks()["head"]
    assert "deep_head3.bias" in model.layer_groups()["segmentation"]
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert torch.equal(loaded.get_parameter("deep_head3.weight"), model.get_parameter("deep_head3.weight"))


def test_regrafting_loads_adds_or_drops_them():
    plain = UNet(SPEC, width=4)
    added, plan = regraft(plain, SPEC.classes, deep_supervision=True)
    assert set(plan.names("new")) == {
        f"deep_head{level}.{part}" for level in (2, 3) for part in ("weight", "bias")
    }
    kept, plan = regraft(added, SPEC.classes, deep_supervision=True)
    assert plan.names("new") == () and torch.equal(
        kept.get_parameter("deep_head2.weight"), added.get_parameter("deep_head2.weight")
    )
    bare, plan = regraft(added, SPEC.classes)
    assert "deep_head2.weight" in plan.names("dropped") and not bare.deep_levels
    _, plan = regraft(added, ("rest", "vessel"), deep_supervision=True)
    assert {"head.weight", "deep_head3.weight"} <= set(plan.names("new"))
    both, _ = regraft(added, ("rest", "vessel"), keep_source_head=True)
    assert torch.equal(both.get_parameter("source_head.weight"), added.get_parameter("head.weight"))


def test_classifiers_have_none():
    source = Classifier(ModelSpec(classes=("cat", "dog")), architecture="test_resnet")
    with pytest.raises(ModelError, match="Deep supervision needs a U-Net, but got a Classifier"):
        regraft(source, ("cat", "dog"), deep_supervision=True)


def test_levels_are_weighed_by_halves():
    model, images = deep(), torch.rand(2, 3, 32, 32)
    truth = torch.randint(0, 2, (2, 32, 32))
    found = deep_loss(functional.cross_entropy, model.outputs_at_levels(images, truth))
    by_hand = [
        functional.cross_entropy(logits, truth[:, ::stride, ::stride])
        for (logits, _), stride in zip(model.outputs_at_levels(images, truth), (1, 2, 4))
    ]
    assert found.item() == pytest.approx((by_hand[0] * 4 + by_hand[1] * 2 + by_hand[2]).item() / 7)


def test_fine_tuning_trains_them():
    task, source = Task(target=make_cohort("segment")), UNet(SPEC, width=4)

    def adapted(lr: float) -> Model:
        run = Run(device="cpu", progress=False, limit=Limit(1, 1))
        return adapt(source, task, FineTune(deep_supervision=True, schedule=Schedule(lr=lr)), run)

    moved, still = adapted(1e-2), adapted(1e-12)
    for name in ("deep_head2.weight", "deep_head3.weight", "head.weight"):
        assert (moved.get_parameter(name) - still.get_parameter(name)).abs().max() > 1e-3
    assert moved(torch.rand(1, moved.spec.channels, 32, 32)).shape == (1, len(task.classes), 32, 32)
