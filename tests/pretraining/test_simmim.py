"""The method `simmim`: what it hides, what it learns, what comes back, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tests.tiny_swin  # noqa: F401 - registers it
import torch
from tests.pretraining.gradients import gradients

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import MedgraftError, ModelError, SettingsError, ShapeError
from medgraft.images.augmentation import Augmentation
from medgraft.images.preparation import Preparer
from medgraft.models.masked_images import MaskToken, ReconstructionHead, draw_masks, spread_masks
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.storage import load_model
from medgraft.plugins import find_plugins, resolve_method
from medgraft.pretraining import SimMIM
from medgraft.pretraining.simmim import FillingIn
from medgraft.pretraining.views import MILD_VIEWS
from medgraft.reports.pictures import recorded_pictures
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Preparation, Progress, Step

NOW = Progress(0, 1)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "simmim.npz")
SHORT = Limit(steps=1, epochs=1)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 1, batch: int = 8, lr: float = 3e-3, **settings: object) -> SimMIM:
    schedule = Schedule(
        epochs=epochs, batch_size=batch, lr=lr, warmup_epochs=epochs // 10, weight_decay=0.05, clip_norm=5.0
    )
    return SimMIM(schedule=schedule, **settings)  # type: ignore[arg-type]


def source(architecture: str = "tiny_swin", channels: int = 1, size: tuple[int, int] = (32, 32)) -> Model:
    return open_source(f"random/{architecture}", kind="encode", channels=channels, size=size)


def objective(method: SimMIM, cohort: Cohort, model: Model, unit: int = 8) -> FillingIn:
    channels = model.spec.channels
    found = model.last_map(torch.zeros(1, channels, 32, 32))
    token = MaskToken(model.net.patch_embed.proj.out_channels)
    decoder = ReconstructionHead(found.shape[1], 32 // found.shape[2], channels)
    return FillingIn(model, run().loader(cohort, model.spec.preparation), token, decoder, unit, method)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_it_keeps_the_promises_of_every_method(architecture: str) -> None:
    checked = check_method(small(), architecture=architecture)
    assert "encode: interrupted and resumed equals uninterrupted" in checked


@pytest.mark.slow
def test_two_processes_train_what_one_does() -> None:
    checked = check_method(small(), processes=True, architecture="test_vit")
    assert checked[-1] == "encode: two processes equal one"


def test_it_is_found_by_name() -> None:
    assert find_plugins("methods")["simmim"].owner == "medgraft"
    method = resolve_method("simmim", {"schedule": {"epochs": 30}, "views": "tissue", "mask_unit": 16})
    assert isinstance(method, SimMIM)
    schedule = method.schedule
    assert (schedule.epochs, schedule.optimizer, schedule.lr, schedule.clip_norm) == (30, "adamw", 1e-4, 5.0)
    assert (schedule.betas, schedule.weight_decay, schedule.warmup_epochs) == ((0.9, 0.999), 0.05, 10)
    assert schedule.lr == 2e-4 * schedule.batch_size / 512
    assert method.views == MILD_VIEWS["tissue"]


@pytest.mark.parametrize(
    ("size", "patch", "unit"),
    [
        ((192, 192), 4, 32),  # as published
        ((224, 224), 16, 32),
        ((448, 448), 32, 32),
        ((128, 256), 4, 32),
        ((96, 96), 4, 24),
        ((64, 64), 16, 16),
        ((32, 32), 4, 8),
        ((32, 32), 16, 16),  # not 4 x 4, but the patch
        ((224, 224), 14, 28),
    ],
)
def test_units_suit_images_and_patches(size: tuple[int, int], patch: int, unit: int) -> None:
    assert SimMIM().unit_of(*size, patch) == unit
    assert SimMIM(mask_unit=2 * patch).unit_of(*size, patch) == 2 * patch


@pytest.mark.parametrize(("architecture", "channels"), [("tiny_swin", 1), ("test_vit", 3)])
def test_its_loss_is_the_error_of_hidden_pixels(architecture: str, channels: int) -> None:
    """Against a loop over pixels, on what decoder and network give for embeddings replaced by hand."""
    unit = 16 if architecture == "test_vit" else 8
    filling = objective(small(), gradients(8, channels=channels), source(architecture, channels), unit).eval()
    (step,) = filling.batches(NOW, run())
    images, masks = step.tensors["images"], step.tensors["masks"]
    assert masks.shape == (8, 32 // unit, 32 // unit)
    loss = filling.loss(step, "main", NOW)
    with torch.no_grad():
        restored = filling.restored(images, masks)
    total = instead = 0.0
    hidden = 0
    for image in range(8):
        seen = [(y, x) for y in range(32) for x in range(32) if not masks[image, y // unit, x // unit]]
        for channel in range(channels):
            values = sorted(float(images[image, channel, y, x]) for y, x in seen)
            median = values[(len(values) - 1) // 2]
            for y in range(32):
                for x in range(32):
                    if masks[image, y // unit, x // unit]:
                        pixel = image, channel, y, x
                        total += abs(float(restored[pixel]) - float(images[pixel]))
                        instead += abs(median - float(images[pixel]))
                        hidden += 1
    assert loss.total.item() == pytest.approx(total / hidden, rel=1e-5)
    assert loss.parts["median_instead"].item() == pytest.approx(instead / hidden, rel=1e-5)
    filling.loss(step, "main", NOW).total.backward()
    assert all(weight.grad is not None for weight in filling.decoder.parameters())
    assert filling.token.token.grad is not None


def test_its_loss_on_golden_images_is_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of the authors' code, through the method: a network that draws what theirs drew."""
    filling = objective(small(), gradients(4, channels=3), source(channels=3))
    images, drawn, masks = (torch.from_numpy(GOLDEN[name]) for name in ("x", "x_rec", "mask"))
    monkeypatch.setattr(filling, "restored", lambda *_: drawn)
    loss = filling.loss(Step({"images": images, "masks": masks.bool()}), "main", NOW)
    assert loss.total.item() == pytest.approx(float(GOLDEN["loss"]), abs=1e-6)


