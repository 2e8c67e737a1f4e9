"""Data sets without a manifest: a folder per class, or a MedMNIST file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medgraft.data.labels import LABEL_PREFIX
from medgraft.data.readers import known_extensions
from medgraft.data.readers.arrays import load_array
from medgraft.data.tables import split_name
from medgraft.errors import DataError
from medgraft.types import SPLITS, Kind

MEDMNIST_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def table_of_folder(path: Path) -> pd.DataFrame:
    """One folder per class, or splits first (train/validation/test), then classes; hidden files are left out.

    Raises:
        DataError: no images in folders.
    """
    rows = []
    tops = _folders(path)
    by_split = bool(tops) and all(split_name(top.name) in SPLITS for top in tops)
    for top in tops:
        for folder in _folders(top) if by_split else [top]:
            for file in sorted(folder.rglob("*")):
                name = file.name.lower()
                if file.is_file() and name.endswith(known_extensions()) and not name.startswith("."):
                    row = {"image": file.relative_to(path).as_posix(), "label": folder.name}
                    rows.append({**row, "split": split_name(top.name)} if by_split else row)
    if not rows:
        raise DataError(
            f"The folder {path}", "one folder per class with images in it", "it has no images in folders",
            f"Put images into {path}/CLASS/, or write a manifest.",
        )  # fmt: skip
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def table_of_medmnist(path: Path) -> tuple[pd.DataFrame, Kind]:
    """A row per image of train_images, val_images and test_images, in this order.

    Raises:
        DataError: not a file of these arrays; volumes.
    """
    rows: list[dict[str, str]] = []
    kind: Kind = "classify"
    for stored, split in MEDMNIST_SPLITS.items():
        labels = _labels_of(path, stored)
        if labels.shape[1] > 1:
            kind = "multilabel"
        for index, values in enumerate(labels.tolist()):
            row = {"image": f"{path.name}#{stored}_images:{index}", "split": split}
            if len(values) == 1:
                row["label"] = str(values[0])
            else:
                row |= {f"{LABEL_PREFIX}{column}": str(value) for column, value in enumerate(values)}
            rows.append(row)
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=object), kind


def _labels_of(path: Path, stored: str) -> np.ndarray:
    """(N, K) labels of one split, as many as it has images."""
    try:
        images = load_array(path, f"{stored}_images")
        labels = load_array(path, f"{stored}_labels")
    except DataError as error:
        got = error.got
    except Exception as error:  # a broken archive raises whatever zipfile, zlib or numpy think fit
        got = f"{path} cannot be read ({type(error).__name__})"
    else:
        are_flat = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))
        if are_flat and len(labels) == len(images):
            return labels.reshape(len(labels), -1)
        got = f"{stored}_images has the shape {images.shape} and {stored}_labels {labels.shape}"
    raise DataError(
        f"The file {path}", "2-D images in the MedMNIST arrays train_images, train_labels, val_..., test_...", got,
        "Write a manifest that names arrays as file.npz#key:index.",
    )  # fmt: skip
