"""Stain-AgLr: what each part sees, what is switched off, and that stains come to matter less."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, ModelError, SettingsError
from medgraft.images.augmentation import Augmentation
from medgraft.images.hed import jitter_hed, rgb_to_hed
from medgraft.methods import ERM, StainAgLr
from medgraft.methods.unseen.stain_aglr import ALTERED, StainAgnostic
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Progress, Step

NOW = Progress(0, 1)
QUIET = {"device": "cpu", "progress": False}
SHORT = Schedule(epochs=2, batch_size=8, steps_per_epoch=3, optimizer="adam", lr=1e-3)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OFF = {"consistency_weight": 0, "regeneration_weight": 0}


def pixels(count: int = 12, side: int = 32) -> np.ndarray:
    """Coloured noise."""
    return np.random.default_rng(5).integers(60, 250, (count, side, side, 3), dtype=np.uint8)


def tiles(count: int = 12, side: int = 32, kind: Kind = "classify") -> Cohort:
    labels = np.arange(count) % 2
    truth = labels if kind == "classify" else np.stack([labels, 1 - labels], 1).astype(np.float32)
    return Cohort.from_arrays(
        pixels(count, side), truth, kind=kind,
        classes=("benign", "malignant"), patients=[f"p{index}" for index in range(count)], name="tiles",
    )  # fmt: skip


def classifier(kind: Kind = "classify", **preparation: Any) -> Model:
    torch.manual_seed(0)
    model = open_source("random/test_resnet", kind=kind, classes=("benign", "malignant"))
    changed = model.spec.preparation.model_copy(update={**IMAGENET, **preparation})
    model.spec = model.spec.changed(preparation=changed)
    return model


def prepared(
    kind: Kind = "classify", weights: Tensor | None = None, **settings: Any
) -> tuple[StainAgnostic, Step]:
    """An objective, and its first batch of six."""
    method = StainAgLr(**{"schedule": SHORT.model_copy(update={"batch_size": 6}), **settings})
    cohort, model, run = tiles(kind=kind), classifier(kind), Run(**QUIET)
    objective = StainAgnostic(model, Loader(cohort, model.spec.preparation), (), method, run)
    return objective, next(iter(objective.batches(NOW, run)))


def gradients(objective: StainAgnostic, loss: Tensor) -> dict[str, Tensor]:
    objective.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def test_it_keeps_what_every_method_promises() -> None:
    assert len(check_method(StainAgLr(schedule=SHORT))) == 2 * 8


def colours_of(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(IMAGENET[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return images * std + mean


def test_the_altered_half_is_the_augmented_half_in_other_stains() -> None:
    """Each image's stains are a gain and a bias of its own, in range, of those of the raw one; nothing has moved."""
    objective, step = prepared(alteration={"hed": 0.2})
    raw, altered = colours_of(step.tensors["images"]), colours_of(step.tensors[ALTERED])
    assert 0.02 < float((raw - altered).abs().mean()) < 0.5
    clipped = (altered <= 1e-4) | (altered >= 1 - 1e-4)
    assert clipped.double().mean() < 0.5
    found = []
    for one, other, unseen in zip(raw, altered, clipped.any(dim=1)):
        stains = [rgb_to_hed(image[None].double(), "legacy")[0][:, ~unseen] for image in (one, other)]
        for before, after in zip(*stains):
            known = torch.stack([before, torch.ones_like(before)], 1)
            gain, bias = torch.linalg.lstsq(known, after[:, None]).solution[:, 0].tolist()
            assert torch.allclose(known @ torch.tensor([gain, bias]).double(), after, atol=1e-4)
            assert 0.8 <= gain <= 1.2 and abs(bias) <= 0.2
            found.append((round(gain, 3), round(bias, 3)))
    assert len(set(found)) == 18
    everything = objective.loader(range(12))  # flips and turns keep an image's mean colour
    means, ours = (images.mean(dim=(2, 3)) for images in (everything.images, step.tensors["images"]))
    rows = torch.cdist(ours, means).argmin(dim=1)
    assert torch.cdist(ours, means).amin(dim=1).max() < 1e-4 and len(set(rows.tolist())) == 6
    assert torch.equal(step.tensors["truth"], everything.truth[rows])  # type: ignore[index]


