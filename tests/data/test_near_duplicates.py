"""Copies that are not the same numbers: every kind is found by its rows, and images that only look alike are not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.near_duplicates import Collector, find_near_duplicates, find_pairs, turn
from medgraft.data.samples import FOLDER, load_samples

Saved = Image.Image
SIDE, PITCH, TILES = 200, 210, 24
CUT = 9  # of 200 pixels: 4.5 percent


def tiles(name: str = "nest.jpg", number: int = TILES) -> list[Saved]:
    """Parts of a histology slide that do not touch."""
    slide = Image.open(FOLDER / name).convert("RGB")
    corners = [(PITCH * (one % 7), PITCH * (one // 7)) for one in range(number)]
    return [slide.crop((left, top, left + SIDE, top + SIDE)) for left, top in corners]


def with_levels(image: Saved, change: Callable[[np.ndarray], np.ndarray]) -> Saved:
    levels = np.clip(change(np.asarray(image, float) / 255), 0, 1)
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8))


def as_jpeg(image: Saved) -> Saved:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


def cut(image: Saved, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Saved:
    return image.crop((left, top, image.width - right, image.height - bottom))


def several_changes(image: Saved) -> Saved:
    part = cut(ImageOps.mirror(image), 4, 6, 5, 3).resize((150, 150), Image.Resampling.BICUBIC)
    return as_jpeg(with_levels(part, lambda levels: 0.9 * levels**1.3))


LEVELS = "another brightness or contrast"
COPIES: dict[str, tuple[Callable[[Saved], Saved], str | None]] = {
    "saved as JPEG": (as_jpeg, "saved anew"),
    "smaller": (lambda image: image.resize((110, 110), Image.Resampling.BICUBIC), "another size"),
    "larger": (lambda image: image.resize((320, 320), Image.Resampling.BICUBIC), "another size"),
    "squeezed": (lambda image: image.resize((200, 140), Image.Resampling.BICUBIC), "another size"),
    "brighter": (lambda image: with_levels(image, lambda levels: 0.7 * levels + 0.25), LEVELS),
    "gamma": (lambda image: with_levels(image, lambda levels: levels**1.6), LEVELS),
    "negative": (ImageOps.invert, "light and dark exchanged"),
    "mirrored": (ImageOps.mirror, "mirrored left to right"),
    "upside down": (ImageOps.flip, "mirrored top to bottom"),
    "turned left": (lambda image: image.transpose(Image.Transpose.ROTATE_90), "turned by 90 degrees"),
    "turned right": (lambda image: image.transpose(Image.Transpose.ROTATE_270), "turned by 90 degrees"),
    "turned twice": (lambda image: image.transpose(Image.Transpose.ROTATE_180), "turned by 180 degrees"),
    "transposed": (lambda image: image.transpose(Image.Transpose.TRANSPOSE), "mirrored along the diagonal"),
    "cut left": (lambda image: cut(image, left=CUT), "cropped or shifted"),
    "cut all round": (lambda image: cut(image, CUT, CUT, CUT, CUT), "cropped or shifted"),
    "cut in a corner": (lambda image: cut(image, top=CUT, right=CUT), "cropped or shifted"),
    "grey": (lambda image: image.convert("L"), None),
    "grey in three channels": (lambda image: image.convert("L").convert("RGB"), None),
    "several changes": (several_changes, f"mirrored left to right, cropped or shifted, {LEVELS}"),
}


def write(folder: Path, images: list[Saved]) -> Cohort:
    """Save images losslessly, each of a patient of its own."""
    for row, image in enumerate(images, start=1):
        image.save(folder / f"{row}.png")
    lines = [f"{row}.png,{row}" for row in range(1, len(images) + 1)]
    (folder / "table.csv").write_text("\n".join(["image,patient", *lines]))
    return read_manifest(folder / "table.csv")


def as_arrays(images: list[Saved]) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images])


def volume(seed: int) -> np.ndarray:
    """(24, 32, 40, 1) uint8: soft blobs."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(24, 32, 40)), 1.5)
    return (20 + 200 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[int, float, str]]:
    """Row of a copy -> row of the original, similarity and reason; the originals come first."""
    originals = tiles()
    copies = [change(originals[one]) for one, (change, _) in enumerate(COPIES.values())]
    found = find_near_duplicates(write(tmp_path_factory.mktemp("copies"), originals + copies))
    assert len({pair.other_row for pair in found}) == len(found)
    return {pair.other_row: (pair.row, pair.similarity, pair.reason) for pair in found}


