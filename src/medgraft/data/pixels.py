"""Whether two images are the same, whatever their files are called and however they were saved."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from medgraft.data.readers import files_behind, read_image, size_and_time, split_part


def hash_pixels(array: np.ndarray) -> str:
    """SHA-256 of an image's shape and values; grey saved as colour, and numbers saved wider, count as the same.

    Args:
        array: (..., C), any real dtype.

    >>> grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    >>> hash_pixels(grey) == hash_pixels(np.repeat(grey, 3, axis=-1).astype(np.float32))
    True
    """
    if array.shape[-1] == 3 and all(np.array_equal(array[..., 0], array[..., channel]) for channel in (1, 2)):
        array = array[..., :1]
    are_exact = array.dtype.kind == "f" and np.isfinite(array).all() and np.abs(array).max(initial=0) < 2**53
    if are_exact and np.array_equal(array, np.rint(array)):
        array = array.astype(np.int64)
    if array.dtype.kind in "iub":
        array = array.astype(
            np.promote_types(np.min_scalar_type(array.min()), np.min_scalar_type(array.max()))
        )
    digest = hashlib.sha256(f"{array.shape}{array.dtype}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_image(reference: str) -> str:
    """`hash_pixels` of a file, or of a part of one, remembered while the file's size and time stay the same.

    Raises:
        DataError: as `read_image`.
    """
    path, _ = split_part(reference)
    if not all(file.exists() for file in files_behind(path)):
        read_image(reference)  # says what is wrong
    return _hash_image(reference, *size_and_time(path))


@lru_cache(maxsize=500_000)
def _hash_image(reference: str, size: int, modified: int) -> str:
    return hash_pixels(read_image(reference).array)
