"""How laboratories colour tissue, and what normalisers make of a tile of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.randomness import generator
from medgraft.engine.stain_normalised import PIXELS, StainNormalised, sample_pixels, to_unit
from medgraft.engine.stain_normalisers import FittedNormaliser
from medgraft.errors import DataError
from medgraft.evaluation.examples import thumbnail
from medgraft.images.cielab import rgb_to_lab
from medgraft.images.hsv import rgb_to_hsv
from medgraft.images.reinhard import Reinhard
from medgraft.images.stain import Macenko, Vahadane, tissue_share
from medgraft.metrics.circular import circular_mean_and_sd

WHO = "Comparing stains"
AS_IT_IS = "as it is"
LARGEST = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
"""Value of white, of the types whose numbers are colours."""
MOST_TILES = 256
"""Tiles of a region in which its colours are found, and one is chosen to be shown."""


class Laboratory(NamedTuple):
    """A site: all its rows, and the positions among them of those that are looked at."""

    site: str
    rows: Cohort
    chosen: NDArray[np.int64]


class Look(NamedTuple):
    """A tile in the colours that a normaliser gives it, "model NAME" for one that a model carries.

    picture: (h, w, 3) uint8.
    """

    site: str
    normaliser: str
    changed: bool
    picture: NDArray[np.uint8]


def measure_stains(laboratories: list[Laboratory], reference: str) -> pd.DataFrame:
    """Tell the colours of every laboratory.

    Args:
        laboratories: one per site.
        reference: the site from which distances are measured.

    Returns: a row per site: site, tiles, hue_mean, hue_sd (degrees), saturation_mean, saturation_sd, value_mean,
        value_sd (0 to 1) and lab_distance, that of mean colours in CIELAB. Means and standard deviations (over N) are
        over tiles, each of which has the mean of its pixels. Hues go round in a circle: their mean and standard
        deviation are circular, and a pixel counts by its chroma, for grey has no hue. Grey tiles are left out there.

    Raises:
        DataError: an image is not red, green and blue of 8 or 16 bits.

    Source: Raipuria et al. 2022 (Stain-AgLr), figure 1. Differs: circular statistics of hue; CIELAB.
    """
    found, centres = [], {}
    for laboratory in laboratories:
        tiles = [_colours(read_tile(laboratory.rows, int(row))) for row in laboratory.chosen]
        hues = np.array([tile.hue for tile in tiles])
        hue_mean, hue_sd = circular_mean_and_sd(hues[np.isfinite(hues)])
        others = np.array([[tile.saturation, tile.value] for tile in tiles])
        means, sds = others.mean(axis=0), others.std(axis=0)
        centres[laboratory.site] = np.mean([tile.lab for tile in tiles], axis=0)
        found.append(
            {"site": laboratory.site, "tiles": len(tiles), "hue_mean": hue_mean, "hue_sd": hue_sd}
            | {"saturation_mean": means[0], "saturation_sd": sds[0]}
            | {"value_mean": means[1], "value_sd": sds[1]}
        )
    table = pd.DataFrame(found)
    distances = {site: float(np.linalg.norm(centre - centres[reference])) for site, centre in centres.items()}
    return table.assign(lab_distance=table["site"].map(distances))


class _Colours(NamedTuple):
    """Means of a tile: hue in degrees or NaN, saturation, value, (3,) CIELAB."""

    hue: float
    saturation: float
    value: float
    lab: NDArray[np.float64]


def _colours(tile: Tensor) -> _Colours:
    hue, vivid, bright = rgb_to_hsv(tile)[0].double().flatten(1).numpy()
    mean, _ = circular_mean_and_sd(hue * 360, vivid * bright)
    return _Colours(
        mean,
        float(vivid.mean()),
        float(bright.mean()),
        rgb_to_lab(tile)[0].double().flatten(1).mean(1).numpy(),
    )


def read_tile(rows: Cohort, position: int) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1].

    Raises:
        DataError: the image is not red, green and blue of 8 or 16 bits.
    """
    array = rows.picture(position).array
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in LARGEST:
        raise DataError(
            WHO, "images in red, green and blue of 8 or 16 bits",
            f"one has shape {array.shape} and type {array.dtype} ({rows.where('image', position)})",
            "Leave it out, or save it as 8-bit RGB.",
        )  # fmt: skip
    values = torch.from_numpy((array / LARGEST[array.dtype]).astype(np.float32))
    return values.permute(2, 0, 1)[None]


