"""The method `popar`: what it disturbs, what it learns, what comes back, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tests.tiny_swin  # noqa: F401 - registers it
import torch
from tests.pretraining.gradients import gradients
from torch import nn

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import adapt
from medgraft.engine.predict import predict_labels
from medgraft.engine.records import read_records
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import MedgraftError, ModelError, SettingsError, ShapeError
from medgraft.images.patches_order import draw_orders, is_permuted, restore_patches
from medgraft.methods import FineTune
from medgraft.models.masked_images import ReconstructionHead
from medgraft.models.model import Model
from medgraft.models.popar import SubTasks
from medgraft.models.sources import open_source
from medgraft.plugins import find_plugins, resolve_method
from medgraft.pretraining import POPAR
from medgraft.pretraining.popar import RIGHT, TINT, UNCLAIMED, WRONG, OrderAndAppearance, put_in_order
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Preparation, Progress, Step

NOW = Progress(0, 1)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "popar_loss.npz")
SHORT = Limit(steps=1, epochs=1)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 1, batch: int = 8, lr: float = 1e-3, **settings: object) -> POPAR:
    schedule = Schedule(epochs=epochs, batch_size=batch, lr=lr, warmup_epochs=epochs // 10, weight_decay=0.0)
    return POPAR(schedule=schedule, **settings)  # type: ignore[arg-type]


def source(architecture: str = "tiny_swin", channels: int = 1, size: tuple[int, int] = (64, 64)) -> Model:
    return open_source(f"random/{architecture}", kind="encode", channels=channels, size=size)


def objective(method: POPAR, cohort: Cohort, model: Model) -> OrderAndAppearance:
    channels, (height, width) = model.spec.channels, model.spec.preparation.size or (64, 64)
    found = model.last_map(torch.zeros(1, channels, height, width))
    stride, cells = height // found.shape[2], found.shape[2] * found.shape[3]
    order = nn.Linear(found.shape[1], cells)
    restoration = ReconstructionHead(found.shape[1], stride, channels)
    return OrderAndAppearance(
        model, run().loader(cohort, model.spec.preparation), order, restoration, stride, method
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_it_keeps_the_promises_of_every_method(architecture: str) -> None:
    checked = check_method(small(), architecture=architecture)
    assert "encode: interrupted and resumed equals uninterrupted" in checked


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_tell_the_same_history(tmp_path: Path) -> None:
    assert (
        check_method(small(), processes=True, architecture="test_vit")[-1]
        == "encode: two processes equal one"
    )
    tables, model = [], source("test_vit")
    for processes in (1, 2):
        trained = run(processes=processes, folder=tmp_path / str(processes))
        method = small(epochs=2, batch=3)  # shares of two rows and one
        adapt(model, Task(source=gradients(9, side=64)), method, trained)
        tables.append(read_records(tmp_path / str(processes)).tables["history"])
    one, two = (table.drop(columns=["seconds", "score"]) for table in tables)
    assert {"accuracy_permuted", "accuracy_identity"} <= set(one)
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_it_is_found_by_name() -> None:
    assert find_plugins("methods")["popar"].owner == "medgraft"
    settings = {"schedule": {"epochs": 30, "optimizer": "sgd", "lr": 0.1}, "subtasks": {"transformed": 0}}
    method = resolve_method("popar", settings)
    assert isinstance(method, POPAR)
    assert (method.schedule.optimizer, method.schedule.momentum, method.schedule.warmup_epochs) == (
        "sgd",
        0.9,
        5,
    )
    assert method.schedule.weight_decay == 0
    assert method.subtasks == SubTasks(transformed=0)


@pytest.mark.parametrize("intensity", ["unit", "zscore"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_permuted_or_changed_never_both(channels: int, intensity: str) -> None:
    preparation = Preparation(channels=channels, size=(64, 64), intensity=intensity)  # type: ignore[arg-type]
    model = source(channels=channels)
    model.spec = model.spec.changed(preparation=preparation)
    task = objective(small(batch=24), gradients(24, side=64, channels=channels), model)
    (step,) = task.batches(NOW, run())
    images, clean, order = (step.tensors[name] for name in ("images", "clean", "order"))
    permuted = is_permuted(order)
    assert 4 < permuted.sum() < 20
    assert torch.equal(restore_patches(images[permuted], order[permuted], 16), clean[permuted])
    assert bool((images - clean)[~permuted].flatten(1).any(1).all())
    ends = clean.flatten(1) if intensity == "zscore" else torch.tensor([[0.0, 1.0]]).expand(24, 2)
    low, high = ends.amin(1), ends.amax(1)
    changed = images.flatten(1)
    assert bool(((changed.amin(1) >= low - 1e-5) & (changed.amax(1) <= high + 1e-5)).all())
    cohort_rows = task.rows(range(24)).images.flatten(1).sum(1)
    torch.testing.assert_close(clean.flatten(1).sum(1).sort().values, cohort_rows.sort().values)


def test_switched_off_subtasks_leave_their_images_out() -> None:
    cohort = gradients(24, side=64)
    (permuted,) = objective(small(batch=24, subtasks={"transformed": 0}), cohort, source()).batches(
        NOW, run()
    )
    assert bool(is_permuted(permuted.tensors["order"]).all())
    only = {"order": 0, "misplaced": 0}
    (changed,) = objective(small(batch=24, subtasks=only), cohort, source()).batches(NOW, run())
    assert not is_permuted(changed.tensors["order"]).any()
    assert bool((changed.tensors["images"] - changed.tensors["clean"]).flatten(1).any(1).all())


@pytest.mark.parametrize("architecture", ["tiny_swin", "test_vit"])
def test_its_loss_is_that_of_a_loop(architecture: str) -> None:
    weights = {"order": 0.3, "misplaced": 0.5, "transformed": 0.9}
    task = objective(small(subtasks=weights), gradients(8, side=64), source(architecture)).eval()
    (step,) = task.batches(NOW, run())
    images, clean, order = (step.tensors[name] for name in ("images", "clean", "order"))
    loss = task.loss(step, "main", NOW)
    features = task.model.last_map(images)
    restored = task.restoration(features)
    entropy, errors, right = 0.0, {True: 0.0, False: 0.0}, {True: [0, 0], False: [0, 0]}
    for image in range(8):
        moved = bool((order[image] != torch.arange(16)).any())
        for place in range(16):
            scores = task.order(features[image, :, place // 4, place % 4]).tolist()
            truth = int(order[image, place])
            entropy -= scores[truth] - math.log(sum(map(math.exp, scores)))
            right[moved][0] += scores.index(max(scores)) == truth
            right[moved][1] += 1
        errors[moved] += (restored[image] - clean[image]).square().mean().item()
    expected = 0.3 * entropy / 128 + 0.5 * errors[True] / 8 + 0.9 * errors[False] / 8
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.parts["order"].item() == pytest.approx(entropy / 128, rel=1e-5)
    for name, moved in (("permuted", True), ("identity", False)):
        part, whole = loss.parts[f"accuracy_{name}"].tolist()
        assert part / whole == pytest.approx(right[moved][0] / right[moved][1])
    loss.total.backward()
    assert all(
        weight.grad is not None for head in (task.order, task.restoration) for weight in head.parameters()
    )


def test_its_loss_on_golden_numbers_is_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropy and squared error of the authors' formula, through the method."""
    task = objective(small(), gradients(4, side=64, channels=3), source(channels=3))
    logits, order, drawn, clean = (
        torch.from_numpy(GOLDEN[name]) for name in ("order_logits", "perm", "pred", "gt")
    )
    monkeypatch.setattr(task, "outputs", lambda _: (logits.reshape(3, 16, 16), drawn))
    loss = task.loss(Step({"images": clean, "clean": clean, "order": order}), "main", NOW)
    assert loss.total.item() == pytest.approx(float(GOLDEN["loss"]), abs=1e-6)
    assert loss.parts["order"].item() == pytest.approx(float(GOLDEN["ce"]), abs=1e-6)
    both = loss.parts["misplaced"] + loss.parts["transformed"]
    assert both.item() == pytest.approx(float(GOLDEN["mse"]), abs=1e-6)


