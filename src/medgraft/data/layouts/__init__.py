"""Published data sets in the folders and tables they come in, opened without a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medgraft.data.layouts import (
    camelyon17,
    cc359,
    chestxray14,
    chexpert,
    decathlon,
    fets2021,
    fitzpatrick17k,
    iseg2019,
    isic,
    medmnist,
    mnms,
    prostate,
    rsna_embolism,
    rsna_pneumonia,
    shenzhen,
    tupac,
    vindr_cxr,
)
from medgraft.data.layouts.published_table import header_of
from medgraft.data.opened import Opened
from medgraft.errors import DataError

__all__ = ["LAYOUTS", "Layout", "find_layout", "refuse_part_of_layout"]


HIGHEST = 3
"""How many folders above a part the whole data set is looked for."""


class Layout(NamedTuple):
    """How one published data set is told from others, and opened.

    name: as its publishers write it.
    recognises: path -> whether this is such a data set, whole or with something missing; reads headers only.
    owns: path -> whether it is a table or an inner folder of such a data set, which cannot be opened by itself.
    read: path -> the data set; raises `DataError` where something is missing.
    """

    name: str
    recognises: Callable[[Path], bool]
    owns: Callable[[Path], bool]
    read: Callable[[Path], Opened]


LAYOUTS = (
    Layout("MedMNIST", medmnist.recognises, medmnist.owns, medmnist.read),
    Layout("the Medical Segmentation Decathlon", decathlon.recognises, decathlon.owns, decathlon.read),
    Layout("CheXpert", chexpert.recognises, chexpert.owns, chexpert.read),
    Layout("ChestX-ray14", chestxray14.recognises, chestxray14.owns, chestxray14.read),
    Layout("CC359", cc359.recognises, cc359.owns, cc359.read),
    Layout("the six-site prostate set", prostate.recognises, prostate.owns, prostate.read),
    Layout("M&Ms", mnms.recognises, mnms.owns, mnms.read),
    Layout("FeTS 2021", fets2021.recognises, fets2021.owns, fets2021.read),
    Layout("iSeg-2019", iseg2019.recognises, iseg2019.owns, iseg2019.read),
    Layout("Camelyon17-WILDS", camelyon17.recognises, camelyon17.owns, camelyon17.read),
    Layout("TUPAC16 mitoses", tupac.recognises, tupac.owns, tupac.read),
    Layout("Fitzpatrick17k", fitzpatrick17k.recognises, fitzpatrick17k.owns, fitzpatrick17k.read),
    Layout("ISIC", isic.recognises, isic.owns, isic.read),
    Layout("the Shenzhen chest films", shenzhen.recognises, shenzhen.owns, shenzhen.read),
    Layout("VinDr-CXR", vindr_cxr.recognises, vindr_cxr.owns, vindr_cxr.read),
    Layout("RSNA Pneumonia", rsna_pneumonia.recognises, rsna_pneumonia.owns, rsna_pneumonia.read),
    Layout("RSNA-STR Pulmonary Embolism", rsna_embolism.recognises, rsna_embolism.owns, rsna_embolism.read),
)


def find_layout(path: Path) -> Layout | None:
    """The published layout of a file or folder; None where it has none of them."""
    return next((layout for layout in LAYOUTS if layout.recognises(path)), None)


def refuse_part_of_layout(path: Path) -> None:
    """Say which folder to pass where a user passes a data set's own table, or a folder within it.

    Raises:
        DataError: the path belongs to a published data set, and no column `image` makes a manifest of it.
    """
    for layout in LAYOUTS:
        if layout.owns(path) and "image" not in header_of(path):
            around = path.absolute().parents[:HIGHEST]
            whole = next((folder for folder in around if layout.recognises(folder)), path.parent)
            what = "one of its folders" if path.is_dir() else "one of its tables"
            raise DataError(
                f"Opening {layout.name}", "the folder of the data set", f"{path} is {what}",
                f"Pass the folder {whole}.",
            )  # fmt: skip
