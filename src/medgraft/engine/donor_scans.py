"""Scans of a cohort, whole, and a bank of donors made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.slice_positions import COLUMN, slice_positions
from medgraft.engine.donor_bank import DonorBank
from medgraft.engine.predict import needs_windows, prepare_volume, rows_by_patient
from medgraft.engine.progress import progress_bar
from medgraft.engine.run import Run
from medgraft.engine.sliding import neighbours
from medgraft.errors import DataError
from medgraft.images.fourier import Region
from medgraft.images.preparation import Preparer
from medgraft.types import Preparation


class Scan(NamedTuple):
    """slices: (n, C, H, W) float32, prepared; positions: (n,) mm, or None where they are not known."""

    slices: Tensor
    positions: np.ndarray | None


def rows_by_scan(cohort: Cohort, preparation: Preparation) -> list[np.ndarray]:
    """Rows of each scan: a volume is one, and so are all slices of a patient, in the order of the cohort."""
    if len(cohort) and needs_windows(preparation, cohort):
        return [np.asarray([row]) for row in range(len(cohort))]
    return rows_by_patient(cohort)


def few_scans(cohort: Cohort, preparation: Preparation, most: int, generator: torch.Generator) -> Cohort:
    """Not more than so many scans of a cohort, drawn without replacement and kept in their order."""
    scans = rows_by_scan(cohort, preparation)
    if len(scans) <= most:
        return cohort
    drawn = sorted(torch.randperm(len(scans), generator=generator)[:most].tolist())
    return cohort.take(np.concatenate([scans[number] for number in drawn]))


def read_scans(cohort: Cohort, preparation: Preparation, run: Run) -> Iterator[Scan]:
    """Scan after scan as a network would see its slices, in the order of `rows_by_scan`.

    Raises:
        DataError: an image cannot be read or prepared; slices of a scan differ in size.
    """
    if len(cohort) and needs_windows(preparation, cohort):
        preparer = Preparer(preparation)
        for row in range(len(cohort)):
            volume, _ = prepare_volume(preparer, cohort, row)
            depth = volume.shape[1]
            around = [neighbours(place, 1, depth, preparation.slices) for place in range(depth)]
            yield Scan(torch.stack([preparer.to_input(volume[:, near]) for near in around]), None)
        return
    positions = slice_positions(cohort)
    loader = run.loader(cohort.only({"images", "patients"}), preparation)
    for batch in loader.batches(rows_by_scan(cohort, preparation)):
        yield Scan(batch.images, None if positions is None else positions[batch.rows])


def make_donor_bank(
    cohort: Cohort, preparation: Preparation, beta: float, region: Region, run: Run, *, positions: bool
) -> DonorBank:
    """A bank of all scans of a cohort, on the CPU.

    Args:
        cohort: slices, those of a patient being one scan, or volumes; only images, patients and positions are used.
        preparation: of the network that is to see the restyled slices.
        beta: the greatest that will be swapped, above 0.
        region: of Fourier space.
        run: its device computes.
        positions: whether donors will be found by place in millimetres.

    Raises:
        DataError: no scan, one of a single value, one without positions; slices of a scan differ in size.
        ShapeError: scans differ in size.
    """
    groups = rows_by_scan(cohort, preparation)
    places: list[np.ndarray] = []

    def scans() -> Iterator[Tensor]:
        with progress_bar("reading donors", len(groups), run.progress) as advance:
            for number, scan in enumerate(read_scans(cohort, preparation, run)):
                if bool((scan.slices == scan.slices.flatten()[0]).all()):
                    raise DataError(
                        "A donor scan", "to show something",
                        f"scan {number + 1} of {cohort.name} (row {cohort.table.index[groups[number][0]]}) has one "
                        "value throughout", "Leave it out of the donors.",
                    )  # fmt: skip
                if positions:
                    places.append(_known(scan.positions, cohort))
                yield scan.slices.to(run.fabric.device)
                advance(None)

    # filled while the scans are read, and looked at after the last one
    return DonorBank.from_scans(scans(), beta, region, places if positions else None).to("cpu")


def _known(positions: np.ndarray | None, cohort: Cohort) -> np.ndarray:
    if positions is None:
        raise DataError(
            "Matching slices by position", f"the column '{COLUMN}' in the manifest of the donors, a row per slice",
            f"{cohort.name} has none", "Add it, or match by index.",
        )  # fmt: skip
    return positions