def test_the_network_never_sees_what_is_hidden_and_visible_pixels_do_not_count() -> None:
    filling = objective(small(), gradients(8), source()).eval()
    (step,) = filling.batches(NOW, run())
    images, masks = step.tensors["images"], step.tensors["masks"]
    hidden = spread_masks(masks, 32, 32)[:, None]
    assert masks.flatten(1).sum(1).tolist() == [10] * 8  # 60 % of 16, rounded up
    with torch.no_grad():
        restored = filling.restored(images, masks)
        assert torch.equal(filling.restored(torch.where(hidden, 1 - images, images), masks), restored)
    restored.requires_grad_()
    filling.restored = lambda *_: restored  # type: ignore[method-assign]
    filling.loss(step, "main", NOW).total.backward()
    assert restored.grad is not None
    assert torch.equal(restored.grad != 0, hidden)


def test_images_and_masks_repeat_from_the_seed_and_differ_between_epochs() -> None:
    filling = objective(small(), gradients(8), source())
    first, again, other = (
        next(iter(filling.batches(Progress(epoch, 2), run()))).tensors for epoch in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_views_are_crops_and_flips_only_where_left_and_right_do_not_matter() -> None:
    rows, colours, slices = (
        run().loader(gradients(2, channels=3), Preparation(channels=channels, slices=slices))
        for channels, slices in ((1, 1), (3, 1), (3, 3))
    )
    assert SimMIM().views_of(rows) == SimMIM().views_of(slices) == MILD_VIEWS["scan"]
    assert SimMIM().views_of(colours) == MILD_VIEWS["photograph"]
    scan = Augmentation.preset("none").model_copy(update={"crop": (0.67, 1.0)})
    assert MILD_VIEWS["scan"] == scan
    assert MILD_VIEWS["photograph"] == scan.model_copy(update={"flip_horizontal": 0.5})
    assert SimMIM(views=Augmentation.preset("none")).views_of(rows) == Augmentation.preset("none")
    with pytest.raises(SettingsError, match="views among scan, tissue, dermoscopy, photograph"):
        SimMIM(views="xray")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["tiny_swin", "test_vit"])
def test_it_learns_what_hidden_parts_look_like(architecture: str) -> None:
    trained, cohort = run(), gradients(64, side=64)
    method = small(epochs=60, batch=16, lr=1e-3, size=(64, 64))
    adapt(source(architecture), Task(source=cohort), method, trained)
    history = trained.shared.records.tables["history"]
    images = trained.loader(cohort, Preparation(channels=1))(range(64)).images
    mean_error = float((images - images.mean((2, 3), keepdim=True)).abs().mean())
    assert history["loss"].iloc[-1] < 0.75 * min(mean_error, history["median_instead"].iloc[-1])


def test_a_training_that_goes_on_starts_below_one_from_scratch(tmp_path: Path) -> None:
    cohort, method = gradients(32), small(epochs=15, batch=16)
    scratch, on = run(), run()
    first = adapt(source(), Task(source=cohort), method, scratch)
    first.save(tmp_path / "first")
    adapt(load_model(tmp_path / "first"), Task(source=cohort), small(lr=1e-9), on)
    without = load_model(tmp_path / "first")
    without.pretraining_heads = None
    blank = run()
    adapt(without, Task(source=cohort), small(lr=1e-9), blank)
    losses = [each.shared.records.tables["history"]["loss"] for each in (scratch, on, blank)]
    assert losses[1].iloc[0] < 0.5 * losses[0].iloc[0]
    assert losses[1].iloc[0] == pytest.approx(losses[0].iloc[-1], rel=0.2)
    assert losses[1].iloc[0] < 0.5 * losses[2].iloc[0]  # thanks to decoder and token


