"""Calgary-Campinas-359: T1 images of healthy heads from six scanners, with masks of the brain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, names_in, refuse_missing, refuse_others
from medgraft.data.opened import Opened
from medgraft.errors import DataError

IMAGES = ("Original", "Original/Original")
"""As the archive unpacks in its own folder, and in a folder of its name."""
MASKS = (
    "Silver-standard-machine-learning/Silver-standard", "Silver-standard-machine-learning", "Silver-standard"
)  # fmt: skip
IMAGE = (
    r"(?P<stem>(?P<subject>CC\d{4})_(?P<vendor>[a-z]+)_(?P<field>\d+)_(?P<age>\d+)_(?P<sex>[MF]))\.nii\.gz"
)
MASK = r"(?P<stem>CC\d{4}_.*)_ss\.nii\.gz"
VENDORS = {"ge": "GE", "philips": "Philips", "siemens": "Siemens"}
TESLA = {"15": "1.5", "3": "3"}
SEXES = {"M": "male", "F": "female"}
CLASSES = ("background", "brain")
NOTES = {
    "licence": "CC BY-ND 4.0",
    "source": "Calgary-Campinas-359 (Souza et al. 2018)",
    "silver_labels": "Brain masks were made by a classifier from those of eight programs (silver standard).",
}


def recognises(path: Path) -> bool:
    """A folder with images of this name in Original, or with masks beside which these are missing."""
    has_images = any(has_name(path / folder, IMAGE) for folder in IMAGES)
    has_masks = any(has_name(path / folder, MASK) for folder in MASKS)
    return (has_images and has_masks) or ((has_images or has_masks) and not _is_inner(path))


def owns(file: Path) -> bool:
    """A folder of images or of masks; there is no table."""
    return any(
        has_name(folder, IMAGE) or has_name(folder, MASK)
        for folder in (file, *((file / "Original", file / "Silver-standard") if _is_inner(file) else ()))
    )


def _is_inner(path: Path) -> bool:
    """Whether a folder is called like one that the archives make."""
    return path.absolute().name in ("Original", "Silver-standard-machine-learning")


def read(path: Path) -> Opened:
    """A row per head: brain mask, scanner as the site (philips_15, philips_3, siemens_15 ...), vendor, tesla, age, sex.

    Masks are those of Silver-standard-machine-learning; STAPLE's and the twelve manual ones are not used.

    Args:
        path: the folder in which Original.zip and Silver-standard-machine-learning.zip were unpacked.

    Raises:
        DataError: images or masks are missing, or called otherwise; two images of one head; a scanner that is none of
            the six.

    Source: Souza et al. 2018, An open, multi-vendor, multi-field-strength brain MR dataset; names of files as in the
    download, https://sites.google.com/view/calgary-campinas-dataset.
    """
    images = _first(path, IMAGES, IMAGE)
    found = names_in(path / images, IMAGE)
    needs = "images called like CC0001_philips_15_55_M.nii.gz alone"
    refuse_others(path / images, IMAGE, needs, "Take it out of the archive again, or move it away.")
    if not found:
        raise DataError(
            f"The folder {path}", "the images of CC359 in Original", "it has masks alone",
            "Unpack Original.zip into it.",
        )  # fmt: skip
    for match in found:
        if match["vendor"] not in VENDORS or match["field"] not in TESLA:
            raise DataError(
                f"The folder {path / images}", "images of ge, philips or siemens at 15 or 3 (1.5 or 3 tesla)",
                f"it has {match[0]}", "Take the images out of the archive again.",
            )  # fmt: skip
    masks_in = _first(path, MASKS, MASK)
    masks = [f"{masks_in}/{match['stem']}_ss.nii.gz" for match in found]
    needs = "a brain mask NAME_ss.nii.gz for every image"
    refuse_missing(path, masks, needs, "Unpack Silver-standard-machine-learning.zip into it.")
    _refuse_odd_heads(path, images, masks_in, found)
    columns = {
        "image": [f"{images}/{match[0]}" for match in found],
        "mask": masks,
        "patient": [match["subject"] for match in found],
        "site": [f"{match['vendor']}_{match['field']}" for match in found],
        "vendor": [VENDORS[match["vendor"]] for match in found],
        "tesla": [TESLA[match["field"]] for match in found],
        "age": [match["age"] for match in found],
        "sex": [SEXES[match["sex"]] for match in found],
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(found) + 1), dtype=object)
    sidecar = {
        "kind": "segment", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _refuse_odd_heads(path: Path, images: str, masks_in: str, found: Sequence[re.Match[str]]) -> None:
    """A head with two images, or with a mask alone."""
    once: dict[str, str] = {}
    for match in found:
        if once.setdefault(match["subject"], match[0]) != match[0]:
            raise DataError(
                f"The folder {path / images}", "one image of each head",
                f"it has {once[match['subject']]} and {match[0]}", "Move the wrong one away, with its mask.",
            )  # fmt: skip
    stems = {match["stem"] for match in found}
    masks = names_in(path / masks_in, MASK)
    alone = [match[0] for match in masks if match["stem"] not in stems]
    if alone:
        raise DataError(
            f"The folder {path / images}", f"an image for every mask in {masks_in}",
            f"{len(alone)} of {len(masks)} are not there, the first is that of {alone[0]}",
            "Unpack Original.zip again, or move these masks away.",
        )  # fmt: skip


def _first(path: Path, folders: Sequence[str], pattern: str) -> str:
    """The first of these folders that holds such files; the first of all where none does."""
    return next((folder for folder in folders if has_name(path / folder, pattern)), folders[0])
