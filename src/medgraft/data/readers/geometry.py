"""Where the voxels of an array lie in the patient, and how the file itself keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medgraft.data.readers.stack import Stack
from medgraft.errors import DataError, ShapeError

AXES = (2, 1, 0)
"""The axis of the patient (right-left 0, back-front 1, feet-head 2) along which each axis of an array runs."""
DIRECTIONS = (1.0, -1.0, -1.0)
"""Towards the head, the back, the left: axial slices as radiologists look at them, and as DICOM keeps them."""
DICOM_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where an array as `read_image` returns it lies, and how to turn a mask of it back to the file's own axes.

    Volumes are turned (by whole axes, nothing is resampled) so that D runs from the feet to the head, H from the front
    to the back and W from the patient's right to the left, as nearly as the file's axes allow. Axial DICOM series
    already are. Single slices and images are not turned.

    To write a mask: `to_stored(labels)` has the axes of the file; in NIfTI, with `stored_affine`, it lies on the image.
    In DICOM its first axis counts the slices in the order of `files` (or of `frames` of the only file), and
    each slice has the rows and columns of that file.

    Attributes:
        shape: (D, H, W) of the array; D is 1 for a single slice or image.
        affine: (4, 4) float64, index (d, h, w, 1) of the array to millimetres (right, anterior, superior, 1).
        stored_shape: the same of the file's own three axes: (i, j, k) of NIfTI, (slice, row, column) of DICOM.
        stored_affine: (4, 4) float64, index along the file's own axes to the same millimetres.
        axes: for each axis of the array, the file's axis.
        flips: for each axis of the array, whether it runs against the file's.
        format: what the file is.
        files: the file; for a DICOM series one per slice, in the order of the first stored axis.
        frames: for DICOM files of several frames, the stored frame of each slice; else None.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    stored_shape: tuple[int, int, int]
    stored_affine: np.ndarray
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    format: Literal["nifti", "dicom"]
    files: tuple[Path, ...] = ()
    frames: tuple[int, ...] | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from one voxel to the next along D, H, W, measured by the affine."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return d, h, w

    def to_stored(self, labels: np.ndarray) -> np.ndarray:
        """Undo the turning.

        Args:
            labels: (D, H, W), or (H, W) of a single slice; further axes stay last.

        Returns: the same numbers with the file's own three axes first: shape `stored_shape`; contiguous.

        Raises:
            ShapeError: labels of another size.
        """
        if self.shape[0] == 1 and labels.shape[:2] == self.shape[1:]:
            labels = labels[None]
        if labels.shape[:3] != self.shape:
            raise ShapeError(
                "A mask", f"the size of its image, {self.shape}", f"it has the shape {labels.shape}",
                "Predict the image again if it was changed.",
            )  # fmt: skip
        unflipped = labels[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.ascontiguousarray(np.moveaxis(unflipped, (0, 1, 2), self.axes))

    def to_array(self, stored: np.ndarray) -> np.ndarray:
        """Turn what has the file's own three axes first: the inverse of `to_stored`."""
        moved = np.moveaxis(stored, self.axes, (0, 1, 2))
        return np.ascontiguousarray(moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)])

    def at_slice(self, index: int) -> Geometry:
        """The geometry of one slice along D."""
        axis = self.axes[0]
        first = np.zeros(4)
        first[axis] = self.stored_shape[axis] - 1 - index if self.flips[0] else index
        i, j, k = (1 if each == axis else size for each, size in enumerate(self.stored_shape))
        stored_affine, affine = self.stored_affine.copy(), self.affine.copy()
        stored_affine[:, 3] += stored_affine @ first
        affine[:, 3] += index * affine[:, 0]
        shape = (1, *self.shape[1:])
        return replace(self, shape=shape, affine=affine, stored_shape=(i, j, k), stored_affine=stored_affine)


