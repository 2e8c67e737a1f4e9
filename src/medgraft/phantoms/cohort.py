"""Cohorts of simulated subjects, as many as asked for, at simulated sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import ValidationError

from medgraft.data.cohort import Cohort
from medgraft.errors import SettingsError
from medgraft.phantoms.anatomy import Anatomy
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.head import Head
from medgraft.phantoms.mr_sites import BRAIN_SITES, PROSTATE_SITES, Site
from medgraft.phantoms.pelvis import Pelvis
from medgraft.phantoms.scanner import Frame, Scan, scan

Task = Literal["brain", "tissue", "hippocampus", "gland", "zones"]
SPLITS = ("train", "test", "train", "test", "validation", "train", "test", "train", "test", "train")
"""Of ten subjects that follow one another: so a subject's split does not depend on how many there are."""


class View(NamedTuple):
    """What is segmented, and where slices are taken for it.

    classes: names, background first.
    regions: of the anatomy, in the classes' order without background.
    centre, width_mm: of the slices, mm.
    heights: lowest and highest place of a slice, mm.
    """

    classes: tuple[str, ...]
    regions: tuple[str, ...]
    centre: tuple[float, float]
    width_mm: float
    heights: tuple[float, float]


class Phantom(NamedTuple):
    """A kind of subject with its sites and tasks.

    organ: tissues whose mean signal a scanner adjusts itself to.
    """

    make: Callable[[np.random.Generator], Anatomy]
    sites: Mapping[str, Site]
    views: Mapping[str, View]
    organ: tuple[str, ...]
    sentence: str
    licence: str
    source: str


PHANTOMS: Mapping[str, Phantom] = {
    "mr_brain": Phantom(
        make=Head,
        sites=BRAIN_SITES,
        views={
            "brain": View(("background", "brain"), ("brain",), (0.0, -17.0), 240.0, (-45.0, 65.0)),
            "tissue": View(
                ("background", "csf", "grey matter", "white matter"), ("csf", "grey matter", "white matter"),
                (0.0, -17.0), 240.0, (-20.0, 60.0),
            ),
            "hippocampus": View(
                ("background", "hippocampus"), ("hippocampus",), (0.0, -22.0), 96.0, (-24.0, -2.0)
            ),
        },
        organ=("grey matter", "white matter"),
        sentence="the images are simulated: MR slices computed from warped tissue maps of one average brain; "
        "no patient was scanned.",
        licence="tissue maps under BSD-3-Clause and MNI notice",
        source="simulated by medgraft from the tissue maps of ICBM152 2009a (nilearn 0.14.1)",
    ),
    "mr_prostate": Phantom(
        make=Pelvis,
        sites=PROSTATE_SITES,
        views={
            "gland": View(("background", "prostate"), ("prostate",), (0.0, 0.0), 160.0, (-15.0, 15.0)),
            "zones": View(
                ("background", "transition zone", "peripheral zone"), ("transition zone", "peripheral zone"),
                (0.0, 0.0), 160.0, (-15.0, 15.0),
            ),
        },
        organ=("transition zone", "peripheral zone"),
        sentence="the images are simulated: MR slices computed from a schematic pelvis of ellipsoids; "
        "no patient was scanned.",
        licence="none needed: simulated",
        source="simulated by medgraft",
    ),
}  # fmt: skip


