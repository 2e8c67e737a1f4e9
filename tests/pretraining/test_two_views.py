"""What all methods of two views share: which views, what is told of features, heads that wait, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from tests.pretraining.gradients import gradients

from medgraft.benchmarks.candidates import training_method
from medgraft.benchmarks.grid import read_grid
from medgraft.cli.settings import parse_settings
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, RunError, SettingsError, ShapeError
from medgraft.images.augmentation import Augmentation
from medgraft.models.collapse import alignment, effective_rank, feature_deviation, uniformity
from medgraft.models.model import Model
from medgraft.models.storage import load_model
from medgraft.plugins import find_plugins, resolve_method
from medgraft.pretraining import BarlowTwins, MoCoV2, MoCoV3, SimMIM, SimSiam
from medgraft.pretraining.two_views import TwoViews, TwoViewsObjective, describe_features
from medgraft.pretraining.views import MILD_VIEWS, VIEWS, ViewName, uneven, views
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Preparation, Progress

NOW = Progress(0, 1)
GREY = make_cohort("encode")
SCHEDULE = Schedule(epochs=2, batch_size=8, optimizer="adam", lr=1e-3)
SGD = Schedule(epochs=30, batch_size=12, optimizer="sgd", lr=0.05, weight_decay=1e-4)
ADAM = Schedule(epochs=30, batch_size=12, optimizer="adam", lr=3e-3, weight_decay=1e-4)
METHODS: list[TwoViews] = [
    BarlowTwins(schedule=SCHEDULE, projector=(16, 16)),
    MoCoV2(schedule=SCHEDULE, queue=12, dimension=8),
    MoCoV3(schedule=SCHEDULE, hidden=16, dimension=8),
    SimSiam(schedule=SCHEDULE, dimension=16, bottleneck=4),
]
DESCRIBED = {"effective_rank", "feature_deviation", "alignment", "uniformity"}
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def objective(method: TwoViews, model: Model, cohort: Cohort = GREY) -> TwoViewsObjective:
    torch.manual_seed(0)
    side = 32
    features = model.features(torch.zeros(2, model.spec.channels, side, side)).shape[1]
    rows = run().loader(cohort, model.spec.preparation)
    return method.objective(model, rows, method.heads(model, features))


@pytest.mark.slow
@each_method
def test_they_keep_the_promises_of_every_method(method: TwoViews) -> None:
    checked = check_method(method)
    assert "encode: interrupted and resumed equals uninterrupted" in checked


@each_method
def test_they_are_found_by_name(method: TwoViews) -> None:
    assert find_plugins("methods")[method.name].owner == "medgraft"
    found = resolve_method(method.name, {"schedule": {"epochs": 50}, "second_views": "tissue"})
    assert type(found) is type(method)
    assert (found.views, found.second_views) == (None, VIEWS["tissue"])


@each_method
def test_a_training_tells_what_features_are_like_and_leaves_its_heads(
    method: TwoViews, tmp_path: Path
) -> None:
    trained = run()
    encoder = adapt(make_model("encode"), Task(source=GREY), method, trained)
    history = trained.shared.records.tables["history"]
    assert DESCRIBED | {"loss"} <= set(history.columns)
    assert bool(np.isfinite(history[sorted(DESCRIBED)]).all(axis=None))
    assert encoder.spec.kind == "encode"
    assert set(encoder.state_dict()) == set(make_model("encode").state_dict())

    encoder.save(tmp_path / "encoder")
    left = load_model(tmp_path / "encoder").pretraining_heads
    assert left is not None and left.method == method.name
    heads = method.heads(encoder, encoder.features(torch.zeros(2, 1, 32, 32)).shape[1])
    assert {name.split("/")[0] for name in left.state} == set(heads)
    method.reuse_heads(encoder, heads)
    for name, head in heads.items():
        assert all(torch.equal(tensor, left.of(name)[key]) for key, tensor in head.state_dict().items())


@each_method
def test_every_trained_weight_has_a_gradient_and_no_other(method: TwoViews) -> None:
    learning = objective(method, make_model("encode")).train()
    step = next(iter(learning.batches(NOW, run())))
    loss = learning.loss(step, "main", NOW)
    assert set(loss.parts) >= DESCRIBED
    loss.total.backward()
    trained = {weight for group in learning.groups("main") for weight in group.parameters}
    with_gradient = {weight for weight in learning.parameters() if weight.grad is not None}
    assert trained == with_gradient
    heads = trained - set(learning.model.parameters())  # residual blocks of the encoder begin switched off
    assert heads
    assert all(float(weight.grad.abs().sum()) > 0 for weight in heads if weight.ndim > 1)  # type: ignore[union-attr]


@each_method
def test_an_image_alone_cannot_be_told_from_others(method: TwoViews) -> None:
    with pytest.raises(DataError, match=f"{type(method).__name__} needs at least 2 images"):
        method.check_batches(1, run())
    pairs = method.model_copy(update={"schedule": SCHEDULE.model_copy(update={"batch_size": 2})})
    with pytest.raises(
        SettingsError, match=r"3 images in batches of 2 leave one with 1 for 1 process\. Raise schedule\."
    ):
        pairs.check_batches(3, run())
    pairs.check_batches(4, run())


def test_features_are_described_as_by_each_measure() -> None:
    first, second = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    told = describe_features(first, second)
    expected = {
        "effective_rank": effective_rank(first), "feature_deviation": feature_deviation(first),
        "alignment": alignment(first, second), "uniformity": uniformity(first),
    }  # fmt: skip
    assert {name: value.item() for name, value in told.items()} == {
        name: pytest.approx(value.item()) for name, value in expected.items()
    }
    assert not any(value.requires_grad for value in told.values())


@each_method
def test_a_training_that_diverges_is_one_sentence(method: TwoViews) -> None:
    absurd = method.model_copy(update={"schedule": SGD.model_copy(update={"lr": 1e30})})
    with pytest.raises(RunError, match=r"finite losses.*Lower the learning rate"):
        adapt(make_model("encode"), Task(source=GREY), absurd, run(limit=Limit(epochs=2)))


def textures(count: int = 24) -> Cohort:
    """Images that nothing but their own pattern tells apart."""
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)
    return Cohort.from_arrays((255 * fine).permute(0, 2, 3, 1).byte().numpy(), kind="encode")


@pytest.mark.parametrize(
    ("method", "blind", "learned"),
    [
        # features that tell nothing apart have the loss ln(queue + 1), 4 T ln(batch), 0
        (MoCoV2(schedule=SGD, queue=24, dimension=8, momentum=0.9), math.log(25), 0.8 * math.log(25)),
        (MoCoV3(schedule=ADAM, hidden=32, dimension=16), 0.8 * math.log(12), 0.6 * math.log(12)),
        (SimSiam(schedule=SGD, dimension=16, bottleneck=16), 0.0, -0.5),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_they_learn_which_views_are_of_one_image(method: TwoViews, blind: float, learned: float) -> None:
    mild = Augmentation(flip_horizontal=0, rotation=5, crop=(0.7, 1.0))
    method, trained = method.model_copy(update={"views": mild, "second_views": mild}), run(select="last")
    adapt(make_model("encode"), Task(source=textures()), method, trained)
    history = trained.shared.records.tables["history"]
    assert history["loss"].iloc[-5:].mean() < learned < blind
    assert history["alignment"].iloc[-5:].mean() < 0.85 * history["alignment"].iloc[:3].mean()
    assert history["effective_rank"].iloc[-1] > 0.7 * history["effective_rank"].iloc[0]


def seen(cohort: Cohort, **preparation: Any) -> Loader:
    return run().loader(cohort, Preparation(**preparation))


def test_views_suit_the_images() -> None:
    method, scan, photograph, tissue = BarlowTwins(), VIEWS["scan"], VIEWS["photograph"], VIEWS["tissue"]
    colours = gradients(3, channels=3)
    assert method.views_of(seen(colours, channels=3)) == (photograph, photograph)
    assert method.views_of(seen(colours, channels=1)) == (scan, scan)
    assert method.views_of(seen(colours, channels=3, slices=3)) == (scan, scan)  # neighbours, no colours
    chosen = BarlowTwins(views="scan", second_views="tissue")  # type: ignore[arg-type]
    assert chosen.views_of(seen(colours, channels=3)) == (scan, tissue)
    assert BarlowTwins(second_views="scan").views_of(seen(colours, channels=3)) == (photograph, scan)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("coloured", "expected"), [(0, "scan"), (1, "scan"), (2, "photograph"), (4, "photograph")]
)
def test_images_that_show_grey_are_scans_however_they_are_stored(
    tmp_path: Path, coloured: int, expected: ViewName
) -> None:
    """Four files, grey ones stored as RGB, as opaque RGBA and in one channel; read with three channels."""
    for number in range(4):
        grey = Image.fromarray(np.eye(8, dtype=np.uint8) * (50 + number))
        image = grey.convert(("RGB", "RGB", "RGBA", "L")[number])
        if number < coloured:
            image = grey.convert("RGB")
            image.putpixel((0, 7), (9, 9, 8))
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "films.csv").write_text("image\n" + "".join(f"{number}.png\n" for number in range(4)))
    rows = seen(read_manifest(tmp_path / "films.csv"), channels=3)
    assert BarlowTwins().views_of(rows) == (VIEWS[expected],) * 2
    assert MoCoV3().views_of(rows) == uneven(VIEWS[expected])
    assert SimMIM().views_of(rows) == MILD_VIEWS[expected]


def test_scans_keep_sides_and_have_no_colours() -> None:
    scan = VIEWS["scan"]
    assert (scan.flip_horizontal, scan.flip_vertical, scan.quarter_turns) == (0, 0, False)
    assert (scan.hed, scan.saturation, scan.hue, scan.greyscale) == (0, 0, 0, 0)
    assert VIEWS["tissue"].hed > 0 and VIEWS["tissue"].hue == 0
    assert 0 < VIEWS["dermoscopy"].hue < VIEWS["photograph"].hue
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, changes in VIEWS.items():
        changed, _ = changes(images, torch.Generator().manual_seed(1))
        assert bool(((changed - images).abs().amax((1, 2, 3)) > 0.01).all()), name
    with pytest.raises(ShapeError, match="colour images"):
        VIEWS["photograph"](images[:, :1], torch.Generator().manual_seed(1))


def test_views_that_nobody_knows_or_that_change_nothing_are_refused() -> None:
    for setting in ("views", "second_views"):
        for unknown in ("xray", {"base": "xray"}, {"base": ["scan"], "hue": 0.1}):
            with pytest.raises(SettingsError, match="views among scan, tissue, dermoscopy, photograph"):
                BarlowTwins(**{setting: unknown})  # type: ignore[arg-type]
        with pytest.raises(ValidationError, match="teach nothing"):
            BarlowTwins(**{setting: Augmentation.preset("none")})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "key", "sets"),
    [("moco_v2", "views", VIEWS), ("moco_v2", "second_views", VIEWS), ("simmim", "views", MILD_VIEWS)],
)
def test_single_settings_lie_over_the_set_that_is_named(
    method: str, key: str, sets: dict[ViewName, Augmentation]
) -> None:
    settings = parse_settings([f"{key}.base=photograph", f"{key}.hue=0.05", f"{key}.crop=[0.5,1.0]"])
    found = getattr(resolve_method(method, settings), key)
    assert found == Augmentation(**sets["photograph"].model_dump() | {"hue": 0.05, "crop": (0.5, 1.0)})
    assert getattr(resolve_method(method, {key: found.model_dump(mode="json")}), key) == found
    for wrong, said in (
        ({"hue": 0.05}, "the table has hue and no base. Add base, one of scan, tissue"),
        ({"base": "light", "hue": 0.05}, "views among scan, tissue, .* got 'light'"),
        ({"base": "scan", "hues": 0.05}, "hues"),
    ):
        with pytest.raises(SettingsError, match=said):
            resolve_method(method, {key: wrong})


def test_the_grid_on_grey_nuclei_has_the_views_that_its_results_are_of() -> None:
    grid = read_grid(Path(__file__).parents[2] / "claims" / "pretraining_nuclei.toml")
    method = training_method(grid, "barlow_twins", {})
    assert isinstance(method, BarlowTwins)
    assert method.views == Augmentation(
        flip_horizontal=0.5, flip_vertical=0.5, quarter_turns=True, rotation=0, shift=0, zoom=(1, 1),
        crop=(0.2, 1.0), brightness=0.4, contrast=0.4, blur_chance=0.5, blur=(0.1, 2.0),
    )  # fmt: skip


def test_each_view_has_changes_of_its_own() -> None:
    """Views that only turn, and views that only blur, of noise: the former keep every value, the latter smooth."""
    none = Augmentation.preset("none").model_dump()
    turned = Augmentation(**none | {"quarter_turns": True})
    blurred = Augmentation(**none | {"blur_chance": 1.0, "blur": (2.0, 2.0)})
    pixels = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 1), dtype=np.uint8)
    method = BarlowTwins(schedule=SCHEDULE, views=turned, second_views=blurred)
    learning = objective(method, make_model("encode"), Cohort.from_arrays(pixels, kind="encode"))
    (step,) = learning.batches(NOW, run())
    first, second = step.tensors["first"], step.tensors["second"]
    assert float(first.std()) > 0.25 and float(second.std()) < 0.1
    torch.testing.assert_close(first.mean((1, 2, 3)), second.mean((1, 2, 3)), atol=0.02, rtol=0)


def test_uneven_views_are_as_published() -> None:
    first, second = uneven(views("scan"))
    assert (first.blur_chance, first.solarise) == (1.0, 0.0)
    assert (second.blur_chance, second.solarise) == (0.1, 0.2)
    even = views("scan").model_dump()
    assert {k for k in even if first.model_dump()[k] != even[k]} == {"blur_chance"}
    assert {k for k in even if second.model_dump()[k] != even[k]} == {"blur_chance", "solarise"}
