"""Real nuclei of one H&E slide, recoloured as other laboratories would stain and scan it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from medgraft.data.in_memory import read_only
from medgraft.data.samples import FOLDER, load_samples
from medgraft.images.stain import Macenko, Stains
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.phantom import SPLITS, Phantom, Request, Taken
from medgraft.phantoms.stain_sites import STAIN_SITES, StainSite

CLASSES = ("connective", "inflammatory", "neoplastic")
BANDS = {"train": (0, 588), "validation": (612, 888), "test": (912, 1500)}
"""Rows of pixels of the slide that hold the tiles of a split: those of `load_samples("nuclei")`, 24 px apart."""
COLUMNS = 4
REGIONS = COLUMNS * len(SPLITS)
WHITE = Macenko().white
"""Level of light that passed no tissue."""


def recolour(
    image: np.ndarray, stains: Stains, site: StainSite, generator: np.random.Generator
) -> np.ndarray:
    """Give an image the stains and the scanner of a laboratory.

    Optical density is the sum of what each stain absorbs (Beer and Lambert): amounts are found by least squares and
    put back in the laboratory's colours and amounts. What the two stains do not explain is mostly their own hue, the
    optics' and the compression's, and grows with them: it keeps its direction and gets their geometric mean as factor.
    What is brighter than white has no stain and stays.

    Args:
        image: (H, W, 3) uint8, red, green, blue.
        stains: of the slide, from `Macenko().fit`.
        site: the laboratory.
        generator: of the noise.

    Returns: (H, W, 3) uint8; with the settings' defaults the image itself.

    Source: Ruifrok and Johnston 2001; stains of Macenko et al. 2009. Differs: the unexplained part is kept.
    """
    vectors = stains.vectors.double().numpy()
    density = -np.log((image + 1.0) / WHITE)
    absorbed = density.clip(min=0)
    amounts = absorbed @ np.linalg.pinv(vectors).T
    unexplained = absorbed - amounts @ vectors.T
    gains = np.array([site.haematoxylin, site.eosin])
    stained = amounts * gains @ site.vectors(vectors).T + unexplained * np.sqrt(gains.prod())
    light = (WHITE * np.exp(absorbed - density - stained) - 1) / 255
    if site.blur:
        sigma = site.blur / 2.355
        light = gaussian_filter(light, (sigma, sigma, 0))
    values: np.ndarray = light.clip(0, 1) ** site.gamma * site.balance
    if site.noise:
        values += site.noise * generator.standard_normal(values.shape)
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


@lru_cache(maxsize=1)
def slide() -> np.ndarray:
    """(1500, 1500, 3) uint8: the tumour nest that the samples come from."""
    with Image.open(FOLDER / "nest.jpg") as picture:
        return read_only(np.asarray(picture.convert("RGB")))


@lru_cache(maxsize=1)
def slide_stains() -> Stains:
    """The slide's own stains."""
    pixels = torch.from_numpy(slide().copy()).permute(2, 0, 1)[None].float() / 255
    return Macenko().fit(pixels)


@lru_cache(maxsize=len(STAIN_SITES))
def scan(site: StainSite, *key: object) -> np.ndarray:
    """The whole slide at a laboratory, (1500, 1500, 3) uint8; the key is that of its noise."""
    return read_only(recolour(slide(), slide_stains(), site, generator_for(*key)))


@lru_cache(maxsize=1)
def nuclei() -> pd.DataFrame:
    """Every nucleus of the sample: its centre x, y in pixels, its label, its split and its region (0 to 39).

    The slide has four columns of regions; those of training lie in five rows, those of validation in one, those of
    testing in four, so that any ten regions that follow one another are split as ten subjects are.
    """
    table = load_samples("nuclei").at("nest").table
    boxes = table["image"].str.extract(r"#(\d+),(\d+),(\d+),(\d+)$").astype(int)
    found = pd.DataFrame({"x": boxes[0] + boxes[2] // 2, "y": boxes[1] + boxes[3] // 2})
    found = found.assign(label=table["label"], split=table["split"])
    found["region"] = [_region(x, y, split) for x, y, split in zip(found["x"], found["y"], found["split"])]
    return found


def _region(x: int, y: int, split: str) -> int:
    low, high = BANDS[split]
    numbers = [number for number, name in enumerate(SPLITS) if name == split]
    row = (y - low) * len(numbers) // (high - low)
    column = x * COLUMNS // len(slide()[0])
    return len(SPLITS) * column + numbers[row]


def take_tiles(request: Request) -> Taken:
    """Cut tiles around nuclei of one region, at most as many as asked for, from the laboratory's scan.

    Which come first depends on the seed. A tile lies within the slide and within the band of its split, so that none
    shows what a tile of another split shows; nuclei too near to a border for this size are left out.
    """
    side = request.side
    found = nuclei()[nuclei()["region"] == request.number]
    order = generator_for(request.phantom, request.seed, request.subject).permutation(len(found))
    found = found.iloc[order]
    left, top = found["x"] - side // 2, found["y"] - side // 2
    low, high = (found["split"].map(lambda split, end=end: BANDS[split][end]) for end in (0, 1))
    inside = (left >= 0) & (left + side <= slide().shape[1]) & (top >= low) & (top + side <= high)
    places = list(zip(left[inside], top[inside]))[: request.slices]
    whole = scan(request.settings, request.phantom, request.seed, request.site, "noise")
    tiles = [whole[y : y + side, x : x + side] for x, y in places]
    labels = [CLASSES.index(label) for label in found["label"][inside]][: request.slices]
    centres = {
        axis: [str(place[number] + side // 2) for place in places] for number, axis in enumerate(("x", "y"))
    }
    images = np.array(tiles, np.uint8).reshape(-1, side, side, 3)
    return Taken(images, np.array(labels, np.uint8), "", centres)


STAIN_TILES = Phantom(
    kind="classify",
    settings=StainSite,
    sites=STAIN_SITES,
    tasks={"nuclei": CLASSES},
    take=take_tiles,
    has_volumes=False,
    sentence="the laboratories are simulated: real nuclei of one H&E slide, recoloured as other laboratories might "
    "stain and scan them; their labels come from a model (silver standard).",
    licence="BSD-3-Clause",
    source="histolytics 0.3.0, https://github.com/HautaniemiLab/histolytics, recoloured by medgraft",
    coloured=True,
    shared="region",
    most_subjects=REGIONS,
    most_side=128,
    notes={
        "silver_labels": "Labels come from a model and were not drawn by experts (silver standard).",
        "unit_name": "regions of one slide",
    },
)
