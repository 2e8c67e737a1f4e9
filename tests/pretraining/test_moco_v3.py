"""The method `moco_v3`: the order of its steps, its momentum, and what it trains in a transformer."""

from __future__ import annotations

import pytest
import torch

from medgraft.data.task import Task
from medgraft.engine.loop import fit
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.models.contrastive import batch_contrast
from medgraft.models.fixed_patches import find_transformer
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.pretraining import MoCoV3
from medgraft.pretraining.moco_v3 import BatchContrast
from medgraft.pretraining.views import VIEWS, uneven
from medgraft.testing import make_cohort, make_model
from medgraft.types import Preparation, Progress

GREY = make_cohort("encode")


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 4, batch: int = 8, **settings: object) -> MoCoV3:
    schedule = Schedule(epochs=epochs, batch_size=batch, optimizer="adamw", lr=1e-3)
    return MoCoV3(**({"hidden": 16, "dimension": 8, "schedule": schedule} | settings))  # type: ignore[arg-type]


def objective(method: MoCoV3, model: Model | None = None) -> BatchContrast:
    torch.manual_seed(0)
    model = model or make_model("encode")
    features = model.features(torch.zeros(2, 1, 32, 32)).shape[1]
    rows = run().loader(GREY, model.spec.preparation)
    return method.objective(model, rows, method.heads(model, features))


def vit() -> Model:
    torch.manual_seed(1)
    return open_source("random/test_vit", kind="encode", channels=1, size=(32, 32))


def test_the_published_training_is_the_default() -> None:
    method = MoCoV3()
    schedule = method.schedule
    assert (schedule.optimizer, schedule.lr, schedule.batch_size, schedule.weight_decay) == (
        "adamw", 1.5e-4, 256, 0.1,
    )  # fmt: skip
    assert (schedule.epochs, schedule.warmup_epochs, schedule.shape) == (300, 40, "cosine")
    assert (method.temperature, method.momentum, method.dimension) == (0.2, 0.99, 256)


def test_views_are_uneven_as_published_unless_both_are_told() -> None:
    scan, tissue = VIEWS["scan"], VIEWS["tissue"]
    rows = run().loader(GREY, Preparation(channels=1))
    assert MoCoV3().views_of(rows) == uneven(scan)
    assert MoCoV3(views="tissue").views_of(rows) == uneven(tissue)  # type: ignore[arg-type]
    both = MoCoV3(views="scan", second_views="scan")  # type: ignore[arg-type]
    assert both.views_of(rows) == (scan, scan)


def test_its_loss_is_that_of_both_directions_with_keys_of_a_copy_that_has_moved() -> None:
    """By hand: the copy is set apart by 1 first, so that an update before the keys is seen in them."""
    learning = objective(small(momentum=0.5)).train()
    step = next(iter(learning.batches(Progress(0, 4), run())))
    with torch.no_grad():
        for weight in learning.follower.parameters():
            weight.add_(0.1)
    expected_copy = objective(small(momentum=0.5)).train().follower
    with torch.no_grad():
        for weight, leader in zip(
            expected_copy.parameters(), [*learning.model.parameters(), *learning.projector.parameters()]
        ):
            weight.copy_(leader + 0.05)
    loss = learning.loss(step, "main", Progress(0, 4))
    views = step.tensors["first"], step.tensors["second"]
    queries = [learning.predictor(learning.projector(learning.model.features(view))) for view in views]
    keys = [expected_copy(view)[1] for view in views]
    forth, back = batch_contrast(queries[0], keys[1], 0.2), batch_contrast(queries[1], keys[0], 0.2)
    assert loss.parts["first_to_second"].item() == pytest.approx(forth.item(), rel=1e-4)
    assert loss.parts["second_to_first"].item() == pytest.approx(back.item(), rel=1e-4)
    assert loss.total.item() == pytest.approx((forth + back).item(), rel=1e-4)


