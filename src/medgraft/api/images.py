"""What to predict: a cohort, a manifest, image files, or folders of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from medgraft.data.cohort import Cohort
from medgraft.data.layouts import find_layout
from medgraft.data.manifest import read_manifest
from medgraft.data.readers import known_extensions, looks_like_series, split_part
from medgraft.data.readers.series import find_series
from medgraft.errors import DataError
from medgraft.types import Field

SEEN: frozenset[Field] = frozenset({"images", "patients", "sites", "attributes"})
Images = Cohort | str | Path | Sequence[str | Path]
"""A cohort; a manifest; image files and folders of them."""
TABLES = (".csv", ".tsv", ".tab", ".parquet")


def open_images(images: Images) -> tuple[Cohort, Sequence[str]]:
    """A cohort without truth, and file names where these are what tells the rows apart."""
    if isinstance(images, Cohort):
        return images.only(SEEN), ()
    if isinstance(images, str | Path):
        path = Path(images)
        if path.suffix in TABLES or (path.exists() and find_layout(path) is not None):
            return read_manifest(path, kind="encode").only(SEEN), ()
        images = [path]
    files = [file for path in images for file in _images_in(Path(path))]
    for number, file in enumerate(files, start=1):
        if not split_part(file)[0].exists():
            raise DataError(
                "predict",
                "existing image files",
                f"file {number}, {file}, does not exist",
                "Correct the path.",
            )
    return _cohort_of_files(files), files


def _images_in(path: Path) -> Sequence[str]:
    """The images of a folder and its sub-folders, a DICOM series being one; a file as it is."""
    if not path.is_dir():
        return [str(path)]
    found = list(_walk(path))
    if not found:
        raise DataError(
            "predict", f"images ({', '.join(sorted(known_extensions()))})", f"{path} holds none",
            "Check the path.",
        )  # fmt: skip
    return found


def _walk(folder: Path) -> Iterator[str]:
    if looks_like_series(folder):
        every = find_series(folder)
        for number, series in enumerate(every):
            if len(series.slices) == 1:
                yield str(series.slices[0].file)
            else:
                yield str(folder) if len(every) == 1 else f"{folder}#series:{number}"
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _walk(entry)
        elif not entry.name.startswith(".") and entry.name.lower().endswith(tuple(known_extensions())):
            yield str(entry)


def _cohort_of_files(files: Sequence[str]) -> Cohort:
    table = pd.DataFrame({"image": files}, index=pd.RangeIndex(1, len(files) + 1))
    return Cohort(table.astype(object), kind="encode", classes=(), root=Path(), name="images")