def show_normalisers(
    laboratories: list[Laboratory], reference: str, learned: Mapping[str, StainNormalised], *, seed: int = 0
) -> list[Look]:
    """One tile of every laboratory as it is, and under every normaliser; the same tissue where patients are shared.

    Reinhard, Macenko and Vahadane find a region's colours in the tiles of its patient at that site, and bring them to
    those of the reference's tiles. The models bring tiles to the colours that they carry. Of more than `MOST_TILES`
    tiles so many are drawn. Shown is the one with most tissue; where sites have as many tiles of a patient, these count
    as the same tissue in the same order, and it is the one whose least share of tissue at any site is largest.

    Args:
        laboratories, reference: as for `measure_stains`.
        learned: models that normalise, by name.
        seed: of Vahadane's dictionary, and of tiles and pixels that are sampled where there are many.

    Raises:
        DataError: as `read_tile`; the reference holds too little tissue.
    """
    (home,) = (one for one in laboratories if one.site == reference)
    pixels = _pixels(home.rows, home.chosen, seed)
    fitted = {
        name: FittedNormaliser(method, method.fit(pixels))
        for name, method in (
            ("Reinhard", Reinhard()), ("Macenko", Macenko()), ("Vahadane", Vahadane(seed=seed)),
        )
    }  # fmt: skip
    looks = []
    for region in _regions(laboratories, seed):
        site, tile = region.site, region.tile
        looks.append(Look(site, AS_IT_IS, False, to_picture(tile)))
        for name, normaliser in fitted.items():
            colours = normaliser.fit(region.pixels)
            if colours is None:
                looks.append(Look(site, name, False, to_picture(tile)))
            else:
                looks.append(Look(site, name, True, to_picture(normaliser(tile, colours).images)))
        for name, model in learned.items():
            preparation = model.spec.preparation
            images = Loader(region.rows, preparation, memory=0)(range(len(region.rows))).images
            seen = model.normalise(images[[region.shown]], region=images)
            picture = to_picture(to_unit(seen.images, preparation))
            looks.append(Look(site, f"model {name}", bool(seen.changed[0]), picture))
    return looks


class _Region(NamedTuple):
    """Tiles of a laboratory in which colours are found, and the one of them that is shown.

    pixels: (1, 3, 1, N) of all.
    """

    site: str
    rows: Cohort
    shown: int
    tile: Tensor
    pixels: Tensor


def _regions(laboratories: list[Laboratory], seed: int) -> Iterator[_Region]:
    """One for each laboratory, of the same tissue where patients are shared."""
    patient = _shared_patient(laboratories)
    drawn, tissue = [], []
    for laboratory in laboratories:
        rows = laboratory.rows
        own = patient if patient in rows.patients else rows.patients[laboratory.chosen[0]]
        region = np.flatnonzero(rows.patients == own)
        if len(region) > MOST_TILES:  # regions of as many tiles lose the same ones
            chance = generator(seed, "tiles of a region")
            region = region[torch.randperm(len(region), generator=chance)[:MOST_TILES].sort().values.numpy()]
        drawn.append(rows.take(region).only({"images", "patients"}))
        tissue.append(
            np.array([float(tissue_share(read_tile(drawn[-1], row))) for row in range(len(region))])
        )
    for laboratory, rows, shares in zip(laboratories, drawn, tissue, strict=True):
        twins = [
            other
            for own, other in zip(drawn, tissue, strict=True)
            if own.patients[0] == rows.patients[0] and len(other) == len(shares)
        ]
        shown = int(np.min(twins, axis=0).argmax())
        yield _Region(
            laboratory.site, rows, shown, read_tile(rows, shown), _pixels(rows, np.arange(len(rows)), seed)
        )


def to_picture(tile: Tensor) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 of (1, 3, H, W) in [0, 1], at most 192 pixels a side.

    >>> to_picture(torch.ones(1, 3, 2, 4) / 2).shape
    (2, 4, 3)
    """
    return thumbnail((tile[0].permute(1, 2, 0) * 255).round().byte().numpy())


def _pixels(rows: Cohort, positions: NDArray[np.int64], seed: int) -> Tensor:
    """(1, 3, 1, N): pixels of tiles, which may differ in size."""
    most = math.ceil(PIXELS / len(positions))
    return torch.cat(
        [
            sample_pixels(read_tile(rows, int(row)), most, generator(seed, "stain pixels"))
            for row in positions
        ],
        dim=3,
    )


def _shared_patient(laboratories: list[Laboratory]) -> str:
    """The patient of a chosen tile who stands at most sites; the first of these."""
    known: dict[str, int] = {}
    for laboratory in laboratories:
        for patient in dict.fromkeys(laboratory.rows.patients[laboratory.chosen].tolist()):
            known[patient] = known.get(patient, 0) + 1
    return max(known, key=lambda patient: known[patient])