def test_it_begins_near_guessing_and_an_accuracy_of_no_image_is_nan() -> None:
    trained = run()
    adapt(source(), Task(source=gradients(8, side=64)), small(subtasks={"transformed": 0}), trained)
    history = trained.shared.records.tables["history"]
    assert history["order"].iloc[0] == pytest.approx(math.log(16), rel=0.3)
    assert history["transformed"].iloc[0] == 0
    assert math.isnan(history["accuracy_identity"].iloc[0])
    assert 0 <= history["accuracy_permuted"].iloc[0] <= 1


@pytest.mark.slow
def test_it_learns_where_cells_belong_and_how_they_looked() -> None:
    trained = run()
    cohort = gradients(64, side=64)
    method = small(epochs=100, batch=16)
    encoder = adapt(source("test_vit"), Task(source=cohort), method, trained)
    history = trained.shared.records.tables["history"].iloc[-5:].mean(numeric_only=True)
    assert history["accuracy_permuted"] > 8 / 16
    assert history["order"] < 0.5 * math.log(16)
    variance = float(run().loader(cohort, encoder.spec.preparation)(range(64)).images.var())
    assert history["misplaced"] < 0.9 * 0.5 * variance  # half of the images are permuted


@pytest.mark.parametrize("architecture", ["tiny_swin", "test_vit"])
def test_what_it_leaves_is_tuned_at_another_size(tmp_path: Path, architecture: str) -> None:
    model, task = source(architecture, channels=3, size=(32, 32)), Task(source=make_cohort("encode", size=64))
    encoder = mg.adapt(model, task, small(size=(64, 64)), run(limit=SHORT, folder=tmp_path / "popar"))
    assert (encoder.spec.channels, encoder.spec.preparation.size) == (1, (64, 64))
    target = make_cohort("classify", "B")
    method = FineTune(size=(32, 32))
    tuned = mg.adapt(tmp_path / "popar", Task(target=target), method, run(limit=SHORT))
    assert tuned.spec.preparation.size == (32, 32)
    assert predict_labels(tuned, target).probabilities.shape == (len(target), 2)