@pytest.mark.parametrize("kind", COPIES)
def test_every_kind_of_copy_is_found_with_its_rows_and_how_it_differs(
    told: dict[int, tuple[int, float, str]], kind: str
) -> None:
    one = list(COPIES).index(kind)
    row, similarity, reason = told[TILES + one + 1]
    assert row == one + 1
    assert 0.85 < similarity <= 1
    expected = COPIES[kind][1]
    assert reason == (expected or reason)
    assert not (expected is None and ("mirrored" in reason or "turned" in reason or "cropped" in reason))


def test_nothing_but_the_copies_is_told(told: dict[int, tuple[int, float, str]]) -> None:
    assert set(told) == set(range(TILES + 1, TILES + len(COPIES) + 1))


def test_different_tiles_of_one_stain_are_not_told() -> None:
    images = as_arrays(tiles(number=45) + tiles("stroma.jpg", number=45))
    assert find_near_duplicates(Cohort.from_arrays(images, kind="encode")) == []


def test_noise_and_smooth_shades_are_not_told() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (20, 48, 48, 1)).astype(float)
    down, right = np.mgrid[:48, :48]
    angles = random.uniform(0, 2 * np.pi, 20)
    ramps = np.stack([down * np.cos(angle) + right * np.sin(angle) for angle in angles])[..., None]
    assert find_near_duplicates(Cohort.from_arrays(np.concatenate([noise, ramps]), kind="encode")) == []


def test_images_of_one_patient_or_one_unit_are_not_compared() -> None:
    images = as_arrays(tiles(number=8))
    images[7] = images[2, :, ::-1]
    names = list("abcdefgh")
    apart = Cohort.from_arrays(images, kind="encode", patients=names)
    together = Cohort.from_arrays(images, kind="encode", patients=[*names[:7], "c"])
    one_unit = Cohort.from_arrays(images, kind="encode", patients=names, units=[*names[:7], "c"])
    two_units = Cohort.from_arrays(images, kind="encode", patients=[*names[:7], "c"], units=names)
    assert [(pair.row, pair.other_row) for pair in find_near_duplicates(apart)] == [(3, 8)]
    assert find_near_duplicates(together) == find_near_duplicates(one_unit) == []
    assert [(pair.row, pair.other_row) for pair in find_near_duplicates(two_units)] == [(3, 8)]


def test_two_cohorts_are_compared_with_each_other_and_not_within() -> None:
    images = as_arrays(tiles(number=16))
    first, second = images[:8].copy(), images[8:].copy()
    first[7] = first[0, ::-1]  # within the first: none of this comparison's business
    second[5] = np.clip(images[3] * 0.8 + 10, 0, 255)
    calls: list[None] = []
    cohorts = [Cohort.from_arrays(some, kind="encode", patients=["p"] * 8) for some in (first, second)]
    found = find_near_duplicates(*cohorts, advance=lambda: calls.append(None))
    assert [(pair.row, pair.other_row, pair.reason) for pair in found] == [(4, 6, LEVELS)]
    assert len(calls) == 16


def test_all_of_many_copies_of_one_image_are_told() -> None:
    images = as_arrays(tiles(number=16))
    for copy in range(6):
        images[10 + copy] = np.rint(images[4] * (0.5 + 0.05 * copy) + 20)
    found = find_near_duplicates(Cohort.from_arrays(images, kind="encode"))
    rows = [5, *range(11, 17)]
    assert {(pair.row, pair.other_row) for pair in found} == set(combinations(rows, 2))


def test_rows_of_a_view_are_those_of_the_manifest() -> None:
    images = as_arrays(tiles(number=8))
    images[7] = images[5, ::-1]
    view = Cohort.from_arrays(images, kind="encode").take([7, 3, 5])
    assert [(pair.row, pair.other_row) for pair in find_near_duplicates(view)] == [(8, 6)]


