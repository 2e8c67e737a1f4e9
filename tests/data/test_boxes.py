"""Boxes in a cell."""

from __future__ import annotations

import pytest

from medgraft.data.boxes import Box, parse_boxes
from medgraft.errors import DataError


def test_boxes_are_read_and_an_empty_cell_has_none() -> None:
    assert parse_boxes('[[0, 1, 4.5, 5, "n"], [1, 1, 2, 2, 3]]') == [
        Box(0, 1, 4.5, 5, "n"),
        Box(1, 1, 2, 2, "3"),
    ]
    assert parse_boxes(" ") == [] == parse_boxes("[]")


@pytest.mark.parametrize(
    "cell",
    ["oops", '{"a": 1}', '["12345"]', "[[1, 2, 3]]", '[[0, 0, 1, 1, "n", 0.9]]', '[[2, 0, 1, 1, "n"]]',
     '[[NaN, 0, 1, 1, "n"]]', "3"],
)  # fmt: skip
def test_other_cells_are_refused(cell: str) -> None:
    with pytest.raises(DataError, match="The column 'boxes'"):
        parse_boxes(cell)
