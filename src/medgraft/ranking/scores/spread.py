"""Features that are the same for every image: no score can be made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgraft.ranking.inputs import BLOCK, UndefinedError


def check_spread(who: str, features: NDArray[np.floating]) -> None:
    """Refuse features that do not differ from image to image.

    Args:
        who: the score, as it begins the sentence.
        features: (n, D) finite.

    Raises:
        UndefinedError: all rows are equal.

    >>> check_spread("LogME", np.ones((3, 2)))
    Traceback (most recent call last):
    medgraft.ranking.inputs.UndefinedError: LogME needs features that differ between images, but all 3 rows are
    equal. Leave out this model: its features carry nothing about these images.
    """
    for start in range(0, len(features), BLOCK):
        if (features[start : start + BLOCK] != features[0]).any():
            return
    raise UndefinedError(
        who, "features that differ between images", f"all {len(features)} rows are equal",
        "Leave out this model: its features carry nothing about these images.",
    )  # fmt: skip
