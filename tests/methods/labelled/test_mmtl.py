"""MMTL: what is in a batch, how it is scored, and what becomes of the heads.

tests/golden/mmtl_octl.npz: numbers of target images by epoch, from the equation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import adapt
from medgraft.engine.patches import drawing_chances, open_rows
from medgraft.engine.predict import predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError
from medgraft.methods import MMTL, FineTune
from medgraft.methods.labelled.mmtl import MixedBatches, count_target_images
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Progress, Step

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "mmtl_octl.npz"))
KINDS: list[Kind] = ["classify", "multilabel", "segment"]


def mmtl(**settings: Any) -> MMTL:
    short = Schedule(epochs=4, steps_per_epoch=2, batch_size=8, optimizer="adam", lr=1e-3)
    return MMTL(**{"schedule": short, "augmentation": None} | settings)


def run(**options: Any) -> Run:
    return Run(device="cpu", progress=False, **{"workers": 0} | options)


def source_model(kind: Kind, classes: tuple[str, ...] | None = None) -> Model:
    with seeded("source"):
        model = make_model(kind)
        return model if classes is None else regraft(model, classes)[0]


def renamed(cohort: Cohort, classes: tuple[str, ...]) -> Cohort:
    """The same images under other class names; with one more class where one more is named."""
    images = np.stack([cohort.picture(number).array for number in range(len(cohort))])
    if cohort.kind == "segment":
        truth = np.stack([cohort.mask(number).array[..., 0] for number in range(len(cohort))])
    else:
        truth = cohort.labels
    if cohort.kind == "multilabel" and len(classes) > truth.shape[1]:
        truth = np.concatenate([truth, truth[:, :1]], axis=1)
    return Cohort.from_arrays(
        images, truth, kind=cohort.kind, classes=classes, patients=list(cohort.patients), name="renamed"
    )


def mixed(method: MMTL, model: Model, source: Cohort, target: Cohort, apart: bool = False) -> MixedBatches:
    criterion = build_loss(LossSettings.default(source.kind), source.kind)
    preparation = model.spec.preparation
    return MixedBatches(
        model,
        open_rows(target, preparation, run()),
        open_rows(source, preparation, run()),
        criterion,
        source_criterion=criterion if apart else None,
        method=method,
    )


# how many


def test_the_mixture_is_that_of_the_paper() -> None:
    epochs = range(60)
    found = [count_target_images(epoch, 60, 16) for epoch in epochs]
    assert found == GOLDEN["mmtl_ntarget_paper_E60_B16"].tolist()
    from_one = [count_target_images(epoch, 60, 16, keep_source=False) for epoch in epochs]
    assert from_one == GOLDEN["mmtl_ntarget_paper_1based"].tolist()


def test_as_many_target_images_as_asked_for_are_there_from_the_beginning() -> None:
    assert [count_target_images(epoch, 8, 4, min_target=1) for epoch in range(8)] == [1, 1, 1, 1, 2, 2, 3, 3]
    for epochs, batch in ((7, 5), (100, 3), (2, 2), (3, 50)):
        counts = [count_target_images(epoch, epochs, batch) for epoch in range(epochs)]
        assert counts == sorted(counts) and counts[-1] < batch
        assert count_target_images(epochs - 1, epochs, batch, keep_source=False) == batch


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_target": 8}, "at most 7 of the 8"),
        ({"min_target": 9, "keep_source": False}, "at most 8 of the 8"),
        ({"schedule": Schedule(epochs=1, batch_size=8)}, "no target image is ever seen"),
    ],
)
def test_mixtures_without_source_or_target_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        mmtl(**settings)


# which


@pytest.mark.parametrize("kind", KINDS)
def test_batches_hold_source_then_target_with_their_truth(kind: Kind) -> None:
    source, target = make_cohort(kind, "A"), make_cohort(kind, "B")
    objective = mixed(mmtl(), source_model(kind), source, target)
    for epoch, expected in ((0, 0), (1, 2), (3, 6)):
        steps = list(objective.batches(Progress(epoch, 4), run()))
        assert len(steps) == 2
        for step in steps:
            is_target = step.tensors["is_target"]
            assert is_target.tolist() == [False] * (8 - expected) + [True] * expected
            for cohort, side in ((source, ~is_target), (target, is_target)):
                everything = Loader(cohort, objective.model.spec.preparation)(range(len(cohort)))
                for image, truth in zip(step.tensors["images"][side], step.tensors["truth"][side]):
                    same = (everything.images == image).flatten(1).all(1)
                    assert same.sum() == 1
                    assert everything.truth is not None
                    assert torch.equal(everything.truth[same][0], truth)


def test_epochs_and_seeds_draw_other_images() -> None:
    objective = mixed(
        mmtl(), source_model("classify"), make_cohort("classify", "A"), make_cohort("classify", "B")
    )

    def drawn(epoch: int, seed: int) -> Tensor:
        return torch.cat(
            [step.tensors["images"] for step in objective.batches(Progress(epoch, 4), run(seed=seed))]
        )

    assert torch.equal(drawn(1, 0), drawn(1, 0))
    assert not torch.equal(drawn(1, 0), drawn(1, 1)) and not torch.equal(drawn(0, 0), drawn(1, 0))


def test_patients_are_equally_likely_however_many_images_they_have() -> None:
    images = np.zeros((4, 8, 8, 1), np.uint8)
    cohort = Cohort.from_arrays(
        images, np.array([0, 1, 0, 1]), kind="classify", classes=("a", "b"), patients=["p", "p", "p", "q"]
    )
    loader = Loader(cohort, source_model("classify").spec.preparation)
    torch.testing.assert_close(drawing_chances(loader), torch.tensor([1, 1, 1, 3]).double() / 6)


def test_without_steps_an_epoch_is_as_long_as_in_fine_tuning() -> None:
    schedule = Schedule(epochs=4, batch_size=8)
    target = make_cohort("classify", "B").split("train")
    objective = mixed(mmtl(schedule=schedule), source_model("classify"), make_cohort("classify", "A"), target)
    assert len(target) == 16 and len(list(objective.batches(Progress(1, 4), run()))) == 2


def test_images_of_two_sizes_are_explained() -> None:
    small, large = make_cohort("segment", "A", size=32), make_cohort("segment", "B", size=48)
    with pytest.raises(DataError, match=r"of one size .*\(1, 32, 32\) and \(1, 48, 48\).*--set size"):
        adapt(make_model("segment"), Task(small, large), mmtl(), run())
    adapted = adapt(make_model("segment"), Task(small, large), mmtl(size=(32, 32)), run(limit=Limit(2, 1)))
    assert adapted.spec.preparation.size == (32, 32)


# how they are scored


def test_one_forward_pass_sees_the_mixture() -> None:
    model = source_model("segment")
    objective = mixed(mmtl(), model, make_cohort("segment", "A"), make_cohort("segment", "B")).train()
    (step, _) = objective.batches(Progress(2, 4), run())
    assert step.tensors["is_target"].sum() == 4
    first, norm = model.get_submodule("encoder1.first"), model.get_submodule("encoder1.first_norm")
    with torch.no_grad():
        inner = first(step.tensors["images"])
        before = norm.running_mean.clone()
        objective(step, "main", Progress(2, 4))
    assert int(norm.num_batches_tracked) == 1
    torch.testing.assert_close(norm.running_mean, 0.9 * before + 0.1 * inner.mean((0, 2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_one_head_scores_all_images_alike(kind: Kind) -> None:
    model = source_model(kind, ("background", "disc") if kind == "segment" else ("small", "large"))
    objective = mixed(mmtl(), model, make_cohort(kind, "A"), make_cohort(kind, "B")).eval()
    (step, _) = objective.batches(Progress(2, 4), run())
    criterion = build_loss(LossSettings.default(kind), kind)
    expected = criterion(model(step.tensors["images"]), step.tensors["truth"])
    torch.testing.assert_close(objective(step, "main", Progress(2, 4)).total, expected)


OTHER: dict[Kind, tuple[str, ...]] = {
    "classify": ("calm", "wild", "odd"),
    "multilabel": ("calm", "wild", "odd"),
    "segment": ("rest", "organ", "vessel"),
}


@pytest.mark.parametrize("epoch", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_each_side_is_scored_by_its_own_head_and_every_image_counts_the_same(kind: Kind, epoch: int) -> None:
    source, target = renamed(make_cohort(kind, "A"), OTHER[kind]), make_cohort(kind, "B")
    original = source_model(kind, OTHER[kind])
    model, _ = regraft(original, target.classes, keep_source_head=True)
    objective = mixed(mmtl(), model, source, target, apart=True).eval()
    original.eval()
    (step, _) = objective.batches(Progress(epoch, 4), run())
    criterion = build_loss(LossSettings.default(kind), kind)
    each = []
    for image, truth, of_target in zip(*(step.tensors[name] for name in ("images", "truth", "is_target"))):
        outputs = (model if of_target else original)(image[None])
        wanted = truth[: len(target.classes if of_target else OTHER[kind])] if kind == "multilabel" else truth
        each.append(criterion(outputs, wanted[None]))
    found = objective(step, "main", Progress(epoch, 4)).total
    torch.testing.assert_close(found, torch.stack(each).mean(), rtol=1e-4, atol=1e-6)


# what becomes of the heads


@pytest.mark.parametrize("kind", KINDS)
def test_both_heads_are_trained_and_kept_where_label_sets_differ(kind: Kind) -> None:
    source, target = renamed(make_cohort(kind, "A"), OTHER[kind]), make_cohort(kind, "B")
    model = source_model(kind, OTHER[kind])
    adapted = adapt(model, Task(source, target), mmtl(loss=weighted(kind)), run())
    assert adapted.spec.classes == target.classes and adapted.source_classes == OTHER[kind]
    head = model.state_dict()[model.blocks()["head"][0]]
    kept = adapted.state_dict()["source_head.weight"]
    assert kept.shape == head.shape and 0 < (kept - head).abs().max() < 0.1  # moved from where it was


def weighted(kind: Kind) -> LossSettings:
    """Weights of the target's two classes: the source has three."""
    return LossSettings.default(kind).model_copy(update={"class_weights": (1.0, 2.0)})


