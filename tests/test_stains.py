"""Laboratories and their stains: colours and pictures against numbers by hand, features against made-up models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import medgraft as mg
from medgraft.api.stains import _features
from medgraft.cli.main import app
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.engine.method import adapt
from medgraft.engine.predict import rows_by_patient
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.stain_normalised import StainNormalised
from medgraft.engine.stain_normalisers import FittedNormaliser, Normaliser
from medgraft.errors import DataError, SettingsError
from medgraft.evaluation import stain_colours
from medgraft.evaluation.stain_colours import (
    AS_IT_IS,
    Laboratory,
    measure_stains,
    read_tile,
    show_normalisers,
)
from medgraft.evidence import Evidence
from medgraft.images.reinhard import Reinhard
from medgraft.images.stain import Normalised
from medgraft.methods import ERM, StainAgLr
from medgraft.models.stain_decoder import decoder_for
from medgraft.testing import make_model
from medgraft.types import Preparation

SITES = ["reference", "other_dyes", "faded"]


@pytest.fixture(scope="module")
def tiles() -> mg.Cohort:
    return mg.load_phantom("stain_tiles", sites=SITES, subjects=10, slices=4, side=32).split("test")


def classifier(tiles: mg.Cohort) -> mg.Model:
    with seeded("stains"):
        model = make_model("classify", channels=3)
    model.spec = model.spec.changed(classes=tiles.classes, preparation=Preparation(channels=3))
    return model


@pytest.fixture(scope="module")
def compared(tiles: mg.Cohort) -> Evidence:
    model = classifier(tiles)
    reinhard = Reinhard()
    home = tiles.at("reference")
    reference = reinhard.fit(torch.cat([read_tile(home, row) for row in range(len(home))]))
    normalised = StainNormalised(model.spec, network=model, normaliser=FittedNormaliser(reinhard, reference))
    return mg.compare_stains(
        tiles, {"plain": model, "Reinhard": normalised}, reference="reference", repeats=20
    )


def painted(colours: list[tuple[int, int, int]], sites: list[str], **more: object) -> mg.Cohort:
    images = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])
    return mg.Cohort.from_arrays(images, kind="encode", sites=sites, **more)


def spread(cohort: mg.Cohort, reference: str) -> pd.DataFrame:
    sites = dict.fromkeys(cohort.sites.tolist())
    laboratories = [Laboratory(site, own := cohort.at(site), np.arange(len(own))) for site in sites]
    return measure_stains(laboratories, reference).set_index("site")


def test_hues_on_both_sides_of_red_are_red_and_a_constant_colour_has_no_spread():
    """Hues 350 and 10 degrees: (255, 0, 42.5) and (255, 42.5, 0), here rounded."""
    found = spread(painted([(240, 0, 40), (240, 40, 0), (0, 0, 128)], ["A", "A", "B"]), "A")
    assert min(found.loc["A", "hue_mean"], 360 - found.loc["A", "hue_mean"]) == pytest.approx(0, abs=1e-4)
    assert found.loc["A", "hue_sd"] == pytest.approx(10.025, abs=1e-2)
    assert found.loc["B", "hue_mean"] == pytest.approx(240) and found.loc["B", "value_mean"] == pytest.approx(
        128 / 255
    )
    assert found.loc["B", ["hue_sd", "saturation_sd", "value_sd"]].tolist() == pytest.approx(
        [0, 0, 0], abs=1e-4
    )


def test_distance_is_that_of_mean_colours_in_cielab():
    """White is (100, 0, 0) and black (0, 0, 0): their mean is 50 from either; greys have no hue."""
    found = spread(painted([(255,) * 3, (255,) * 3, (0,) * 3, (0,) * 3], ["A", "B", "B", "C"]), "A")
    assert found["lab_distance"].tolist() == pytest.approx([0, 50, 100], abs=1e-3)
    assert found["hue_mean"].isna().all()


def test_pixels_without_colour_do_not_turn_the_hue():
    images = np.full((2, 8, 8, 3), 255, np.uint8)
    images[:, :2] = (0, 0, 200)
    found = spread(mg.Cohort.from_arrays(images, kind="encode", sites=["A", "B"]), "A")
    assert found["hue_mean"].tolist() == pytest.approx([240, 240])
    assert found["saturation_mean"].tolist() == pytest.approx([0.25, 0.25])


def test_the_gallery_has_every_laboratory_under_every_normaliser(tiles: mg.Cohort, compared: Evidence):
    table = compared.tables["stain_gallery"]
    names = [AS_IT_IS, "Reinhard", "Macenko", "Vahadane", "model Reinhard"]
    assert table.groupby("site", sort=False)["normaliser"].agg(list).to_dict() == dict.fromkeys(SITES, names)
    assert set(table["image"]) <= set(compared.images)
    assert all(compared.images[name].shape == (32, 32, 3) for name in table["image"])
    assert table.loc[table["normaliser"] != AS_IT_IS, "changed"].all()
    shown = {site: picture(compared, site, AS_IT_IS) for site in SITES}
    place = next(
        row for row in range(len(tiles)) if np.array_equal(tiles.picture(row).array, shown["reference"])
    )
    for site in SITES:  # the same tissue everywhere
        row = tiles.table.reset_index().query("site == @site")
        twin = row[
            (row["x"] == tiles.table["x"].iloc[place]) & (row["y"] == tiles.table["y"].iloc[place])
        ].index[0]
        assert np.array_equal(tiles.picture(int(twin)).array, shown[site])


def picture(evidence: Evidence, site: str, normaliser: str) -> np.ndarray:
    table = evidence.tables["stain_gallery"]
    (name,) = table.loc[(table["site"] == site) & (table["normaliser"] == normaliser), "image"]
    return evidence.images[name]


@pytest.mark.parametrize("normaliser", ["Reinhard", "model Reinhard"])
def test_normalised_tiles_are_what_reinhard_gives_by_hand(
    tiles: mg.Cohort, compared: Evidence, normaliser: str
):
    """The region's colours, from all its tiles, go to those of all tiles of the reference."""
    reinhard, home, faded = Reinhard(), tiles.at("reference"), tiles.at("faded")
    first = picture(compared, "faded", AS_IT_IS)
    row = next(row for row in range(len(faded)) if np.array_equal(faded.picture(row).array, first))
    region = np.flatnonzero(faded.patients == faded.patients[row])
    target, source = (
        reinhard.fit(torch.cat([read_tile(rows, int(one)) for one in chosen]))
        for rows, chosen in ((home, range(len(home))), (faded, region))
    )
    by_hand = reinhard.normalise(read_tile(faded, row), target, source).images[0].permute(1, 2, 0)
    found = picture(compared, "faded", normaliser).astype(int)
    assert np.abs(found - (by_hand * 255).round().numpy()).max() <= 1
    assert np.abs(found - first.astype(int)).max() > 20