def test_a_training_that_goes_on_finds_the_heads_that_fit() -> None:
    encoder = adapt(source(), Task(source=gradients(8, side=64)), small(), run(limit=SHORT))
    assert encoder.pretraining_heads is not None
    left = {name: encoder.pretraining_heads.of(name) for name in ("order", "restoration")}
    assert left["order"]["weight"].shape == (16, 32)
    smaller = adapt(encoder, Task(source=gradients(8)), small(size=(32, 32), lr=1e-9), run(limit=SHORT))
    assert smaller.pretraining_heads is not None
    assert smaller.pretraining_heads.of("order")["weight"].shape == (4, 32)
    kept = smaller.pretraining_heads.of("restoration")
    torch.testing.assert_close(kept["0.weight"], left["restoration"]["0.weight"], rtol=0, atol=1e-6)


def test_convolutional_networks_serve_where_they_have_places() -> None:
    model = make_model("encode", channels=3)
    encoder = adapt(model, Task(source=gradients(8, side=64)), small(size=(64, 64)), run(limit=SHORT))
    assert extract_features(encoder, gradients(8, side=64)).shape[0] == 8
    assert encoder.pretraining_heads is not None
    places = encoder.last_map(torch.zeros(1, 1, 64, 64)).shape[2:].numel()
    assert len(encoder.pretraining_heads.of("order")["bias"]) == places > 1