def test_a_model_of_other_classes_than_the_source_s_gets_two_new_heads() -> None:
    source, target = renamed(make_cohort("classify", "A"), OTHER["classify"]), make_cohort("classify", "B")
    adapted = adapt(make_model("classify"), Task(source, target), mmtl(), run(limit=Limit(2, 1)))
    assert adapted.spec.classes == target.classes and adapted.source_classes == OTHER["classify"]


def test_the_same_label_set_keeps_one_head() -> None:
    task = Task(make_cohort("segment", "A"), make_cohort("segment", "B"))
    adapted = adapt(make_model("segment"), task, mmtl(), run(limit=Limit(2, 1)))
    assert adapted.source_classes == () and list(adapted.blocks())[-1] == "head"


def test_kinds_that_differ_are_explained() -> None:
    task = Task(make_cohort("multilabel", "A"), make_cohort("classify", "B"))
    with pytest.raises(DataError, match="one kind, but they are 'multilabel' and 'classify'"):
        adapt(make_model("classify"), task, mmtl(), run())


# the whole


def test_the_training_is_the_loop_written_by_hand() -> None:
    source, target = make_cohort("segment", "A"), make_cohort("segment", "B")
    model, other = source_model("segment"), source_model("segment")
    method = mmtl(
        schedule=Schedule(
            epochs=4, steps_per_epoch=2, batch_size=8, optimizer="sgd", lr=0.05, weight_decay=0.01
        )
    )
    fit(mixed(method, model, source, target), run(), method.schedule)
    objective = mixed(method, other, source, target)
    optimizer = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    criterion = build_loss(LossSettings.default("segment"), "segment")
    for epoch in range(4):
        other.train()
        optimizer.param_groups[0]["lr"] = method.schedule.learning_rate(epoch)
        for step in objective.batches(Progress(epoch, 4), run()):
            optimizer.zero_grad()
            criterion(other(step.tensors["images"]), step.tensors["truth"]).backward()
            optimizer.step()
    before = source_model("segment").state_dict()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    moved = [(tensor - before[name]).abs().max() for name, tensor in other.named_parameters()]
    assert max(moved) > 1e-2  # a hundred times what rounding may do


