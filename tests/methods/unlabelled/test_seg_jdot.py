"""Seg-JDOT: a step against plain torch and all permutations, what alpha becomes, and who learns from what."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.batch_stats import batch_norms
from medgraft.engine.loop import fit
from medgraft.engine.method import adapt, adapt_verbosely, withhold
from medgraft.engine.predict import predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, MedgraftError, ModelError, NeedError
from medgraft.methods import FineTune, SegJDOT
from medgraft.methods.unlabelled.seg_jdot import PairedSites
from medgraft.methods.unlabelled.transport import feature_costs, label_costs
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.risk_map import RiskMap
from medgraft.models.unet import Norm
from medgraft.testing import StopsAfter, check_method, make_cohort, make_model
from medgraft.types import Kind, Progress, Step

SHORT = Schedule(epochs=2, steps_per_epoch=2, batch_size=4, optimizer="sgd", lr=0.05, shape="constant")
START = Progress(0, 2)
CROSS_ENTROPY = LossSettings(name="cross_entropy")
KINDS: list[Kind] = ["classify", "segment"]


def seg_jdot(**settings: Any) -> SegJDOT:
    return SegJDOT(**{"schedule": SHORT, "loss": CROSS_ENTROPY, "augmentation": None} | settings)


def quiet(**options: Any) -> Run:
    return Run(device="cpu", progress=False, **{"workers": 0, "select": "last"} | options)


def source_model(kind: Kind = "segment", norm: Norm = "batch") -> Model:
    with seeded("source"):
        return regraft(make_model(kind, norm=norm), make_cohort(kind).classes, kind=kind)[0]


def both(kind: Kind = "segment", size: int = 32) -> Task:
    return Task(make_cohort(kind, "A", size=size), make_cohort(kind, "B", size=size))


def objective(
    method: SegJDOT, kind: Kind = "segment", task: Task | None = None, norm: Norm = "batch"
) -> PairedSites:
    given = withhold(task or both(kind), method.needs)
    assert given.source is not None and given.target is not None
    assert "truth" not in given.target.fields
    model, run, loss = source_model(kind, norm), quiet(), method.loss or LossSettings.default(kind)
    rows = [run.loader(cohort, model.spec.preparation) for cohort in (given.source, given.target)]
    return PairedSites(model, *rows, build_loss(loss, kind), ignore_label=loss.ignore_label, method=method)


def steps_of(made: PairedSites, epoch: int = 0) -> list[Step]:
    return list(made.batches(Progress(epoch, 2), quiet()))


def vectors(model: Model, images: Tensor) -> Tensor:
    """Features before the head, or what follows the first ReLU of the bottleneck, without hooks."""
    if model.spec.kind == "classify":
        return model.features(images)
    inner = functional.max_pool2d(model._encode(model._pad(images)[0])[1][-1], 2)  # type: ignore[operator]
    bottleneck = model.get_submodule("bottleneck")
    return bottleneck.first_norm(bottleneck.first(inner)).relu().flatten(1)  # type: ignore[operator]


def naive_loss(model: Model, step: Step, alpha: float, beta: float) -> Tensor:
    """Pair by pair in float32, and the best of all ways to pair."""
    truth, count = step.tensors["truth"], len(step.tensors["truth"])
    both_sites = torch.cat([step.tensors["images"], step.tensors["target"]])
    raw, inner = model(both_sites), vectors(model, both_sites)
    total = functional.cross_entropy(raw[:count], truth)
    outputs, mine, theirs = raw[count:], inner[:count], inner[count:]
    costs = [
        [
            alpha * (mine[i] - theirs[j]).square().mean()
            + beta * functional.cross_entropy(outputs[j : j + 1], truth[i : i + 1])
            for j in range(count)
        ]
        for i in range(count)
    ]
    ways = [
        sum(costs[i][j] for i, j in enumerate(order)) / count
        for order in itertools.permutations(range(count))
    ]
    return total + min(ways, key=lambda way: float(way.detach()))


# a step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("alpha", "beta"), [(0.7, 1.3), (2.0, 0.0), (0.0, 0.5)])
def test_a_step_is_that_of_plain_torch(kind: Kind, alpha: float, beta: float) -> None:
    made = objective(seg_jdot(alpha=alpha, beta=beta), kind).train()
    step, other = steps_of(made)[0], copy.deepcopy(made)
    assert {name: len(tensor) for name, tensor in step.tensors.items()} == {
        "images": 4,
        "truth": 4,
        "target": 4,
    }
    loss = made(step, "main", START)
    naive = naive_loss(other.model, step, alpha, beta)
    torch.testing.assert_close(loss.total, naive, rtol=1e-4, atol=1e-6)
    loss.total.backward()
    naive.backward()
    for name, weight in made.model.named_parameters():
        theirs = other.model.get_parameter(name).grad
        torch.testing.assert_close(weight.grad, theirs, rtol=1e-3, atol=1e-5, msg=name)
    parts = loss.parts
    torch.testing.assert_close(parts["feature_term"] + parts["label_term"], parts["alignment"])
    torch.testing.assert_close(parts["supervised"] + parts["alignment"].float(), loss.total)
    assert float(parts["feature_term"]) > 0 or alpha == 0
    assert float(parts["label_term"]) > 0 or beta == 0


def gradient(method: SegJDOT, block: str, side: str) -> float:
    """How strongly pairs' costs pull a block and the images of a site; no norm mixes the images."""
    made = objective(method, norm="instance").train()
    step = steps_of(made)[0]
    images = step.tensors[side].clone().requires_grad_()
    made.loss(Step({**step.tensors, side: images}), "main", START).parts["alignment"].backward()
    assert images.grad is not None
    grad = made.model.get_parameter(f"{block}.weight").grad
    return float(images.grad.abs().max() * (0 if grad is None else grad.abs().max()))


