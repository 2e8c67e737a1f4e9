"""Training on the source alone, and classes or groups that count equally."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, MedgraftError, NeedError
from medgraft.methods import ERM, FineTune
from medgraft.methods.unseen.bias_labels import bias_labels
from medgraft.methods.unseen.erm import SourceImages
from medgraft.models.model import Model
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Progress, Step

SHORT = Schedule(epochs=2, batch_size=8, steps_per_epoch=3)
QUIET = {"device": "cpu", "progress": False}


def tilted(camera: list[str], labels: list[int]) -> Cohort:
    """Noise with given labels and cameras."""
    chance = np.random.default_rng(0)
    return Cohort.from_arrays(
        chance.integers(0, 255, (len(labels), 32, 32, 1), dtype=np.uint8), np.array(labels), kind="classify",
        classes=("benign", "malignant"), patients=[f"p{index}" for index in range(len(labels))],
        attributes=pd.DataFrame({"camera": camera}), name="tilted",
    )  # fmt: skip


def objective(cohort: Cohort, **settings: Any) -> SourceImages:
    method = ERM(augmentation=None, **settings)
    model: Model = make_model("classify")
    model.spec = model.spec.changed(classes=("a", "b", "c"))
    labels = bias_labels("ERM", cohort, method.attributes, Run(**QUIET))
    return SourceImages(model, Loader(cohort, model.spec.preparation), labels, method)


@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"balance": "group", "attributes": ("camera",)}, marks=pytest.mark.slow)],
    ids=["plain", "groups"],
)
def test_it_keeps_what_every_method_promises(settings: dict[str, Any]) -> None:
    method = ERM(schedule=SHORT, augmentation=None, **settings)
    if settings:
        object.__setattr__(method, "kinds", frozenset({"classify"}))  # of the others nothing can be balanced
    check_method(method)


def test_it_is_fine_tuning_on_the_source() -> None:
    """The same weights, bit for bit; the target, here of another look, is not seen."""
    source, model = make_cohort("classify", "A"), make_model("classify", channels=3)
    on_source = mg.adapt(
        model,
        Task(source=source, target=make_cohort("classify", "B")),
        ERM(schedule=SHORT),
        Run(select="last", **QUIET),
    )
    fine_tuned = mg.adapt(model, Task(target=source), FineTune(schedule=SHORT), Run(select="last", **QUIET))
    for name, tensor in on_source.state_dict().items():
        assert torch.equal(tensor, fine_tuned.state_dict()[name]), name


def test_the_best_epoch_on_the_sources_validation_rows_is_kept() -> None:
    adapted = mg.adapt(
        make_model("classify", channels=3),
        Task(source=make_cohort("classify")),
        ERM(schedule=SHORT),
        Run(**QUIET),
    )
    assert adapted.spec.classes == ("small", "large")


CAMERA = ["old"] * 5 + ["new"] + ["old"] * 2 + ["new"] * 4
LABELS = [0] * 6 + [1] * 6


def test_groups_are_drawn_equally_often() -> None:
    """Chances by hand: 5 + 1 + 2 + 4 images in 4 groups, each a quarter."""
    chances = objective(tilted(CAMERA, LABELS), balance="group", attributes=("camera",)).sampling_weights
    assert chances is not None
    shares = chances / chances.sum()
    expected = [0.05] * 5 + [0.25] + [0.125] * 2 + [0.0625] * 4
    assert torch.allclose(shares, torch.tensor(expected, dtype=torch.float64))


def test_classes_are_drawn_equally_often_whatever_the_camera() -> None:
    chances = objective(tilted(["old"] * 9 + ["new"], [0] * 8 + [1] * 2), balance="class").sampling_weights
    assert chances is not None
    assert torch.allclose(
        chances / chances.sum(), torch.tensor([1 / 16] * 8 + [1 / 4] * 2, dtype=torch.float64)
    )


def test_weights_make_the_loss_the_mean_over_groups() -> None:
    """Over all rows the weighed loss is the mean of the four groups' means, computed one by one."""
    cohort = tilted(CAMERA, LABELS)
    trained = objective(cohort, balance="group", balance_by="weights", attributes=("camera",))
    assert trained.sampling_weights is None
    trained.eval()
    batch = trained.loader(range(12))
    step = Step(
        {"images": batch.images, "truth": torch.tensor(LABELS), "weight": trained.row_tensors["weight"]}
    )
    with torch.no_grad():
        found = trained.loss(step, "main", Progress(0, 1)).total
        each = -trained.model(batch.images).log_softmax(1)[torch.arange(12), torch.tensor(LABELS)]
    keys = list(zip(CAMERA, LABELS))
    means = [
        np.mean([each[row].item() for row in range(12) if keys[row] == key]) for key in sorted(set(keys))
    ]
    assert found.item() == pytest.approx(np.mean(means), rel=1e-5)


def test_batches_bring_the_weights_of_their_own_rows() -> None:
    cohort = tilted(CAMERA, LABELS)
    trained = objective(
        cohort, balance="group", balance_by="weights", attributes=("camera",), schedule=Schedule(batch_size=4)
    )
    images = trained.loader(range(12)).images
    for step in trained.batches(Progress(0, 1), Run(workers=0, **QUIET)):
        for image, weight in zip(step.tensors["images"], step.tensors["weight"]):
            (row,) = [row for row in range(12) if torch.equal(images[row], image)]
            assert weight == trained.row_tensors["weight"][row]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"balance": "group"}, "needs attributes"),
        ({"loss": {"name": "cross_entropy", "risk_map": {}}}, "risk_map"),
        ({"balance": "sex"}, "balance"),
        ({"attributes": ("camera",)}, "only balance='group' uses"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ERM(**settings)


def test_what_cannot_be_balanced_is_told() -> None:
    classify, masks = make_cohort("classify"), make_cohort("segment")
    model = make_model("classify", channels=3)
    with pytest.raises(MedgraftError, match="one label per image"):
        mg.adapt(make_model("segment"), Task(source=masks), ERM(balance="class"), Run(**QUIET))
    with pytest.raises(DataError, match=r"the column 'tone' in the manifest.*camera"):
        mg.adapt(model, Task(source=classify), ERM(balance="group", attributes=("tone",)), Run(**QUIET))
    with pytest.raises(DataError, match=r"two values of the attribute 'site'.*have A"):
        mg.adapt(model, Task(source=classify), ERM(balance="group", attributes=("site",)), Run(**QUIET))
    with pytest.raises(NeedError, match=r"source\.truth.*--source-at"):
        mg.adapt(model, Task(target=classify), ERM(), Run(**QUIET))