@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_mixed_precision_trains_it(architecture: str) -> None:
    half, full = (run(limit=SHORT, precision=precision) for precision in ("bf16-mixed", "32-true"))
    for each in (half, full):
        torch.manual_seed(0)
        adapt(source(architecture), Task(source=gradients(8, side=64)), small(), each)
    losses = [each.shared.records.tables["history"]["loss"].iloc[0] for each in (half, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def test_the_picture_has_each_cell_where_it_is_put() -> None:
    images = torch.arange(1, 5).float().reshape(1, 1, 2, 2).expand(1, 3, 2, 2) / 8  # cells of one pixel
    order = torch.tensor([[2, 0, 1, 3]])
    said, surest = (
        [2, 3, 3, 3],
        [1.0, 1.0, 2.0, 3.0],
    )  # three cells for the last place, the last one the surest
    scores = torch.zeros(1, 4, 4)
    scores[0, range(4), said] = torch.tensor(surest)
    drawn = put_in_order(images, scores, order, cell=1)[0].flatten(1).T
    blue, orange = (torch.tensor(colour) for colour in (RIGHT, WRONG))
    assert drawn[:2].tolist() == [[UNCLAIMED] * 3] * 2
    torch.testing.assert_close(drawn[2], (1 - TINT) * images[0, :, 0, 0] + TINT * blue)
    torch.testing.assert_close(drawn[3], (1 - TINT) * images[0, :, 1, 1] + TINT * blue)
    wrong = put_in_order(images, scores, torch.tensor([[2, 0, 3, 1]]), cell=1)[0].flatten(1).T
    torch.testing.assert_close(wrong[3], (1 - TINT) * images[0, :, 1, 1] + TINT * orange)


def test_pictures_show_permuted_and_changed_images_in_turn() -> None:
    task, shown = objective(small(), gradients(8, side=64), source()), run()
    images = task.rows(range(3)).images
    task.show(images, shown)
    assert list(shown.shared.records.images) == ["put in order (image, seen, restored, order)"]
    (picture,) = shown.shared.records.images.values()
    assert picture.shape == (3 * 64 + 2 * 2, 4 * 64 + 3 * 2, 3)
    rows = [picture[start : start + 64] for start in (0, 66, 132)]
    order = draw_orders(3, 16, run().generator("shown"), identity=0.0)
    for number in (0, 2):  # permuted
        image, seen = (torch.from_numpy(rows[number][:, start : start + 64].copy()) for start in (0, 66))
        put_back = restore_patches(seen.permute(2, 0, 1)[None], order[number, None], 16)[0].permute(1, 2, 0)
        assert torch.equal(put_back, image)
    assert not np.array_equal(rows[1][:, :64], rows[1][:, 66:130])


def refused(model: Model, method: POPAR) -> MedgraftError:
    with pytest.raises(MedgraftError) as caught:
        adapt(model, Task(source=gradients(8, side=64)), method, run(limit=SHORT))
    return caught.value


@pytest.mark.parametrize(("architecture", "side", "stride"), [("tiny_swin", 56, 16), ("test_resnet", 48, 32)])
def test_places_that_reach_beyond_the_image_are_refused(architecture: str, side: int, stride: int) -> None:
    """Both pad to 64 pixels, so their places of 16 and 32 are as many as 14 and 24 pixels would give."""
    encoder, images = source(architecture, size=(side, side)), torch.zeros(1, 1, side, side)
    remedy = rf"of {stride} pixels each.*Set size=\[64, 64\] or other multiples of {stride}\."
    with pytest.raises(ShapeError, match=remedy):
        POPAR().stride(encoder, images)
    assert encoder.last_map(images).shape[2] == 64 // stride
    assert POPAR().stride(source(architecture), torch.zeros(1, 1, 64, 64))[0] == stride


def test_what_cannot_be_trained_is_one_sentence() -> None:
    unet = refused(open_source("random/unet", classes=("rest", "disc"), channels=1), small())
    assert isinstance(unet, ModelError) and "a last map of features" in str(unet)
    other = refused(source(), small(cell=32))
    assert isinstance(other, SettingsError) and "cell of 16 pixels, the stride of this network" in str(other)
    single = refused(source("test_vit"), small(size=(16, 16)))
    assert isinstance(single, ShapeError) and "several cells of 16 pixels" in str(single)
    uncovered = refused(source(), small(size=(40, 40)))
    assert isinstance(uncovered, ShapeError) and "cover exactly" in str(uncovered)
    assert small(cell=16).cells_of(torch.zeros(1, 1, 64, 96), stride=16) == 24