def test_features_pull_both_sites_and_predictions_the_targets() -> None:
    features_only, labels_only = seg_jdot(alpha=1.0, beta=0.0), seg_jdot(alpha=0.0, beta=1.0)
    for side in ("images", "target"):
        assert gradient(features_only, "bottleneck.first", side) > 0
        assert gradient(features_only, "head", side) == 0  # lies above the features
    assert gradient(labels_only, "head", "target") > 0
    assert gradient(labels_only, "head", "images") == 0  # of the source only the truth counts


def test_the_plan_disturbs_no_running_statistics() -> None:
    """They see both sites once, in one batch, as in a training without a plan."""
    made = objective(seg_jdot()).train()
    step, other = steps_of(made)[0], copy.deepcopy(made.model)
    made(step, "main", START)
    with torch.no_grad():
        other(torch.cat([step.tensors["images"], step.tensors["target"]]))
    assert made.model.training and batch_norms(made.model)[0].num_batches_tracked == 1
    for name, tensor in other.named_buffers():
        torch.testing.assert_close(made.model.get_buffer(name), tensor)


def test_another_layer_is_taken_as_it_is() -> None:
    made = objective(seg_jdot(alpha=1.0, beta=0.0, at="bottleneck.first_norm")).train()
    default = objective(seg_jdot(alpha=1.0, beta=0.0)).train()
    step = steps_of(made)[0]
    raw, rectified = (
        one._look(step.tensors["images"])[1].detach() for one in (made, default)
    )  # the default adds the ReLU
    assert (raw < 0).any()
    torch.testing.assert_close(raw.relu(), rectified)
    with pytest.raises(ModelError, match="has no part 'layer4'"):
        objective(seg_jdot(at="layer4")).loss(step, "main", START)


def test_pixels_that_the_source_ignores_cost_nothing() -> None:
    method = seg_jdot(alpha=0.0, loss=LossSettings(name="cross_entropy", ignore_label=1))
    made = objective(method).train()
    step = steps_of(made)[0]
    assert (step.tensors["truth"] == 1).any()
    with torch.no_grad():
        made.model.get_parameter("head.bias").copy_(torch.tensor([50.0, -50.0]))  # says background everywhere
    parts = made(step, "main", START).parts
    assert float(parts["label_term"]) < 1e-6 and float(parts["supervised"]) < 1e-6


# alpha


def medians(made: PairedSites, step: Step) -> tuple[float, float]:
    """Of distances and of cross-entropies, over all pairs."""
    both_sites = torch.cat([step.tensors["images"], step.tensors["target"]])
    with torch.no_grad():
        apart = feature_costs(*vectors(made.model, both_sites).chunk(2))
        wrong = label_costs(step.tensors["truth"], made.model(both_sites).chunk(2)[1])
    return float(apart.median()), float(wrong.median())


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_alpha_gives_both_terms_the_same_median_in_the_first_batch_and_stays(beta: float) -> None:
    made = objective(seg_jdot(beta=beta)).train()
    first, second = steps_of(made)
    apart, wrong = medians(made, first)
    told = [float(made(step, "main", START).parts["alpha"]) for step in (first, second)]
    assert told[0] * apart == pytest.approx(beta * wrong, rel=1e-5)
    assert told[0] == told[1]
    again = medians(made, second)
    assert beta * again[1] / again[0] != pytest.approx(
        told[0], rel=0.01
    )  # the second batch would choose another


