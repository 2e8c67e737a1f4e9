"""Training samples from volumes and large images: patient, then slice, then crop."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cache import ArrayCache, cache_key
from medgraft.data.cohort import Cohort
from medgraft.data.loading import has_masks, hash_row
from medgraft.engine.loading import Loader
from medgraft.engine.predict import needs_windows, prepare_volume
from medgraft.engine.run import Run
from medgraft.engine.sliding import neighbours
from medgraft.errors import DataError, MedgraftError
from medgraft.images.preparation import Preparer
from medgraft.types import Batch, Preparation

logger = logging.getLogger(__name__)

FOREGROUND = 1 / 3
PLACES = 10_000
"""Voxels per class and volume that a crop may be centred on."""


class Patches:
    """Give samples of a cohort's volumes as network input: slices, or crops of slices or of volumes.

    Every patient is equally likely, whatever the number of their volumes and slices.

    Args:
        cohort: rows of a segmentation task; images count as volumes of one slice. Without masks batches have no truth
            and nothing is known to be foreground.
        preparation: the model's own; its `patch` is the size of the crops.
        foreground: share of samples that must show a class other than the first: a slice with one, a crop centred
            on one of its pixels (the class drawn first, so that rare ones come as often).
        memory: bytes of prepared volumes to keep.
        cache: where prepared volumes are kept for which memory has no room, and for other runs.

    Raises:
        DataError: a volume that cannot be read or prepared, or whose mask does not fit.

    Source: the share of foreground as in nnU-Net (Isensee et al. 2021).
    """

    def __init__(
        self,
        cohort: Cohort,
        preparation: Preparation,
        *,
        foreground: float = FOREGROUND,
        memory: int = 2**32,
        cache: ArrayCache | None = None,
    ) -> None:
        self.cohort = cohort
        self.preparer = Preparer(preparation)
        self.foreground = foreground
        self._room, self._cache, self._told = memory, cache, False
        self._kept: dict[int, _Prepared] = {}
        self.samples, self.weights = self._list_samples()

    def __len__(self) -> int:
        """Samples of one pass: slices, or as many crops as volumes have room for."""
        return len(self.samples)

    def __call__(self, samples: Sequence[int] | np.ndarray, generator: torch.Generator) -> Batch:
        """Draw crops for samples by number.

        Returns: images (B, C, *spatial) float32, truth (B, *spatial) int64 where the cohort has masks, its rows.
        """
        chosen = [self.samples[int(index)] for index in samples]
        cut = [self._cut(self._prepared(row), depth, generator) for row, depth in chosen]
        if len({image.shape for image, _ in cut}) > 1:
            raise DataError(
                "A batch of slices", "slices of one size",
                f"{self.cohort.name} has {sorted({tuple(image.shape[1:]) for image, _ in cut})} after preparation",
                "Set a patch to crop, for instance --set preparation.patch=[192,192], or a size.",
            )  # fmt: skip
        images, truths = zip(*cut)
        truth = torch.stack(truths) if has_masks(self.cohort) else None
        return Batch(torch.stack(images), truth, np.asarray([row for row, _ in chosen]))

    def _list_samples(self) -> tuple[list[tuple[int, int]], Tensor]:
        """(row, slice) of each sample, and its chance; slice is 0 where a network sees volumes."""
        samples: list[tuple[int, int]] = []
        shows: list[bool] = []
        is_flat = self.preparer.preparation.dimensions == 2
        for row in range(len(self.cohort)):
            mask = self._prepared(row).mask
            if is_flat:
                found = [bool(one.any()) for one in mask]
            else:  # a crop can always be centred on the foreground of its volume, if there is any
                patch = self.preparer.preparation.patch or mask.shape
                found = [True] * max(1, round(mask.size / float(np.prod(patch))))
            samples += [(row, number if is_flat else 0) for number in range(len(found))]
            shows += found
        patients = self.cohort.patients[[row for row, _ in samples]]
        return samples, torch.from_numpy(sampling_chances(patients, np.asarray(shows), self.foreground))

    def _prepared(self, row: int) -> _Prepared:
        if row in self._kept:
            return self._kept[row]
        named = None if self._cache is None else hash_row(self.cohort, row)
        if self._cache is None or named is None:
            prepared = self._prepare(row)
        else:
            key = cache_key(named, {"volume": self.preparer.preparation.model_dump(mode="json")})
            prepared = _Prepared.of_arrays(self._cache.get(key, lambda: self._prepare(row).arrays()))
        if prepared.nbytes <= self._room:
            self._room -= prepared.nbytes
            # a copy where it was mapped from a file, which would stay open
            self._kept[row] = prepared if named is None else copy.deepcopy(prepared)
        elif named is None and not self._told:
            self._told = True
            logger.warning(
                "the prepared volumes of %s exceed memory, so some are prepared anew for each sample: name a folder "
                "that keeps them (--cache)", self.cohort.name,
            )  # fmt: skip
        return prepared

    def _prepare(self, row: int) -> _Prepared:
        volume, _ = prepare_volume(self.preparer, self.cohort, row)
        if not has_masks(self.cohort):
            nothing = np.broadcast_to(np.uint8(0), volume.shape[1:])  # takes no memory
            return _Prepared.of(volume, nothing, 0)
        return _Prepared.of(volume, self._mask(row), len(self.cohort.classes))

    def _mask(self, row: int) -> np.ndarray:
        picture = self.cohort.picture(row)
        array = self.cohort.mask(row).array
        if array.shape[:-1] != picture.array.shape[:-1]:
            raise DataError(
                "A mask", f"the size of its image, {picture.array.shape[:-1]}",
                f"it has {array.shape[:-1]} ({self.cohort.where('mask', row)})", "Save both at the same size.",
            )  # fmt: skip
        labels, spacing = array[..., 0], picture.spacing
        if labels.ndim == 2:
            labels, spacing = labels[None], None if spacing is None else (1.0, *spacing)
        try:
            return self.preparer.volume_mask(labels, spacing)
        except MedgraftError as error:
            error.got += f" ({self.cohort.where('mask', row)})"
            raise

    def _cut(self, prepared: _Prepared, depth: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        settings = self.preparer.preparation
        size = prepared.mask.shape
        if settings.dimensions == 3:
            window, corner = settings.patch or size, [0, 0, 0]
        else:
            window, corner = (1, *(settings.patch or size[1:])), [depth, 0, 0]
        centre = self._centre(prepared, depth, generator)
        for axis in range(3 - settings.dimensions, 3):
            corner[axis] = _corner(
                size[axis], window[axis], None if centre is None else centre[axis], generator
            )
        index = [_clamped(*place) for place in zip(corner, window, size)]
        truth = torch.from_numpy(
            prepared.mask[np.ix_(*(places.numpy() for places in index))].astype(np.int64)
        )
        if settings.dimensions == 2:
            index[0], truth = neighbours(depth, 1, size[0], settings.slices), truth[0]
        block = prepared.volume[:, index[0]][:, :, index[1]][:, :, :, index[2]]
        return self.preparer.to_input(block), truth

    def _centre(self, prepared: _Prepared, depth: int, generator: torch.Generator) -> Sequence[int] | None:
        """A voxel of the foreground that the crop is to show, or None for anywhere."""
        # drawn whether needed or not, so that the next sample's numbers do not depend on this one's content
        chance, which, place = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        if chance >= self.foreground or self.preparer.preparation.patch is None:
            return None
        if self.preparer.preparation.dimensions == 3:
            places = prepared.places
        else:
            places = _places_of(prepared.mask[depth : depth + 1], len(self.cohort.classes))
        if not places:
            return None
        flat = places[int(which * len(places))]
        shape = (
            prepared.mask.shape
            if self.preparer.preparation.dimensions == 3
            else (1, *prepared.mask.shape[1:])
        )
        return tuple(int(one) for one in np.unravel_index(flat[int(place * len(flat))], shape))


def open_rows(
    cohort: Cohort, preparation: Preparation, run: Run, foreground: float = FOREGROUND
) -> Loader | Patches:
    """Whole images, or patches where rows are volumes or the preparation names a patch.

    Raises:
        DataError: volumes for a task other than segmentation.
    """
    if not len(cohort) or not needs_windows(preparation, cohort):
        return run.loader(cohort, preparation)
    if cohort.kind != "segment":
        raise DataError(
            f"A task of kind '{cohort.kind}'", "single images", f"{cohort.name} has volumes",
            "Give each slice a row of its own (file.nii.gz#slice:12).",
        )  # fmt: skip
    return Patches(cohort, preparation, foreground=foreground, cache=run.array_cache)


def load_batch(rows: Loader | Patches, chosen: np.ndarray, generator: torch.Generator) -> Batch:
    """The chosen rows or samples; crops are drawn from the generator."""
    return rows(chosen, generator) if isinstance(rows, Patches) else rows(chosen)


class _Prepared(NamedTuple):
    """A volume (c, d, h, w), its mask (d, h, w), and some voxels of each foreground class that it shows."""

    volume: Tensor
    mask: np.ndarray
    places: list[np.ndarray]

    @classmethod
    def of(cls, volume: Tensor, mask: np.ndarray, classes: int) -> _Prepared:
        return cls(volume, mask, _places_of(mask, classes))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> _Prepared:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # that the file cannot be written to, which nobody does
            volume = torch.from_numpy(arrays["volume"])
        return cls(volume, arrays["mask"], [arrays[name] for name in arrays if name.startswith("places")])

    def arrays(self) -> dict[str, np.ndarray]:
        """What a cache keeps."""
        places = {f"places {number}": flat for number, flat in enumerate(self.places)}
        return {"volume": self.volume.numpy(), "mask": self.mask, **places}

    @property
    def nbytes(self) -> int:
        return self.volume.nbytes + self.mask.nbytes + sum(places.nbytes for places in self.places)


def sampling_chances(patients: np.ndarray, shows: np.ndarray, foreground: float) -> np.ndarray:
    """Chances of samples: equal in sum for every patient, and of `foreground` reserved for samples that show some.

    Args:
        patients: (N,) whose sample it is.
        shows: (N,) bool, whether it shows the foreground.
        foreground: share in [0, 1] drawn among those only; a patient without any is drawn from all samples.

    Returns: (N,) float64 with sum 1.

    >>> sampling_chances(np.array(["a", "a", "b"]), np.array([True, False, True]), 0.5).tolist()
    [0.375, 0.125, 0.5]
    """
    chances = np.zeros(len(patients))
    names, owner = np.unique(patients.astype(str), return_inverse=True)
    for patient in range(len(names)):
        mine = owner == patient
        shown = mine & shows if (mine & shows).any() else mine
        chances += (1 - foreground) * mine / mine.sum() + foreground * shown / shown.sum()
    return chances / len(names)


def drawing_chances(rows: Loader | Patches) -> Tensor:
    """Chances with which every patient is equally likely, and then each of their images.

    Returns: (N,) float64 with sum 1; of patches also by what they show.
    """
    if isinstance(rows, Patches):
        return rows.weights
    patients = rows.cohort.patients
    return torch.from_numpy(sampling_chances(patients, np.ones(len(patients), bool), 0.0))


def draw_batch(rows: Loader | Patches, chances: Tensor, count: int, generator: torch.Generator) -> Batch:
    """So many images, drawn with replacement by `drawing_chances`."""
    chosen = torch.multinomial(chances, count, replacement=True, generator=generator)
    return load_batch(rows, chosen.numpy(), generator)


def _places_of(mask: np.ndarray, classes: int) -> list[np.ndarray]:
    """Flat indices of each foreground class that is there, evenly thinned to `PLACES`."""
    found = []
    for label in range(1, classes):
        flat = np.flatnonzero(mask == label)
        if len(flat):
            found.append(flat[:: -(-len(flat) // PLACES)])
    return found


def _corner(size: int, window: int, centre: int | None, generator: torch.Generator) -> int:
    """Where a crop begins along an axis: within the image, or so that a smaller image lies in its middle."""
    chance = float(torch.rand(1, generator=generator, dtype=torch.float64))
    if window >= size:
        return (size - window) // 2
    if centre is None:
        return int(chance * (size - window + 1))
    return min(max(centre - window // 2, 0), size - window)


def _clamped(start: int, count: int, size: int) -> Tensor:
    """Indices from `start` on, the edge repeated beyond the image."""
    return torch.arange(start, start + count).clamp(0, size - 1)
