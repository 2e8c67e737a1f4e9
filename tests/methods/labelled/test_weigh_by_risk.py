"""The transfer risk map in the methods that take a loss: what is weighed, what is told, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.checkpoint import read_latest
from medgraft.engine.method import MethodSettings, adapt
from medgraft.engine.patches import open_rows
from medgraft.engine.pixel_risk import RiskSums
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Supervised
from medgraft.errors import ModelError, SettingsError
from medgraft.images.augmentation import Augmentation
from medgraft.methods import L2SP, MMTL, OCTL, FineTune
from medgraft.methods.labelled.mmtl import MixedBatches
from medgraft.methods.labelled.weigh_by_risk import risk_table, weigh_by_risk
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.risk_map import RiskMap
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import _two_processes_equal_one, check_method, make_cohort, make_model
from medgraft.types import Kind, Preparation, Progress, Step

LOSS = LossSettings(name="dice_cross_entropy", risk_map=RiskMap())
SHORT = Schedule(epochs=2, batch_size=8)
PLAIN = Schedule(
    epochs=1, batch_size=64, optimizer="sgd", lr=0.05, momentum=0.0, weight_decay=0.0, shape="constant"
)


def quiet(**options: Any) -> Run:
    return Run(device="cpu", progress=False, **{"workers": 0} | options)


def source(classes: tuple[str, ...] = ("background", "disc")) -> Model:
    with seeded("source"):
        return regraft(make_model("segment"), classes)[0]


class FineTuneMasks(FineTune):
    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})


class L2SPMasks(L2SP):
    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})


class MMTLMasks(MMTL):
    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})


class OCTLMasks(OCTL):
    kinds: ClassVar[frozenset[Kind]] = frozenset({"segment"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        FineTuneMasks(loss=LOSS, schedule=SHORT),
        FineTuneMasks(loss=LOSS, schedule=SHORT, scope="from_scratch", estimate_batch_stats=True),
        FineTuneMasks(loss=LOSS, schedule=SHORT, layer_rates="auto_rgn"),
        L2SPMasks(loss=LOSS, schedule=SHORT),
        MMTLMasks(loss=LOSS, min_target=2, schedule=SHORT),
        OCTLMasks(loss=LOSS, schedule=Schedule(epochs=2, batch_size=8, optimizer="adam", lr=1e-3)),
    ],
    ids=["fine_tune", "from_scratch", "auto_rgn", "l2_sp", "mmtl", "octl"],
)
def test_methods_keep_their_promises_with_a_risk_map(method: MethodSettings) -> None:
    assert len(check_method(method)) == 8  # resuming among them


@pytest.mark.slow
def test_two_processes_equal_one() -> None:
    assert "two processes equal one" in _two_processes_equal_one(FineTune(loss=LOSS, schedule=SHORT))


def test_one_step_is_that_of_the_loss_written_by_hand() -> None:
    """Where the source's labels are new: the head starts anew, the risk comes from the source's own."""
    target = make_cohort("segment", "B").split("train")
    start = source(("rest", "a", "b"))
    method = FineTune(loss=LOSS, schedule=PLAIN, augmentation=None, freeze_batch_stats=True)
    with seeded("here"):
        model, plan = regraft(start, target.classes)
    assert plan.has_new_head
    with seeded("here"):
        tuned = method.adapt(start, Task(target=target), quiet())
    images, truth, _ = quiet().loader(target, start.spec.preparation)(np.arange(len(target)))
    assert truth is not None
    with torch.no_grad():
        theta = start.eval()(images).softmax(1).double()
    joint = torch.stack([(theta * (truth == y)[:, None]).sum((0, 2, 3)) for y in range(2)])
    given = joint / joint.sum(0)
    expected = torch.einsum("bzhw,bhwz->bhw", theta, given[truth])
    risk = -expected.log()
    low, high = risk.amin((1, 2), keepdim=True), risk.amax((1, 2), keepdim=True)
    weights = 10 ** ((risk - low) / (high - low))
    outputs = model.eval()(images)
    each = torch.nn.functional.cross_entropy(outputs, truth, reduction="none")
    entropy = ((weights * each).sum((1, 2)) / (truth > 0).sum((1, 2))).mean()
    dice = build_loss(LossSettings(name="soft_dice"), "segment")(outputs, truth)
    (0.5 * entropy + 0.5 * dice).backward()
    moved = 0.0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        step = 0.05 * parameter.grad
        moved = max(moved, float(step.abs().max()))
        torch.testing.assert_close(
            tuned.state_dict()[name], (parameter - step).detach().float(), rtol=1e-3, atol=2e-6
        )
    assert moved > 1e-2


def objective_of(apart: bool, target: Cohort, origin: Cohort) -> MixedBatches:
    model = source()
    kept = regraft(model, ("x", "y"), keep_source_head=True)[0] if apart else model
    rows = open_rows(target, model.spec.preparation, quiet())
    plain = LOSS.model_copy(update={"risk_map": None})
    return MixedBatches(
        kept,
        rows,
        open_rows(origin, model.spec.preparation, quiet()),
        build_loss(LOSS, "segment"),
        source_criterion=build_loss(plain, "segment") if apart else None,
        method=MMTL(min_target=3, schedule=SHORT, augmentation=None),
        pixel_weights=weigh_by_risk(model, rows, LOSS, quiet()),
    )


@pytest.mark.parametrize("apart", [False, True])
def test_in_a_mixture_only_target_images_are_weighed(apart: bool) -> None:
    target, origin = make_cohort("segment", "B"), make_cohort("segment", "A")
    objective = objective_of(apart, target, origin).eval()
    step = next(iter(objective.batches(Progress(0, 2), quiet())))
    images, truth, is_target = (step.tensors[name] for name in ("images", "truth", "is_target"))
    assert is_target.sum() == 3 and objective.pixel_weights is not None
    weights = objective.weigh_pixels(step)
    assert weights is not None
    assert (weights[~is_target] == 1).all() and (weights[is_target] != 1).any()
    both = objective.model.outputs_of_both_heads(images) if apart else (objective.model(images),) * 2
    plain = build_loss(LOSS.model_copy(update={"risk_map": None}), "segment")
    weighted = build_loss(LOSS, "segment")
    total = 0.0
    for row in range(8):
        part = slice(row, row + 1)
        if is_target[row]:
            mine = objective.pixel_weights(images[part], truth[part])
            total += weighted(both[0][part], truth[part], mine).item()
        else:
            total += plain(both[1][part], truth[part]).item()
    found = objective.loss(step, "main", Progress(0, 2)).total
    assert found.item() == pytest.approx(total / 8, rel=1e-5)


def test_a_mixture_without_target_images_is_scored_as_without_a_map() -> None:
    objective = objective_of(False, make_cohort("segment", "B"), make_cohort("segment", "A")).eval()
    step = next(iter(objective.batches(Progress(0, 2), quiet())))
    only = Step({name: tensor[:5] for name, tensor in step.tensors.items()})
    assert not only.tensors["is_target"].any()
    plain = build_loss(LOSS.model_copy(update={"risk_map": None}), "segment")
    alone = plain(objective.model(only.tensors["images"]), only.tensors["truth"])
    torch.testing.assert_close(objective.loss(only, "main", Progress(0, 2)).total, alone)


def test_the_source_sees_the_augmented_pixels_that_the_training_sees() -> None:
    target = make_cohort("segment", "B")
    model = source()
    rows = open_rows(target, model.spec.preparation, quiet())
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(images: Tensor, truth: Tensor) -> Tensor:
        seen.append((images, truth))
        return torch.ones(truth.shape)

    augmentation = Augmentation.preset("strong")
    criterion = build_loss(LOSS, "segment")
    objective = Supervised(
        model, rows, criterion, batch_size=8, augmentation=augmentation, pixel_weights=spy
    ).eval()
    step = next(iter(objective.batches(Progress(0, 1), quiet())))
    weighed = objective.loss(step, "main", Progress(0, 1)).total
    assert seen[0][0] is step.tensors["images"] and seen[0][1] is step.tensors["truth"]
    plain = build_loss(LOSS.model_copy(update={"risk_map": None}), "segment")
    torch.testing.assert_close(weighed, plain(model(step.tensors["images"]), step.tensors["truth"]))


def test_the_risk_is_told_and_shown() -> None:
    run = quiet()
    target = make_cohort("segment", "B")
    adapt(source(), Task(target=target), FineTune(loss=LOSS, schedule=SHORT), run)
    table = run.shared.records.tables["risk"].set_index("of")
    assert list(table.index) == ["background", "disc", "all pixels", "foreground", "classes alike"]
    assert table["share_of_pixels"][["background", "disc"]].sum() == pytest.approx(1)
    shares = table["share_of_pixels"]
    for column in ("mean_risk", "leep"):
        of = table[column]
        mixed = shares["background"] * of["background"] + shares["disc"] * of["disc"]
        assert of["all pixels"] == pytest.approx(mixed)
        assert of["foreground"] == pytest.approx(of["disc"])
        assert of["classes alike"] == pytest.approx((of["background"] + of["disc"]) / 2)
    assert (table["leep"] < 0).all() and np.allclose(table["mean_risk"], -table["leep"])
    pictures = {name: image for name, image in run.shared.records.images.items() if "risk_map" in name}
    assert sorted(pictures) == ["risk_map/1", "risk_map/2", "risk_map/3"]
    assert all(image.shape == (170, 320, 3) and image.std() > 10 for image in pictures.values())


def test_the_risk_is_that_of_the_true_source_also_from_scratch() -> None:
    tables = []
    for scope in ("all", "from_scratch"):
        run = quiet()
        method = FineTune(loss=LOSS, schedule=SHORT, scope=scope)  # type: ignore[arg-type]
        adapt(source(), Task(target=make_cohort("segment", "B")), method, run)
        tables.append(run.shared.records.tables["risk"])
    assert tables[0].equals(tables[1])


def test_the_source_is_in_no_checkpoint_and_a_resumed_run_measures_nothing_again(tmp_path: Path) -> None:
    class Stops(Shared):
        looks = 3

        @property  # type: ignore[override]
        def stop(self) -> bool:
            self.looks -= 1
            return self.looks < 0

        @stop.setter
        def stop(self, value: bool) -> None:
            pass

    method = FineTune(loss=LOSS, schedule=Schedule(epochs=2, batch_size=8))
    task = Task(target=make_cohort("segment", "B"))
    run = quiet(folder=tmp_path, checkpoint_seconds=0, shared=Stops())
    with pytest.raises(Interrupted):
        adapt(source(), task, method, run)
    found = read_latest(tmp_path / "checkpoints")
    assert found is not None
    names = {name for name in found[1][0] if name.startswith("objective/")}
    assert names == {f"objective/model.{name}" for name in source().state_dict()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medgraft.methods.labelled.weigh_by_risk.sum_risk", None)
        resumed = adapt(source(), task, method, dataclasses.replace(run, shared=Shared()))
    whole = adapt(source(), task, method, quiet())
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_without_a_map_nothing_is_measured() -> None:
    loss = LossSettings(name="cross_entropy")
    rows = open_rows(make_cohort("segment"), source().spec.preparation, quiet())
    assert weigh_by_risk(make_model("encode"), rows, loss, quiet()) is None


def test_what_has_no_risk_map_is_refused() -> None:
    target = make_cohort("segment", "B")
    rows = open_rows(target, source().spec.preparation, quiet())
    with pytest.raises(ModelError, match=r"source that segments.*'encode'"):
        weigh_by_risk(make_model("encode"), rows, LOSS, quiet())
    other = open_rows(target, Preparation(channels=3), quiet())
    with pytest.raises(SettingsError, match=r"channels=1.*channels=3"):
        weigh_by_risk(source(), other, LOSS, quiet())
    loss = LossSettings(name="cross_entropy", risk_map=RiskMap())
    task = Task(source=make_cohort("classify", "A"), target=make_cohort("classify", "B"))
    for method in (FineTune(loss=loss), L2SP(loss=loss), MMTL(loss=loss)):
        with pytest.raises(SettingsError, match="needs kind 'segment'"):
            adapt(make_model("classify"), task, method, quiet())


def test_another_preparation_of_intensities_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = open_rows(
        make_cohort("segment", "B"), Preparation(channels=1, intensity="zscore", size=(24, 24)), quiet()
    )
    assert weigh_by_risk(source(), rows, LOSS, quiet()) is not None
    assert "prepared otherwise than it was trained with (intensity)" in caplog.text


def test_an_absent_class_has_no_risk_and_does_not_count_among_classes_alike() -> None:
    sums = RiskSums(
        joint=torch.ones(3, 2),
        pixels=torch.tensor([6.0, 0.0, 2.0]),
        log_expected=torch.tensor([-3.0, 0.0, -4.0]),
        risk=torch.tensor([3.0, 0.0, 4.0]),
        shows=torch.tensor([True]),
    )
    table = risk_table(sums, ("rest", "absent", "lesion")).set_index("of")
    assert table["share_of_pixels"].tolist() == [0.75, 0.0, 0.25, 1.0, 0.25, 1.0]
    np.testing.assert_allclose(table["mean_risk"], [0.5, np.nan, 2.0, 7 / 8, 2.0, 1.25])
    np.testing.assert_allclose(table["leep"], [-0.5, np.nan, -2.0, -7 / 8, -2.0, -1.25])


@pytest.mark.parametrize("changes", [{"dimensions": 3, "patch": (4, 16, 16)}, {"slices": 3, "channels": 3}])
def test_volumes_are_weighed_crop_by_crop_or_slice_by_slice(changes: dict[str, Any]) -> None:
    flat = make_cohort("segment", "B", patients=6)
    images = np.stack([flat.picture(row).array for row in range(12)]).reshape(2, 6, 32, 32, 1)
    masks = np.stack([flat.mask(row).array[..., 0] for row in range(12)]).reshape(2, 6, 32, 32)
    target = Cohort.from_arrays(
        images, masks, kind="segment", classes=flat.classes, patients=["a", "b"], name="volumes"
    )
    preparation = Preparation.model_validate({"channels": 1, **changes})
    spec = ModelSpec(
        kind="segment", classes=("x", "y", "z"), channels=preparation.channels, preparation=preparation
    )
    with seeded("source"):
        model = UNet(spec, width=2, depth=1)
    run = quiet()
    adapted = adapt(model, Task(target=target), FineTune(loss=LOSS, schedule=SHORT), run)
    assert adapted.spec.classes == flat.classes
    assert run.shared.records.tables["risk"]["mean_risk"].gt(0).all()
    assert run.shared.records.images["risk_map/1"].shape == (170, 320, 3)
