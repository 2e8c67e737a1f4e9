"""A picture of an image and of the risk of transfer on it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

INCHES, DOTS_PER_INCH = (3.2, 1.7), 100
PLACES = ((0.01, 0.04, 0.42, 0.82), (0.45, 0.04, 0.42, 0.82), (0.89, 0.08, 0.025, 0.74))
"""Left, bottom, width and height of the image, the risk and the bar, as shares of the picture."""
COLOURS = "viridis"
OPACITY = 0.6


def draw_risk(
    image: NDArray[np.floating], truth: NDArray[np.integer], risk: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Draw an image with the outline of its mask, and beside it the risk of its pixels with a bar.

    Args:
        image: (H, W), any range.
        truth: (H, W) labels; all but 0 lie inside the outline.
        risk: (H, W) at least 0; NaN where unknown, which stays grey. The colours reach from its least to its greatest.

    Returns: (170, 320, 3) uint8.

    >>> draw_risk(np.eye(8), np.eye(8, dtype=int), np.eye(8)).shape
    (170, 320, 3)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH)
    left, right, beside = (figure.add_axes(place) for place in PLACES)
    for axes in (left, right):
        axes.imshow(image, cmap="gray")
        axes.set_axis_off()
    inside = truth > 0
    if inside.any() and not inside.all():
        left.contour(inside, levels=[0.5], colors="tab:orange", linewidths=0.8)
    shown = right.imshow(risk, cmap=COLOURS, alpha=OPACITY)
    figure.colorbar(shown, cax=beside).ax.tick_params(labelsize=6)
    left.set_title("image and mask", fontsize=7)
    right.set_title("risk of transfer", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="rgba")
    height, width = (round(DOTS_PER_INCH * side) for side in reversed(INCHES))
    return np.frombuffer(file.getvalue(), np.uint8).reshape(height, width, 4)[..., :3].copy()
