"""What is remembered of decoded files, and what is not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_threads_that_ask_for_the_same_file_decode_it_once(tmp_path: Path) -> None:
    file = tmp_path / "slide.png"
    file.write_bytes(b"1")
    start, times = threading.Barrier(4), []

    def decode(path: Path, key: str | None) -> np.ndarray:
        times.append(key)
        time.sleep(0.05)
        return np.ones(3)

    def ask(_: int) -> np.ndarray:
        start.wait(20)
        return remembered(decode, file)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ask, range(4)))
    assert times == [None] and all(one is found[0] for one in found)


def test_a_file_that_could_not_be_decoded_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "slide.png"
    file.write_bytes(b"1")
    outcomes = iter([ValueError("damaged"), np.zeros(2)])

    def decode(path: Path, key: str | None) -> np.ndarray:
        outcome = next(outcomes)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="damaged"):
        remembered(decode, file)
    assert remembered(decode, file).shape == (2,)
