"""Masks whose files hold other numbers than 0, 1, 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.readers import read_mask
from medgraft.data.readers.mask_labels import renumber
from medgraft.errors import DataError


def test_numbers_become_classes_one_by_one() -> None:
    labels = np.random.default_rng(0).choice([0, 3, 9, 200], (4, 5, 6, 1))
    numbering = ((9,), (0, 200), (3,))
    expected = [
        next(k for k, numbers in enumerate(numbering) if value in numbers)
        for value in labels.ravel().tolist()
    ]
    found = renumber(labels, numbering, "m")
    assert found.shape == labels.shape and found.ravel().tolist() == expected


def test_white_of_a_photo_is_a_class(tmp_path: Path) -> None:
    stored = (np.eye(4) * 255).astype(np.uint8)
    Image.fromarray(stored).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(f"{tmp_path}/m.png#labels:0,255").array[..., 0], np.eye(4))


def test_a_part_may_stand_before_the_numbers(tmp_path: Path) -> None:
    stack = np.stack([np.eye(4), 10 * np.eye(4)]).astype(np.uint8)
    np.savez(tmp_path / "m.npz", masks=stack)
    found = read_mask(f"{tmp_path}/m.npz#masks:1&labels:0,10").array[..., 0]
    np.testing.assert_array_equal(found, np.eye(4))


def test_a_number_of_no_class_is_named_with_the_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 7, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"the numbers 0, 255, as its cell .*m\.png also holds 7"):
        read_mask(f"{tmp_path}/m.png#labels:0,255")


@pytest.mark.parametrize(
    ("told", "expected"), [("0,one", "says '0,one'"), ("", "says ''"), ("0,1+0", "names one twice")]
)
def test_a_part_that_cannot_be_understood_is_refused(told: str, expected: str) -> None:
    with pytest.raises(DataError, match=rf"every stored number once.*{expected}"):
        read_mask(f"m.png#labels:{told}")