def test_masks_move_with_their_images() -> None:
    objective = mixed(
        mmtl(augmentation="dihedral"),
        source_model("segment"),
        make_cohort("segment", "A"),
        make_cohort("segment", "B"),
    )
    steps: list[Step] = list(objective.batches(Progress(2, 4), run()))
    for step in steps:
        for image, mask in zip(step.tensors["images"], step.tensors["truth"]):
            assert image[0][mask == 1].mean() > image[0][mask == 0].mean() + 0.2  # the disc is bright


def test_keeps_the_promises_of_a_method() -> None:
    assert len(check_method(mmtl(augmentation="dihedral"))) == 3 * 8


@pytest.mark.slow
def test_keeps_its_promises_in_two_processes() -> None:
    assert "two processes" in check_method(mmtl(), processes=True)[-1]


def dice(model: Model, cohort: Cohort) -> float:
    """Mean over images, of the disc."""
    found = []
    for mask in predict_masks(model, cohort):
        truth = cohort.mask(mask.row).array[..., 0] == 1
        found.append(2 * (mask.labels * truth).sum() / (mask.labels.sum() + truth.sum()))
    return float(np.mean(found))


@pytest.mark.slow
def test_the_source_is_kept_where_fine_tuning_forgets_it() -> None:
    """Four target images at a third of the source's brightness; 80 steps, too few for the last of the target's Dice."""
    source, same = make_cohort("segment", "A"), make_cohort("segment", "B")
    images = np.stack([same.picture(number).array // 3 for number in range(len(same))])
    masks = np.stack([same.mask(number).array[..., 0] for number in range(len(same))])
    target = Cohort.from_arrays(
        images, masks, kind="segment", classes=same.classes, patients=list(same.patients), name="dim"
    )
    few, test, unseen = target.take(range(4)), target.take(range(8, 24)), source.split("test")
    schedule = Schedule(
        epochs=16, steps_per_epoch=5, batch_size=8, optimizer="adam", lr=3e-3, weight_decay=0.0
    )
    fine_tune = FineTune(schedule=schedule, augmentation=None)
    last = {"select": "last"}
    start = adapt(source_model("segment"), Task(target=source), fine_tune, run(**last))
    plain = adapt(start, Task(target=few), fine_tune, run(**last))
    mixture = adapt(start, Task(source, few), mmtl(schedule=schedule), run(**last))
    assert dice(start, unseen) > 0.9 and dice(start, test) < 0.1
    assert dice(mixture, unseen) > 0.8 and dice(plain, unseen) < 0.5
    assert dice(mixture, test) > 0.85 and dice(plain, test) > 0.85
