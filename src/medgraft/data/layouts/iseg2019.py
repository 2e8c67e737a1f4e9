"""iSeg-2019: T1 and T2 of heads of six months, with tissues; test data are of other sites than training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, names_in, refuse_missing, refuse_others
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TRAINING = "iSeg-2019-Training"
UNLABELLED = {"iSeg-2019-Validation": "UNC (MAP)", "iSeg-2019-Testing": "BCP, Stanford or Emory"}
"""Folders without masks -> their site; which test subject is of which site is not told by the files."""
SITE = "UNC (MAP)"
FILE = r"(?P<subject>subject-\d+)-(T1|T2|label)\.(hdr|img)"
ANY_FORM = r"subject-\d+-(T1|T2|label)\.(hdr|img|nii|nii\.gz)"
MASK = r"subject-\d+-label\.(hdr|nii|nii\.gz)"
SEQUENCES = "{T1,T2}"
SIDE = "#radiological"
"""Analyze headers do not tell left from right; nothing published does. All files of the set run alike."""
STORED = "labels:0,10,150,250"
CLASSES = ("background", "cerebrospinal fluid", "grey matter", "white matter")
NOTES = {
    "licence": "confidentiality agreement of iSeg-2019, https://iseg2019.web.unc.edu/rules",
    "source": "iSeg-2019 (Sun et al. 2021)",
    "modality": "T1, T2",
    "sides": "The files do not tell left from right: rows are taken to run from right to left.",
}


def recognises(path: Path) -> bool:
    """A folder with iSeg-2019-Training, -Validation or -Testing, or one of these."""
    if not path.is_dir():
        return False
    return has_name(path, ANY_FORM) or any((path / folder).is_dir() for folder in (TRAINING, *UNLABELLED))


def owns(file: Path) -> bool:
    """No file: there is no table."""
    return False


def read(path: Path) -> Opened:
    """A row per subject: T1 and T2 as channels, tissues, site; subjects without masks are rows where none is asked for.

    Args:
        path: iSeg-2019-Training, or the folder that holds it and, where wanted, iSeg-2019-Validation and -Testing.

    Raises:
        DataError: no subjects with masks; a file or its other half is missing; files that were converted or are called
            otherwise; a subject in two folders.

    Source: Sun et al. 2021, Multi-Site Infant Brain Segmentation Algorithms; names and numbers as in the download,
    https://iseg2019.web.unc.edu. Its pairs of header and voxels (Analyze) are read; copies in NIfTI are refused.
    """
    inner = f"{TRAINING}/" if (path / TRAINING).is_dir() else ""
    _refuse_other_files(path / inner)
    if not names_in(path / inner, MASK):
        got = f"{TRAINING} has none" if inner else "it has none"
        do = f"Pass {TRAINING}, or the folder around it; images without masks open by a manifest."
        raise DataError(f"The folder {path}", "subjects with masks (subject-1-T1.hdr, -T2, -label)", got, do)
    subjects = _subjects(path, inner, masks=True)
    table = _table(inner, subjects, SITE, first=1)
    masks = [f"{inner}{subject}-label.hdr{SIDE}&{STORED}" for subject in subjects]
    table.insert(1, "mask", masks)
    unlabelled = pd.DataFrame()
    for folder, site in UNLABELLED.items() if inner else ():
        first = len(table) + len(unlabelled) + 1
        _refuse_other_files(path / folder)
        found = _subjects(path, f"{folder}/", masks=False)
        _refuse_twice(path, folder, found, [*subjects, *unlabelled.get("patient", ())])
        more = _table(f"{folder}/", found, site, first)
        unlabelled = pd.concat([unlabelled, more])
    name = path.resolve().name
    sidecar = {"kind": "segment", "classes": list(CLASSES), "name": name, "notes": dict(NOTES)}
    return Opened(table, path, sidecar, unlabelled)


def _refuse_other_files(folder: Path) -> None:
    """Files that were converted, or are called otherwise."""
    converted = names_in(folder, r"subject-\d+-T1\.nii(\.gz)?")
    if converted:
        raise DataError(
            f"The folder {folder}", "the published pairs of .hdr and .img", f"it has {converted[0][0]}",
            "Unpack the archive of the data set, or write a manifest: image subject-1-{T1,T2}.nii.gz, mask "
            "subject-1-label.nii.gz#labels:0,10,150,250.",
        )  # fmt: skip
    do = "Take it out of the archive again, or move it away."
    refuse_others(folder, FILE, "files called like subject-1-T1.hdr and subject-1-T1.img alone", do)


def _subjects(path: Path, inner: str, masks: bool) -> list[str]:
    """Subjects of a folder, all their files being there."""
    folder = path / inner
    subjects = [*dict.fromkeys(match["subject"] for match in names_in(folder, FILE))]
    kinds = ("T1", "T2", "label") if masks else ("T1", "T2")
    files = [
        f"{inner}{subject}-{kind}{half}"
        for subject in subjects
        for kind in kinds
        for half in (".hdr", ".img")
    ]
    needs = f"{', '.join(kinds)} of every subject, each as .hdr and .img"
    refuse_missing(path, files, needs, "Unpack the archive again, or move the subject away.")
    return subjects


def _refuse_twice(path: Path, folder: str, found: Sequence[str], before: Sequence[str]) -> None:
    """Numbers of subjects run on from folder to folder."""
    twice = [subject for subject in found if subject in before]
    if twice:
        got = f"{folder} holds {twice[0]}, and so does another folder"
        do = "Unpack the archives again, or move one of the two away."
        raise DataError(f"The folder {path}", "every subject in one folder", got, do)


def _table(inner: str, subjects: list[str], site: str, first: int) -> pd.DataFrame:
    columns = {
        "image": [f"{inner}{subject}-{SEQUENCES}.hdr{SIDE}" for subject in subjects],
        "patient": subjects,
        "site": [site] * len(subjects),
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(first, first + len(subjects)), dtype=object)