def test_alpha_waits_for_features_that_differ_and_a_chosen_one_never_changes() -> None:
    made = objective(seg_jdot())
    same, varied, wrong = torch.zeros(2, 2), torch.ones(2, 2).double() * 4, torch.ones(2, 2).double()
    assert [float(made._balance(apart, wrong)) for apart in (same, varied, varied * 9)] == [0, 0.25, 0.25]
    made = objective(seg_jdot(alpha=3.0))
    assert float(made._balance(varied, wrong)) == 3


def test_the_history_tells_all_terms_of_every_epoch() -> None:
    run = quiet()
    adapt(source_model(), both(), seg_jdot(), run)
    history = run.shared.records.tables["history"]
    np.testing.assert_allclose(history["loss"], history["supervised"] + history["alignment"], rtol=1e-5)
    np.testing.assert_allclose(
        history["alignment"], history["feature_term"] + history["label_term"], rtol=1e-5
    )
    assert (history[["feature_term", "label_term", "alpha"]] > 0).all(axis=None)
    assert history["alpha"].nunique() == 1 and len(history) == 2


# trainings


def trained(made: PairedSites, method: SegJDOT) -> PairedSites:
    fit(made, quiet(), method.schedule)
    return made


@pytest.mark.parametrize("settings", [{"alpha": 0.0, "beta": 0.0}, {"beta": 0.0}])
def test_without_weights_it_is_training_on_the_source_alone(settings: dict[str, float]) -> None:
    """Where no norm looks at the batch; batch norm would see the target's images."""
    method = seg_jdot(**settings)
    made, alone = trained(objective(method, norm="instance"), method), objective(method, norm="instance")
    before = copy.deepcopy(alone.model)
    optimizer = torch.optim.SGD(
        alone.model.parameters(), SHORT.lr, SHORT.momentum, weight_decay=SHORT.weight_decay
    )
    alone.model.train()
    for epoch in range(2):
        for step in steps_of(alone, epoch):
            optimizer.zero_grad()
            functional.cross_entropy(alone.model(step.tensors["images"]), step.tensors["truth"]).backward()
            optimizer.step()
    paired = trained(objective(seg_jdot(), norm="instance"), seg_jdot())
    for name in ("encoder1.first.weight", "bottleneck.first.weight", "head.weight"):
        found, expected = (one.model.get_parameter(name) for one in (made, alone))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(before.get_parameter(name), expected, atol=1e-4)
        assert not torch.allclose(paired.model.get_parameter(name), expected, atol=1e-4)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_killed_and_resumed_it_ends_with_the_same_weights_and_alpha(tmp_path: Path, stop_after: int) -> None:
    """The third step lies in the second epoch, whose first batch would choose another alpha."""
    method = seg_jdot()
    whole = trained(objective(method), method)
    stopping = quiet(folder=tmp_path, checkpoint_seconds=0, shared=StopsAfter(stop_after))
    with pytest.raises(Interrupted):
        fit(objective(method), stopping, method.schedule)
    resumed = objective(method)
    fit(resumed, dataclasses.replace(stopping, shared=Shared()), method.schedule)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert float(resumed.alpha) > 0
    late = objective(method).train()
    apart, wrong = medians(late, steps_of(late, epoch=1)[0])
    assert wrong / apart != pytest.approx(float(whole.alpha), rel=0.01)


def test_fewer_images_than_a_batch_are_drawn_more_than_once() -> None:
    task = both()
    assert task.source is not None and task.target is not None
    task = Task(task.source.take(np.arange(3)), task.target.take(np.arange(2)))
    method = seg_jdot(schedule=SHORT.model_copy(update={"batch_size": 8}))
    made = objective(method, task=task)
    assert {len(tensor) for tensor in steps_of(made)[0].tensors.values()} == {8}
    assert all(weight.isfinite().all() for weight in trained(made, method).model.parameters())


def test_sides_of_unequal_number_are_paired_as_well() -> None:
    made = objective(seg_jdot()).train()
    step = steps_of(made)[0]
    fewer = Step({**step.tensors, "target": step.tensors["target"][:3]})
    assert made(fewer, "main", START).total.isfinite()


def test_half_precision_pairs_in_full() -> None:
    histories = []
    for precision in ("32-true", "bf16-mixed"):
        run = quiet(precision=precision)
        adapt(source_model(), both(), seg_jdot(), run)
        histories.append(run.shared.records.tables["history"].iloc[0])
    for term in ("feature_term", "label_term", "alpha"):
        assert histories[1][term] == pytest.approx(histories[0][term], rel=0.1)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(MedgraftError, match="finite losses"):
        adapt(
            source_model(),
            both(),
            seg_jdot(alpha=1e300, schedule=SHORT.model_copy(update={"lr": 1e30})),
            quiet(),
        )