def test_the_momentum_rises_within_epochs() -> None:
    """24 images in batches of 8 are 3 steps of each of 4 epochs."""
    learning = objective(small())
    learning.batches(Progress(1, 4, step=2), run())
    assert len(learning.rows) == 24
    assert learning.momentum(Progress(1, 4, step=2)) == pytest.approx(1 - 0.01 * (1 + 0.5**0.5) / 2)
    halfway = learning.momentum(Progress(1, 4, step=5))
    assert halfway == pytest.approx(0.995)  # 3 of 3 steps: epoch 2 of 4
    learning.batches(Progress(1, 4, step=2), run(limit=Limit(steps=1)))
    assert learning.momentum(Progress(1, 4, step=3)) == pytest.approx(0.995)
    learning.batches(Progress(0, 4), run())
    assert learning.momentum(Progress(0, 4)) == 0.99


def test_the_copy_is_trained_by_nothing_but_what_it_follows() -> None:
    learning = objective(small())
    fit(learning, run(limit=Limit(epochs=1, steps=1)), small().schedule)
    first = objective(small())
    for now, then in zip(learning.follower.parameters(), first.follower.parameters()):
        torch.testing.assert_close(now, then)  # it followed once, before the network moved
    assert any(
        not torch.allclose(now, then)
        for now, then in zip(learning.model.parameters(), first.model.parameters())
    )
    norms = [name for name, _ in learning.follower.named_buffers() if name.endswith("running_mean")]
    before = dict(first.follower.named_buffers())
    assert norms and not any(
        torch.equal(buffer, before[name])
        for name, buffer in learning.follower.named_buffers()
        if name in norms and "projector" in name
    )


def test_a_transformer_keeps_its_patches_and_its_positions() -> None:
    source = vit()
    encoder = adapt(source, Task(source=GREY), small(), run(limit=Limit(epochs=1, steps=2)))
    before, after = find_transformer(source), find_transformer(encoder)
    assert before is not None and after is not None
    assert torch.equal(after.patch_embed.proj.weight, before.patch_embed.proj.weight)
    assert not torch.allclose(after.blocks[0].mlp.fc1.weight, before.blocks[0].mlp.fc1.weight)
    assert not torch.allclose(after.pos_embed, before.pos_embed)
    assert bool((after.pos_embed[0, 0] == 0).all())
    assert after.pos_embed[0, 1:].square().sum(1).tolist() == pytest.approx(
        [32.0] * 4
    )  # sin^2 + cos^2, 32 times

    moved = encoder.state_dict()
    with torch.no_grad():
        after.pos_embed.add_(0.25)  # trained elsewhere: they stay as they are
    encoder.spec = encoder.spec.changed(provenance={"source": "elsewhere"})
    again = adapt(encoder, Task(source=GREY), small(), run(limit=Limit(epochs=1, steps=2)))
    assert torch.equal(again.state_dict()["net.pos_embed"], moved["net.pos_embed"])


def test_a_continued_training_goes_on_from_heads_and_positions_as_they_are() -> None:
    first = adapt(vit(), Task(source=GREY), small(), run(limit=Limit(epochs=1, steps=1)))
    assert first.pretraining_heads is not None
    with torch.no_grad():
        first.state_dict()["net.pos_embed"].add_(0.25)
    assert torch.equal(
        small().encoder(first, GREY).state_dict()["net.pos_embed"], first.state_dict()["net.pos_embed"]
    )


def test_heads_are_deeper_for_transformers() -> None:
    method = small()
    for model, layers, ends_in_norm in ((vit(), 3, True), (make_model("encode"), 2, False)):
        heads = method.heads(model, 64)
        shapes = [tuple(weight.shape) for weight in heads["projector"].parameters() if weight.ndim == 2]
        assert shapes == [*[(16, 64), (16, 16)][: layers - 1], (8, 16)]
        last = list(heads["predictor"].modules())[-1]
        assert isinstance(last, torch.nn.BatchNorm1d) == ends_in_norm
        assert isinstance(list(heads["projector"].modules())[-1], torch.nn.BatchNorm1d)
