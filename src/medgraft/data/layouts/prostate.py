"""The six-site prostate set: T2 images of NCI-ISBI13, I2CVB and PROMISE12, a folder per hospital."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medgraft.data.layouts.published_files import FEW, has_name, names_in, refuse_others
from medgraft.data.opened import Opened
from medgraft.errors import DataError

MASK = r"Case\d+_[Ss]egmentation\.nii\.gz"
"""BMC writes it with a capital."""
FILE = r"(?P<case>Case\d+)(?P<mask>_[Ss]egmentation)?\.nii\.gz"


class Site(NamedTuple):
    """How a hospital's images were made."""

    collection: str
    vendor: str
    tesla: str
    coil: str


SITES = {
    "RUNMC": Site("NCI-ISBI13", "Siemens", "3", "surface"),
    "BMC": Site("NCI-ISBI13", "Philips", "1.5", "endorectal"),
    "I2CVB": Site("I2CVB", "Siemens", "3", "none"),
    "UCL": Site("PROMISE12", "Siemens", "1.5 and 3", "none"),
    "BIDMC": Site("PROMISE12", "GE", "3", "endorectal"),
    "HK": Site("PROMISE12", "Siemens", "1.5", "endorectal"),
}
"""Sites A to F of the publication, by the names of their folders."""
STORED = "#labels:0,1+2"
"""The two zones that NCI-ISBI13 marks are one class, as in the publication."""
CLASSES = ("background", "prostate")
NOTES = {
    "licence": "of the three collections: NCI-ISBI 2013 (TCIA), I2CVB, PROMISE12",
    "source": "Multi-site prostate MRI (Liu et al. 2020, SAML) from NCI-ISBI13, I2CVB and PROMISE12",
    "modality": "T2",
}


def recognises(path: Path) -> bool:
    """A folder of folders with cases and their masks."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return any(has_name(Path(entry.path), MASK) for entry, _ in zip(entries, range(FEW)))


def owns(file: Path) -> bool:
    """The folder of one site; there is no table."""
    return has_name(file, MASK)


def read(path: Path) -> Opened:
    """A row per case: mask of the whole prostate, hospital as the site, vendor, tesla, coil and collection.

    Numbers of cases begin anew at each site, so that patients are called for instance "BMC Case05".

    Args:
        path: the folder with RUNMC, BMC, I2CVB, UCL, BIDMC and HK, or some of them.

    Raises:
        DataError: a folder of another name, or a file; a site without cases; a case without its mask, a mask without
            its case, or two of them.

    Source: Liu et al. 2020, Shape-aware Meta-learning; folders as in the download, https://liuquande.github.io/SAML;
    zones become one class as in the code of the paper.
    """
    rows: list[dict[str, str]] = []
    for site in _sites_in(path):
        if site not in SITES:
            raise DataError(
                f"The folder {path}", f"sites in folders called {', '.join(SITES)}", f"it has cases in {site}",
                "Name the folder as in the download (sites A to F in this order), or write a manifest.",
            )  # fmt: skip
        rows += _rows_of(path, site)
    table = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)
    sidecar = {
        "kind": "segment", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _sites_in(path: Path) -> list[str]:
    """Folders that are called like a site or hold cases, in the order of the publication."""
    known = [*SITES]
    folders = [entry for entry in path.iterdir() if entry.is_dir()]
    found = [entry.name for entry in folders if entry.name in known or has_name(entry, MASK)]
    return sorted(found, key=lambda name: (known.index(name) if name in known else len(known), name))


def _rows_of(path: Path, site: str) -> list[dict[str, str]]:
    needs = "an image and a mask (CaseNN.nii.gz, CaseNN_segmentation.nii.gz) of each case"
    again = "Unpack the archive again, or move it away."
    refuse_others(path / site, FILE, needs, again)
    found = names_in(path / site, FILE)
    if not found:
        raise DataError(f"The folder {path / site}", needs, "it holds no case", again)
    images = {match["case"]: match[0] for match in found if match["mask"] is None}
    masks = {match["case"]: match[0] for match in found if match["mask"] is not None}
    if len(images) + len(masks) < len(found):
        first = next(match[0] for match in found if match[0] not in {*images.values(), *masks.values()})
        raise DataError(
            f"The folder {path / site}",
            needs,
            f"{first} is one of two for its case",
            "Move the wrong one away.",
        )
    lacking = sorted(set(images) ^ set(masks))
    if lacking:
        half = "mask" if lacking[0] in images else "image"
        raise DataError(
            f"The folder {path / site}", needs,
            f"{lacking[0]} has no {half} ({len(lacking)} cases lack one)",
            "Unpack the archive again, or move these cases away.",
        )  # fmt: skip
    facts = SITES[site]._asdict()
    return [
        {
            "image": f"{site}/{images[case]}",
            "mask": f"{site}/{masks[case]}{STORED}",
            "patient": f"{site} {case}",
            "site": site,
            **facts,
        }
        for case in images
    ]
