"""AIVA as a method: what is clustered when, what a step computes, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.engine.select import Selector
from medgraft.errors import DataError, MedgraftError, ModelError
from medgraft.methods import AIVA, FineTune
from medgraft.methods.unlabelled.aligned_sites import AlignedSites, mixed_order, relative_positions
from medgraft.methods.unlabelled.alignment_loss import alignment_loss
from medgraft.methods.unlabelled.representing_layer import representing_layer
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.regraft import regraft
from medgraft.testing import StopsAfter, check_method, make_cohort, make_model
from medgraft.types import Kind, Progress

SHORT = Schedule(epochs=4, steps_per_epoch=2, batch_size=8, optimizer="adam", lr=1e-3, weight_decay=0.0)


def aiva(**settings: Any) -> AIVA:
    return AIVA(**{"clusters": 3, "period": 2, "schedule": SHORT} | settings)


def quiet(**options: Any) -> Run:
    return Run(device="cpu", progress=False, **{"workers": 0, "select": "last"} | options)


def source_model(kind: Kind = "segment") -> Model:
    with seeded("source"):
        return regraft(make_model(kind), make_cohort(kind).classes, kind=kind)[0]


def both(kind: Kind = "segment", size: int = 32) -> Task:
    return Task(make_cohort(kind, "A", size=size), make_cohort(kind, "B", size=size))


def objective(method: AIVA, task: Task, model: Model | None = None) -> AlignedSites:
    assert task.source is not None and task.target is not None
    model, run = model or source_model(task.kind), quiet()
    return AlignedSites(
        model,
        run.loader(task.source.split("train"), model.spec.preparation),
        run.loader(task.target.split("train").only({"images"}), model.spec.preparation),
        build_loss(LossSettings.default(task.kind), task.kind),
        method._cluster_settings(model),
        batch_size=method.schedule.batch_size,
        target_batch=method.images_of_target,
        steps_per_epoch=method.schedule.steps_per_epoch,
    )


@pytest.mark.slow
def test_it_keeps_every_promise() -> None:
    assert len(check_method(aiva())) == 3 * 8


@pytest.mark.slow
def test_it_keeps_every_promise_in_two_processes() -> None:
    assert "segment: two processes agree from run to run" in check_method(aiva(), processes=True)


# a step


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_a_step_is_what_the_paper_says(kind: Kind) -> None:
    """Centres are mean features of source clusters; the loss is that of the source, plus weight times alignment."""
    task = both(kind)
    training = objective(aiva(factor=0.5), task)
    training.eval()
    step = next(iter(training.batches(Progress(0, 4), quiet())))
    now, model = training.now, training.model
    assert now is not None

    def vectors(images: torch.Tensor) -> torch.Tensor:
        if kind == "classify":
            return model.features(images)
        inner = model._encode(model._pad(images)[0])[1][-1]  # type: ignore[operator]
        bottleneck = model.get_submodule("bottleneck")
        inner = torch.nn.functional.max_pool2d(inner, 2)
        return bottleneck.first_norm(bottleneck.first(inner)).flatten(1)  # type: ignore[operator]

    with evaluation_mode(model), torch.no_grad():
        source = vectors(training.source(np.arange(len(training.source))).images)
    assert len(now.centres) == 3 and sorted(now.matches.tolist()) == [0, 1, 2]
    for cluster, centre in enumerate(now.centres):
        torch.testing.assert_close(source[now.source == cluster].mean(dim=0), centre, rtol=1e-4, atol=1e-5)

    loss = training.loss(step, "main", Progress(0, 4))
    is_target, images = step.tensors["is_target"], step.tensors["images"]
    assert (~is_target).sum() == 8 and is_target.sum() in (8, 9)
    criterion = build_loss(LossSettings.default(kind), kind)
    supervised = criterion(model(images[~is_target]), step.tensors["truth"][~is_target])
    alignment = alignment_loss(
        vectors(images[is_target]), step.tensors["cluster"][is_target], now.centres, now.matches
    )
    torch.testing.assert_close(loss.parts["alignment"], alignment)
    # the first loss is all there is, so its own reciprocal is the weight
    torch.testing.assert_close(loss.total, supervised + 0.5)
    assert not loss.parts["alignment_weight"].requires_grad and loss.parts["alignment"].requires_grad


def test_every_image_of_a_batch_has_its_own_cluster() -> None:
    training = objective(aiva(), both())
    training.eval()
    steps = list(training.batches(Progress(0, 4), quiet()))
    everything = training.target(np.arange(len(training.target))).images
    assert training.now is not None and len(steps) == 2
    for step in steps:
        is_target = step.tensors["is_target"]
        assert (step.tensors["cluster"][~is_target] == -1).all()
        for image, cluster in zip(
            step.tensors["images"][is_target], step.tensors["cluster"][is_target], strict=True
        ):
            row = int((everything - image).abs().flatten(1).sum(1).argmin())
            assert torch.equal(everything[row], image) and training.now.target[row] == cluster


def test_the_weight_is_the_factor_over_the_mean_of_the_first_six_positive_losses() -> None:
    training = objective(aiva(factor=2.0), both())
    losses = [4.0, 0.0, 2.0, 6.0, 8.0, 3.0, 1.0, 100.0]
    weights = [float(training._weigh(torch.tensor(loss))) for loss in losses]
    assert weights == pytest.approx([0.5, 0.5, 2 / 3, 0.5, 0.4, 2 / 4.6, 0.5, 0.5])
    assert float(objective(aiva(), both())._weigh(torch.tensor(0.0))) == 0


def test_stretches_of_a_batch_hold_both_sites_in_proportion() -> None:
    order = mixed_order(16, 36)
    assert sorted(order.tolist()) == list(range(52))
    for part in np.array_split(order.numpy(), 4):
        assert (part < 16).sum() == 4
    assert mixed_order(3, 0).tolist() == [0, 1, 2]


def test_only_named_blocks_are_trained() -> None:
    source = source_model()
    adapted = adapt(source, both(), aiva(scope=("encoder1", "bottleneck")), quiet())
    moved = {
        name.split(".")[0]
        for name, weight in adapted.named_parameters()
        if not torch.equal(weight, source.get_parameter(name))
    }
    assert moved == {"encoder1", "bottleneck"}


# periods


def test_sites_are_clustered_once_per_period_and_the_tables_tell() -> None:
    run = quiet()
    adapt(source_model(), both(), aiva(), run)
    tables = run.shared.records.tables
    alignment = tables["alignment"]
    assert alignment["epoch"].tolist() == [0, 1, 2, 3]
    assert np.isfinite(alignment["matching_distance"]).tolist() == [True, False, True, False]
    assert (alignment["clustering_seconds"] > 0).tolist() == [True, False, True, False]
    assert (alignment["alignment"] > 0).all() and (alignment["alignment_weight"] > 0).all()
    assert alignment["supervised"].tolist() == tables["history"]["supervised"].tolist()
    clusters = tables["clusters"]
    assert clusters.groupby("when")["epoch"].unique().map(list).to_dict() == {"first": [0], "last": [2]}
    assert clusters.groupby(["when", "side"]).size().tolist() == [16] * 4
    assert set(clusters["matched"]) == {0, 1, 2} == set(clusters["cluster"])
    pairs = clusters[clusters["side"] == "target"].groupby(["when", "cluster"])["matched"].unique()
    assert all(len(matched) == 1 for matched in pairs)
    picture = run.shared.records.images["examples_of_matched_clusters"]
    assert picture.dtype == np.uint8 and picture.shape == (2 * 32 + 2, 3 * 32 + 2 * 2, 3)


@pytest.mark.parametrize("steps", [3, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 5, 7))])
def test_killed_inside_a_period_it_ends_with_the_same_weights_and_evidence(tmp_path: Any, steps: int) -> None:
    """Steps 3 and 7 lie in the second epoch of a period, whose clusters older weights had made."""
    whole = quiet()
    expected = adapt(source_model(), both(), aiva(), whole)
    run = quiet(folder=tmp_path / "run", checkpoint_seconds=0, shared=StopsAfter(steps))
    with pytest.raises(Interrupted):
        adapt(source_model(), both(), aiva(), run)
    again = dataclasses.replace(run, shared=Shared())
    resumed = adapt(source_model(), both(), aiva(), again)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    first, second = (one.shared.records.tables["clusters"] for one in (whole, again))
    assert first.equals(second)


@pytest.mark.slow
def test_clusters_of_other_weights_would_give_other_weights() -> None:
    """Otherwise the test above could not fail."""
    ends = [adapt(source_model(), both(), aiva(period=period), quiet()).state_dict() for period in (1, 2)]
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


# what is not seen


def test_epochs_are_chosen_by_the_source_alone() -> None:
    run = quiet(select=None)
    adapt(source_model(), both(), aiva(), run)
    assert run.shared.rule == "source_validation"
    with pytest.raises(MedgraftError, match="target_validation"):
        adapt(source_model(), both(), aiva(), quiet(select="target_validation"))


def test_classes_are_those_of_the_source() -> None:
    adapted = adapt(make_model("classify"), both("classify"), aiva(), quiet())
    assert adapted.spec.classes == ("small", "large")


# settings and refusals


def test_a_batch_has_three_target_images_per_cluster() -> None:
    assert AIVA().images_of_target == 36 and AIVA(target_batch=50).images_of_target == 50
    with pytest.raises(ValidationError, match="at least 36, 3 per cluster"):
        AIVA(target_batch=35)


def test_slice_positions_need_patients_and_count_rows() -> None:
    assert "patients" not in aiva().needs.target
    assert {"patients"} < aiva(slice_position=True).needs.target & aiva(slice_position=True).needs.source
    found = relative_positions(np.array(["b", "a", "b", "b", "b", "a"]))
    assert found.tolist() == [0, 0, 0.25, 0.5, 0.75, 0.5]
    run = quiet()
    adapt(source_model(), both(), aiva(slice_position=True, seed_target_centres=True), run)
    assert len(run.shared.records.tables["clusters"]) == 64


def test_the_layer_of_a_wrapped_network_is_found_and_of_others_asked_for() -> None:
    class Wrapping(torch.nn.Module):
        wraps = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone = source_model()
            self.spec = self.backbone.spec

    assert representing_layer("AIVA", Wrapping()) == "backbone.bottleneck.first_norm"  # type: ignore[arg-type]
    other = make_model("classify")
    other.spec = source_model().spec
    with pytest.raises(ModelError, match="Name one, for instance --set at=layer4"):
        representing_layer("AIVA", other)


def few(cohort: Cohort, rows: int) -> Cohort:
    return cohort.take(np.arange(rows))


@pytest.mark.parametrize(
    ("method", "task", "words"),
    [
        (aiva(clusters=17), both(), "the source, but made-up site A has 16"),
        (aiva(memory=1e-6), both(), "32 images of 1024 numbers take"),
        (aiva(), Task(make_cohort("segment"), make_cohort("segment", "B", size=40)), r"\(1, 40, 40\)"),
        (aiva(preparation={"patch": [16, 16]}), both(), "cuts patches"),
        (
            aiva(),
            Task(make_cohort("classify"), make_cohort("segment", "B")),
            "they are 'classify' and 'segment'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(method: AIVA, task: Task, words: str) -> None:
    with pytest.raises(DataError, match=words):
        adapt(source_model(), task, method, quiet())


def test_features_that_are_not_finite_are_counted() -> None:
    training = objective(aiva(), both())
    with torch.no_grad():
        training.model.get_parameter("bottleneck.first.weight").fill_(torch.nan)
    training.eval()
    with pytest.raises(DataError, match="16 of the 16 images of the source"):
        training.batches(Progress(0, 4), quiet())


def with_blank_images(cohort: Cohort) -> Cohort:
    images = np.stack([cohort.picture(row).array for row in range(len(cohort))])
    masks = np.stack([cohort.mask(row).array[..., 0] for row in range(len(cohort))])
    images[::3], masks[::3] = 0, 0
    return Cohort.from_arrays(
        images, masks, kind="segment", classes=cohort.classes, patients=list(cohort.patients), name="blank"
    )


def test_blank_slices_are_clustered_like_others() -> None:
    task = Task(with_blank_images(make_cohort("segment")), with_blank_images(make_cohort("segment", "B")))
    run = quiet()
    adapt(source_model(), task, aiva(), run)
    clusters = run.shared.records.tables["clusters"]
    assert np.isfinite(clusters[["x", "y"]]).all(axis=None)
    blank = clusters[
        (clusters["row"] % 3 == 0) & (clusters["side"] == "target") & (clusters["when"] == "first")
    ]
    assert blank["cluster"].nunique() == 1


# that it aligns


def hundred_steps(source: Model, task: Task, factor: float) -> tuple[float, float]:
    """Alignment loss of the last five steps beside the first five, clusters being fixed, and source Dice at the end."""
    assert task.source is not None
    schedule = Schedule(epochs=1, steps_per_epoch=100, batch_size=8)
    training = objective(aiva(schedule=schedule, factor=factor), task, copy.deepcopy(source))
    training.eval()
    steps = training.batches(Progress(0, 1), quiet())
    optimizer = torch.optim.Adam(training.model.parameters(), lr=3e-4)
    training.train()
    losses = []
    for number, step in enumerate(steps):
        optimizer.zero_grad()
        loss = training.loss(step, "main", Progress(0, 1, number))
        loss.total.backward()
        optimizer.step()
        losses.append(loss.parts["alignment"].item())
    training.eval()
    assert len(losses) == 100 and len(training.periods) == 1
    dice = Selector("source_validation", task.source.split("validation")).score(training.model)
    return float(np.mean(losses[-5:]) / np.mean(losses[:5])), dice


@pytest.mark.slow
def test_alignment_falls_on_fixed_clusters_while_the_source_is_kept() -> None:
    """It halves in a hundred steps, source Dice losing less than 0.02; without its gradient it stays."""
    task = both()
    assert task.source is not None
    schedule = Schedule(epochs=30, batch_size=8, lr=3e-3)
    source = adapt(source_model(), Task(target=task.source), FineTune(schedule=schedule), quiet())
    before = Selector("source_validation", task.source.split("validation")).score(source)
    assert before > 0.9
    left, dice = hundred_steps(source, task, factor=1.0)
    assert left < 0.7 and dice > before - 0.02
    assert hundred_steps(source, task, factor=1e-9)[0] > 0.9