def test_raw_images_of_a_batch_are_those_of_training_without_alteration() -> None:
    """Ablations see the same rows, turned alike; an epoch's stains can be drawn again, other epochs have others."""
    plain, step = prepared(cross_entropy_on="raw", **OFF)
    full, _ = prepared()
    assert ALTERED not in step.tensors and plain.decoder is None
    run = Run(**QUIET)
    first, again, later = (next(iter(full.batches(Progress(n, 9), run))).tensors for n in (0, 0, 1))
    assert torch.equal(first["images"], step.tensors["images"])
    assert torch.equal(first[ALTERED], again[ALTERED])
    full.alterations = run.generator("alteration", 1)
    assert torch.equal(full.altered(later["images"], full.alterations), later[ALTERED])
    full.alterations = run.generator("alteration", 0)
    assert not torch.equal(full.altered(later["images"], full.alterations), later[ALTERED])


@pytest.mark.parametrize("kind", ["classify", "multilabel"])
@pytest.mark.parametrize("side", ["both", "raw", "altered"])
def test_the_loss_by_hand(kind: Kind, side: str) -> None:
    """With norms at rest, so that halves may pass one after the other."""
    objective, step = prepared(kind, cross_entropy_on=side, consistency_weight=3.0, regeneration_weight=0.7)
    objective.eval()
    with torch.no_grad():
        objective.model.net.fc.weight *= 100  # type: ignore[union-attr, operator] - opinions that differ
    found = objective.loss(step, "main", NOW)
    with torch.no_grad():
        raw, altered = (objective.model(step.tensors[name]) for name in ("images", ALTERED))
        assert objective.block == "stage3"  # of one pixel is the fourth
        inner = objective.model.activations(step.tensors[ALTERED], ["stage3"])[1]["stage3"]
        drawn = objective.decoder(inner, (32, 32)).double().numpy()  # type: ignore[misc]
    truth = step.tensors["truth"]
    score = functional.cross_entropy if kind == "classify" else functional.binary_cross_entropy_with_logits
    on_raw, on_altered = score(raw, truth).item(), score(altered, truth).item()
    expected = {"both": (on_raw + on_altered) / 2, "raw": on_raw, "altered": on_altered}[side]
    divergence = 0.0
    for z, z_altered in zip(raw.double(), altered.double()):
        if kind == "classify":
            p, q = z.softmax(0), z_altered.softmax(0)
        else:
            p, q = (torch.cat([values.sigmoid(), (-values).sigmoid()]) for values in (z, z_altered))
        divergence += sum(float(a * (a / b).log()) for a, b in zip(p, q)) / 6
    target = colours_of(step.tensors["images"]).double().numpy()
    distance = sum(((drawn[n] - target[n]) ** 2).sum() for n in range(6)) / (6 * 32 * 32)
    assert found.parts["task"].item() == pytest.approx(expected, rel=1e-5)
    assert divergence > 1e-4
    assert found.parts["consistency"].item() == pytest.approx(divergence, rel=1e-3)
    assert found.parts["regeneration"].item() == pytest.approx(distance, rel=1e-5)
    assert found.total.item() == pytest.approx(expected + 3 * divergence + 0.7 * distance, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({}, 12),
        ({"cross_entropy_on": "altered"}, 12),
        ({"cross_entropy_on": "altered", "consistency_weight": 0}, 6),
        ({"cross_entropy_on": "altered", **OFF}, 6),
        ({"cross_entropy_on": "raw", "regeneration_weight": 0}, 12),
        ({"cross_entropy_on": "both", **OFF}, 12),
        ({"cross_entropy_on": "raw", **OFF}, 6),
    ],
)  # fmt: skip
def test_norms_see_both_halves_together_where_both_are_needed(settings: dict[str, Any], seen: int) -> None:
    objective, step = prepared(**settings)
    norm = next(layer for layer in objective.model.modules() if isinstance(layer, nn.BatchNorm2d))
    batches: list[int] = []
    norm.register_forward_hook(lambda _layer, inputs, _outputs: batches.append(len(inputs[0])))
    objective.train()
    objective.loss(step, "main", NOW)
    assert batches == [seen]


