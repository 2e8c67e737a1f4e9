"""Stain laboratories: dyes and scanner are what the settings say, and no tissue stands on two sides of a split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import medgraft as mg
from medgraft.data.leakage import find_leaks
from medgraft.errors import SettingsError
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.stain import Macenko, Stains
from medgraft.phantoms import STAIN_SITES, StainSite, load_phantom
from medgraft.phantoms.stain_tiles import BANDS, REGIONS, nuclei, recolour, scan, slide, slide_stains

GENERATOR = np.random.default_rng(0)
HAND = Stains(torch.tensor([[0.6, 0.0], [0.8, 1.0], [0.0, 0.0]]), torch.ones(2))
ALL = {"slices": 512, "side": 48}


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def degrees(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos((one * other).sum(axis=0).clip(max=1)))


def stained_only(site: StainSite) -> StainSite:
    return StainSite(**site.model_dump(include={"haematoxylin_turn", "eosin_turn", "haematoxylin", "eosin"}))


def pictures(cohort: mg.Cohort) -> np.ndarray:
    return np.stack([cohort.picture(row).array for row in range(len(cohort))])


# Dyes


def test_the_reference_is_the_slide_itself() -> None:
    assert np.array_equal(recolour(slide(), slide_stains(), StainSite(), GENERATOR), slide())
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij"), axis=-1).astype(np.uint8)
    again = recolour(every.reshape(52, -1, 3), slide_stains(), StainSite(), GENERATOR)
    assert np.array_equal(again, every.reshape(52, -1, 3))


def test_beer_and_lambert_are_worked_by_hand_on_one_pixel() -> None:
    # haematoxylin 1 and eosin 0.5 over glass of 240, and 0.1 in blue that neither explains
    density = np.array([0.6, 0.8 + 0.5, 0.1])
    pixel = 240 * np.exp(-density) - 1
    site = StainSite(haematoxylin=1.5, eosin=0.4)
    made = recolour(np.round(pixel)[None, None].astype(np.uint8), HAND, site, GENERATOR)[0, 0]
    expected = 240 * np.exp([-0.6 * 1.5, -(0.8 * 1.5 + 0.5 * 0.4), -0.1 * math.sqrt(1.5 * 0.4)]) - 1
    np.testing.assert_allclose(made, expected, atol=1.5)


def test_a_turned_stain_keeps_its_length_and_is_as_far_as_told() -> None:
    own = slide_stains().vectors.double().numpy()
    for turn in (-20, -7, 10):
        turned = StainSite(haematoxylin_turn=turn, eosin_turn=turn).vectors(own)
        np.testing.assert_allclose(np.linalg.norm(turned, axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(degrees(turned, own), abs(turn), atol=1e-3)
        assert (turned > 0).all()
        assert (np.sign(turned - own)[0] == np.sign(turn)).all()
    bluer, redder = (
        recolour(slide()[:200], slide_stains(), StainSite(haematoxylin_turn=t), GENERATOR) for t in (8, -8)
    )
    balance = [
        (image[..., 2].astype(float) - image[..., 0]).mean() for image in (bluer, slide()[:200], redder)
    ]
    assert balance[0] > balance[1] + 5 > balance[2] + 10


def test_pixels_without_stain_stay_what_they_are() -> None:
    glass = np.full((4, 4, 3), 250, np.uint8)
    site = StainSite(haematoxylin_turn=-9, eosin_turn=-13, haematoxylin=2, eosin=3)
    assert np.array_equal(recolour(glass, slide_stains(), site, GENERATOR), glass)


@pytest.mark.parametrize("name", list(STAIN_SITES))
def test_macenko_finds_the_dyes_of_the_laboratory(name: str) -> None:
    site, own = stained_only(STAIN_SITES[name]), slide_stains()
    made = as_tensor(recolour(slide(), own, site, GENERATOR))
    truth = site.vectors(own.vectors.double().numpy())
    pale = 0.1 if site.haematoxylin < 0.7 else 0.15
    found = Macenko(background=pale).fit(made).vectors.double().numpy()
    assert degrees(found, truth).max() < 3


@pytest.mark.parametrize("name", list(STAIN_SITES))
def test_amounts_are_those_of_the_slide_times_the_gains(name: str) -> None:
    site, own = stained_only(STAIN_SITES[name]), slide_stains()
    made = recolour(slide(), own, site, GENERATOR)
    truth = torch.tensor(site.vectors(own.vectors.double().numpy())).float()
    before = Macenko().amounts(as_tensor(slide()), own)[0].flatten(1)
    after = Macenko().amounts(as_tensor(made), own._replace(vectors=truth))[0].flatten(1)
    shown = torch.from_numpy((made > 15).all(-1) & (made < 250).all(-1)).flatten()
    chosen = shown & (before > 0.1).all(0)
    known = np.stack([*before[:, chosen].double().numpy(), np.ones(int(chosen.sum()))], axis=1)
    for number, gain in enumerate((site.haematoxylin, site.eosin)):
        slopes = np.linalg.lstsq(known, after[number, chosen].double().numpy(), rcond=None)[0]
        assert slopes[number] == pytest.approx(gain, rel=0.03)
        assert abs(slopes[1 - number]) < 0.03


# Scanner


def test_the_scanner_is_worked_by_hand() -> None:
    image = np.full((2, 2, 3), 128, np.uint8)
    made = recolour(image, HAND, StainSite(gamma=1.2, balance=(1.1, 1.0, 0.5)), GENERATOR)[0, 0]
    curved = 255 * (128 / 255) ** 1.2
    assert made.tolist() == [round(1.1 * curved), round(curved), round(0.5 * curved)]
    noisy = recolour(
        np.full((200, 200, 3), 128, np.uint8), HAND, StainSite(noise=0.02), np.random.default_rng(1)
    )
    assert noisy.std() == pytest.approx(0.02 * 255, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.1)


def test_a_bright_line_is_as_wide_as_the_blur() -> None:
    image = np.full((9, 65, 3), 20, np.uint8)
    image[:, 32] = 220
    profile = recolour(image, HAND, StainSite(blur=8), GENERATOR)[4, :, 0].astype(float) - 20
    above = profile >= profile.max() / 2
    assert 7 <= above.sum() <= 9
    assert profile.sum() == pytest.approx(200, rel=0.1)


# Laboratories


def test_there_are_seven_others_from_close_to_far() -> None:
    assert len(STAIN_SITES) == 8
    part = slide()[::4, ::4]
    scans = [recolour(part, slide_stains(), site, GENERATOR) for site in STAIN_SITES.values()]
    means = [rgb_to_lab(as_tensor(image)).mean((0, 2, 3)) for image in scans]
    distances = [float((mean - means[0]).norm()) for mean in means]
    assert distances == sorted(distances)
    assert 0 < distances[1] < 2 and distances[-1] > 20


# Tiles


def test_tiles_at_the_reference_are_those_of_the_samples_in_the_same_splits() -> None:
    cohort, samples = (
        load_phantom("stain_tiles", sites=["reference"], **ALL),
        mg.load_samples("nuclei").at("nest"),
    )
    for split in BANDS:
        mine, theirs = cohort.split(split), samples.split(split)
        keys = [
            sorted(zip((picture.tobytes() for picture in pictures(each)), each.labels))
            for each in (mine, theirs)
        ]
        assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("side", "train", "validation", "test"),
    [
        (48, [104, 288, 83], [46, 32, 87], [149, 247, 66]),
        (96, [85, 263, 74], [35, 25, 73], [136, 230, 60]),
    ],
)
def test_classes_of_every_split_are_counted(
    side: int, train: list[int], validation: list[int], test: list[int]
) -> None:
    cohort = load_phantom("stain_tiles", sites=["reference"], slices=512, side=side)
    assert cohort.classes == ("connective", "inflammatory", "neoplastic")
    counts = {split: np.bincount(cohort.split(split).labels).tolist() for split in BANDS}
    assert counts == {"train": train, "validation": validation, "test": test}
    assert pictures(cohort).shape[1:] == (side, side, 3) and pictures(cohort).dtype == np.uint8


@pytest.mark.parametrize("side", [17, 48, 128])
def test_splits_share_no_tissue(side: int) -> None:
    cohort = load_phantom("stain_tiles", sites=["reference"], slices=512, side=side)
    shown = {split: np.zeros((1500, 1500), bool) for split in BANDS}
    for row, (split, x, y) in enumerate(cohort.table[["split", "x", "y"]].itertuples(index=False)):
        left, top = int(x) - side // 2, int(y) - side // 2
        assert np.array_equal(cohort.picture(row).array, slide()[top : top + side, left : left + side])
        shown[split][top : top + side, left : left + side] = True
    rows = {split: np.flatnonzero(area.any(axis=1)) for split, area in shown.items()}
    assert rows["train"].max() + 24 < rows["validation"].min()
    assert rows["validation"].max() + 24 < rows["test"].min()


def test_a_region_is_the_same_tissue_at_every_laboratory_and_in_one_split() -> None:
    cohort = load_phantom("stain_tiles", sites=["reference", "eosin_rich", "other_dyes"], **ALL)
    near, far = cohort.at("reference"), cohort.at("other_dyes")
    assert near.patients.tolist() == far.patients.tolist() == near.units.tolist()
    assert near.labels.tolist() == far.labels.tolist()
    assert not find_leaks(near.split("train"), far.split("test"))
    assert not find_leaks(near.split("train", "validation"), cohort.split("test"))
    leaks = find_leaks(near.split("train"), far.split("train"))
    assert {leak.kind for leak in leaks} == {"patient"} and len(leaks) == 19
    table = cohort.table.drop_duplicates("patient")
    assert table["split"].value_counts().to_dict() == {"train": 19, "test": 16, "validation": 4}
    assert cohort.unit_name == "regions of one slide"


def test_a_tile_does_not_depend_on_what_else_is_asked_for() -> None:
    few = load_phantom("stain_tiles", subjects=2, slices=3, side=48, sites=["faded"])
    many = load_phantom("stain_tiles", subjects=4, slices=5, side=48, sites=["eosin_rich", "faded"]).at(
        "faded"
    )
    first = many.table["patient"].isin(["region-000", "region-001"]) & (
        many.table.groupby("patient").cumcount() < 3
    )
    assert np.array_equal(pictures(few), pictures(many.take(np.flatnonzero(first))))
    again = load_phantom("stain_tiles", subjects=2, slices=3, side=48, sites=["faded"])
    assert few.fingerprint() == again.fingerprint()
    other = load_phantom("stain_tiles", subjects=2, slices=3, side=48, sites=["faded"], seed=1)
    assert few.fingerprint() != other.fingerprint()


def test_noise_is_of_the_scan_and_not_of_the_tile() -> None:
    noisy = scan(StainSite(noise=0.05), "here")
    assert not np.array_equal(noisy, scan(StainSite(noise=0.05), "there"))
    tiles = load_phantom("stain_tiles", subjects=1, slices=2, side=48, sites={"here": {"noise": 0.05}})
    whole = scan(StainSite(noise=0.05), "stain_tiles", 0, "here", "noise")
    for row, (x, y) in enumerate(tiles.table[["x", "y"]].astype(int).itertuples(index=False)):
        assert np.array_equal(tiles.picture(row).array, whole[y - 24 : y + 24, x - 24 : x + 24])


def test_evaluation_says_what_is_simulated_and_who_made_the_labels() -> None:
    cohort = load_phantom("stain_tiles", subjects=2, slices=2, sites=["faded"])
    assert "recoloured" in cohort.notes["simulated"] and "silver standard" in cohort.notes["simulated"]
    assert "silver" in cohort.notes["silver_labels"]


def test_ten_regions_that_follow_one_another_are_split_as_ten_subjects() -> None:
    splits = nuclei().drop_duplicates("region").set_index("region")["split"]
    assert len(splits) == REGIONS - 1  # one region of 40 shows no nucleus
    for number, split in splits.items():
        assert splits.get(number % 10, split) == split


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"subjects": 41}, "The phantom stain_tiles needs subjects from 1 to 40, but it got 41"),
        ({"side": 129}, "side from 16 to 128, but it got 129"),
        ({"sites": ["elsewhere"]}, "sites among reference, next_day"),
        ({"task": "lesion"}, "a task among nuclei"),
        ({"volumes": True}, "its images have no depth"),
        ({"sites": {"mine": {"eosin_turn": 11}}}, "eosin_turn: Input should be less than or equal to 10"),
        ({"sites": {"mine": {"eosin": 0}}}, "eosin: Input should be greater than 0"),
        ({"sites": {"mine": {"balance": [1, 1]}}}, "balance.2: Field required"),
        ({"sites": {"mine": {"stain": 1}}}, "medgraft.phantoms.StainSite"),
    ],
)
def test_what_does_not_exist_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_phantom("stain_tiles", **wrong)
