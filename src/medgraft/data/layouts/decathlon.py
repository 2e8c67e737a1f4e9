"""The Medical Segmentation Decathlon: a folder TaskXX_Name with dataset.json, imagesTr, labelsTr and imagesTs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from medgraft.data.layouts.published_files import OF_THE_SYSTEM, missing_files
from medgraft.data.opened import Opened
from medgraft.errors import DataError
from medgraft.types import JSON

FILE = "dataset.json"
FOLDERS = ("imagesTr", "labelsTr")
KEYS = ("modality", "labels", "training")


def recognises(path: Path) -> bool:
    """A folder with a dataset.json of this kind, or with the folders of images and labels."""
    if all((path / folder).is_dir() for folder in FOLDERS):
        return True
    try:
        stored = json.loads((path / FILE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and "labels" in stored and bool({"training", "numTraining"} & set(stored))


def owns(file: Path) -> bool:
    """The file that lists images and labels."""
    return file.name == FILE and recognises(file.parent)


def read(path: Path) -> Opened:
    """A row per training case with its mask; test cases, whose masks are not published, come without.

    Images of several modalities are read with these as channels, in the published order.

    Args:
        path: the folder, for instance Task04_Hippocampus.

    Raises:
        DataError: no dataset.json or not of this kind; classes not numbered from 0; files that are not there.

    Source: Antonelli et al. 2022, The Medical Segmentation Decathlon.
    """
    stored = _load(path)
    pairs = [_pair(path, entry) for entry in stored["training"]]
    pairs = [
        (image, mask) for image, mask in pairs if not PurePosixPath(image).name.startswith(OF_THE_SYSTEM)
    ]
    images = [image for image, _ in pairs]
    masks = [mask for _, mask in pairs]
    _refuse_missing(path, [*images, *masks])
    part = "#channels" if len(stored["modality"]) > 1 else ""
    table = _table(images, part, first=1)
    table.insert(1, "mask", masks)
    unlabelled = _present(path, stored.get("test", []))
    sidecar = {
        "kind": "segment",
        "classes": _classes(path, stored["labels"]),
        "name": path.resolve().name,
        "notes": _notes(stored),
    }
    return Opened(table, path, sidecar, _table(unlabelled, part, first=len(table) + 1))


def _table(images: Sequence[str], part: str, first: int) -> pd.DataFrame:
    cases = [PurePosixPath(image).name.removesuffix(".gz").removesuffix(".nii") for image in images]
    return pd.DataFrame(
        {"image": [image + part for image in images], "patient": cases, "split_unit": cases},
        index=pd.RangeIndex(first, first + len(images)),
        dtype=object,
    )


def _load(path: Path) -> JSON:
    file = path / FILE
    if not file.is_file():
        raise DataError(
            f"The folder {path}", f"{FILE}, which names classes and pairs images with labels",
            f"it has {' and '.join(FOLDERS)} without it",
            f"Copy {FILE} from the archive of the data set into the folder, or write a manifest.",
        )  # fmt: skip
    try:
        stored = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        got = f"it cannot be read ({type(error).__name__})"
        raise _misfit(file, "the JSON of the Medical Segmentation Decathlon", got) from error
    if not isinstance(stored, dict):
        raise _misfit(file, "the JSON of the Medical Segmentation Decathlon", "it holds no object")
    absent = [key for key in KEYS if key not in stored]
    if absent:
        # nnU-Net calls its own file the same, with channel_names and without the list of images
        do = "Take the file of the data set, or write a manifest with the columns image and mask."
        raise DataError(
            f"The file {file}", f"the keys {', '.join(KEYS)}", f"it has no {', '.join(absent)}", do
        )
    if not isinstance(stored["training"], list) or not stored["training"]:
        raise _misfit(file, "at least one training case", "it lists none")
    return stored


def _pair(path: Path, entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
        raise _misfit(path / FILE, "training cases with image and label", f"one is {str(entry)[:60]}")
    return PurePosixPath(entry["image"]).as_posix(), PurePosixPath(entry["label"]).as_posix()


def _classes(path: Path, labels: Any) -> list[str]:
    numbers = sorted(labels, key=str) if isinstance(labels, dict) else []
    if {str(number) for number in range(len(numbers))} != set(numbers) or len(numbers) < 2:
        raise _misfit(path / FILE, 'labels numbered "0", "1" and so on', f"they are {str(labels)[:60]}")
    return [str(labels[str(number)]) for number in range(len(numbers))]


def _notes(stored: JSON) -> JSON:
    modality = stored["modality"]
    names = modality.values() if isinstance(modality, dict) else [modality]
    notes = {
        "unit_name": "cases",  # the names do not tell which cases are of one person (Task04: two hippocampi)
        "licence": stored.get("licence", stored.get("license", "")),
        "source": ", ".join(str(stored[key]) for key in ("description", "reference") if stored.get(key)),
        "modality": ", ".join(str(name) for name in names),
    }
    return {key: str(value) for key, value in notes.items() if value}


def _present(path: Path, entries: Any) -> list[str]:
    """Those test images that were unpacked: nothing needs them."""
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise _misfit(path / FILE, "test as a list of images", "it is something else")
    images = [PurePosixPath(entry) for entry in entries]
    kept = [image.as_posix() for image in images if not image.name.startswith(OF_THE_SYSTEM)]
    missing = set(missing_files(path, kept))
    return [image for image in kept if image not in missing]


def _refuse_missing(path: Path, files: Iterable[str]) -> None:
    files = list(files)
    missing = missing_files(path, files)
    if missing:
        raise DataError(
            f"The folder {path}", f"every file that its {FILE} lists for training",
            f"{len(missing)} of {len(files)} are not there, the first is {missing[0]}",
            f"Unpack the archive again, or take the missing cases out of {FILE}.",
        )  # fmt: skip


def _misfit(file: Path, needs: str, got: str) -> DataError:
    return DataError(f"The file {file}", needs, got, "Take it from the archive of the data set again.")
