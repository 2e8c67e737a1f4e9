"""Images of several data sets in one manifest, for training without labels."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError, SettingsError
from medgraft.whole_files import write_text


def pool_images(
    cohorts: Sequence[Cohort], path: str | Path, *, weights: Sequence[float] | None = None, seed: int = 0
) -> Cohort:
    """Write the images of several data sets as one manifest without labels, and open it.

    Where a set has splits, rows keep theirs, so that what is kept for testing trains no source model and is missed by
    no check of leaks. A row tells the image, its data set as `site`, and a number for its patient, not the patient's
    name.

    Args:
        cohorts: read from files, not in memory; their images stay where they are.
        path: of the table to write, .csv.
        weights: how often training images of each set are seen in an epoch, in relation to one another, above 0:
            (1, 1) means equally often. A set that would fall short is repeated, and none is cut. None: each once.
        seed: which images of a set are repeated once more than others.

    Raises:
        SettingsError: not one positive weight per set.
        DataError: no set, one in memory, or one without training rows.
        RunError: the table cannot be written.

    >>> import tempfile
    >>> from medgraft.data.samples import load_samples
    >>> nuclei = load_samples("nuclei")
    >>> table = Path(tempfile.mkdtemp()) / "pool.csv"
    >>> pool_images([nuclei], table).kind
    'encode'
    """
    trained = [cohort.training_rows for cohort in cohorts]
    _check(trained, weights)
    times = _repeats([len(rows) for rows in trained], weights)
    names = _different([cohort.name for cohort in cohorts])
    draw = np.random.default_rng(seed)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["image", "patient", "site", "split"])
    for cohort, rows, name, count in zip(cohorts, trained, names, times, strict=True):
        units = np.unique(cohort.units, return_inverse=True)[1]
        splits = cohort.table["split"].tolist() if cohort.has_splits else ["train"] * len(cohort)
        whole, rest = divmod(count, len(rows))
        places = np.array([row for row, split in enumerate(splits) if split == "train"])
        copies = np.ones(len(cohort), dtype=int)
        copies[places] = whole
        copies[places[draw.permutation(len(rows))[:rest]]] += 1
        for row, split in enumerate(splits):
            reference = Path(str(cohort.reference("image", row))).absolute()
            writer.writerows([[str(reference), f"{name} {units[row]}", name, split]] * copies[row])
    write_text(Path(path), lines.getvalue())
    return read_manifest(path, kind="encode")


def first_rows(cohort: Cohort) -> np.ndarray:
    """For each row, (N,) int64, the first row with the same image: its own, but where a weight repeats an image.

    >>> from medgraft.data.samples import load_samples
    >>> first_rows(load_samples("nuclei"))[:3]
    array([0, 1, 2])
    """
    seen: dict[str | int, int] = {}
    images = (cohort.reference("image", row) or row for row in range(len(cohort)))
    return np.array([seen.setdefault(image, row) for row, image in enumerate(images)], dtype=np.int64)


def _check(sets: Sequence[Cohort], weights: Sequence[float] | None) -> None:
    if not sets:
        raise DataError("pool_images", "one data set or more", "there is none", "Name one.")
    for cohort in sets:
        if not len(cohort):
            raise DataError(
                "pool_images", "training rows in every data set", f"{cohort.name} has none",
                "Leave it out, or mark rows as 'train' in its column 'split'.",
            )  # fmt: skip
        if cohort.reference("image", 0) is None:
            raise DataError(
                "pool_images",
                "data sets in files",
                f"{cohort.name} lives in memory",
                "Write its images to files.",
            )
    if weights is not None and (
        len(weights) != len(sets) or not all(math.isfinite(weight) and weight > 0 for weight in weights)
    ):
        raise SettingsError(
            "pool_images", f"one weight above 0 for each of {len(sets)} data sets", f"got {list(weights)}",
            "Give as many as there are sets, or none to see every image once.",
        )  # fmt: skip


def _repeats(images: Sequence[int], weights: Sequence[float] | None) -> list[int]:
    """How many rows each set gets: in the proportion of the weights, and at least as many as it has images."""
    if weights is None:
        return list(images)
    scale = max(count / weight for count, weight in zip(images, weights, strict=True))
    return [max(count, round(weight * scale)) for count, weight in zip(images, weights, strict=True)]


def _different(names: Sequence[str]) -> list[str]:
    """Names of data sets, numbered where two are the same."""
    return [f"{name} {place}" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]
