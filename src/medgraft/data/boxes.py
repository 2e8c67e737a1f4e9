"""Boxes in a manifest's cell: JSON, one [x0, y0, x1, y1, "class"] per box, in pixels."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from medgraft.errors import DataError


class Box(NamedTuple):
    """Left, top, right, bottom in pixels (right and bottom outside), and the class."""

    left: float
    top: float
    right: float
    bottom: float
    label: str


def parse_boxes(cell: str) -> list[Box]:
    """Read a cell; an empty one means no boxes.

    Raises:
        DataError: not JSON of this shape, or a box without area.

    >>> parse_boxes('[[0, 0, 4, 5, "nucleus"]]')
    [Box(left=0.0, top=0.0, right=4.0, bottom=5.0, label='nucleus')]
    """
    if not cell.strip():
        return []
    try:
        boxes = [
            Box(float(left), float(top), float(right), float(bottom), str(label))
            for left, top, right, bottom, label in _lists(json.loads(cell))
        ]
    except (ValueError, TypeError) as error:
        raise DataError(
            "The column 'boxes'", 'JSON such as [[x0, y0, x1, y1, "class"], ...]', f"a cell is {cell[:60]!r}",
            "Correct the cell.",
        ) from error  # fmt: skip
    for box in boxes:
        if not (box.left < box.right and box.top < box.bottom):
            raise DataError(
                "The column 'boxes'", "x0 < x1 and y0 < y1", f"a box is {list(box[:4])}", "Correct the cell."
            )
    return boxes


def _lists(found: object) -> list[list[Any]]:
    if not isinstance(found, list) or not all(isinstance(item, list) for item in found):
        raise TypeError("boxes are a list of lists")
    return found