def test_statistics_are_those_of_both_halves() -> None:
    objective, step = prepared()
    stem = objective.model.net.conv1  # type: ignore[union-attr]
    norm = next(layer for layer in objective.model.modules() if isinstance(layer, nn.BatchNorm2d))
    first = stem[0] if isinstance(stem, nn.Sequential) else stem
    with torch.no_grad():
        inner = first(torch.cat([step.tensors["images"], step.tensors[ALTERED]]))  # type: ignore[operator]
    objective.train()
    objective.loss(step, "main", NOW)
    assert torch.allclose(norm.running_mean, norm.momentum * inner.mean(dim=(0, 2, 3)), atol=1e-5)


def test_alike_halves_have_no_consistency_and_no_gradient_of_it() -> None:
    objective, step = prepared()
    alike = Step({**step.tensors, ALTERED: step.tensors["images"].clone()})
    objective.train()
    for parts, same in (
        (objective.loss(step, "main", NOW).parts, False),
        (objective.loss(alike, "main", NOW).parts, True),
    ):
        assert (parts["consistency"].item() < 1e-9) == same
        steepest = max(g.abs().max() for g in gradients(objective, parts["consistency"]).values())
        assert (steepest < 1e-7) == same


def test_a_stopped_gradient_reaches_the_altered_half_only() -> None:
    """With gradients on the images: those of the raw half come from the labels alone."""
    for stop in (True, False):
        objective, step = prepared(stop_gradient=stop, cross_entropy_on="altered", regeneration_weight=0)
        objective.eval()
        raw, altered = (step.tensors[name].clone().requires_grad_() for name in ("images", ALTERED))
        found = objective.loss(Step({**step.tensors, "images": raw, ALTERED: altered}), "main", NOW)
        found.parts["consistency"].backward()
        assert altered.grad.abs().max() > 0
        assert bool(raw.grad.abs().max() > 0) is not stop


def test_regeneration_trains_the_decoder_and_what_lies_before_its_map_by_the_altered_half() -> None:
    objective, step = prepared()
    objective.eval()
    altered = step.tensors[ALTERED].clone().requires_grad_()
    found = objective.loss(Step({**step.tensors, ALTERED: altered}), "main", NOW)
    reached = {
        name for name, g in gradients(objective, found.parts["regeneration"]).items() if g.abs().max() > 0
    }
    assert altered.grad.abs().max() > 0
    assert {name for name, _ in objective.named_parameters() if name.startswith("decoder.")} <= reached
    blocks = {
        block: {f"model.{name}" in reached for name in names}
        for block, names in objective.model.blocks().items()
    }
    assert [block for block, told in blocks.items() if any(told)] == ["stem", "stage1", "stage2", "stage3"]
    trained = {id(p) for group in objective.groups("main") for p in group.parameters}
    assert trained == {id(p) for p in objective.parameters()}


def test_balanced_labels_weigh_both_copies_of_an_image() -> None:
    method = StainAgLr(balance="class", balance_by="weights", schedule=SHORT, **OFF)
    cohort, model, run = tiles(11), classifier(), Run(**QUIET)
    objective = StainAgnostic(model, Loader(cohort, model.spec.preparation), (), method, run).eval()
    step = next(iter(objective.batches(NOW, run)))
    weights = torch.tensor([11 / 12, 11 / 10])[step.tensors["truth"]]  # six and five images
    with torch.no_grad():
        each = [
            functional.cross_entropy(model(step.tensors[name]), step.tensors["truth"], reduction="none")
            * weights
            for name in ("images", ALTERED)
        ]
    assert objective.loss(step, "main", NOW).total.item() == pytest.approx(
        torch.cat(each).mean().item(), rel=1e-5
    )


def adapted(method: ERM, run: Run | None = None, **model: Any) -> Model:
    return mg.adapt(classifier(**model), Task(source=tiles()), method, run or Run(select="last", **QUIET))


def same(one: Model, other: Model) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][k], states[1][k]) for k in states[0]
    )


def test_without_its_parts_it_is_training_on_the_source() -> None:
    plain = adapted(ERM(schedule=SHORT, augmentation="dihedral"))
    assert same(adapted(StainAgLr(schedule=SHORT, cross_entropy_on="raw", **OFF)), plain)
    for settings in (
        {},
        OFF,
        {"cross_entropy_on": "altered", **OFF},
        {"cross_entropy_on": "raw", "regeneration_weight": 0},
    ):
        assert not same(adapted(StainAgLr(schedule=SHORT, **settings)), plain)


