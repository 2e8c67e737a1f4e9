"""What a simulator offers, and what it is asked for: one subject at one site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from medgraft.types import Kind

SPLITS = ("train", "test", "train", "test", "validation", "train", "test", "train", "test", "train")
"""Of ten subjects that follow one another: so a subject's split does not depend on how many there are."""


class Request(NamedTuple):
    """One subject at one site.

    phantom, seed, subject: the key from which the subject is drawn.
    number: of the subject, from 0.
    site, settings: its name and what it is like, an object of the phantom's own class.
    task: what the truth is of.
    slices: how many, or how many films.
    side: pixels along each edge.
    volumes: one volume instead of slices.
    """

    phantom: str
    seed: int
    subject: str
    number: int
    site: str
    settings: Any
    task: str
    slices: int
    side: int
    volumes: bool


class Taken(NamedTuple):
    """The images of a request, and their truth.

    images: (N, H, W) uint8, of coloured phantoms (N, H, W, 3); a volume is (1, D, H, W).
    truth: as `Cohort.from_arrays` takes it, N first.
    spacing_mm: of the image's axes, in words; empty where nobody knows.
    attributes: what else is known of each image, by name.
    """

    images: np.ndarray
    truth: np.ndarray
    spacing_mm: str
    attributes: Mapping[str, Sequence[str]] = MappingProxyType({})


class Phantom(NamedTuple):
    """A kind of subject with its sites and tasks.

    kind: of the truth.
    settings: class of a site.
    sites: by name, the reference first.
    tasks: names to classes.
    take: makes the images.
    has_volumes: whether one volume per subject can be asked for.
    sentence, licence, source: for the notes of every cohort.
    coloured: whether images have red, green and blue.
    shared: what a subject is called where all sites have the same ones by nature, as regions of one slide; empty, each
        has its own unless they travel.
    most_subjects, most_side: how many there are, and how large a tile can be.
    notes: more of them.
    """

    kind: Kind
    settings: type[BaseModel]
    sites: Mapping[str, BaseModel]
    tasks: Mapping[str, tuple[str, ...]]
    take: Callable[[Request], Taken]
    has_volumes: bool
    sentence: str
    licence: str
    source: str
    coloured: bool = False
    shared: str = ""
    most_subjects: int = 100_000
    most_side: int = 512
    notes: Mapping[str, str] = MappingProxyType({})
