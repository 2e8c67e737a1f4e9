"""The method `barlow_twins`: what it is shown, what it learns, what comes back, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.features import extract_features
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import ModelError
from medgraft.models.projector import Projector
from medgraft.models.regraft import regraft
from medgraft.models.sources import open_source
from medgraft.models.storage import load_model
from medgraft.models.twins_loss import barlow_twins_loss
from medgraft.plugins import find_plugins, resolve_method
from medgraft.pretraining import BarlowTwins
from medgraft.pretraining.barlow_twins import Twins
from medgraft.pretraining.views import VIEWS, views
from medgraft.testing import make_cohort, make_model
from medgraft.types import Progress

NOW = Progress(0, 1)
GREY = make_cohort("encode")


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 1, batch: int = 8, lr: float = 1e-3, **settings: object) -> BarlowTwins:
    schedule = Schedule(epochs=epochs, batch_size=batch, optimizer="adam", lr=lr)
    return BarlowTwins(**({"projector": (16, 16), "schedule": schedule} | settings))  # type: ignore[arg-type]


def coloured(count: int = 8, side: int = 32) -> Cohort:
    pixels = np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)
    return Cohort.from_arrays(pixels, kind="encode", name="photographs")


def objective(method: BarlowTwins, cohort: Cohort = GREY, channels: int = 1) -> Twins:
    torch.manual_seed(0)
    model = make_model("encode", channels=channels)
    features = model.features(torch.zeros(2, channels, 32, 32)).shape[1]
    rows = run().loader(cohort, model.spec.preparation)
    return Twins(model, rows, method.heads(model, features), method)


def test_it_is_found_by_name() -> None:
    assert find_plugins("methods")["barlow_twins"].owner == "medgraft"
    method = resolve_method("barlow_twins", {"schedule": {"epochs": 3}, "views": "tissue"})
    assert isinstance(method, BarlowTwins)
    assert (method.schedule.epochs, method.schedule.optimizer, method.schedule.lr) == (3, "adam", 1e-3)
    assert method.views == VIEWS["tissue"]


def test_both_views_come_from_one_image_and_differ() -> None:
    """Images of one grey level each: views without changes of brightness tell which image they show."""
    levels = np.arange(10, 250, 20, dtype=np.uint8)
    cohort = Cohort.from_arrays(np.tile(levels[:, None, None, None], (1, 32, 32, 1)), kind="encode")
    crops = views("scan").model_copy(
        update={"brightness": 0.0, "contrast": 0.0, "gamma": (1, 1), "noise_chance": 0.0}
    )
    steps = list(objective(small(batch=5, views=crops), cohort).batches(NOW, run()))
    firsts = torch.cat([step.tensors["first"].mean((1, 2, 3)) for step in steps])
    seconds = torch.cat([step.tensors["second"].mean((1, 2, 3)) for step in steps])
    torch.testing.assert_close(firsts, seconds)
    assert sorted((255 * firsts).round().int().tolist()) == levels.tolist()

    (step,) = objective(small(batch=24)).batches(NOW, run())
    differs = (step.tensors["first"] - step.tensors["second"]).abs().amax((1, 2, 3))
    assert bool((differs > 0.01).all())


def test_its_loss_is_that_of_the_projections_of_both_views() -> None:
    method = small(weight=0.3, projector=(16, 20))
    twins = objective(method).train()
    step = next(iter(twins.batches(NOW, run())))
    loss = twins.loss(step, "main", NOW)
    first, second = (
        twins.projector(twins.model.features(step.tensors[view])) for view in ("first", "second")
    )
    assert loss.total.item() == pytest.approx(barlow_twins_loss(first, second, 0.3).item(), rel=1e-5)
    described = {"effective_rank", "feature_deviation", "alignment", "uniformity"}
    assert set(loss.parts) == {"on_diagonal", "off_diagonal"} | described
    width, beside = 20, loss.parts["off_diagonal"].item() ** 2
    whole = width * loss.parts["on_diagonal"].item() + 0.3 * width * (width - 1) * beside
    assert whole == pytest.approx(loss.total.item(), rel=1e-4)
    loss.total.backward()
    assert all(weight.grad is not None for weight in twins.parameters())


def test_it_learns_what_views_have_in_common() -> None:
    trained = run()
    source = make_model("encode", channels=3)
    encoder = adapt(source, Task(source=GREY), small(epochs=25, batch=16, lr=3e-3), trained)
    history = trained.shared.records.tables["history"]
    assert history["on_diagonal"].iloc[-3:].mean() < 0.8 * history["on_diagonal"].iloc[:3].mean()
    assert history["effective_rank"].iloc[-1] > 1.5
    untrained = adapt(source, Task(source=GREY), small(), run(limit=Limit(steps=1, epochs=1)))
    assert not torch.allclose(extract_features(encoder, GREY), extract_features(untrained, GREY))


def test_an_encoder_comes_back_without_projector_and_is_saved(tmp_path: Path) -> None:
    source = make_model("classify", channels=3)
    encoder = adapt(source, Task(source=GREY), small(), run(limit=Limit(steps=1)))
    assert (encoder.spec.kind, encoder.spec.classes) == ("encode", ())
    names = set(encoder.state_dict())
    assert names == {name for name in source.state_dict() if not name.startswith("net.fc")}
    features = extract_features(encoder, GREY)
    assert features.shape == (len(GREY), source.features(torch.zeros(2, 3, 32, 32)).shape[1])
    encoder.save(tmp_path / "encoder")
    loaded = load_model(tmp_path / "encoder")
    assert loaded.spec == encoder.spec
    torch.testing.assert_close(extract_features(loaded, GREY), features, rtol=0, atol=0)


def test_what_it_leaves_is_a_source_like_any_other(tmp_path: Path) -> None:
    task = Task(source=GREY)
    mg.adapt("random/test_resnet", task, small(), run(folder=tmp_path / "twins", limit=Limit(steps=1)))
    target = Task(target=make_cohort("classify", "B"))
    tuned = mg.adapt(tmp_path / "twins", target, "fine_tune", run(limit=Limit(steps=1, epochs=1)))
    assert (tuned.spec.classes, tuned.spec.channels) == (("small", "large"), 1)
    assert [step["method"] for step in tuned.spec.provenance["adapted"]] == ["barlow_twins", "fine_tune"]


def test_a_training_that_goes_on_finds_its_projector(tmp_path: Path) -> None:
    method, task, short = small(), Task(source=GREY), Limit(steps=1, epochs=1)
    first = adapt(make_model("encode"), task, method, run(limit=short))
    assert first.pretraining_heads is not None and first.pretraining_heads.method == "barlow_twins"
    first.save(tmp_path / "first")
    loaded = load_model(tmp_path / "first")
    left = first.pretraining_heads.of("projector")
    projector = Projector(loaded.features(torch.zeros(2, 1, 32, 32)).shape[1], (16, 16))
    method.reuse_heads(loaded, {"projector": projector})
    assert all(torch.equal(tensor, left[name]) for name, tensor in projector.state_dict().items())

    wider = Projector(loaded.features(torch.zeros(2, 1, 32, 32)).shape[1], (16, 20))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    method.reuse_heads(loaded, {"projector": wider})
    assert all(torch.equal(tensor, before[name]) for name, tensor in wider.state_dict().items())

    tuned = mg.adapt(loaded, Task(target=make_cohort("classify", "B")), "fine_tune", run(limit=short))
    assert tuned.pretraining_heads is None


def test_heads_of_other_weights_are_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        encoder = adapt(
            make_model("encode"), Task(source=GREY), small(), run(limit=Limit(steps=1), seed=seed)
        )
        encoder.save(tmp_path / str(seed))
    for name in ("heads.json", "heads.safetensors"):
        (tmp_path / "1" / name).write_bytes((tmp_path / "0" / name).read_bytes())
    with pytest.raises(ModelError, match=r"heads of the pre-training.*belongs to others"):
        load_model(tmp_path / "1")


def test_epochs_draw_other_views_and_the_same_ones_again() -> None:
    twins = objective(small(batch=16))
    first, again = (next(iter(twins.batches(NOW, run()))).tensors["first"] for _ in range(2))
    other = next(iter(twins.batches(Progress(1, 2), run()))).tensors["first"]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_encoder_of_a_unet_is_trained_and_its_decoder_waits() -> None:
    source = open_source("random/unet", classes=("rest", "disc"), channels=1)
    encoder = adapt(source, Task(source=GREY), small(), run(limit=Limit(steps=2)))
    before, after = source.state_dict(), encoder.state_dict()
    learned = {name for name, _ in encoder.named_parameters() if not torch.equal(before[name], after[name])}
    assert learned
    assert not any(name.startswith(("decoder", "up", "head")) for name in learned)
    assert regraft(encoder, ("rest", "disc"), kind="segment")[1].names("new") == ("head.weight", "head.bias")