def load_phantom(
    name: str = "mr_brain",
    *,
    subjects: int = 40,
    slices: int = 6,
    side: int = 64,
    seed: int = 0,
    sites: Sequence[str] | Mapping[str, Site | Mapping[str, Any]] | None = None,
    task: Task | None = None,
    volumes: bool = False,
    travelling: bool = False,
) -> Cohort:
    """Simulate MR scans of many subjects at several sites, with exact masks.

    Args:
        name: mr_brain, with the tasks brain, tissue and hippocampus; mr_prostate, with gland and zones.
        subjects: at each site. Half of them are for training, a tenth for validation, the others for testing.
        slices: axial slices of each subject: at heights of its own, or of a volume evenly apart.
        side: pixels along each edge of a slice, 16 to 512; 64 and 96 are usual.
        seed: other seeds give other subjects. Subjects do not depend on how many there are, nor on other sites.
        sites: names among the phantom's sites, or settings of your own by name (a `Site` or what
            makes one); None takes all the phantom has.
        task: what is segmented; None takes the first of the phantom.
        volumes: one volume (D, H, W) per subject instead of slices (H, W).
        travelling: the same subjects are scanned at every site; otherwise every site has its own.

    Returns: a cohort of kind `segment` in memory, uint8, with patients, sites, splits and spacings; its notes say
        that it is simulated, and so does every report.

    Raises:
        SettingsError: an unknown phantom, site or task; a number out of range.

    Source: `docs/phantoms.md` tells what the simulation is made of and how far it is from real scans.

    >>> cohort = load_phantom(subjects=2, slices=1, sites=["reference", "t2"])
    >>> cohort
    Cohort('mr_brain', segment, 4 rows, offers attributes, images, patients, sites, truth)
    >>> cohort.table["split"].tolist(), cohort.picture(0).array.shape
    (['train', 'test', 'train', 'test'], (64, 64, 1))
    """
    phantom, view, chosen = _choose(name, task, sites)
    for number, what, least, most in (
        (subjects, "subjects", 1, 100_000), (slices, "slices", 1, 512), (side, "side", 16, 512)
    ):  # fmt: skip
        if not isinstance(number, int) or not least <= number <= most:
            raise SettingsError(
                "load_phantom", f"{what} from {least} to {most}", f"it got {number!r}", f"Change {what}."
            )
    scans: list[Scan] = []
    rows: list[dict[str, str]] = []
    for site, settings in chosen.items():
        for number in range(subjects):
            subject = f"{'traveller' if travelling else site}-{number:03d}"
            anatomy = phantom.make(generator_for(name, seed, subject))
            frame = Frame(
                view.centre, view.width_mm, side, _heights(view, slices, volumes, name, seed, subject)
            )
            scan_generator = generator_for(name, seed, subject, "scan at", site)
            scans.append(scan(anatomy, settings, frame, view.regions, phantom.organ, scan_generator))
            row = {"patient": subject, "site": site, "split": SPLITS[number % len(SPLITS)]}
            row["spacing_mm"] = _spacing(frame, view, volumes)
            rows += [row] * (1 if volumes else slices)
    return _cohort(name, phantom, view, scans, pd.DataFrame(rows), volumes)


def _choose(
    name: str, task: str | None, sites: Sequence[str] | Mapping[str, Site | Mapping[str, Any]] | None
) -> tuple[Phantom, View, Mapping[str, Site]]:
    if name not in PHANTOMS:
        raise SettingsError(
            "load_phantom", f"one of {', '.join(PHANTOMS)}", f"it got {name!r}", "Choose one of these."
        )
    phantom = PHANTOMS[name]
    task = task or next(iter(phantom.views))
    if task not in phantom.views:
        raise SettingsError(
            f"The phantom {name}", f"a task among {', '.join(phantom.views)}", f"it got {task!r}",
            "Choose one of these.",
        )  # fmt: skip
    if isinstance(sites, Mapping):
        chosen = {site: _site(site, settings) for site, settings in sites.items()}
    else:
        names = list(phantom.sites) if sites is None else [sites] if isinstance(sites, str) else list(sites)
        unknown = [site for site in names if site not in phantom.sites]
        if unknown:
            raise SettingsError(
                f"The phantom {name}", f"sites among {', '.join(phantom.sites)}", f"it got {', '.join(unknown)}",
                "Choose among these, or give settings by name.",
            )  # fmt: skip
        chosen = {site: phantom.sites[site] for site in names}
    if not chosen:
        raise SettingsError(f"The phantom {name}", "at least one site", "it got none", "Name one.")
    return phantom, phantom.views[task], chosen


def _site(name: str, settings: Site | Mapping[str, Any]) -> Site:
    try:
        return settings if isinstance(settings, Site) else Site.model_validate(settings)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        raise SettingsError(
            f"The site {name}", "settings of a scanner (see medgraft.phantoms.Site)",
            f"{place or 'they'}: {found['msg']}", "Correct them.",
        ) from error  # fmt: skip


def _heights(view: View, slices: int, volumes: bool, name: str, seed: int, subject: str) -> tuple[float, ...]:
    """Evenly apart; of slices, the whole row is moved by a random part of a step, from subject to subject."""
    low, high = view.heights
    step = (high - low) / slices
    start = 0.5 if volumes else generator_for(name, seed, subject, "heights").uniform()
    return tuple(low + step * (start + number) for number in range(slices))


def _spacing(frame: Frame, view: View, volumes: bool) -> str:
    between = (view.heights[1] - view.heights[0]) / len(frame.heights)
    return " ".join(f"{length:g}" for length in ([between] if volumes else []) + [frame.pixel_mm] * 2)


def _cohort(
    name: str, phantom: Phantom, view: View, scans: list[Scan], rows: pd.DataFrame, volumes: bool
) -> Cohort:
    gather = np.stack if volumes else np.concatenate
    return Cohort.from_arrays(
        gather([found.images for found in scans])[..., None],
        gather([found.truth for found in scans]),
        kind="segment",
        classes=view.classes,
        patients=rows["patient"].tolist(),
        sites=rows["site"].tolist(),
        split=rows["split"].tolist(),
        attributes=rows[["spacing_mm"]],
        name=name,
        notes={"simulated": phantom.sentence, "licence": phantom.licence, "source": phantom.source},
    )
