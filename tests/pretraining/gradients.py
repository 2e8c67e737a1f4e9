"""Images that tell where in them one is: brighter to the right and to the bottom."""

from __future__ import annotations

import numpy as np

from medgraft.data.cohort import Cohort


def gradients(count: int = 32, side: int = 32, channels: int = 1) -> Cohort:
    """Grey or coloured images whose brightness is another at every place, with some noise."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[:side, :side] / side
    images = 60 + 100 * right + 60 * down + random.uniform(-20, 20, (count, 1, 1))
    images = images[..., None] + random.normal(0, 4, (count, side, side, channels))
    return Cohort.from_arrays(images.clip(0, 255).astype(np.uint8), kind="encode", name="gradients")
