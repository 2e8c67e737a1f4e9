"""AdaptSegNet: both phases against the same steps in plain torch, and who learns from what."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.batch_stats import batch_norms
from medgraft.engine.loop import fit
from medgraft.engine.memory_order import channels_last, put_channels_last
from medgraft.engine.method import adapt, adapt_verbosely, withhold
from medgraft.engine.patches import open_rows
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, ShapeError
from medgraft.methods import AdaptSegNet
from medgraft.methods.unlabelled.adapt_seg_net import AdversarialSegmentation, LossForm, adversarial_loss
from medgraft.models.discriminator import Discriminator
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.risk_map import RiskMap
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.plugins import resolve_method
from medgraft.testing import StopsAfter, check_method, make_cohort, make_model
from medgraft.types import Preparation, Progress, Step

FORMS: list[LossForm] = ["cross_entropy", "least_squares"]
START = Progress(0, 2)


def published(**changes: Any) -> Schedule:
    """The method's own schedule with some settings changed."""
    return AdaptSegNet().schedule.model_copy(update=changes)


def adversary(**settings: Any) -> AdaptSegNet:
    usual = {
        "schedule": published(epochs=2, steps_per_epoch=2, batch_size=4),
        "loss": LossSettings(name="cross_entropy"),
        "augmentation": None,
        "discriminator_width": 4,
    }
    return AdaptSegNet(**usual | settings)


def run(**options: Any) -> Run:
    return Run(device="cpu", progress=False, **{"workers": 0, "select": "last"} | options)


def volumes(site: int) -> Cohort:
    """Three volumes with a bright block; those of the second site have no masks."""
    rng = np.random.default_rng(site)
    masks = np.zeros((3, 32, 32, 32), np.uint8)
    masks[:, 8:20, 8:20, 8:20] = 1
    images = (rng.normal(size=masks.shape) + (3 - site) * masks)[..., None].astype(np.float32)
    truth = masks if site == 0 else None
    return Cohort.from_arrays(images, truth, kind="segment", classes=("rest", "block"))


def cohorts(dimensions: int) -> tuple[Cohort, Cohort]:
    if dimensions == 3:
        return volumes(0), volumes(1)
    task = Task(make_cohort("segment", "A"), make_cohort("segment", "B"))
    given = withhold(task, AdaptSegNet().needs)
    assert given.source is not None and given.target is not None
    assert "truth" not in given.target.fields
    return given.source, given.target


def objective(method: AdaptSegNet, dimensions: int = 2) -> AdversarialSegmentation:
    source, target = cohorts(dimensions)
    with seeded("source"):
        if dimensions == 2:
            model = make_model("segment")
        else:
            preparation = Preparation(dimensions=3, channels=1, intensity="zscore")
            spec = ModelSpec(kind="segment", classes=source.classes, channels=1, preparation=preparation)
            model = UNet(spec, width=2, depth=2)
        discriminator = Discriminator(2, method.discriminator_width, dimensions)
    preparation = model.spec.preparation
    criterion = build_loss(method.loss or LossSettings.default("segment"), "segment")
    rows = [open_rows(cohort, preparation, run()) for cohort in (source, target)]
    return AdversarialSegmentation(model, *rows, criterion, discriminator=discriminator, method=method)


def first_step(made: AdversarialSegmentation) -> Step:
    return next(iter(made.batches(START, run())))


def naive_against(judged: Tensor, label: int, form: LossForm) -> Tensor:
    """By the formula of the loss, place by place."""
    if form == "least_squares":
        return ((judged - label) ** 2).sum() / judged.numel()
    probability = 1 / (1 + torch.exp(-judged))
    return -torch.log(probability if label else 1 - probability).sum() / judged.numel()


def naive_segment_loss(
    model: Model, discriminator: Discriminator, step: Step, weight: float, form: LossForm
) -> Tensor:
    on_masks = functional.cross_entropy(model(step.tensors["images"]), step.tensors["truth"])
    fooled = discriminator(model(step.tensors["target"]).softmax(1))
    return on_masks + weight * naive_against(fooled, 0, form)


