"""The methods `stst` and `dscsi_gan`: their losses, who learns when, what they learn, and what they refuse."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import medgraft as mg
from medgraft import testing
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Limit, Run
from medgraft.engine.stain_normalised import LITTLE_TISSUE, StainNormalised
from medgraft.engine.stain_normalisers import LearnedNormaliser, to_grey
from medgraft.errors import DataError, ModelError, NeedError, ShapeError
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.dscsi import dscsi
from medgraft.methods import DSCSIGAN, STST
from medgraft.methods.unseen.learn_stain import LearnedStain, Regeneration, feature_divergence
from medgraft.models.model import Model
from medgraft.models.stain_generator import PatchDiscriminator, StainGenerator
from medgraft.models.storage import load_model
from medgraft.phantoms import load_phantom
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Preparation, Progress, Step

SIDE = 24
MEAN, STD = (0.7, 0.5, 0.6), (0.2, 0.25, 0.15)
METHODS: tuple[type[LearnedStain], ...] = (STST, DSCSIGAN)
both = pytest.mark.parametrize("kind", METHODS, ids=["stst", "dscsi_gan"])
NOW = Progress(0, 1)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(
    kind: type[LearnedStain],
    epochs: int = 1,
    steps: int = 2,
    batch: int = 4,
    lr: float = 1e-3,
    **settings: object,
) -> LearnedStain:
    sizes: dict[str, object] = {"width": 8, "depth": 3, "discriminator_width": 4}
    schedule = kind.model_fields["schedule"].default.model_copy(
        update={"epochs": epochs, "steps_per_epoch": steps, "batch_size": batch, "lr": lr}
    )
    return kind(**(sizes | {"schedule": schedule} | settings))  # type: ignore[arg-type]


def coloured(grey: np.ndarray) -> np.ndarray:
    """(..., H, W) in [0, 1] to bytes whose colour is a fixed function of grey: dark is blue, light is pink."""
    colours = np.stack([0.3 + 0.65 * grey, 0.1 + 0.6 * grey**2, 0.75 - 0.2 * grey], -1)
    return (255 * colours).round().astype(np.uint8)


def make_tiles(
    count: int = 12, sides: tuple[int, int] = (SIDE, SIDE), seed: int = 0, **fields: object
) -> Cohort:
    """Smooth random tiles in colours of their grey."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    grey = torch.nn.functional.interpolate(coarse, sides, mode="bicubic", align_corners=True)[:, 0].clamp(
        0, 1
    )
    labels = np.arange(count) % 3
    return Cohort.from_arrays(
        coloured(grey.numpy()),
        labels,
        kind="classify",
        classes=("first", "second", "third"),
        name="tiles",
        **fields,
    )  # type: ignore[arg-type]


def pixels(cohort: Cohort) -> Tensor:
    tiles = np.stack([cohort.picture(row).array for row in range(len(cohort))])
    return torch.from_numpy(tiles).movedim(-1, 1).float() / 255


@pytest.fixture(scope="module")
def network() -> Model:
    """Untrained, with features that differ from tile to tile."""
    with seeded("network"):
        model = make_model("classify", channels=3)
    model.spec = model.spec.changed(preparation=Preparation(channels=3, mean=MEAN, std=STD))
    return model


def objective(network: Model, kind: type[LearnedStain], **settings: object) -> Regeneration:
    method = small(kind, **settings)
    rows = run().loader(make_tiles(), network.spec.preparation)
    with seeded("networks"):
        normaliser = LearnedNormaliser(StainGenerator(8, 3))
        discriminator = PatchDiscriminator(4 if kind is STST else 3, 4, 2)
    model = StainNormalised(network.spec, network=copy.deepcopy(network), normaliser=normaliser, per="tile")
    return Regeneration(model, rows, discriminator, method).train()


def grads(part: torch.nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in part.parameters()]


@both
def test_each_phase_reaches_its_own_network_only(network: Model, kind: type[LearnedStain]) -> None:
    found = objective(network, kind)
    step = Step({"images": pixels(make_tiles(4))})
    found.loss(step, "discriminate", NOW).total.backward()
    assert all(grad is None for grad in grads(found.normaliser))
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads(found.discriminator.layers[0]))
    found.zero_grad(set_to_none=True)
    found.loss(step, "generate", NOW).total.backward()
    assert all(grad is None for grad in grads(found.discriminator))
    assert all(
        grad is not None and grad.abs().sum() > 0 for grad in grads(found.normaliser.generator.down[0])
    )
    trained = {
        phase: {id(p) for group in found.groups(phase) for p in group.parameters} for phase in found.phases
    }
    assert trained["discriminate"] == {id(p) for p in found.discriminator.parameters()}
    assert trained["generate"] == {id(p) for p in found.normaliser.parameters()}
    assert found.phases == ("discriminate", "generate")
    assert found.normaliser.training and not found.stained.network.training


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


