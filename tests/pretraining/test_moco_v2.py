"""The method `moco_v2`: its loss, its queue, and that both survive an interruption."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.models.contrastive import queue_contrast
from medgraft.pretraining import MoCoV2
from medgraft.pretraining.moco_v2 import QueueContrast
from medgraft.testing import make_cohort, make_model
from medgraft.types import Progress, Step

GREY = make_cohort("encode")
NOW = Progress(0, 1)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 2, batch: int = 8, lr: float = 0.03, **settings: object) -> MoCoV2:
    schedule = Schedule(epochs=epochs, batch_size=batch, optimizer="sgd", lr=lr)
    return MoCoV2(**({"dimension": 8, "queue": 12, "schedule": schedule} | settings))  # type: ignore[arg-type]


def objective(method: MoCoV2, cohort: Cohort = GREY) -> QueueContrast:
    torch.manual_seed(0)
    model = make_model("encode")
    features = model.features(torch.zeros(2, 1, 32, 32)).shape[1]
    rows = run().loader(cohort, model.spec.preparation)
    return method.objective(model, rows, method.heads(model, features))


def test_the_published_training_is_the_default() -> None:
    method = MoCoV2()
    schedule = method.schedule
    assert (schedule.optimizer, schedule.lr, schedule.momentum) == ("sgd", 0.03, 0.9)
    assert (schedule.batch_size, schedule.weight_decay, schedule.epochs) == (256, 1e-4, 200)
    assert (method.temperature, method.momentum, method.dimension) == (0.2, 0.999, 128)


def test_its_loss_is_that_of_the_second_views_keys_against_the_queue() -> None:
    learning = objective(small(momentum=0.5)).train()
    step = next(iter(learning.batches(NOW, run())))
    queue = learning.queue.keys.clone()
    with torch.no_grad():
        for weight in learning.follower.parameters():
            weight.add_(0.1)
    loss = learning.loss(step, "main", NOW)

    again = objective(small()).train()
    with torch.no_grad():
        for weight in again.follower.parameters():
            weight.add_(0.05)  # half of the way back, before the keys
    queries = again.projector(again.model.features(step.tensors["first"]))
    _, keys = again.follower(step.tensors["second"])
    assert loss.total.item() == pytest.approx(queue_contrast(queries, keys, queue, 0.2).item(), rel=1e-4)
    unit = keys / keys.norm(dim=1, keepdim=True)
    torch.testing.assert_close(learning.queue.keys, torch.cat([unit, queue[8:]]), atol=1e-4, rtol=0)


def test_rows_wait_beside_their_keys_and_are_not_told_from_themselves() -> None:
    """The second step sees the images of the first again: the loss is that against the queue without their keys."""
    learning = objective(small(queue=24, momentum=1.0)).train()
    first, second = itertools.islice(learning.batches(NOW, run()), 2)
    learning.loss(first, "main", NOW)
    seen = first.tensors["rows"]
    assert learning.queue.rows.tolist() == [*seen.tolist(), *[-1] * 16]
    again = Step({**second.tensors, "rows": seen.flip(0)})
    queue = learning.queue.keys.clone()
    with torch.no_grad():
        queries = learning.projector(learning.model.features(again.tensors["first"]))
        keys = learning.follower(again.tensors["second"])[1]
        total = 0.0
        for number, (query, key) in enumerate(zip(queries, keys)):
            others = torch.cat([queue[: 7 - number], queue[8 - number :]])
            total += queue_contrast(query[None], key[None], others, 0.2).item() / 8
    assert learning.loss(again, "main", NOW).total.item() == pytest.approx(total, rel=1e-4)


def test_a_queue_is_no_longer_than_there_are_images() -> None:
    assert len(objective(small(queue=7)).queue.keys) == 7
    assert len(objective(MoCoV2(schedule=small().schedule)).queue.keys) == len(GREY) == 24


def test_an_image_that_a_weight_repeats_is_not_told_from_itself(tmp_path: Path) -> None:
    """Four images, three of them in two rows: the second row waits under the first, and is left out like it."""
    draw = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(draw.integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "pool.csv").write_text("image\n" + "".join(f"{name}.png\n" for name in "abcdbca"))
    pooled = read_manifest(tmp_path / "pool.csv", kind="encode")
    learning = objective(small(batch=3, queue=24, momentum=1.0), pooled).train()
    assert len(learning.queue.keys) == 4
    images = learning.rows([1, 2, 3]).images
    learning.loss(Step({"first": images, "second": images, "rows": torch.tensor([1, 2, 3])}), "main", NOW)
    assert learning.queue.rows.tolist() == [1, 2, 3, -1]
    queue, again = learning.queue.keys.clone(), learning.rows([4, 5, 6]).images
    with torch.no_grad():
        queries = learning.projector(learning.model.features(again))
        keys = learning.follower(again)[1]
        others = [queue[[1, 2, 3]], queue[[0, 2, 3]], queue]
        parts = [queue_contrast(q[None], k[None], o, 0.2) for q, k, o in zip(queries, keys, others)]
    step = Step({"first": again, "second": again, "rows": torch.tensor([4, 5, 6])})
    assert learning.loss(step, "main", NOW).total.item() == pytest.approx(float(sum(parts)) / 3, rel=1e-4)


def test_queue_and_copy_are_state_of_the_training() -> None:
    learning = objective(small())
    state = set(learning.state_dict())
    assert {"queue.keys", "queue.rows", "queue.oldest", "follower.projector.layers.0.weight"} <= state
    trained = {weight for group in learning.groups("main") for weight in group.parameters}
    assert trained.isdisjoint(learning.follower.parameters())
    assert trained == {*learning.model.parameters(), *learning.projector.parameters()}


def test_the_queue_begins_the_same_from_the_same_seed_only() -> None:
    queues = []
    for seed in (0, 0, 1):
        kept: list[torch.Tensor] = []

        class Watched(MoCoV2):
            def objective(self, *arguments: object, kept: list[torch.Tensor] = kept) -> QueueContrast:
                made = super().objective(*arguments)  # type: ignore[arg-type]
                kept.append(made.queue.keys.clone())
                return made

        method = Watched(**dict(small()))
        adapt(make_model("encode"), Task(source=GREY), method, run(seed=seed, limit=Limit(steps=1, epochs=1)))
        queues += kept
    assert torch.equal(queues[0], queues[1]) and not torch.equal(queues[0], queues[2])
