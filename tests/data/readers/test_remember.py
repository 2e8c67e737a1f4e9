"""What is remembered of decoded files, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medgraft.data.readers import remember
from medgraft.data.readers.remember import remembered


class Decoder:
    """Makes arrays of a size and notes for which files."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.decoded: list[str] = []

    def __call__(self, path: Path, key: str | None) -> np.ndarray:
        self.decoded.append(path.name)
        return np.zeros(self.size, np.uint8)


@pytest.fixture(autouse=True)
def a_hundred_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remember, "BYTES", 100)
    for name in "abc":
        (tmp_path / name).write_bytes(b"x")


def test_small_files_stay_until_there_are_too_many_bytes(tmp_path: Path) -> None:
    decoder = Decoder(40)
    for name in "ababca":
        assert not remembered(decoder, tmp_path / name).flags.writeable
    assert decoder.decoded == ["a", "b", "c", "a"]  # the third pushed out the oldest


def test_the_last_file_stays_however_large_and_goes_before_the_next(tmp_path: Path) -> None:
    decoder = Decoder(500)
    for name in "aaba":
        remembered(decoder, tmp_path / name)
    assert decoder.decoded == ["a", "b", "a"]


def test_a_changed_file_is_decoded_anew(tmp_path: Path) -> None:
    decoder = Decoder(10)
    remembered(decoder, tmp_path / "a")
    (tmp_path / "a").write_bytes(b"xyz")
    remembered(decoder, tmp_path / "a")
    assert decoder.decoded == ["a", "a"]
