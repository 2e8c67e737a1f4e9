"""Slices and volumes of simulated subjects in simulated MR scanners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from medgraft.phantoms.anatomy import Anatomy
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.head import Head
from medgraft.phantoms.mr_sites import BRAIN_SITES, PROSTATE_SITES, Site
from medgraft.phantoms.pelvis import Pelvis
from medgraft.phantoms.phantom import Phantom, Request, Taken
from medgraft.phantoms.scanner import Frame, scan


class View(NamedTuple):
    """What is segmented, and where slices are taken for it.

    regions: of the anatomy, in the classes' order; classes are these after the background.
    centre, width_mm: of the slices, mm.
    heights: lowest and highest place of a slice, mm.
    """

    regions: tuple[str, ...]
    centre: tuple[float, float]
    width_mm: float
    heights: tuple[float, float]


VIEWS: Mapping[str, Mapping[str, View]] = {
    "mr_brain": {
        "brain": View(("brain",), (0.0, -17.0), 240.0, (-45.0, 65.0)),
        "tissue": View(("csf", "grey matter", "white matter"), (0.0, -17.0), 240.0, (-20.0, 60.0)),
        "hippocampus": View(("hippocampus",), (0.0, -22.0), 96.0, (-24.0, -2.0)),
    },
    "mr_prostate": {
        "gland": View(("prostate",), (0.0, 0.0), 160.0, (-15.0, 15.0)),
        "zones": View(("transition zone", "peripheral zone"), (0.0, 0.0), 160.0, (-15.0, 15.0)),
    },
}


def scan_subject(
    make: Callable[[np.random.Generator], Anatomy], organ: tuple[str, ...], request: Request
) -> Taken:
    """Scan one subject.

    Args:
        make: draws the subject.
        organ: tissues whose mean signal a scanner adjusts itself to.
        request: what is asked for.
    """
    key = (request.phantom, request.seed, request.subject)
    view = VIEWS[request.phantom][request.task]
    anatomy = make(generator_for(*key))
    frame = Frame(view.centre, view.width_mm, request.side, _heights(view, request))
    generator = generator_for(*key, "scan at", request.site)
    found = scan(anatomy, request.settings, frame, view.regions, organ, generator)
    if request.volumes:
        between = (view.heights[1] - view.heights[0]) / request.slices
        return Taken(
            found.images[None], found.truth[None], _in_words(between, frame.pixel_mm, frame.pixel_mm)
        )
    return Taken(found.images, found.truth, _in_words(frame.pixel_mm, frame.pixel_mm))


def _heights(view: View, request: Request) -> tuple[float, ...]:
    """Evenly apart; of slices, the whole row is moved by a random part of a step, from subject to subject."""
    low, high = view.heights
    step = (high - low) / request.slices
    key = (request.phantom, request.seed, request.subject, "heights")
    start = 0.5 if request.volumes else generator_for(*key).uniform()
    return tuple(low + step * (start + number) for number in range(request.slices))


def _in_words(*lengths: float) -> str:
    return " ".join(f"{length:g}" for length in lengths)


def _tasks(phantom: str) -> Mapping[str, tuple[str, ...]]:
    return {task: ("background", *view.regions) for task, view in VIEWS[phantom].items()}


MR_BRAIN = Phantom(
    kind="segment",
    settings=Site,
    sites=BRAIN_SITES,
    tasks=_tasks("mr_brain"),
    take=partial(scan_subject, Head, ("grey matter", "white matter")),
    has_volumes=True,
    sentence="the images are simulated: MR slices computed from warped tissue maps of one average brain; "
    "no patient was scanned.",
    licence="tissue maps under BSD-3-Clause and MNI notice",
    source="simulated by medgraft from the tissue maps of ICBM152 2009a (nilearn 0.14.1)",
)
MR_PROSTATE = Phantom(
    kind="segment",
    settings=Site,
    sites=PROSTATE_SITES,
    tasks=_tasks("mr_prostate"),
    take=partial(scan_subject, Pelvis, ("transition zone", "peripheral zone")),
    has_volumes=True,
    sentence="the images are simulated: MR slices computed from a schematic pelvis of ellipsoids; "
    "no patient was scanned.",
    licence="none needed: simulated",
    source="simulated by medgraft",
)
