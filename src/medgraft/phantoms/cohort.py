"""Cohorts of simulated subjects, as many as asked for, at simulated sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from medgraft.data.cohort import Cohort
from medgraft.errors import SettingsError
from medgraft.phantoms.chest_films import CHEST_FILM
from medgraft.phantoms.mr_sites import Site
from medgraft.phantoms.mr_slices import MR_BRAIN, MR_PROSTATE
from medgraft.phantoms.phantom import SPLITS, Phantom, Request, Taken
from medgraft.phantoms.skin import SKIN_LESION
from medgraft.phantoms.skin_sites import SkinSite
from medgraft.phantoms.stain_sites import StainSite
from medgraft.phantoms.stain_tiles import STAIN_TILES
from medgraft.phantoms.xray_sites import XraySite

Task = Literal[
    "brain", "tissue", "hippocampus", "gland", "zones", "acute", "screening", "lesion", "nuclei"
]  # fmt: skip
PHANTOMS: Mapping[str, Phantom] = {
    "mr_brain": MR_BRAIN,
    "mr_prostate": MR_PROSTATE,
    "chest_film": CHEST_FILM,
    "skin_lesion": SKIN_LESION,
    "stain_tiles": STAIN_TILES,
}


def load_phantom(
    name: str = "mr_brain",
    *,
    subjects: int = 40,
    slices: int = 6,
    side: int = 64,
    seed: int = 0,
    sites: Sequence[str]
    | Mapping[str, Site | XraySite | SkinSite | StainSite | Mapping[str, Any]]
    | None = None,
    task: Task | None = None,
    volumes: bool = False,
    travelling: bool = False,
) -> Cohort:
    """Simulate scans or films of many subjects at several sites, with exact masks or labels.

    Args:
        name: mr_brain, with the tasks brain, tissue and hippocampus; mr_prostate, with gland and zones; chest_film,
            with acute and screening, two sets of labels that have one in common; skin_lesion, with lesion;
            stain_tiles, with nuclei.
        subjects: at each site. Half of them are for training, a tenth for validation, the others for testing. Of
            stain_tiles: regions of its one slide; there are 40.
        slices: axial slices of each subject: at heights of its own, or of a volume evenly apart. Of chest_film: films
            of each subject, taken at different times: the same chest with other findings. Of skin_lesion: lesions.
            Of stain_tiles: tiles of each region at most, each around a nucleus; 512 takes all.
        side: pixels along each edge of a slice or film, 16 to 512; 64 and 96 are usual. Of stain_tiles: 16 to 128
            pixels of the slide; larger tiles show more around the nucleus.
        seed: other seeds give other subjects. Subjects do not depend on how many there are, nor on other sites. Of
            stain_tiles: other tiles of the same regions, where not all are taken, and other noise.
        sites: names among the phantom's sites, or settings of your own by name (a `Site`, of chest_film an
            `XraySite`, of skin_lesion a `SkinSite`, of stain_tiles a `StainSite`, or what makes one); None takes all
            the phantom has.
        task: what is segmented, or which findings are labelled; None takes the first of the phantom.
        volumes: one volume (D, H, W) per subject instead of slices (H, W); of mr_brain and mr_prostate alone.
        travelling: the same subjects are scanned at every site; otherwise every site has its own. The regions of
            stain_tiles always are the same.

    Returns: a cohort in memory, uint8, of kind `segment` (of chest_film `multilabel`, of skin_lesion `classify`, in
        colour, each image's Fitzpatrick type and cues among the attributes; of stain_tiles likewise, with the place
        of each nucleus), with patients, sites, splits and, where known, spacings; its notes say that it is simulated,
        and so does every report.

    Raises:
        SettingsError: an unknown phantom, site or task; a number out of range; volumes of films.

    Source: `docs/phantoms.md` tells what the simulation is made of and how far it is from real scans.

    >>> cohort = load_phantom(subjects=2, slices=1, sites=["reference", "t2"])
    >>> cohort
    Cohort('mr_brain', segment, 4 rows, offers attributes, images, patients, sites, truth)
    >>> cohort.table["split"].tolist(), cohort.picture(0).array.shape
    (['train', 'test', 'train', 'test'], (64, 64, 1))
    >>> load_phantom("chest_film", subjects=1, slices=2, sites=["clinic"], task="screening").classes
    ('nodule', 'mass', 'pneumothorax', 'emphysema', 'effusion')
    """
    phantom, chosen_task = _choose(name, task)
    chosen_sites = _choose_sites(name, phantom, sites)
    for number, what, least, most in (
        (subjects, "subjects", 1, phantom.most_subjects),
        (slices, "slices", 1, 512),
        (side, "side", 16, phantom.most_side),
    ):  # fmt: skip
        if not isinstance(number, int) or not least <= number <= most:
            raise SettingsError(
                f"The phantom {name}",
                f"{what} from {least} to {most}",
                f"it got {number!r}",
                f"Change {what}.",
            )
    if volumes and not phantom.has_volumes:
        raise SettingsError(
            f"The phantom {name}",
            "volumes=False",
            "it got True, and its images have no depth",
            "Leave volumes out.",
        )
    taken: list[Taken] = []
    rows: list[dict[str, str]] = []
    for site, settings in chosen_sites.items():
        for number in range(subjects):
            subject = f"{phantom.shared or ('traveller' if travelling else site)}-{number:03d}"
            request = Request(name, seed, subject, number, site, settings, chosen_task, slices, side, volumes)
            taken.append(phantom.take(request))
            row = {"patient": subject, "site": site, "split": SPLITS[number % len(SPLITS)]}
            for index in range(len(taken[-1].images)):
                known = {column: values[index] for column, values in taken[-1].attributes.items()}
                spacing = {"spacing_mm": taken[-1].spacing_mm} if taken[-1].spacing_mm else {}
                rows.append(row | spacing | known)
    return _cohort(name, phantom, phantom.tasks[chosen_task], taken, pd.DataFrame(rows))


def _choose(name: str, task: str | None) -> tuple[Phantom, str]:
    if name not in PHANTOMS:
        raise SettingsError(
            "load_phantom", f"one of {', '.join(PHANTOMS)}", f"it got {name!r}", "Choose one of these."
        )
    phantom = PHANTOMS[name]
    task = task or next(iter(phantom.tasks))
    if task not in phantom.tasks:
        raise SettingsError(
            f"The phantom {name}", f"a task among {', '.join(phantom.tasks)}", f"it got {task!r}",
            "Choose one of these.",
        )  # fmt: skip
    return phantom, task


def _choose_sites(
    name: str, phantom: Phantom, sites: Sequence[str] | Mapping[str, BaseModel | Mapping[str, Any]] | None
) -> Mapping[str, BaseModel]:
    if isinstance(sites, Mapping):
        chosen = {site: _site(site, phantom.settings, settings) for site, settings in sites.items()}
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
    return chosen


def _site(name: str, kind: type[BaseModel], settings: BaseModel | Mapping[str, Any]) -> BaseModel:
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        raise SettingsError(
            f"The site {name}", f"settings of a site (see medgraft.phantoms.{kind.__name__})",
            f"{place or 'they'}: {found['msg']}", "Correct them.",
        ) from error  # fmt: skip


def _cohort(
    name: str, phantom: Phantom, classes: tuple[str, ...], taken: list[Taken], rows: pd.DataFrame
) -> Cohort:
    images = np.concatenate([found.images for found in taken])
    return Cohort.from_arrays(
        images if phantom.coloured else images[..., None],
        np.concatenate([found.truth for found in taken]),
        kind=phantom.kind,
        classes=classes,
        patients=rows["patient"].tolist(),
        sites=rows["site"].tolist(),
        split=rows["split"].tolist(),
        units=rows["patient"].tolist() if phantom.shared else None,
        attributes=rows.drop(columns=["patient", "site", "split"]),
        name=name,
        notes={
            "simulated": phantom.sentence,
            "licence": phantom.licence,
            "source": phantom.source,
            **phantom.notes,
        },
    )