@both
def test_the_losses_are_those_written_out(network: Model, kind: type[LearnedStain]) -> None:
    found = objective(network, kind)
    real = pixels(make_tiles(3))
    step = Step({"images": real})
    with torch.no_grad():
        fake = found.normaliser.regenerate(real)
        grey = 0.299 * real[:, :1] + 0.587 * real[:, 1:2] + 0.114 * real[:, 2:]
        torch.testing.assert_close(fake, found.normaliser.generator(grey))
        before = [grey] if kind is STST else []
        of_real, of_fake = (found.discriminator(torch.cat([*before, one], 1)) for one in (real, fake))
        first, second = (found.loss(step, phase, NOW) for phase in found.phases)
    wrong_real = np.mean([softplus(-logit) for logit in of_real.flatten().tolist()])
    wrong_fake = np.mean([softplus(logit) for logit in of_fake.flatten().tolist()])
    assert first.total.item() == pytest.approx((wrong_real + wrong_fake) / 2, rel=1e-4)
    right = ((of_real > 0).double().mean() + (of_fake < 0).double().mean()) / 2
    assert first.parts["told_apart"].item() == pytest.approx(right.item())
    deceived = np.mean([softplus(-logit) for logit in of_fake.flatten().tolist()])
    assert second.parts["adversarial"].item() == pytest.approx(deceived, rel=1e-4)
    if kind is STST:
        l1 = np.abs((2 * fake.numpy() - 1) - (2 * real.numpy() - 1)).mean()
        assert second.parts["l1"].item() == pytest.approx(l1, rel=1e-4)
        assert second.total.item() == pytest.approx(deceived + 100 * l1, rel=1e-4)
        return
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    with torch.no_grad():
        seen = [found.stained.network.eval().features((one - mean) / std).double() for one in (real, fake)]
    divergence = 0.0
    for of_one, of_other in zip(*(features.exp() / features.exp().sum(1, keepdim=True) for features in seen)):
        divergence += sum(p * math.log(p / q) for p, q in zip(of_one.tolist(), of_other.tolist())) / len(real)
    assert divergence > 1e-6
    assert second.parts["features"].item() == pytest.approx(divergence, rel=1e-2)
    unlike = 1 - np.mean([dscsi(*(one[row : row + 1] for one in (real, fake)), 1).item() for row in range(3)])
    assert second.parts["colour"].item() == pytest.approx(unlike, rel=1e-4)
    assert second.total.item() == pytest.approx(0.2 * deceived + 0.4 * divergence + 0.4 * unlike, rel=1e-4)


def test_divergence_is_summed_over_features() -> None:
    wanted, found = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, math.log(4)], [1.0, 1.0]])
    by_hand = (0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)) / 2  # the second image's is 0
    assert feature_divergence(wanted, found).item() == pytest.approx(by_hand)


@both
def test_defaults_are_those_published(kind: type[LearnedStain]) -> None:
    method = kind()
    schedule = method.schedule
    assert (schedule.optimizer, schedule.betas, schedule.weight_decay, schedule.shape) == (
        "adam", (0.5, 0.999), 0.0, "constant",
    )  # fmt: skip
    told = (schedule.epochs, schedule.steps_per_epoch, schedule.batch_size, schedule.lr)
    if isinstance(method, STST):
        assert told == (15, 3000, 1, 2e-4)
        assert (method.adversarial_weight, method.l1_weight) == (1, 100)
    elif isinstance(method, DSCSIGAN):
        assert told == (8, None, 4, 1e-3)
        assert (method.adversarial_weight, method.features_weight, method.colour_weight) == (0.2, 0.4, 0.4)


@pytest.mark.slow
def test_colours_that_follow_from_grey_are_learned(network: Model) -> None:
    method = small(STST, epochs=3, steps=50, batch=8, lr=2e-3)
    of_run = run()
    adapted = adapt(network, Task(source=make_tiles(24)), method, of_run)
    assert isinstance(adapted, StainNormalised)
    unseen = pixels(make_tiles(12, seed=1))
    with torch.no_grad():
        learned = (adapted.normaliser(unseen).images - unseen).abs().mean().item()
    constant = (
        (unseen.movedim(1, -1).reshape(-1, 3).median(0).values.view(3, 1, 1) - unseen).abs().mean().item()
    )
    offset = unseen.mean((0, 2, 3)).view(3, 1, 1) - to_grey(unseen).mean()
    tinted = (to_grey(unseen) + offset - unseen).abs().mean().item()
    assert constant > 0.09 and tinted > 0.05  # the best single colour, and grey in one tint
    assert learned < 0.03
    history = of_run.shared.records.tables["history"]
    assert history["l1"].iloc[-1] < history["l1"].iloc[0] / 2
    assert {"loss", "loss_discriminate", "loss_generate", "told_apart", "adversarial"} <= set(history)
    (name,) = of_run.shared.records.images
    assert name == "regenerated tiles (raw, grey, regenerated, what differs, magnified)"
    assert of_run.shared.records.images[name].shape == (4 * SIDE + 6, 4 * SIDE + 6, 3)