def naive_discriminate_loss(model: Model, discriminator: Discriminator, step: Step, form: LossForm) -> Tensor:
    model.eval()
    with torch.no_grad():
        source, target = (model(step.tensors[side]).softmax(1) for side in ("images", "target"))
    model.train()
    of_source, of_target = discriminator(source), discriminator(target)
    return naive_against(of_source, 0, form) / 2 + naive_against(of_target, 1, form) / 2


@pytest.mark.parametrize("form", FORMS)
def test_adversarial_losses_are_the_formulas(form: LossForm) -> None:
    judged = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adversarial_loss(judged, "source", form), naive_against(judged, 0, form))
    torch.testing.assert_close(adversarial_loss(judged, "target", form), naive_against(judged, 1, form))


def test_a_step_holds_source_images_with_masks_and_target_images_without() -> None:
    made = objective(adversary())
    step = first_step(made)
    assert set(step.tensors) == {"images", "truth", "target"}
    assert {len(tensor) for tensor in step.tensors.values()} == {4}
    for image, mask in zip(step.tensors["images"], step.tensors["truth"]):
        assert image[0][mask == 1].mean() > image[0][mask == 0].mean() + 0.2  # the disc is bright
    # the other site's grey values are higher by 30 of 255
    corners = [step.tensors[side][..., :4, :4].mean().item() for side in ("images", "target")]
    assert corners[1] - corners[0] == pytest.approx(30 / 255, abs=0.02)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_the_first_phase_is_that_of_plain_torch(form: LossForm, dimensions: int) -> None:
    method = adversary(weight=0.7, loss_form=form, schedule=published(batch_size=2, steps_per_epoch=1))
    made = objective(method, dimensions).train()
    step, other = first_step(made), copy.deepcopy(made)
    loss = made(step, "segment", START)
    loss.total.backward()
    naive = naive_segment_loss(other.model, other.discriminator, step, 0.7, form)
    naive.backward()
    torch.testing.assert_close(loss.total, naive)
    torch.testing.assert_close(loss.parts["on_masks"] + 0.7 * loss.parts["adversarial"], naive)
    for name, weight in made.model.named_parameters():
        torch.testing.assert_close(weight.grad, other.model.get_parameter(name).grad, rtol=1e-3, atol=1e-6)
    assert all(weight.grad is None for weight in made.discriminator.parameters())
    assert any(weight.grad.abs().max() > 0 for weight in other.discriminator.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_the_second_phase_is_that_of_plain_torch(form: LossForm, dimensions: int) -> None:
    method = adversary(loss_form=form, schedule=published(batch_size=2, steps_per_epoch=1))
    made = objective(method, dimensions).train()
    step, other = first_step(made), copy.deepcopy(made)
    loss = made(step, "discriminate", START)
    loss.total.backward()
    naive = naive_discriminate_loss(other.model, other.discriminator, step, form)
    naive.backward()
    torch.testing.assert_close(loss.total, naive)
    for name, weight in made.discriminator.named_parameters():
        torch.testing.assert_close(
            weight.grad, other.discriminator.get_parameter(name).grad, rtol=1e-3, atol=1e-6
        )
    assert all(weight.grad is None for weight in made.model.parameters())


def test_the_second_phase_leaves_running_statistics_and_modes_as_they_are() -> None:
    made = objective(adversary()).train()
    step = first_step(made)
    norm = batch_norms(made.model)[0]
    norm.eval()  # as where a method freezes one
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    made(step, "discriminate", START)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.model.state_dict().items())
    assert made.model.training and not norm.training and batch_norms(made.model)[1].training
    made(step, "segment", START)  # source and target, once each
    assert batch_norms(made.model)[1].num_batches_tracked == 2


def test_told_apart_counts_places_of_both_sites_equally() -> None:
    made = objective(adversary())
    step = first_step(made)
    last = made.discriminator.layers[-1]
    with torch.no_grad():
        last.weight.zero_()  # type: ignore[union-attr]
        for bias, right in ((1.0, 0.5), (-1.0, 0.5), (0.0, 0.0)):  # target, source, undecided everywhere
            last.bias.fill_(bias)  # type: ignore[union-attr]
            assert made(step, "discriminate", START).parts["told_apart"].item() == right
    made.discriminator = Brightness()  # type: ignore[assignment]
    with torch.no_grad():
        made.model.get_parameter("head.weight").zero_()
        images = [step.tensors[side] for side in ("images", "target")]
        outputs = [torch.where(torch.arange(4) < count, 9.0, -9.0) for count in (1, 3)]
        assert len(images[0]) == len(outputs[0])
    made.model.forward = lambda given: (  # type: ignore[method-assign]
        outputs[given is images[1]].view(4, 1, 1, 1) * torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    ).expand(4, 2, 32, 32)
    assert made(step, "discriminate", START).parts["told_apart"].item() == 0.75


