"""LNTL, TABE and CLGR: what each phase trains, and by which gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, ShapeError
from medgraft.methods import CLGR, ERM, LNTL, TABE
from medgraft.methods.unseen.bias_labels import bias_labels
from medgraft.methods.unseen.debias import Debias, Debiased
from medgraft.models.debiasing import AuxiliaryHead
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Progress, Step

NOW = Progress(0, 1)
QUIET = {"device": "cpu", "progress": False}
SHORT = Schedule(epochs=2, batch_size=8, steps_per_epoch=3, optimizer="sgd", lr=1e-2)
TONES, TYPES = {1: (248, 214, 190), 3: (206, 160, 122), 6: (92, 60, 40)}, (1, 1, 1, 3, 6, 6)


def cohort_of(camera: list[str]) -> Cohort:
    chance = np.random.default_rng(3)
    count = len(camera)
    return Cohort.from_arrays(
        chance.integers(0, 255, (count, 32, 32, 1), dtype=np.uint8), np.arange(count) % 2, kind="classify",
        classes=("benign", "malignant"), patients=[f"p{index}" for index in range(count)],
        attributes=pd.DataFrame({"camera": camera, "room": ["one", "two"] * (count // 2)}), name="cameras",
    )  # fmt: skip


def prepared(method: Debias, camera: list[str]) -> tuple[Debiased, Step]:
    """An objective in evaluation mode, and all its rows as one batch."""
    torch.manual_seed(0)
    cohort, model = cohort_of(camera), make_model("classify")
    labels = bias_labels("Debias", cohort, method.attributes, Run(**QUIET))
    width = model.eval().features(torch.zeros(1, 1, 32, 32)).shape[1]
    heads = [AuxiliaryHead(width, len(each.values), method.hidden) for each in labels]
    objective = Debiased(model, Loader(cohort, model.spec.preparation), labels, heads, method)
    objective.eval()
    batch = objective.loader(range(len(cohort)))
    assert batch.truth is not None
    return objective, Step({"images": batch.images, "truth": batch.truth, **objective.row_tensors})


def gradients(objective: Debiased, step: Step, phase: str) -> dict[str, torch.Tensor | None]:
    for parameter in objective.parameters():
        parameter.grad = None
    objective.loss(step, phase, NOW).total.backward()
    return {name: parameter.grad for name, parameter in objective.named_parameters()}


ENCODER, HEAD = "model.net.conv1.0.weight", "model.net.fc.weight"
CAMERA = ["a", "a", "a", "b", "b", "c"]


@pytest.mark.parametrize(
    "cls", [pytest.param(LNTL, marks=pytest.mark.slow), pytest.param(TABE, marks=pytest.mark.slow), CLGR]
)
def test_they_keep_what_every_method_promises(cls: type[Debias]) -> None:
    check_method(cls(attributes=("camera",), schedule=SHORT, augmentation=None))


@pytest.mark.parametrize(
    ("method", "weight"),
    [
        (LNTL(attributes=("camera",), weight=0.3), 0.3),
        (TABE(attributes=("camera",)), 0.03 * 3 / 2),
        (CLGR(attributes=("camera",), weight=0.2), 0.2),
    ],
)
def test_the_first_phase_by_hand(method: Debias, weight: float) -> None:
    """Cross-entropy, and the weighed sum over values, one image after the other; the second head has no gradient."""
    objective, step = prepared(method, CAMERA)
    found = objective.loss(step, "main", NOW)
    with torch.no_grad():
        features = objective.model.features(step.tensors["images"]).double()
        task = functional.cross_entropy(
            objective.model(step.tensors["images"]).double(), step.tensors["truth"]
        )
        guessed = objective.heads.double()[0](features).softmax(1).tolist()
    objective.heads.float()
    if isinstance(method, LNTL):
        added = sum(p * math.log(p) for image in guessed for p in image) / len(guessed)
    else:
        added = -sum(math.log(p) for image in guessed for p in image) / (3 * len(guessed))
    assert found.total.item() == pytest.approx(task.item() + weight * added, rel=1e-5)
    assert found.parts["confusion"].item() == pytest.approx(weight * added, rel=1e-4)
    grads = gradients(objective, step, "main")
    assert grads["heads.0.layers.0.weight"] is None
    assert grads[ENCODER] is not None and grads[ENCODER].abs().sum() > 0


def plain_second_loss(objective: Debiased, step: Step) -> torch.Tensor:
    """The mean over the three cameras of the mean cross-entropy of their images."""
    logits = objective.heads[0](objective.model.features(step.tensors["images"]))
    each = -logits.log_softmax(1)[torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 2])]
    return (each[:3].mean() + each[3:5].mean() + each[5]) / 3


@pytest.mark.parametrize(
    ("method", "factor"),
    [
        (LNTL(attributes=("camera",)), -0.1),
        (CLGR(attributes=("camera",), scale=0.5), -0.5),
        (TABE(attributes=("camera",)), None),
        (LNTL(attributes=("camera",), reverse_gradient=False), None),
    ],
    ids=["LNTL", "CLGR", "TABE", "LNTL without reversal"],
)
def test_the_second_phase_turns_the_gradient_of_features_round(method: Debias, factor: float | None) -> None:
    objective, step = prepared(method, CAMERA)
    found = objective.loss(step, "bias", NOW)
    plain = plain_second_loss(objective, step)
    assert found.total.item() == pytest.approx(plain.item(), rel=1e-5)
    grads = gradients(objective, step, "bias")
    objective.zero_grad()
    plain.backward()
    expected = {name: parameter.grad for name, parameter in objective.named_parameters()}
    for name in ("heads.0.layers.0.weight", "heads.0.layers.0.bias"):
        assert torch.allclose(grads[name], expected[name], atol=1e-6)
    assert grads[HEAD] is None
    if factor is None:
        assert grads[ENCODER] is None
    else:
        assert torch.allclose(grads[ENCODER], factor * expected[ENCODER], atol=1e-6)


def test_groups_of_phases() -> None:
    """The first trains all of the model; the second its head never, the rest where the gradient is reversed."""
    for cls, reverses in ((CLGR, True), (TABE, False)):
        objective, _ = prepared(cls(attributes=("camera",), bias_lr_factor=7.0), CAMERA)
        main = {id(p) for group in objective.groups("main") for p in group.parameters}
        assert main == {id(p) for p in objective.model.parameters()}
        heads, *others = objective.groups("bias")
        assert heads.lr_factor == 7 and len(heads.parameters) == 2
        names = {id(p): name for name, p in objective.named_parameters()}
        second = {names[id(p)] for group in others for p in group.parameters}
        assert bool(second) == reverses and not second & {HEAD, "model.net.fc.bias"}


def test_unknown_values_teach_nothing_and_several_attributes_add_up() -> None:
    objective, step = prepared(TABE(attributes=("camera", "room")), ["a", "a", "", "b", "b", ""])
    assert step.tensors["attributes"].tolist() == [[0, 0], [0, 1], [-1, 0], [1, 1], [1, 0], [-1, 1]]
    assert step.tensors["attribute_weights"][:, 0].tolist() == [1.5, 1.5, 0, 1.5, 1.5, 0]
    found = objective.loss(step, "bias", NOW)
    features = objective.model.features(step.tensors["images"])
    cameras = functional.cross_entropy(objective.heads[0](features)[[0, 1, 3, 4]], torch.tensor([0, 0, 1, 1]))
    rooms = functional.cross_entropy(objective.heads[1](features), torch.tensor([0, 1] * 3))
    assert found.total.item() == pytest.approx((cameras + rooms).item(), rel=1e-5)
    guessed = [head(features).argmax(1).tolist() for head in objective.heads]
    right = sum(guess == known for guess, known in zip(guessed[0], (0, 0, None, 1, 1, None)))
    right += sum(guess == known for guess, known in zip(guessed[1], (0, 1) * 3))
    assert found.parts["bias_told"].tolist() == [right, 4 + 6]


def test_second_heads_learn_as_fast_as_published() -> None:
    """3e-3 beside 3e-4 where they are confused, and as fast as the features where their entropy is raised."""
    rates = [cls(attributes=("camera",)).bias_lr_factor for cls in (LNTL, TABE, CLGR)]
    assert rates == [1, 10, 10]


def test_without_weights_and_reversal_it_is_training_on_the_source() -> None:
    """TABE of weight 0 ends where ERM does but for the running statistics, which see every batch twice."""
    model, task = make_model("classify", channels=3), Task(source=make_cohort("classify"))
    run = {"select": "last", **QUIET}
    plain = mg.adapt(model, task, ERM(schedule=SHORT), Run(**run))
    debiased = mg.adapt(model, task, TABE(attributes=("camera",), weight=0, schedule=SHORT), Run(**run))
    for (name, one), other in zip(plain.named_parameters(), debiased.parameters()):
        assert torch.equal(one, other), name


def skin(tones: tuple[int, ...], side: int = 48) -> Cohort:
    images = np.stack([np.full((side, side, 3), TONES[tone], np.uint8) for tone in tones])
    images = images - np.arange(len(tones), dtype=np.uint8)[:, None, None, None]  # no two files alike
    return Cohort.from_arrays(
        images, np.arange(len(tones)) % 2, kind="classify", classes=("benign", "malignant"),
        patients=[f"p{index}" for index in range(len(tones))], name="skin",
    )  # fmt: skip


def test_tone_is_measured_where_no_column_tells_it() -> None:
    (labels,) = bias_labels("CLGR", skin(TYPES), ("ita",), Run(**QUIET))
    assert [labels.values[code] for code in labels.codes] == [str(tone) for tone in TYPES]
    adapted = mg.adapt(
        make_model("classify", channels=3), Task(source=skin(TYPES)), CLGR(attributes=("ita",), schedule=SHORT),
        Run(**QUIET),
    )  # fmt: skip
    assert adapted.spec.classes == ("benign", "malignant")


def test_what_cannot_be_unlearned_is_told() -> None:
    model = make_model("classify", channels=3)

    def debias(cohort: Cohort, **settings: Any) -> None:
        mg.adapt(model, Task(source=cohort), CLGR(schedule=SHORT, **settings), Run(**QUIET))

    with pytest.raises(DataError, match=r"two values of the attribute 'ita'.*have 1"):
        debias(skin((1, 1, 1)), attributes=("ita",))
    with pytest.raises(ShapeError, match=r"row 1, image in memory.*grey"):
        debias(make_cohort("classify"), attributes=("ita",))
    with pytest.raises(DataError, match=r"the column 'tone' in the manifest"):
        debias(make_cohort("classify"), attributes=("tone",))
    for column in ("label", "patient"):
        with pytest.raises(DataError, match=f"'{column}' in the manifest, as an attribute"):
            debias(make_cohort("classify"), attributes=(column,))
    with pytest.raises(DataError, match=r"at most 20 values of the attribute 'camera'.*have 24"):
        debias(cohort_of([str(number) for number in range(24)]), attributes=("camera",))
    with pytest.raises(ValueError, match="attributes"):
        CLGR(attributes=())
