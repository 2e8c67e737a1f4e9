"""The method `normalise_stain`: what it promises, what it regains in another laboratory, and what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import medgraft as mg
from medgraft import testing
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.select import Selector
from medgraft.engine.stain_normalised import ALONE, StainNormalised
from medgraft.engine.stain_normalisers import FittedNormaliser
from medgraft.errors import DataError, ModelError, NeedError
from medgraft.images.reinhard import Reinhard
from medgraft.images.stain import Macenko, Vahadane
from medgraft.methods import FineTune, NormaliseStain
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import check_method, make_cohort, make_model
from medgraft.types import Kind, Preparation

SIZE, TILES = 32, 4
LABORATORIES = {
    "own": (((0.65, 0.70, 0.29), (0.12, 0.95, 0.25)), 1.0),
    "other": (((0.45, 0.80, 0.42), (0.25, 0.90, 0.36)), 2.0),
}
PREPARATION = Preparation(channels=3, mean=(0.7, 0.5, 0.6), std=(0.2, 0.25, 0.15))
NORMALISERS = ("reinhard", "reinhard_modified", "macenko", "vahadane")


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def stained(amounts: np.ndarray, laboratory: str) -> np.ndarray:
    """(..., 2) amounts of haematoxylin and eosin as bytes of light (Beer and Lambert)."""
    vectors, gain = LABORATORIES[laboratory]
    unit = np.asarray(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    light: np.ndarray = 235 * np.exp(-gain * amounts @ unit)
    return light.round().astype(np.uint8)


def make_region(laboratory: str, patients: int = 9, seed: int = 0, named: bool = True) -> Cohort:
    """Four tiles of each patient: round nuclei in eosin, whose mask is known, in the last tile none, and some glass."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, masks = [], []
    for number in range(patients * TILES):
        nuclei = np.zeros((SIZE, SIZE), bool)
        for _ in range((2, 6, 12, 0)[number % TILES]):
            centre = rng.uniform(3, SIZE - 3, 2)
            nuclei |= (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= rng.uniform(2, 4) ** 2
        texture = rng.normal(1, 0.15, (2, SIZE, SIZE)).clip(0.5)
        amounts = np.stack(
            [np.where(nuclei, 0.55, 0.25) * texture[0], np.where(nuclei, 0.2, 0.4) * texture[1]], -1
        )
        amounts[: int(rng.integers(0, 10))] = 0
        images.append(stained(amounts, laboratory))
        masks.append((nuclei & (amounts[..., 0] > 0)).astype(np.uint8))
    split = np.repeat(["train"] * (patients - 3) + ["validation"] * 3, TILES).tolist()
    names = np.repeat([f"{laboratory}{number}" for number in range(patients)], TILES).tolist()
    return Cohort.from_arrays(
        np.stack(images), np.stack(masks), kind="segment", classes=("rest", "nucleus"),
        patients=names if named else None, split=split if named else None, name=laboratory,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Model:
    """A tiny network that finds nuclei in its own laboratory."""
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"), channels=3, preparation=PREPARATION)
    with seeded("trained"):
        model = UNet(spec, width=4, depth=2)
    schedule = Schedule(epochs=20, steps_per_epoch=8, batch_size=8, lr=0.01)
    method = FineTune(schedule=schedule, augmentation=None)
    return adapt(model, Task(target=make_region("own")), method, run(select="last"))


def dice(model: Model, cohort: Cohort) -> float:
    return Selector("oracle", cohort).score(model)


@pytest.mark.parametrize("normaliser", ["reinhard", "macenko", "vahadane"])
def test_what_another_laboratory_costs_is_regained(trained: Model, normaliser: str) -> None:
    same, other = (make_region(laboratory, seed=1) for laboratory in ("own", "other"))
    best, before = dice(trained, same), dice(trained, other)
    task = Task(source=make_region("own"))
    after, per_tile = (
        dice(adapt(trained, task, NormaliseStain(normaliser=normaliser, per=per), run()), other)  # type: ignore[arg-type]
        for per in ("region", "tile")
    )
    assert best > 0.95 and before < 0.5
    assert after > best - 0.03 and per_tile < after - 0.02


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_the_reference_is_fitted_to_drawn_tiles_and_told(trained: Model, normaliser: str) -> None:
    source = make_region("own")
    of_run = run(seed=3)
    adapted = adapt(trained, Task(source=source), NormaliseStain(normaliser=normaliser), of_run)  # type: ignore[arg-type]
    assert isinstance(adapted, StainNormalised) and isinstance(adapted.normaliser, FittedNormaliser)
    kept = source.split("train")
    tiles = torch.from_numpy(np.stack([kept.picture(row).array for row in range(len(kept))])).movedim(-1, 1)
    method: Macenko | Vahadane | Reinhard = adapted.normaliser.method
    expected = method.fit(tiles.float() / 255)
    tolerance = 1e-3 if normaliser == "vahadane" else 2e-4  # which looks at some of the pixels
    for one, other in zip(adapted.normaliser.reference, expected):
        torch.testing.assert_close(one, other.double(), rtol=tolerance, atol=tolerance)
    table = of_run.shared.records.tables["stain_reference"]
    if normaliser.startswith("reinhard"):
        assert table["channel"].tolist() == ["L", "a", "b"]
        np.testing.assert_allclose(table["mean"], expected[0], rtol=1e-4)
        np.testing.assert_allclose(table["sd"], expected[1], rtol=1e-4)
    else:
        assert table["stain"].tolist() == ["haematoxylin", "eosin"]
        found = table[["red", "green", "blue"]].to_numpy()
        np.testing.assert_allclose(found, expected[0].T, atol=tolerance)
        assert found[0, 0] > found[1, 0]  # haematoxylin takes more of the red
        np.testing.assert_allclose(table["strength"], expected[1], rtol=1e-2)


def test_one_tile_may_be_the_reference_and_seeds_draw_others(trained: Model) -> None:
    source = make_region("own")

    def mean(seed: int, images: int) -> Tensor:
        adapted = adapt(trained, Task(source=source), NormaliseStain(images=images), run(seed=seed))
        assert isinstance(adapted, StainNormalised)
        return adapted.normaliser.get_buffer("mean")

    assert not torch.equal(mean(0, 1), mean(1, 1))
    assert torch.equal(mean(1, 1), mean(1, 1))
    kept = source.split("train")
    of_each = [
        Reinhard().fit(torch.from_numpy(kept.picture(row).array.copy()).movedim(-1, 0)[None] / 255).mean
        for row in range(len(kept))
    ]
    assert min(float((mean(0, 1) - one).abs().max()) for one in of_each) < 1e-4
    torch.testing.assert_close(mean(0, 24), mean(1, 24), rtol=1e-4, atol=1e-4)


def test_the_adapted_model_is_evaluated_predicted_and_read_like_any_other(
    trained: Model, tmp_path: Path
) -> None:
    other = make_region("other", seed=1)
    out = run(folder=tmp_path / "run")
    method = {"method": "normalise_stain", "settings": {"normaliser": "macenko", "images": 10}}
    adapted = mg.adapt(trained, mg.Task(source=make_region("own")), method, out)
    evidence, of_file = (mg.evaluate(one, other, repeats=20) for one in (adapted, tmp_path / "run"))
    assert evidence.facts["value"].tolist() == of_file.facts["value"].tolist()
    assert not [text for text in evidence.warnings if "remark" in text]
    told = mg.predict(tmp_path / "run", other)
    assert "remark" not in told
    nameless = make_region("other", seed=1, named=False)
    assert mg.predict(adapted, nameless)["remark"].tolist() == [ALONE] * len(nameless)
    (warning,) = [text for text in mg.evaluate(adapted, nameless, repeats=20).warnings if "remark" in text]
    assert warning == f"other: of 36 predictions 36 have a remark ({ALONE})."


def test_transmitted_light_of_macenko_is_a_setting_that_the_model_keeps(
    trained: Model, tmp_path: Path
) -> None:
    task, method = Task(source=make_region("own")), NormaliseStain(normaliser="macenko", white=250.0)
    mg.adapt(trained, task, method, run(folder=tmp_path / "run"))
    adapted, published = (
        mg.load_model(tmp_path / "run" / "model"),
        adapt(trained, task, NormaliseStain(normaliser="macenko"), run()),
    )
    assert isinstance(adapted, StainNormalised) and isinstance(published, StainNormalised)
    other = make_region("other", patients=6, seed=1)
    tiles = torch.from_numpy(np.stack([other.picture(row).array for row in range(4)])).movedim(-1, 1) / 255
    low, span = (torch.tensor(each).view(3, 1, 1) for each in (PREPARATION.mean, PREPARATION.std))
    found, before = (
        each.normalise((tiles - low) / span).images * span + low for each in (adapted, published)
    )
    macenko = Macenko(white=250.0)
    kept = task.source.split("train")
    source = torch.from_numpy(np.stack([kept.picture(row).array for row in range(len(kept))])).movedim(-1, 1)
    expected = macenko.normalise(tiles, target=macenko.fit(source / 255), source=macenko.fit(tiles)).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert (found - before).abs().max() > 0.01


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normaliser": "macenko", "white": 0}, "white"),
        ({"normaliser": "macenko", "white": 300}, "white"),
        ({"white": 250}, "white is a setting of the normaliser macenko, and this one is reinhard"),
    ],
)
def test_light_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NormaliseStain(**settings)  # type: ignore[arg-type]