def small_and_large(name: str, brighter: float) -> Cohort:
    """Discs of two sizes in the middle of 24 images."""
    rng = np.random.default_rng([*name.encode()])
    rows, columns = np.mgrid[:32, :32]
    away = np.hypot(rows - 15.5, columns - 15.5)
    masks = np.stack([away <= (4.5, 9)[index // 2 % 2] for index in range(24)]).astype(np.uint8)
    images = 60 + 90 * masks + rng.normal(0, 8, masks.shape) + brighter
    return Cohort.from_arrays(
        images.clip(0, 255).astype(np.uint8)[..., None],
        masks,
        kind="segment",
        classes=("background", "disc"),
        patients=[f"{name}{index // 2}" for index in range(24)],
        split=["train"] * 16 + ["test"] * 8,
        name=name,
    )


def dice(model: Model, cohort: Cohort) -> float:
    held_out, overlaps = cohort.split("test"), []
    for found in predict_masks(model, held_out):
        wanted = held_out.mask(found.row).array[..., 0]
        overlaps.append(2 * (found.labels * wanted).sum() / (found.labels.sum() + wanted.sum()))
    return float(np.mean(overlaps))


@pytest.mark.slow
def test_pairs_come_to_agree_and_a_brighter_site_is_segmented() -> None:
    schedule = Schedule(
        epochs=4, steps_per_epoch=40, batch_size=8, optimizer="adam", lr=0.01, weight_decay=0.0
    )
    source, target = small_and_large("source", 0.0), small_and_large("target", 60.0)
    fine_tuned = FineTune(schedule=schedule, augmentation=None)
    model = adapt(source_model(), Task(target=source), fine_tuned, quiet())
    task, run = Task(source, target), quiet()
    paired = adapt(model, task, seg_jdot(schedule=schedule), run)
    unpaired = adapt(model, task, seg_jdot(schedule=schedule, alpha=0.0, beta=0.0), quiet())
    alignment = run.shared.records.tables["history"]["alignment"]
    assert alignment.iloc[-1] < 0.6 * alignment.iloc[0]
    assert dice(model, source) > 0.98 and dice(paired, source) > 0.95
    assert dice(paired, target) > 0.9 > 0.6 > max(dice(model, target), dice(unpaired, target))


# what is not seen, and what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_the_epoch_is_chosen_on_the_source_and_its_classes_stay(kind: Kind) -> None:
    found = adapt_verbosely(make_model(kind), both(kind), seg_jdot(), quiet(select=None))
    assert found.selection == "source_validation"
    assert found.model.spec.classes == make_cohort(kind).classes
    assert "alpha" not in found.model.state_dict()


def volumes() -> Cohort:
    images = np.zeros((3, 8, 32, 32, 1), np.float32)
    return Cohort.from_arrays(
        images, np.zeros(images.shape[:-1], np.uint8), kind="segment", classes=("background", "disc")
    )


@pytest.mark.parametrize(
    ("method", "task", "error", "words"),
    [
        (seg_jdot(), Task(volumes(), volumes()), DataError, "Give each slice a row of its own"),
        (seg_jdot(preparation={"patch": [16, 16]}), both(), DataError, "cuts patches"),
        (
            seg_jdot(),
            Task(make_cohort("segment"), make_cohort("segment", "B", size=40)),
            DataError,
            "one size",
        ),
        (seg_jdot(), Task(make_cohort("classify"), make_cohort("segment", "B")), DataError, "of one kind"),
        (seg_jdot(), both("multilabel"), NeedError, "one of: classify, segment"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    method: SegJDOT, task: Task, error: type[MedgraftError], words: str
) -> None:
    with pytest.raises(error, match=words):
        adapt(source_model(), task, method, quiet())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="which this method never sees"):
        seg_jdot(loss=LossSettings(name="cross_entropy", risk_map=RiskMap()))
    for wrong in ({"alpha": -1.0}, {"beta": -1.0}):
        with pytest.raises(ValidationError, match="greater than or equal to 0"):
            seg_jdot(**wrong)


def test_it_keeps_every_promise() -> None:
    assert len(check_method(seg_jdot())) == 2 * 8


@pytest.mark.slow
def test_it_keeps_every_promise_in_two_processes() -> None:
    assert "segment: two processes agree from run to run" in check_method(seg_jdot(), processes=True)