def slides(tiles_of_each: int) -> mg.Cohort:
    """Two laboratories' one slide, of more tissue from tile to tile, but only glass in the first."""
    generator = np.random.default_rng(0)
    dye = generator.integers(90, 160, (tiles_of_each, 8, 8, 3), dtype=np.uint8)
    glass = (
        generator.random((tiles_of_each, 8, 8, 1)) > np.linspace(0, 0.9, tiles_of_each)[:, None, None, None]
    )
    images = np.where(glass, 250, dye).astype(np.uint8)
    return mg.Cohort.from_arrays(
        np.concatenate([images, images // 2 + 100]), kind="encode", patients=["slide"] * (2 * tiles_of_each),
        sites=np.repeat(["A", "B"], tiles_of_each).tolist(),
    )  # fmt: skip


class Seen(Normaliser):
    """Changes nothing and counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted, self.changed = [], []

    def fit(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.fitted.append(images.shape[3])
        return ()

    def forward(self, images: torch.Tensor, region: tuple[torch.Tensor, ...] | None = None) -> Normalised:
        self.changed.append(len(images))
        return Normalised(images, torch.ones(len(images), dtype=torch.bool))


def test_the_tile_of_a_slide_that_begins_with_glass_shows_tissue():
    cohort = slides(7)
    evidence = mg.compare_stains(cohort, reference="A")
    darker_than_glass = [
        (cohort.picture(row).array.astype(int).mean(axis=2) < 195).mean() for row in range(7)
    ]
    assert darker_than_glass[0] == 0 and int(np.argmax(darker_than_glass)) == 6
    assert np.array_equal(picture(evidence, "A", AS_IT_IS), cohort.picture(6).array)
    assert np.array_equal(picture(evidence, "B", AS_IT_IS), cohort.picture(13).array)


def test_a_slide_of_many_tiles_is_not_read_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stain_colours, "MOST_TILES", 5)
    cohort, read = slides(60), []
    sites = [cohort.at(site) for site in ("A", "B")]
    laboratories = [Laboratory(site, own, np.arange(4)) for site, own in zip("AB", sites)]
    model, seen = make_model("classify", channels=3), Seen()
    spec = model.spec.changed(preparation=Preparation(channels=3))
    normalising = StainNormalised(spec, network=model, normaliser=seen)
    plain = mg.Cohort.picture
    monkeypatch.setattr(
        mg.Cohort, "picture", lambda own, row: (picture := plain(own, row), read.append(picture.array))[0]
    )
    looks = show_normalisers(laboratories, "A", {"m": normalising})
    # the reference; and at each site for tissue, for pixels and for the model, and the one that is shown
    assert len(read) == 4 + 2 * (5 + 5 + 5 + 1)
    shown = [look.picture for look in looks if look.normaliser == AS_IT_IS]
    drawn = {
        row for row in range(60) for one in read[4:9] if np.array_equal(sites[0].picture(row).array, one)
    }
    assert len(drawn) == 5 and np.array_equal(shown[0], sites[0].picture(max(drawn)).array)
    assert np.array_equal(shown[1], sites[1].picture(max(drawn)).array)
    assert seen.fitted == [5 * 64] * 2 and seen.changed == [1] * 2


def test_what_a_decoder_regenerates_is_shown_until_the_weights_change(tiles: mg.Cohort, tmp_path: Path):
    schedule = Schedule(epochs=2, batch_size=8, steps_per_epoch=3)
    home = tiles.at("reference").only({"images", "truth"})
    source = mg.Cohort.from_arrays(
        np.stack([home.picture(row).array for row in range(len(home))]), home.labels, kind="classify",
        classes=home.classes,
    )  # fmt: skip
    task, start = mg.Task(source=source), mg.open_source("random/test_resnet", classes=tiles.classes)
    runs = [Run(select="last", device="cpu", progress=False) for _ in range(2)]
    agnostic = adapt(start, task, StainAgLr(schedule=schedule), runs[0])
    tuned = adapt(agnostic, task, ERM(schedule=schedule), runs[1])
    agnostic.save(tmp_path / "agnostic")
    evidence = mg.compare_stains(tiles, {"ours": tmp_path / "agnostic", "tuned": tuned, "plain": start},
                                 reference="reference", repeats=20)  # fmt: skip
    shown = evidence.tables["stain_gallery"]["normaliser"].drop_duplicates().tolist()
    assert shown == [AS_IT_IS, "Reinhard", "Macenko", "Vahadane", "regenerated by ours"]

    decoder, block = decoder_for(agnostic, torch.zeros(1, 3, 32, 32))
    state = agnostic.pretraining_heads.of(f"stain_decoder:{block}")
    decoder.load_state_dict(state)
    for site in SITES:
        tile = torch.from_numpy(picture(evidence, site, AS_IT_IS).copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():  # this preparation only divides by white
            inner = agnostic.eval().activations(tile, [block])[1][block]
            by_hand = decoder.eval()(inner, (32, 32))[0].permute(1, 2, 0)
        found = picture(evidence, site, "regenerated by ours").astype(int)
        assert np.abs(found - (by_hand * 255).round().numpy()).max() <= 1 and found.std() > 0


def test_tables_tell_every_tile_and_site_but_no_patient(tiles: mg.Cohort, compared: Evidence):
    points, overlaps = compared.tables["stain_features"], compared.tables["stain_overlap"]
    assert points.groupby(["subject", "site"]).size().nunique() == 1 and len(points) == 2 * len(tiles)
    assert set(points["label"]) <= set(tiles.classes)
    others = overlaps[overlaps["site"] != "reference"]
    assert others["overlap"].between(0, 1).all() and others["class_agreement"].between(0, 1).all()
    assert np.allclose(others["overlap"], np.minimum(1, 2 * (1 - others["balanced_accuracy"])))
    assert overlaps.loc[overlaps["site"] == "reference", "overlap"].isna().all()
    scored = compared.tables["subgroups"]
    assert {"balanced_accuracy", "auroc"} <= set(scored["metric"]) and set(scored["group"]) == set(SITES)
    text = json.dumps(compared.provenance) + "".join(table.to_csv() for table in compared.tables.values())
    assert not any(patient in text + "".join(compared.images) for patient in set(tiles.patients))


def test_a_site_with_the_same_pixels_overlaps_wholly_and_features_apart_do_not(tiles: mg.Cohort):
    home = tiles.at("reference")
    rows = range(len(home))
    pixels = np.stack([home.picture(row).array for row in rows])
    twice = mg.Cohort.from_arrays(
        np.concatenate([pixels, pixels, pixels // 2]), np.tile(home.labels, 3), kind="classify",
        classes=home.classes, patients=np.tile(home.patients, 3).tolist(),
        sites=np.repeat(["A", "twin", "dark"], len(home)).tolist(),
    )  # fmt: skip

    class Brightness(type(classifier(tiles))):  # type: ignore[misc]
        def features(self, images: torch.Tensor) -> torch.Tensor:
            bright = images.flatten(1).mean(1, keepdim=True)
            return torch.cat([100 * (bright < 0.4), images.flatten(1)], 1)

    model = classifier(tiles)
    model.__class__ = Brightness
    found = mg.compare_stains(twice, {"m": model}, repeats=20).tables["stain_overlap"].set_index("site")
    assert found.loc["twin", "overlap"] == 1.0
    assert found.loc["twin", "balanced_accuracy"] == 0.5  # a tile and its twin are one patient
    assert found.loc["dark", "overlap"] < 0.2
    assert found.loc["twin", "class_agreement"] == found.loc["A", "class_agreement"]


def test_a_model_that_normalises_is_asked_for_what_its_network_sees(tiles: mg.Cohort, compared: Evidence):
    faded, model = tiles.at("faded"), classifier(tiles)
    reference = Reinhard().fit(torch.cat([read_tile(tiles.at("reference"), row) for row in range(4)]))
    wrapped = StainNormalised(model.spec, network=model, normaliser=FittedNormaliser(Reinhard(), reference))
    chosen = np.array([5, 0, 3])
    laboratory = Laboratory("faded", faded, chosen)
    assert np.allclose(
        _features(model, laboratory, "cpu"), extract_features(model, faded.take(chosen)).numpy(), atol=1e-6
    )
    found = _features(wrapped, laboratory, "cpu")
    for place, row in enumerate(chosen):
        region = np.flatnonzero(faded.patients == faded.patients[row])
        seen = wrapped.normalise(Loader(faded, model.spec.preparation)(region).images).images
        with torch.no_grad():
            expected = model.eval().features(seen)[region.tolist().index(row)]
        assert np.allclose(found[place], expected.numpy(), atol=1e-5)
    assert not np.allclose(found, _features(model, laboratory, "cpu"), atol=1e-3)


def test_tiles_of_one_region_at_two_laboratories_are_normalised_by_laboratory(tiles: mg.Cohort):
    for rows in rows_by_patient(tiles):
        assert len(set(tiles.sites[rows])) == len(set(tiles.patients[rows])) == 1


def test_without_models_and_truth_there_are_colours_and_pictures(tiles: mg.Cohort):
    found = mg.compare_stains(tiles.only({"images", "sites"}), images=3)
    assert set(found.tables) == {"stain_spread", "stain_gallery"} and found.facts.empty
    assert found.tables["stain_spread"]["tiles"].tolist() == [3, 3, 3]
    (warning,) = found.warnings
    assert "names no patients" in warning and "tile by tile" in warning and "column 'patient'" in warning
    assert not mg.compare_stains(tiles.only({"images", "sites", "patients"}), images=3).warnings


def test_wrong_input_is_refused_in_words(tiles: mg.Cohort):
    with pytest.raises(DataError, match="'site'"):
        mg.compare_stains(tiles.only({"images"}))
    with pytest.raises(DataError, match="only 'faded'"):
        mg.compare_stains(tiles.at("faded"))
    with pytest.raises(
        DataError, match=r"among the cohort's sites \(reference, other_dyes, faded\).*'Porto'"
    ):
        mg.compare_stains(tiles, reference="Porto")
    with pytest.raises(SettingsError, match="at least one tile"):
        mg.compare_stains(tiles, images=0)
    grey = mg.Cohort.from_arrays(
        np.zeros((2, 8, 8, 1), np.uint8), kind="encode", sites=["A", "B"], patients=["Ada", "Bea"]
    )
    with pytest.raises(DataError, match="red, green and blue") as caught:
        mg.compare_stains(grey)
    assert "Ada" not in str(caught.value)
    some = mg.Cohort.from_arrays(np.zeros((2, 8, 8, 3), np.uint8), kind="encode", sites=["A", ""])
    with pytest.raises(DataError, match="some rows"):
        mg.compare_stains(some)


@pytest.mark.slow
def test_the_command_writes_a_page_and_the_page_is_built_from_the_evidence_alone(
    tiles: mg.Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = tiles.table[["label", "patient", "site"]].assign(
        image=[f"{row}.png" for row in range(len(tiles))]
    )
    for row in range(len(tiles)):
        Image.fromarray(tiles.picture(row).array).save(tmp_path / f"{row}.png")
    table.to_csv(tmp_path / "tiles.csv", index=False)
    classifier(tiles).save(tmp_path / "before")
    monkeypatch.chdir(tmp_path)
    words = ["stains", "tiles.csv", "--model", "before", "--reference", "reference", "--split", "all"]
    result = CliRunner().invoke(
        app, [*words, "--evidence", "evidence", "--out", "page.html", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "faded is farthest from reference" in result.output
    page = Path("page.html").read_text("utf-8")
    assert "Laboratories and their stains" in page and page.count("data:image/png") == 3 * 4
    assert mg.report("evidence", "again.html", title="Stains of tiles").read_bytes() == page.encode()
    plain = mg.report("evidence", "plain.html", images=False).read_text("utf-8")
    assert "data:image" not in plain and "What normalisers make of a tile" not in plain and "Hue" in plain
    twice = CliRunner().invoke(app, [*words, "--model", "before"])
    assert twice.exit_code == 2 and "different names" in twice.output