@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_mixed_precision_trains_it(architecture: str) -> None:
    half, full = (run(limit=SHORT, precision=precision) for precision in ("bf16-mixed", "32-true"))
    for each in (half, full):
        torch.manual_seed(0)
        adapt(source(architecture), Task(source=gradients(8)), small(), each)
    losses = [each.shared.records.tables["history"]["loss"].iloc[0] for each in (half, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def test_an_encoder_comes_back_without_decoder_and_with_it_beside(tmp_path: Path) -> None:
    model = open_source("random/tiny_swin", classes=("cat", "dog"), channels=3, size=(64, 64))
    trained = run(limit=SHORT)
    encoder = adapt(model, Task(source=gradients(8)), small(size=(32, 32)), trained)
    assert (encoder.spec.kind, encoder.spec.channels, encoder.spec.preparation.size) == (
        "encode",
        1,
        (32, 32),
    )
    assert set(encoder.state_dict()) == {
        name for name in model.state_dict() if not name.startswith("net.head.fc")
    }
    assert encoder.pretraining_heads is not None
    assert list(encoder.pretraining_heads.of("mask_token")) == ["token"]
    assert encoder.pretraining_heads.of("decoder")["0.weight"].shape == (16**2, 32, 1, 1)
    features = extract_features(encoder, gradients(8))
    encoder.save(tmp_path / "encoder")
    torch.testing.assert_close(
        extract_features(load_model(tmp_path / "encoder"), gradients(8)), features, rtol=0, atol=0
    )


@pytest.mark.parametrize("intensity", ["unit", "zscore"])
def test_pictures_show_images_what_is_seen_and_what_is_filled_in(intensity: str) -> None:
    preparation = Preparation(channels=1, size=(32, 32), intensity=intensity)  # type: ignore[arg-type]
    model = source()
    model.spec = model.spec.changed(preparation=preparation)
    filling, shown = objective(small(), gradients(8), model), run()
    images = torch.stack([Preparer(preparation).image(gradients(8).picture(row).array) for row in range(3)])
    filling.show(images, shown)
    (picture,) = shown.shared.records.images.values()
    assert list(shown.shared.records.images) == ["filled in (image, masked, restored)"]
    assert picture.shape == (3 * 32 + 2 * 2, 3 * 32 + 2 * 2, 3)
    masks = draw_masks(3, 32, 32, run().generator("shown"), 8)
    hidden = spread_masks(masks, 32, 32)[0].numpy()
    whole, masked, filled = (picture[:32, start : start + 32] for start in (0, 34, 68))
    assert np.array_equal(masked[~hidden], whole[~hidden]) and set(masked[hidden].flatten()) == {128}
    assert np.abs(filled[~hidden].astype(int) - whole[~hidden]).max() <= (1 if intensity == "unit" else 255)
    assert not np.array_equal(filled[hidden], whole[hidden])


def refused(model: Model, method: SimMIM) -> MedgraftError:
    with pytest.raises(MedgraftError) as caught:
        adapt(model, Task(source=gradients(8)), method, run(limit=SHORT))
    return caught.value


def test_what_cannot_be_trained_is_one_sentence() -> None:
    resnet = refused(make_model("encode"), small())
    assert isinstance(resnet, ModelError) and "such as ViT or Swin" in str(resnet)
    unet = refused(open_source("random/unet", classes=("rest", "disc"), channels=1), small())
    assert isinstance(unet, ModelError) and "such as ViT or Swin" in str(unet)
    cuts = refused(source(), small(mask_unit=10))
    assert isinstance(cuts, SettingsError) and "multiple of the network's patch, 4 pixels" in str(cuts)
    assert "Take 8." in str(cuts)
    larger = refused(source(), small(mask_unit=64))
    assert isinstance(larger, ShapeError) and "at least 64 x 64 pixels, the mask unit" in str(larger)
    uneven = refused(source(), small(mask_unit=12))
    assert isinstance(uneven, ShapeError) and "multiples of the mask unit 12" in str(uneven)
    blind = refused(source(), small(mask_unit=16, mask_ratio=0.9))
    assert isinstance(blind, ShapeError) and "left to see" in str(blind)
    uncovered = refused(source(), small(size=(40, 40)))
    assert isinstance(uncovered, ShapeError) and "cover exactly" in str(uncovered)


def test_pictures_reach_the_evidence_of_a_run(tmp_path: Path) -> None:
    from medgraft.engine.records import read_records
    from medgraft.evidence import Evidence

    adapt(source(), Task(source=make_cohort("encode")), small(), run(folder=tmp_path, limit=SHORT))
    found = read_records(tmp_path)
    names = [name for name, _ in recorded_pictures(Evidence(images=dict(found.images)))]
    assert names == ["filled in (image, masked, restored)"]
