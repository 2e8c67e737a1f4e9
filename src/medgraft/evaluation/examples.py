"""Small pictures of what a model gets right and, above all, wrong."""

from __future__ import annotations

import numpy as np

LONGEST_SIDE = 192
OUTLINED_SIDE = 320  # fine outlines have to be seen
TRUTH_COLOUR = (0, 200, 80)
PREDICTION_COLOUR = (255, 60, 190)
AGREED_COLOUR = (255, 255, 255)


def choose_examples(wrongness: np.ndarray, count: int) -> list[int]:
    """Positions to show: two thirds the worst, worst first; the rest spread over what went well.

    Args:
        wrongness: (N,) the larger the worse; above 0 counts as wrong, and at most 0 as right.
        count: how many to show at most.

    >>> choose_examples(np.array([-0.9, 0.8, -0.6, 0.3]), 3)
    [1, 3, 0]
    """
    order = np.argsort(-wrongness, kind="stable")
    wrong = [int(position) for position in order if wrongness[position] > 0]
    right = [int(position) for position in order[::-1] if wrongness[position] <= 0]
    shown_wrong = wrong[: max(-(-2 * count // 3), count - len(right))]
    room = min(count - len(shown_wrong), len(right))
    spread = np.linspace(0, max(len(right) - 1, 0), room).round().astype(int)
    return shown_wrong + [right[index] for index in spread]


def thumbnail(
    array: np.ndarray, truth: np.ndarray | None = None, predicted: np.ndarray | None = None
) -> np.ndarray:
    """A picture for a report, at most 192 pixels a side, or 320 with the outlines of masks drawn on.

    Args:
        array: (H, W, C), any dtype; 8-bit as it is, the rest stretched from its 1st to its 99th percentile.
        truth, predicted: (H, W) integer masks; the truth's outline is green, the prediction's magenta, and
            where both run together it is white.

    Returns: (h, w, 3) uint8.

    >>> thumbnail(np.zeros((384, 192, 1), np.uint16)).shape
    (192, 96, 3)
    """
    from PIL import Image

    picture = Image.fromarray(_to_rgb(array))
    scale = (LONGEST_SIDE if truth is None else OUTLINED_SIDE) / max(picture.size)
    if truth is not None or scale < 1:  # small ones grow where fine outlines have to be seen
        picture = picture.resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        )
    shown = np.array(picture)
    agreed = np.ones(shown.shape[:2], dtype=bool)
    for mask, colour in ((truth, TRUTH_COLOUR), (predicted, PREDICTION_COLOUR)):
        if mask is not None:
            resized = Image.fromarray(mask.astype(np.int32)).resize(picture.size, Image.Resampling.NEAREST)
            outline = _outline(np.asarray(resized))
            shown[outline] = colour
            agreed &= outline
    if truth is not None and predicted is not None:
        shown[agreed] = AGREED_COLOUR
    return shown


def _to_rgb(array: np.ndarray) -> np.ndarray:
    values = array if array.shape[-1] == 3 else np.repeat(array[..., :1], 3, axis=-1)
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    values = values.astype(np.float64)
    low, high = np.percentile(values, (1, 99))
    stretched: np.ndarray = ((values - low) / max(high - low, 1e-12) * 255).clip(0, 255)
    return stretched.astype(np.uint8)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a class within two of another class, above or below, to the left or to the right."""
    edge = np.zeros(mask.shape, dtype=bool)
    edge[:-2] |= mask[:-2] != mask[2:]
    edge[2:] |= mask[2:] != mask[:-2]
    edge[:, :-2] |= mask[:, :-2] != mask[:, 2:]
    edge[:, 2:] |= mask[:, 2:] != mask[:, :-2]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    outline: np.ndarray = edge & (mask != 0)
    return outline
