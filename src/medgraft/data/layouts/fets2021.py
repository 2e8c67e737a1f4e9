"""FeTS 2021: brain tumours of BraTS 2020 with the institution of each case, four sequences per case."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medgraft.data.layouts.published_files import has_name, names_in, refuse_missing
from medgraft.data.layouts.published_table import header_of, rows_by
from medgraft.data.opened import Opened
from medgraft.errors import DataError

TABLE = "partitioning_1.csv"
"""By institution; partitioning_2.csv also divides the large ones by the size of the tumour."""
COLUMNS = ("Partition_ID", "Subject_ID")
CASE = r"FeTS21_Training_\d+"
SEQUENCES = ("t1", "t1ce", "t2", "flair")
STORED = "#labels:0,1,2,4"
"""BraTS has no number 3."""
CLASSES = ("background", "necrotic core", "edema", "enhancing tumor")
NOTES = {
    "licence": "as agreed with the FeTS 2021 challenge",
    "source": "FeTS 2021 (Pati et al. 2021), from BraTS 2020",
    "modality": "T1, T1 with contrast, T2, FLAIR",
}


def recognises(path: Path) -> bool:
    """A folder with a table of institutions, or with cases."""
    return (path / TABLE).is_file() or has_name(path, r"FeTS21_(Training|Validation)_\d+")


def owns(file: Path) -> bool:
    """A csv with the columns of partitioning_1.csv, or the folder of a case."""
    if has_name(file, rf"{CASE}_.*\.nii\.gz"):
        return True
    return file.suffix.lower() == ".csv" and set(COLUMNS) <= set(header_of(file))


def read(path: Path) -> Opened:
    """A row per case: T1, T1 with contrast, T2 and FLAIR as channels, mask, institution (a number) as the site.

    Args:
        path: MICCAI_FeTS2021_TrainingData, with partitioning_1.csv and a folder per case.

    Raises:
        DataError: no table; a case of another edition, that is not in the table or in it with two institutions; files
            that are missing.

    Source: Pati et al. 2021, The Federated Tumor Segmentation Challenge; folders and tables as the repository
    FeTS-AI/Challenge describes them, labels as in BraTS 2020.
    """
    file = path / TABLE
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"the table {TABLE}, which names institutions", "it has cases without it",
            "Copy it from the archive of the training data into the folder.",
        )  # fmt: skip
    stored = rows_by(file, COLUMNS, key="Subject_ID")
    institutions = {case: row["Partition_ID"] for case, row in stored.items()}
    cases = [match[0] for match in names_in(path, CASE)]
    _refuse_strangers(path, file, cases, institutions)
    files = [f"{case}/{case}_{kind}.nii.gz" for case in institutions for kind in (*SEQUENCES, "seg")]
    needs = f"{', '.join(SEQUENCES)} and seg (.nii.gz) of every case that {TABLE} lists"
    refuse_missing(path, files, needs, f"Unpack the archive again, or take the case out of {TABLE}.")
    columns = {
        "image": [f"{case}/{case}_{{{','.join(SEQUENCES)}}}.nii.gz" for case in institutions],
        "mask": [f"{case}/{case}_seg.nii.gz{STORED}" for case in institutions],
        "patient": list(institutions),
        "site": list(institutions.values()),
    }
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(institutions) + 1), dtype=object)
    sidecar = {
        "kind": "segment", "classes": list(CLASSES), "name": path.resolve().name, "notes": dict(NOTES)
    }  # fmt: skip
    return Opened(table, path, sidecar)


def _refuse_strangers(path: Path, file: Path, cases: list[str], institutions: dict[str, str]) -> None:
    other = next((case for case in institutions if not case.startswith("FeTS21_Training_")), None)
    if other is not None:
        raise DataError(
            f"The table {file}", "cases called FeTS21_Training_001 and so on", f"it lists {other}",
            "Correct the cell; for another edition of FeTS write a manifest.",
        )  # fmt: skip
    unknown = next((case for case in cases if case not in institutions), None)
    if unknown is not None:
        raise DataError(
            f"The table {file}", f"the institution of every case in {path}", f"it has none for {unknown}",
            "Take the table of the same archive, or move the case away.",
        )  # fmt: skip
    odd = next((case for case, site in institutions.items() if not site.isdecimal()), None)
    if odd is not None:
        got = (
            f"{institutions[odd]!r} stands for {odd}" if institutions[odd] else f"the cell of {odd} is empty"
        )
        needs = "the number of an institution in every row"
        raise DataError(f"The table {file}", needs, got, "Correct the cell.")