def test_single_tiles_are_warned_about(trained: Model, caplog: pytest.LogCaptureFixture) -> None:
    task = Task(source=make_region("own"))
    with caplog.at_level(logging.WARNING):
        adapt(trained, task, NormaliseStain(), run())
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        adapt(trained, task, NormaliseStain(per="tile"), run())
    assert "lost half of the accuracy" in caplog.text
    caplog.clear()
    nameless, warned = Task(source=make_region("own", named=False)), run()
    with caplog.at_level(logging.WARNING):
        adapt(trained, nameless, NormaliseStain(), warned)
    (told,) = warned.shared.warnings
    assert told in caplog.text and told.startswith("the source names no patients")
    assert "tile by tile" in told and "lost half of the accuracy" in told and "column 'patient'" in told


def test_what_does_not_fit_is_refused_in_a_sentence(trained: Model) -> None:
    def refused(images: np.ndarray, **settings: object) -> str:
        cohort = Cohort.from_arrays(images, kind="segment", classes=("rest", "nucleus"), name="some")
        with pytest.raises(DataError) as problem:
            adapt(trained, Task(source=cohort), NormaliseStain(**settings), run())  # type: ignore[arg-type]
        return str(problem.value)

    white = np.full((3, SIZE, SIZE, 3), 255, np.uint8)
    for normaliser in NORMALISERS:
        assert "these are (almost) background" in refused(white, normaliser=normaliser)
    grey = np.random.default_rng(0).integers(0, 200, (3, SIZE, SIZE, 1), np.uint8)
    for images in (grey, grey.repeat(3, axis=-1)):
        for normaliser in NORMALISERS:
            assert "the 3 source images looked at are grey (some)" in refused(images, normaliser=normaliser)
    floats = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    assert "this one holds float32, which is scaled image by image (row" in refused(floats)
    source = Task(source=make_region("own"))
    with pytest.raises(ModelError, match="kind, 'segment', but this one's kind is 'classify'"):
        adapt(make_model("classify", channels=3), source, NormaliseStain(), run())
    with pytest.raises(ModelError, match="this one sees 1 channel"):
        adapt(make_model("segment"), source, NormaliseStain(), run())
    with pytest.raises(NeedError, match=r"source\.images"):
        adapt(trained, Task(target=make_region("own")), NormaliseStain(), run())
    twice = adapt(trained, source, NormaliseStain(), run())
    with pytest.raises(ModelError, match="Take the model that it was made of"):
        adapt(twice, source, NormaliseStain(), run())
    for wrong in ({"images": 0}, {"per": "slide"}, {"normaliser": "ruifrok"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            NormaliseStain(**wrong)  # type: ignore[arg-type]


def test_the_same_colours_in_16_bits_are_the_same_reference(trained: Model) -> None:
    short = make_region("own")
    levels = np.stack([short.picture(row).array for row in range(len(short))])
    found = []
    for images in (levels, levels.astype(np.uint16) * 257):
        cohort = Cohort.from_arrays(images, kind="segment", classes=("rest", "nucleus"))
        adapted = adapt(trained, Task(source=cohort), NormaliseStain(), run())
        assert isinstance(adapted, StainNormalised)
        found.append(adapted.normaliser.get_buffer("mean"))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def coloured_cohort(kind: Kind, site: str = "A", **settings: object) -> Cohort:
    """`make_cohort`, its brightness being the amount of one stain and its darkness that of another."""
    grey = make_cohort(kind, site, **settings)  # type: ignore[arg-type]
    levels = np.stack([grey.picture(row).array[..., 0] for row in range(len(grey))]) / 255
    images = stained(np.stack([levels, 0.8 - 0.6 * levels], -1), "own" if site == "A" else "other")
    table = grey.table
    truth: np.ndarray | None = None if kind == "encode" else grey.labels if kind != "segment" else None
    if kind == "segment":
        truth = np.stack([grey.mask(row).array[..., 0] for row in range(len(grey))])
    columns = {name: table[column].tolist() for name, column in (("patients", "patient"), ("sites", "site"))}
    return Cohort.from_arrays(
        images,
        truth,
        kind=kind,
        classes=grey.classes,
        split=table["split"].tolist(),
        name=grey.name,
        **columns,
    )  # type: ignore[arg-type]


def test_keeps_the_promises_of_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "make_cohort", coloured_cohort)
    assert len(check_method(NormaliseStain())) == 3 * 8


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"normaliser": "macenko"}, {"normaliser": "vahadane", "per": "tile"}])
def test_keeps_them_in_colour(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "make_cohort", coloured_cohort)
    method = NormaliseStain(**settings)  # type: ignore[arg-type]
    assert len(check_method(method)) == 3 * 8
    plain = testing._source("classify")
    adapted = testing._adapted(method, plain)
    cohort = coloured_cohort("classify", "B")
    told, untouched = (mg.predict(model, cohort).filter(like="p_") for model in (adapted, plain))
    assert not np.allclose(told, untouched)


def test_predicting_in_one_command(trained: Model, tmp_path: Path) -> None:
    own, other = make_region("own"), make_region("other", seed=1)
    told = mg.predict(trained, other, adapt="normalise_stain", donors=own)
    everything = Cohort.from_arrays(
        np.stack([own.picture(row).array for row in range(len(own))]), kind="segment",
        classes=("rest", "nucleus"), patients=own.patients.tolist(),
    )  # fmt: skip
    expected = mg.predict(adapt(trained, Task(source=everything), NormaliseStain(), run()), other)
    pd.testing.assert_frame_equal(told, expected)
    assert not np.allclose(told["share_nucleus"], mg.predict(trained, other)["share_nucleus"])