class Brightness(torch.nn.Module):
    """Says target where the second class is likely."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps[:, 1:].mean(dim=(2, 3), keepdim=True) - 0.5


def as_in_training(made: AdversarialSegmentation, epoch: int) -> Iterator[Step]:
    for step in made.batches(Progress(epoch, 2), run()):
        yield Step({name: channels_last(tensor) for name, tensor in step.tensors.items()})


def trained_by_hand(made: AdversarialSegmentation, method: AdaptSegNet, weight: float) -> None:
    """Both phases in plain torch, polynomial learning rates at the ends of epochs."""
    put_channels_last(made)  # else sums are added in another order
    model, discriminator = made.model, made.discriminator
    schedule = method.schedule
    segmenting = torch.optim.SGD(model.parameters(), schedule.lr, momentum=0.9, weight_decay=5e-4)
    judging = torch.optim.Adam(discriminator.parameters(), method.discriminator_lr, betas=(0.9, 0.99))
    model.train()
    for epoch in range(schedule.epochs):
        decay = (1 - epoch / schedule.epochs) ** 0.9
        segmenting.param_groups[0]["lr"] = schedule.lr * decay
        judging.param_groups[0]["lr"] = method.discriminator_lr * decay
        for step in as_in_training(made, epoch):
            segmenting.zero_grad()
            naive_segment_loss(model, discriminator, step, weight, "cross_entropy").backward()
            segmenting.step()
            judging.zero_grad()
            naive_discriminate_loss(model, discriminator, step, "cross_entropy").backward()
            judging.step()


def test_a_training_is_that_of_plain_torch() -> None:
    schedule = published(epochs=2, steps_per_epoch=2, batch_size=4, lr=0.05)
    method = adversary(weight=1.0, schedule=schedule, discriminator_lr=0.01)
    made, other = objective(method), objective(method)
    before = copy.deepcopy(made.state_dict())
    schedules = {"segment": method.schedule, "discriminate": method.discriminator_schedule()}
    history = fit(made, run(), schedules)
    trained_by_hand(other, method, 1.0)
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)
    for part in ("model", "discriminator"):
        moved = [(made.state_dict()[name] - old).abs().max() for name, old in before.items() if part in name]
        assert max(moved) > 1e-3
    row = history.rows[0]
    assert row["loss"] == row["loss_segment"] == pytest.approx(row["on_masks"] + row["adversarial"], rel=1e-5)
    assert {"loss_discriminate", "told_apart"} <= row.keys()


def test_without_weight_the_weights_are_those_of_training_on_the_source_alone() -> None:
    """Batch norm uses the batch's own statistics in training, so only the running ones see the target."""
    schedule = published(epochs=2, steps_per_epoch=2, batch_size=4, lr=0.05)
    method = adversary(weight=0.0, schedule=schedule)
    made, alone = objective(method), objective(method)
    fit(made, run(), {"segment": method.schedule, "discriminate": method.discriminator_schedule()})
    optimizer = torch.optim.SGD(alone.model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    alone.model.train()
    put_channels_last(alone)
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - epoch / 2) ** 0.9
        for step in as_in_training(alone, epoch):
            optimizer.zero_grad()
            functional.cross_entropy(alone.model(step.tensors["images"]), step.tensors["truth"]).backward()
            optimizer.step()
    for name, weight in alone.model.named_parameters():
        assert torch.equal(made.model.get_parameter(name), weight)
    norms = [batch_norms(one.model)[0].running_mean for one in (made, alone)]
    assert not torch.allclose(*norms, atol=1e-3)  # type: ignore[arg-type]