def test_the_altered_half_alone_is_training_with_jitter() -> None:
    """Of constant stains, for which both ways draw the same."""
    method = StainAgLr(schedule=SHORT, alteration={}, cross_entropy_on="altered", **OFF)  # type: ignore[arg-type]
    plain = adapted(ERM(schedule=SHORT, augmentation="dihedral")).state_dict()
    for name, tensor in adapted(method).state_dict().items():
        assert torch.allclose(tensor.float(), plain[name].float(), atol=2e-3), name


def test_no_consistency_weight_is_the_same_as_no_part_of_it_in_the_loss() -> None:
    objective, step = prepared(consistency_weight=0)
    with_it, _ = prepared(consistency_weight=1e-30)
    parts = objective.eval().loss(step, "main", NOW), with_it.eval().loss(step, "main", NOW)
    assert "consistency" not in parts[0].parts and torch.equal(parts[0].total, parts[1].total)


def test_jitter_is_an_augmentation_of_every_method() -> None:
    plain, jittered = (adapted(ERM(schedule=SHORT, augmentation=name)) for name in ("dihedral", "hed_light"))
    assert not same(plain, jittered)


def test_what_comes_back_is_the_plain_classifier() -> None:
    plain, ours = adapted(ERM(schedule=SHORT)), adapted(StainAgLr(schedule=SHORT))
    assert type(ours) is type(plain) and ours.config() == plain.config()
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in plain.state_dict().items()
    ]
    assert not any("decoder" in name for name, _ in ours.named_modules())


def test_the_same_seed_gives_the_same_weights_and_pictures_with_any_workers() -> None:
    runs = [
        Run(seed=seed, workers=workers, select="last", **QUIET) for seed, workers in ((1, 0), (1, 2), (2, 0))
    ]
    first, again, other = (adapted(StainAgLr(schedule=SHORT), run) for run in runs)
    assert same(first, again) and not same(first, other)
    name = "stains (raw, altered, regenerated)"
    pictures = [run.shared.records.images[name] for run in runs]
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0].shape == (6 * 34 - 2, 3 * 34 - 2, 3) and pictures[0].dtype == np.uint8
    raw, altered, regenerated = (pictures[0][:32, at : at + 32].astype(float) for at in (0, 34, 68))
    assert 2 < np.abs(raw - altered).mean() < 40
    assert np.abs(raw - regenerated).mean() > 2 and regenerated.std() > 0
    history = runs[0].shared.records.tables["history"]
    assert {"loss", "task", "consistency", "regeneration"} <= set(history.columns)


def test_tiles_in_the_picture_are_those_on_file() -> None:
    run = Run(select="last", **QUIET)
    adapted(StainAgLr(schedule=SHORT, regeneration_weight=0), run)
    picture = run.shared.records.images["stains (raw, altered)"]
    for row, tile in enumerate((0, 2, 4, 7, 9, 11)):
        shown = picture[34 * row : 34 * row + 32, :32].astype(int)
        assert np.abs(shown - pixels()[tile]).max() <= 1
    nothing = Run(select="last", **QUIET)
    adapted(StainAgLr(schedule=SHORT, cross_entropy_on="raw", **OFF), nothing)
    assert not nothing.shared.records.images