@both
def test_another_laboratory_looks_like_the_source(
    network: Model, kind: type[LearnedStain], tmp_path: Path
) -> None:
    """Whatever the colours, tiles of one grey become one."""
    adapted = adapt(network, Task(source=make_tiles()), small(kind), run())
    assert isinstance(adapted, StainNormalised) and adapted.per == "tile"
    tiles = pixels(make_tiles(5, seed=2))
    other = to_grey(tiles).expand_as(tiles)
    with torch.no_grad():
        torch.testing.assert_close(
            adapted.normaliser(tiles).images, adapted.normaliser(other).images, atol=1e-5, rtol=0
        )
    adapted.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, StainNormalised) and isinstance(loaded.normaliser, LearnedNormaliser)
    assert loaded.normaliser.config() == {"width": 8, "depth": 3, "dropout": 0.5}
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    prepared = (tiles - mean) / std
    told = adapted.predict(prepared).probabilities
    assert torch.equal(told, loaded.predict(prepared).probabilities)
    assert torch.equal(told, adapted.predict(prepared).probabilities)
    with torch.no_grad():
        seen = (adapted.normaliser(tiles).images - mean) / std
    torch.testing.assert_close(told, network.eval().predict(seen).probabilities, atol=1e-5, rtol=1e-4)


def test_glass_stays_as_it_came_with_a_remark(network: Model) -> None:
    adapted = adapt(network, Task(source=make_tiles()), small(STST), run())
    grey = np.full((3, SIDE, SIDE), 0.5)
    tiles = coloured(grey)
    tiles[1] = 235
    tiles[2] = 235
    tiles[2, 0, :8] = (90, 60, 120)  # 1.4 % of tissue
    cohort = Cohort.from_arrays(tiles, kind="classify", classes=network.spec.classes)
    assert isinstance(adapted, StainNormalised)
    with torch.no_grad():
        images, changed = adapted.normaliser(pixels(cohort))
    assert changed.tolist() == [True, False, True]
    assert torch.equal(images[1], pixels(cohort)[1])
    assert mg.predict(adapted, cohort)["remark"].fillna("").tolist() == ["", LITTLE_TISSUE, ""]


@both
def test_odd_tiles_and_depths_that_follow_them(network: Model, kind: type[LearnedStain]) -> None:
    method = small(kind, depth=None, turn=False)
    adapted = adapt(
        network, Task(source=make_tiles(4, (19, 34))), method, run(limit=Limit(epochs=1, steps=1))
    )
    assert isinstance(adapted, StainNormalised)
    assert adapted.normaliser.config()["depth"] == 4
    with torch.no_grad():
        assert adapted.normaliser(torch.rand(2, 3, 33, 21)).images.shape == (2, 3, 33, 21)


def test_seeds_and_the_network_are_what_it_depends_on(network: Model) -> None:
    def weights(seed: int) -> Tensor:
        torch.rand(seed + 1)
        adapted = adapt(network, Task(source=make_tiles()), small(DSCSIGAN), run(seed=seed))
        before, after = (model.state_dict() for model in (network, adapted.get_submodule("network")))
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        return torch.cat([p.flatten() for p in adapted.get_submodule("normaliser").parameters()]).detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_every_patient_is_drawn_equally_often(network: Model) -> None:
    cohort = make_tiles(12, patients=["a"] * 11 + ["b"])
    rows = run().loader(cohort, network.spec.preparation)
    found = objective(network, STST)
    again = Regeneration(found.stained, rows, found.discriminator, small(STST, steps=50, batch=8))
    drawn = torch.cat([step.tensors["images"] for step in again.batches(NOW, run())])
    assert len(drawn) == 400
    last = (drawn - pixels(cohort)[-1]).abs().amax((1, 2, 3)) < 1e-5
    assert 0.4 < last.double().mean() < 0.6


def test_tiles_are_turned_where_asked(network: Model) -> None:
    rows = run().loader(make_tiles(1), network.spec.preparation)
    found, tile = objective(network, STST), pixels(make_tiles(1))[0]
    ways = [torch.rot90(way, turns, (1, 2)) for way in (tile, tile.flip(2)) for turns in range(4)]
    for turn, expected in ((False, {0}), (True, set(range(8)))):
        again = Regeneration(
            found.stained, rows, found.discriminator, small(STST, steps=20, batch=8, turn=turn)
        )
        drawn = torch.cat([step.tensors["images"] for step in again.batches(NOW, run())])
        nearest = [min(range(8), key=lambda number: float((one - ways[number]).abs().max())) for one in drawn]
        assert set(nearest) == expected
        torch.testing.assert_close(
            drawn, torch.stack([ways[number] for number in nearest]), atol=1e-5, rtol=0
        )