def test_resumed_equals_uninterrupted_for_both_networks(tmp_path: Path) -> None:
    method = adversary(weight=1.0, discriminator_lr=0.01)
    schedules = {"segment": method.schedule, "discriminate": method.discriminator_schedule()}
    whole = objective(method)
    fit(whole, run(), schedules)
    for stop_after in (1, 3):
        folder = tmp_path / str(stop_after)
        stopping = run(folder=folder, checkpoint_seconds=0, shared=StopsAfter(stop_after))
        with pytest.raises(Interrupted):
            fit(objective(method), stopping, schedules)
        resumed = objective(method)
        fit(resumed, dataclasses.replace(stopping, shared=Shared()), schedules)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), name


def test_the_epoch_is_chosen_on_the_source_and_masks_of_the_target_change_nothing() -> None:
    source, target = make_cohort("segment", "A"), make_cohort("segment", "B")
    images = np.stack([target.picture(row).array for row in range(len(target))])
    unknown = Cohort.from_arrays(
        images, kind="segment", patients=list(target.patients), split=list(target.table["split"])
    )
    assert unknown.classes == ()
    with seeded("source"):
        model = make_model("segment")
    results = [
        adapt_verbosely(model, Task(source, other), adversary(weight=1.0), run(select=None))
        for other in (target, unknown)
    ]
    assert [result.selection for result in results] == ["source_validation"] * 2
    for name, tensor in results[0].model.state_dict().items():
        assert torch.equal(results[1].model.state_dict()[name], tensor)
    assert results[1].model.spec.classes == source.classes
    assert not any("discriminator" in name for name in results[0].model.state_dict())


def test_target_images_may_have_another_size() -> None:
    source = make_cohort("segment", "A")
    target = make_cohort("segment", "B", size=40)
    with seeded("source"):
        model = make_model("segment")
    adapted = adapt(model, Task(source, target), adversary(), run())
    assert batch_norms(adapted)[0].num_batches_tracked == 8  # four steps, twice each


def test_small_images_and_a_source_without_masks_are_refused() -> None:
    small = Task(make_cohort("segment", "A", size=24), make_cohort("segment", "B", size=24))
    with pytest.raises(ShapeError, match="sides of at least 32 pixels, but the images are 24 x 24"):
        adapt(make_model("segment"), small, adversary(), run())
    mixed = Task(make_cohort("classify", "A"), make_cohort("segment", "B"))
    with pytest.raises(DataError, match="a source with masks, but its kind is 'classify'"):
        adapt(make_model("segment"), mixed, adversary(), run())
    with pytest.raises(ValidationError, match="which this method never sees"):
        adversary(loss=LossSettings(name="cross_entropy", risk_map=RiskMap()))


def test_schedules_are_as_published_unless_named() -> None:
    settings = {"schedule": {"lr": 0.01, "minimum_lr": 0.001, "shape": "plateau"}}
    named = resolve_method({"method": "adapt_seg_net", "settings": settings}).schedule  # type: ignore[attr-defined]
    assert (named.lr, named.optimizer, named.weight_decay, named.batch_size) == (0.01, "sgd", 5e-4, 8)
    method = AdaptSegNet()
    assert (method.schedule.lr, method.schedule.momentum, method.schedule.power) == (2.5e-4, 0.9, 0.9)
    judging = method.discriminator_schedule()
    assert (judging.optimizer, judging.lr, judging.betas, judging.weight_decay) == (
        "adam",
        1e-4,
        (0.9, 0.99),
        0.0,
    )
    assert judging.learning_rate(25) == pytest.approx(1e-4 * 0.5**0.9)


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(adversary())) == 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    assert "two processes" in check_method(adversary(), processes=True)[-1]


@pytest.mark.parametrize(("share", "warned"), [(0.0, True), (1.0, False)])
def test_a_discriminator_that_is_never_deceived_is_told(
    share: float,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("medgraft.methods.unlabelled.adapt_seg_net.NOT_DECEIVED", share)
    source, target = cohorts(2)
    mg.adapt(
        make_model("segment"), Task(source=source, target=target), adversary(), run(folder=tmp_path / "out")
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    right = pd.read_parquet(tmp_path / "out" / "records" / "history.parquet")["told_apart"].iloc[-1]
    wanted = f"AdaptSegNet has not converged: at its end the discriminator was right at {right:.0%} of places"
    assert [text.startswith(wanted) for text in record["warnings"]] == [True] * warned
    assert (wanted in caplog.text) == warned