def test_grey_images_are_told_once_per_training(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        adapted(StainAgLr(schedule=SHORT))
        assert not caplog.records
        mg.adapt(make_model("classify", channels=3), Task(source=make_cohort("classify")), StainAgLr(schedule=SHORT),
                 Run(select="last", **QUIET))  # fmt: skip
    assert [record.message for record in caplog.records if "grey" in record.message] == [
        "StainAgLr alters stains, but the 6 training images looked at are grey, so that it teaches the model nothing "
        "useful; use it for stained tissue in colour"
    ]


def test_what_has_no_stains_is_refused_in_one_sentence() -> None:
    method, run = StainAgLr(schedule=SHORT), Run(**QUIET)
    with pytest.raises(SettingsError, match=r"colour images \(3 channels of one slice\).*have 1 of 1"):
        mg.adapt(make_model("classify"), Task(source=make_cohort("classify")), method, run)
    with pytest.raises(SettingsError, match=r"keeps black and white.*'zscore'"):
        adapted(StainAgLr(schedule=SHORT, preparation={"intensity": "zscore", "mean": None, "std": None}))
    floats = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    cohort = Cohort.from_arrays(floats, np.arange(4) % 2, kind="classify", classes=("small", "large"))
    with pytest.raises(DataError, match=r"StainAgLr needs images of 8 or 16 bits.*this one holds float32"):
        mg.adapt(make_model("classify", channels=3), Task(source=cohort), method, Run(select="last", **QUIET))
    vit = open_source("random/test_vit", classes=("benign", "malignant"))
    with pytest.raises(ModelError, match=r"feature maps.*regeneration_weight=0"):
        mg.adapt(vit, Task(source=tiles()), method, Run(**QUIET))
    mg.adapt(vit, Task(source=tiles()), StainAgLr(schedule=SHORT, regeneration_weight=0), Run(**QUIET))
    for settings in (
        {"alteration": "heavy"},
        {"alteration": {"hed": 0.1, "rotation": 5}},
        {"consistency_weight": -1},
        {"cross_entropy_on": "none"},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            StainAgLr(**settings)


def test_presets_and_settings_survive_json() -> None:
    method = StainAgLr(alteration="strong", augmentation="hed_light")
    published = method.alteration
    assert (published.brightness, published.contrast, published.hed) == (0.35, 0.5, 0.2)
    assert published == published.in_place() != Augmentation.preset("hed_strong")
    assert StainAgLr().alteration == Augmentation.preset("hed_light").in_place()
    assert StainAgLr.model_validate_json(method.model_dump_json()) == method
    assert method.augmentation == Augmentation.preset("hed_light")


def laboratory(seed: int, tilt: float, count: int = 192, side: int = 32) -> Cohort:
    """Discs or crosses of one area on pink; those of class 1 have `tilt` more haematoxylin, of class 0 less."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    images, labels = [], np.arange(count) % 2
    for label in labels:
        down, right = chance.uniform(11, 21, 2)
        near, far = np.abs(y - down), np.abs(x - right)
        shape = near**2 + far**2 < 36 if label else (near < 2) & (far < 9) | (far < 2) & (near < 9)
        pixels = np.where(shape[..., None], (0.45, 0.35, 0.6), (0.85, 0.7, 0.8)) + chance.normal(
            0, 0.03, (side, side, 1)
        )
        image = torch.from_numpy(pixels.clip(0, 1)).permute(2, 0, 1)[None]
        bias = torch.zeros(1, 3)
        bias[0, 0] = tilt * (2 * label - 1) + chance.normal(0, 0.02)
        changed = jitter_hed(image, torch.ones(1, 3), bias, scale="legacy")[0]
        images.append((255 * changed).round().byte().permute(1, 2, 0).numpy())
    return Cohort.from_arrays(
        np.stack(images), labels, kind="classify", classes=("cross", "disc"),
        patients=[f"p{index}" for index in range(count)], name="laboratory",
    )  # fmt: skip


@pytest.mark.slow
def test_where_colour_went_with_the_class_and_then_against_it_consistency_helps() -> None:
    """Class is shape; colour tells it too in training, and misleads afterwards."""
    from medgraft.engine.predict import predict_labels

    train, test = laboratory(0, 0.08), laboratory(1, -0.08, count=96)
    schedule = Schedule(epochs=24, batch_size=32, optimizer="adam", lr=3e-3, weight_decay=0)
    longer = schedule.model_copy(update={"epochs": 72})  # consistency slows learning down at first

    def share_told_right(method: ERM) -> float:
        torch.manual_seed(1)
        model = open_source("random/test_resnet", classes=("cross", "disc"))
        done = mg.adapt(model, Task(source=train), method, Run(seed=1, select="last", **QUIET))
        return float((predict_labels(done, test).labels == test.labels).mean())

    plain = share_told_right(ERM(schedule=schedule, augmentation="dihedral"))
    jittered = share_told_right(ERM(schedule=schedule, augmentation="hed_strong"))
    consistent = share_told_right(StainAgLr(schedule=longer, alteration="strong", regeneration_weight=0))
    assert plain < 0.3 and jittered > 0.8 and consistent > 0.8, (plain, jittered, consistent)