def test_copies_of_volumes_are_found_by_their_middle_planes() -> None:
    volumes = np.stack([volume(seed) for seed in range(8)])
    volumes[7] = volumes[2] * 0.6 + 40
    (pair,) = find_near_duplicates(Cohort.from_arrays(volumes, kind="encode"))
    assert (pair.row, pair.other_row, pair.reason) == (3, 8, LEVELS)


def test_volumes_must_agree_in_all_three_planes() -> None:
    volumes = np.stack([volume(seed) for seed in range(8)])
    volumes[7, 12] = volumes[2, 12]  # one axial slice taken over
    assert find_near_duplicates(Cohort.from_arrays(volumes, kind="encode")) == []


def test_a_slice_is_not_compared_with_the_volume_it_was_cut_from(tmp_path: Path) -> None:
    for seed in range(4):
        np.save(tmp_path / f"volume{seed}.npy", volume(seed))
        np.save(tmp_path / f"slice{seed}.npy", volume(seed)[12])
    np.save(tmp_path / "again.npy", volume(1)[12, ::-1])
    names = [f"{what}{seed}.npy" for what in ("volume", "slice") for seed in range(4)]
    (tmp_path / "m.csv").write_text("\n".join(["image", *names, "again.npy"]))
    found = find_near_duplicates(read_manifest(tmp_path / "m.csv"))
    assert [(pair.row, pair.other_row) for pair in found] == [(6, 9)]


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float16", "float64"])
def test_images_without_a_signature_take_no_part(dtype: str) -> None:
    random = np.random.default_rng(0)
    images = (random.random((7, 40, 40, 1)) * 200).astype(dtype)
    if dtype == "bool":
        images = random.random(images.shape) > 0.5
    images[2] = 1
    if dtype.startswith("float"):
        images[3, 0, 0], images[4, :5], images[5] = np.nan, np.inf, -np.inf
    images[6] = images[0, :, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_near_duplicates(Cohort.from_arrays(images, kind="encode"))
    assert [(pair.row, pair.other_row) for pair in found] == [(1, 7)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 200), (9, 7)])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_odd_shapes_do_no_harm(shape: tuple[int, int], channels: int) -> None:
    images = np.random.default_rng(1).random((3, *shape, channels))
    assert find_near_duplicates(Cohort.from_arrays(images, kind="encode")) == []


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_images_have_no_copies(number: int) -> None:
    images = np.random.default_rng(2).random((number, 20, 20, 1))
    assert find_near_duplicates(Cohort.from_arrays(images, kind="encode")) == []


def test_slices_of_one_scan_do_not_stand_out_and_a_copy_among_them_does() -> None:
    scan = load_samples("brain").at("colin27")
    slices = [scan.picture(position).array for position in range(20)]
    collected = Collector(21)
    for position, array in enumerate([*slices, slices[3][:, ::-1] // 2 + 30]):
        collected.add(array, position)
    copies = {20: slices[3][:, ::-1] // 2 + 30}
    (signatures,) = collected.signatures()
    pairs = find_pairs(
        signatures, lambda position: copies[position] if position in copies else slices[position]
    )
    assert [pair[:2] for pair in pairs if pair.stands_out] == [(3, 20)]
    crowd = [pair for pair in pairs if not pair.stands_out]
    assert crowd and all(abs(pair.first - pair.second) < 3 for pair in crowd if pair.second < 20)


def test_a_collector_keeps_the_places_of_images_that_take_no_part() -> None:
    image = np.random.default_rng(3).random((40, 30, 1))
    collected = Collector(4)
    for array, group in ((None, 0), (image, 1), (image * 0, 2), (image[:25], 3)):
        collected.add(array, group)
    (signatures,) = collected.signatures()
    assert signatures.positions.tolist() == [1, 3] and signatures.groups.tolist() == [1, 3]
    assert signatures.sides.tolist() == [30, 25]


def test_the_eight_ways_are_all_there_are() -> None:
    square = np.arange(9).reshape(3, 3)
    independent = {np.rot90(one, times).tobytes() for one in (square, square.T) for times in range(4)}
    assert {np.ascontiguousarray(turn(square, way)).tobytes() for way in range(8)} == independent