def place_volume(
    stored_affine: np.ndarray,
    stored_shape: Sequence[int],
    form: Literal["nifti", "dicom"],
    where: str,
    *,
    is_turned: bool = True,
) -> Geometry:
    """The geometry of a volume whose file's axes lie as the affine says.

    Args:
        stored_affine: (4, 4) index of the file's axes to millimetres (right, anterior, superior).
        stored_shape: three sizes.
        form: what the file is.
        where: the file, for messages.
        is_turned: False leaves the axes as the file has them.

    Raises:
        DataError: an affine that gives no direction to an axis.

    >>> lying = np.diag([2.0, 2.0, 3.0, 1.0])  # first axis to the right, second to the front, third to the head
    >>> geometry = place_volume(lying, (4, 5, 6), "nifti", "v.nii")
    >>> geometry.shape, geometry.axes, geometry.flips
    ((6, 5, 4), (2, 1, 0), (False, True, True))
    >>> (geometry.affine @ [0, 0, 0, 1]).tolist()  # the first voxel lies at the right end of the front row
    [6.0, 8.0, 0.0, 1.0]
    """
    stored_affine = _with_directions(np.asarray(stored_affine, dtype=np.float64), stored_shape, where)
    axes, flips = _turning(stored_affine) if is_turned else ((0, 1, 2), (False, False, False))
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1
    for own, (axis, flip) in enumerate(zip(axes, flips)):
        to_stored[axis, own] = -1 if flip else 1
        to_stored[axis, 3] = stored_shape[axis] - 1 if flip else 0
    d, h, w = (int(stored_shape[axis]) for axis in axes)
    i, j, k = map(int, stored_shape)
    return Geometry((d, h, w), stored_affine @ to_stored, (i, j, k), stored_affine, axes, flips, form)


def _with_directions(affine: np.ndarray, shape: Sequence[int], where: str) -> np.ndarray:
    """The affine; an axis of one voxel without direction gets that of the normal."""
    axes = affine[:3, :3]
    empty = [axis for axis in range(3) if not np.any(axes[:, axis])]
    if len(empty) == 1 and shape[empty[0]] == 1:
        first, second = (axes[:, axis] for axis in range(3) if axis != empty[0])
        normal = np.cross(first, second)
        affine = affine.copy()
        affine[:3, empty[0]] = normal / (np.linalg.norm(normal) or 1)
        axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or (sizes == 0).any() or abs(np.linalg.det(axes / sizes)) < 1e-6:
        raise DataError(
            "A volume", "three axes with a direction in the patient", f"those of {where} have none",
            "Correct the header or remove the row.",
        )  # fmt: skip
    return affine


def _turning(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    import nibabel

    turn = nibabel.io_orientation(affine)  # type: ignore[no-untyped-call]
    found = [int(np.flatnonzero(turn[:, 0] == axis)[0]) for axis in AXES]
    flips = [bool(turn[axis, 1] != direction) for axis, direction in zip(found, DIRECTIONS)]
    return (found[0], found[1], found[2]), (flips[0], flips[1], flips[2])


def place_slices(
    stack: Stack, within: Sequence[float], size: Sequence[int], where: str, *, is_turned: bool = True
) -> Geometry:
    """The geometry of ordered DICOM slices.

    Args:
        stack: how they lie.
        within: (2,) millimetres between rows, between columns.
        size: (rows, columns).
        where: the file or folder, for messages.
        is_turned: False leaves the axes as the files have them.

    Raises:
        DataError: no directions.
    """
    affine = affine_of_planes(stack.origin, stack.step, stack.orientation, within)
    return place_volume(affine, (len(stack.order), *size), "dicom", where, is_turned=is_turned)


def turn_spacing(stored: Sequence[float], geometry: Geometry) -> tuple[float, ...]:
    """Millimetres along the file's own axes, in the order of the array's."""
    return tuple(float(stored[axis]) for axis in geometry.axes)


def no_place(where: str) -> DataError:
    """The error of a file that tells of no place."""
    return DataError(
        "The place of an image in the patient", "a file that tells position, direction and pixel size",
        f"{where} does not", "Write masks of it as PNG, or as NIfTI without a place.",
    )  # fmt: skip


def affine_of_planes(
    origin: Sequence[float], step: Sequence[float], orientation: Sequence[float], within: Sequence[float]
) -> np.ndarray:
    """(4, 4) from (slice, row, column) to millimetres (right, anterior, superior), out of what DICOM says.

    Args:
        origin: (3,) ImagePositionPatient of the first slice.
        step: (3,) millimetres from one slice to the next, in DICOM's axes.
        orientation: (6,) ImageOrientationPatient: where columns grow to, then where rows grow to.
        within: (2,) PixelSpacing: millimetres between rows, between columns.

    Source: DICOM PS3.3, C.7.6.2.1.1.

    >>> affine_of_planes((-10, -20, 5), (0, 0, 3), (1, 0, 0, 0, 1, 0), (0.5, 0.25))
    array([[ 0.  ,  0.  , -0.25, 10.  ],
           [ 0.  , -0.5 ,  0.  , 20.  ],
           [ 3.  ,  0.  ,  0.  ,  5.  ],
           [ 0.  ,  0.  ,  0.  ,  1.  ]])
    """
    cosines = np.asarray(orientation, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = cosines[3:] * within[0]
    affine[:3, 2] = cosines[:3] * within[1]
    affine[:3, 3] = origin
    placed: np.ndarray = DICOM_TO_RAS @ affine + 0.0  # no negative zeros
    return placed