@both
def test_what_does_not_fit_is_refused_in_a_sentence(network: Model, kind: type[LearnedStain]) -> None:
    source = Task(source=make_tiles())
    method = small(kind)
    with pytest.raises(ModelError, match="this one sees 1 channel"):
        adapt(make_model("classify"), source, method, run())
    with pytest.raises(ModelError, match="kind, 'classify', but this one's kind is 'segment'"):
        adapt(make_model("segment", channels=3), source, method, run())
    twice = adapt(network, source, method, run(limit=Limit(epochs=1, steps=1)))
    with pytest.raises(ModelError, match="Take the model that it was made of"):
        adapt(twice, source, method, run())
    floats = Cohort.from_arrays(np.random.default_rng(0).random((2, 8, 8, 3), np.float32), np.array([0, 1]),
                                kind="classify", classes=("a", "b"))  # fmt: skip
    with pytest.raises(DataError, match="scaled image by image"):
        adapt(network, Task(source=floats), method, run())
    for channels in (1, 3):
        levels = np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1).repeat(channels, axis=3)
        grey = Cohort.from_arrays(levels, np.array([0, 1]), kind="classify", classes=("a", "b"))
        with pytest.raises(DataError, match="the 2 source images looked at are grey"):
            adapt(network, Task(source=grey), method, run())
    with pytest.raises(ShapeError, match="at least 8 pixels a side, but these are 7 x 9"):
        adapt(network, Task(source=make_tiles(2, (7, 9))), method, run())
    with pytest.raises(NeedError, match=r"source\.images"):
        adapt(network, Task(target=make_tiles()), method, run())
    for wrong in ({"width": 0}, {"depth": 0}, {"discriminator_width": 0}, {"adversarial_weight": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            kind(**wrong)  # type: ignore[arg-type]


def coloured_cohort(kind: Kind, site: str = "A", **settings: object) -> Cohort:
    """`make_cohort` in colours of its grey."""
    grey = make_cohort(kind, site, **settings)  # type: ignore[arg-type]
    images = coloured(np.stack([grey.picture(row).array[..., 0] for row in range(len(grey))]) / 255)
    truth = (
        np.stack([grey.mask(row).array[..., 0] for row in range(len(grey))])
        if kind == "segment"
        else grey.labels
    )
    columns = {
        name: grey.table[column].tolist() for name, column in (("patients", "patient"), ("sites", "site"))
    }
    return Cohort.from_arrays(
        images,
        truth,
        kind=kind,
        classes=grey.classes,
        split=grey.table["split"].tolist(),
        name=grey.name,
        **columns,
    )  # type: ignore[arg-type]


@pytest.mark.slow
@both
def test_keeps_the_promises_of_a_method(kind: type[LearnedStain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "make_cohort", coloured_cohort)
    method = small(kind, epochs=2, width=4)
    assert len(check_method(method)) == 3 * 8
    plain = testing._source("classify")
    adapted = testing._adapted(method, plain)
    cohort = coloured_cohort("classify", "B")
    told, untouched = (mg.predict(model, cohort).filter(like="p_") for model in (adapted, plain))
    assert not np.allclose(told, untouched)


@pytest.mark.slow
@both
def test_far_laboratories_come_nearer(network: Model, kind: type[LearnedStain]) -> None:
    """Mean colours of the same regions, simulated as stained elsewhere; measured on regions that nobody trained on."""
    sites = ("reference", "other_dyes", "faded")
    everything = load_phantom("stain_tiles", subjects=10, slices=12, side=48, sites=sites)
    source = everything.at("reference")
    model = copy.deepcopy(network)
    model.spec = model.spec.changed(classes=source.classes)
    method = small(kind, epochs=1, steps=120, batch=8, width=16, depth=None, discriminator_width=16)
    adapted = adapt(model, Task(source=source), method, run())
    assert isinstance(adapted, StainNormalised)

    def mean(images: Tensor) -> Tensor:
        return rgb_to_lab(images).mean((0, 2, 3))

    wanted = mean(pixels(source.split("test")))
    for site in sites[1:]:
        tiles = pixels(everything.at(site).split("test"))
        with torch.no_grad():
            regenerated = adapted.normaliser(tiles).images
        before, after = (float((mean(images) - wanted).norm()) for images in (tiles, regenerated))
        most = 0.4 if site == "other_dyes" else 0.85  # of the faded stain grey keeps that it is pale
        assert before > 15 and after < most * before, (site, before, after)
