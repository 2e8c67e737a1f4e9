"""How well types of skin are told from photographs of which they are known, and what makes them wrong.

Run: python benchmarks/skin_tone_agreement.py [--each 50] [--side 96]
So many simulated lesions on skin of each of the six types, the same people and lesions under every condition, are
labelled in three ways: by the lightest of eight boxes at the border as published (`published`), by ours, which leaves
out pixels that are grey or blue (`ours`), and by all pixels of skin's colour (`whole skin`, YCbCr). Printed are the
shares that are exact, exact or one step away (the published score), and unknown (which counts as wrong), and the mean
signed step over the others: above 0 skin is called too dark. Borders are painted on the photographs without hair.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.images.skin_tone import SkinTone, skin_tone_at_border, skin_tone_of_skin
from medgraft.images.skin_tone_calibration import agreement
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.skin import draw_lesion, draw_subject, take_photograph
from medgraft.phantoms.skin_sites import SkinSite

Photograph = NDArray[np.uint8]
Labeller = Callable[[Photograph], SkinTone]

LABELLERS: dict[str, Labeller] = {
    "published": lambda picture: skin_tone_at_border(picture, as_published=True),
    "ours": skin_tone_at_border,
    "whole skin": skin_tone_of_skin,
}
TAKEN = {
    "plain": SkinSite(hairs=0, rulers=0),
    "hair (5)": SkinSite(hairs=5, rulers=0),
    "hair (30)": SkinSite(hairs=30, rulers=0),
    "ruler marks": SkinSite(hairs=0, rulers=1),
    "warm lamp": SkinSite(
        hairs=0, rulers=0, uneven_light=0.35, exposure=0.8, warmth=0.12, noise=0.02, blur_mm=0.3
    ),
}
"""Conditions that the simulation has."""
BLUE, GREY, BLACK = (40, 70, 150), (128, 128, 128), (4, 4, 4)
"""Red, green, blue of what is painted: a cloth, a card, the tube of a dermoscope."""
STRIP, VIGNETTE = 0.2, (0.5, 0.55)
"""Parts of the side: a strip along the left; from which to which distance from the middle light falls to nothing."""
FRAMES = (0.07, 0.12, 0.2)
"""Parts of the side that frames cover. Boxes in the middle of the edges reach from 0.02 to 0.10, those in corners from
0.08 to 0.16: the first frame cuts four boxes, the second covers these and cuts the others, the third covers all."""


class Score(NamedTuple):
    """Shares of all photographs, and the mean of estimated minus true type over those with an estimate."""

    exact: float
    within_one: float
    unknown: float
    step: float


def score(photographs: Sequence[Photograph], types: Sequence[int], labeller: Labeller) -> Score:
    """How well a labeller tells known types."""
    estimated = [labeller(picture).fitzpatrick for picture in photographs]
    steps = [each - known for each, known in zip(estimated, types) if each is not None]
    return Score(*agreement(estimated, types), float(np.mean(steps)) if steps else float("nan"))


def photograph(fitzpatrick: int, number: int, site: SkinSite, side: int) -> Photograph:
    """A lesion on skin of a type; the same person and lesion at every site."""
    key = ("skin tone agreement", fitzpatrick, number)
    subject = draw_subject(generator_for(*key), site.model_copy(update={"types": (fitzpatrick,)}))
    generator = generator_for(*key, "lesion")
    lesion = draw_lesion(generator, bool(generator.uniform() < 0.5))
    return take_photograph(subject, lesion, site, side, key, "clinic")


def borders(picture: Photograph) -> Iterator[tuple[str, Photograph]]:
    """The photograph with each border that is painted."""
    height, width = picture.shape[:2]
    down, along = np.meshgrid(
        (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5, indexing="ij"
    )
    from_edge = 0.5 - np.maximum(np.abs(down), np.abs(along))
    for name, colour in (("blue", BLUE), ("grey", GREY)):
        yield f"{name} strip", painted(picture, along < STRIP - 0.5, colour)
        for width in FRAMES:
            yield f"{name} frame {width:g}", painted(picture, from_edge < width, colour)
    start, end = VIGNETTE
    yield (
        "black vignette",
        painted(picture, ((np.hypot(down, along) - start) / (end - start)).clip(0, 1), BLACK),
    )


def painted(picture: Photograph, share: NDArray[np.generic], colour: tuple[int, int, int]) -> Photograph:
    """The picture with a colour over it, as much of it in each pixel as `share` says."""
    covered = picture + share[..., None] * (np.array(colour) - picture.astype(float))
    return covered.round().astype(np.uint8)


def make_conditions(each: int, side: int) -> tuple[dict[str, list[Photograph]], list[int]]:
    """Photographs under every condition, and their types."""
    people = [(fitzpatrick, number) for fitzpatrick in range(1, 7) for number in range(each)]
    found = {name: [photograph(*person, site, side) for person in people] for name, site in TAKEN.items()}
    for picture in found["plain"]:
        for name, framed in borders(picture):
            found.setdefault(name, []).append(framed)
    return found, [fitzpatrick for fitzpatrick, _ in people]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=50, help="photographs of each type and condition")
    parser.add_argument("--side", type=int, default=96, help="pixels")
    given = parser.parse_args()
    conditions, types = make_conditions(given.each, given.side)
    print(
        f"{len(types)} photographs of {given.side} x {given.side} pixels per condition, {given.each} of each type"
    )
    print(f"{'':15} {'':11} exact  within one  unknown  mean step")
    for condition, photographs in conditions.items():
        for name, labeller in LABELLERS.items():
            found = score(photographs, types, labeller)
            print(
                f"{condition:15} {name:11} {found.exact:5.2f}  {found.within_one:10.2f}  {found.unknown:7.2f}"
                f"  {found.step:+9.2f}"
            )


if __name__ == "__main__":
    main()
