"""Cells to numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.data.labels import encode_class, encode_labels
from medgraft.errors import DataError


def test_class_names_become_their_place_in_the_list() -> None:
    cells = pd.Series(["b", "a", "b"], index=[3, 5, 9])
    assert encode_class(cells, ("a", "b"), "m").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="row 5 has 'a'"):
        encode_class(cells, ("b", "c"), "m")


def test_label_cells_that_are_no_label_name_their_row() -> None:
    table = pd.DataFrame({"label:x": ["1", "2"]}, index=[4, 6])
    with pytest.raises(DataError, match="in 'label:x', but row 6 has '2'"):
        encode_labels(table, ["x"], "ignore", "m")
    assert encode_labels(table.iloc[:0], ["x"], "ignore", "m").shape == (0, 1)
    assert encode_labels(table.iloc[:1], ["x"], "ignore", "m").dtype == np.float32
