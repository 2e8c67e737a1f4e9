from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from medgraft.data import cache as cache_module
from medgraft.data.cache import ArrayCache, cache_key

KEY = cache_key("file", {"size": [2, 2]})
ARRAYS = {
    "image": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "mask": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "flags": np.array([True, False, True]),
    "number": np.array(7, dtype=np.int16),
    "nothing": np.zeros((0, 3)),
}


class Counted:
    """Makes arrays and counts how often."""

    def __init__(self, arrays: Mapping[str, np.ndarray] = ARRAYS) -> None:
        self.arrays, self.times = arrays, 0

    def __call__(self) -> Mapping[str, np.ndarray]:
        self.times += 1
        return self.arrays


def entry_of(folder: Path, key: str = KEY) -> Path:
    (path,) = folder.rglob(f"{key}.arrays")
    return path


def assert_equal(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray] = ARRAYS) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)


def test_arrays_come_back_as_they_were_made(tmp_path: Path) -> None:
    make = Counted()
    assert_equal(ArrayCache(tmp_path).get(KEY, make))
    assert_equal(ArrayCache(tmp_path).get(KEY, make))
    assert make.times == 1


def test_arrays_are_read_only_and_mapped_from_the_file(tmp_path: Path) -> None:
    found = ArrayCache(tmp_path).get(KEY, Counted())
    for array in found.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert not array.flags.owndata and array.flags.aligned
    assert ARRAYS["image"].flags.writeable  # what the maker keeps is its own


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-3],
        lambda data: data[: len(data) // 3],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],  # in the hash
        lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:],  # in the description
        lambda data: data[:-20] + bytes([data[-20] ^ 128]) + data[-19:],  # in the numbers
        lambda data: bytes(len(data)),
    ],
)
def test_a_damaged_entry_is_made_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    ArrayCache(tmp_path).get(KEY, Counted())
    entry = entry_of(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    make = Counted()
    assert_equal(ArrayCache(tmp_path).get(KEY, make))
    assert make.times == 1 and "damaged" in caplog.text
    assert entry.read_bytes() == whole


def test_damage_that_happens_while_the_process_runs_is_noticed(tmp_path: Path) -> None:
    cache, make = ArrayCache(tmp_path), Counted()
    cache.get(KEY, make)
    data = bytearray(entry_of(tmp_path).read_bytes())
    data[-20] ^= 1
    time.sleep(0.01)  # the clock of a file system ticks in milliseconds
    entry_of(tmp_path).write_bytes(data)
    assert_equal(cache.get(KEY, make))
    assert make.times == 2


def test_an_entry_under_another_key_is_not_used(tmp_path: Path) -> None:
    cache, other = ArrayCache(tmp_path), cache_key("other file", {})
    cache.get(KEY, Counted())
    wrong = cache._path(other)
    wrong.parent.mkdir(exist_ok=True)
    wrong.write_bytes(entry_of(tmp_path).read_bytes())
    assert_equal(cache.get(other, Counted({"x": np.ones(3)})), {"x": np.ones(3)})


def test_keys_differ_with_all_that_decides_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    keys = {
        cache_key("a", {"x": 1, "y": [1, 2]}),
        cache_key("b", {"x": 1, "y": [1, 2]}),
        cache_key("a", {"x": 2, "y": [1, 2]}),
        cache_key("a", {"x": 1, "y": [2, 1]}),
    }
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    keys.add(cache_key("a", {"x": 1, "y": [1, 2]}))
    monkeypatch.setattr(cache_module, "_code", lambda: ["another version"])
    keys.add(cache_key("a", {"x": 1, "y": [1, 2]}))
    assert len(keys) == 6


def test_an_error_of_the_maker_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Mapping[str, np.ndarray]:
        raise OSError("the source is gone")

    cache = ArrayCache(tmp_path)
    with pytest.raises(OSError, match="the source is gone"):
        cache.get(KEY, fails)
    make = Counted()
    cache.get(KEY, make)
    cache.get(KEY, make)
    assert make.times == 1  # and the cache is still on


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="real numbers"):
        ArrayCache(tmp_path).get(KEY, Counted({"x": np.array([{}], dtype=object)}))
    assert not list(tmp_path.rglob("*.*"))


def test_entries_used_longest_ago_are_evicted(tmp_path: Path) -> None:
    size = 100_000
    arrays = {"x": np.zeros(size, dtype=np.uint8)}
    cache = ArrayCache(tmp_path, limit_bytes=5 * (size + 1000))
    keys = [cache_key(str(number), {}) for number in range(6)]
    for number, key in enumerate(keys[:5]):
        cache.get(key, Counted(arrays))
        os.utime(cache._path(key), ns=(number, cache._path(key).stat().st_mtime_ns))
    cache.get(keys[0], Counted(arrays))  # used again just now
    cache.get(keys[5], Counted(arrays))
    left = [key in {path.stem for path in tmp_path.rglob("*.arrays")} for key in keys]
    assert left == [True, False, False, True, True, True]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.arrays")) <= 0.9 * cache.limit_bytes  # type: ignore[operator]


def test_an_entry_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache, make = ArrayCache(tmp_path, limit_bytes=1000), Counted({"x": np.ones(5000)})
    for _ in range(2):
        found = cache.get(KEY, make)
        assert_equal(found, {"x": np.ones(5000)})
        assert not found["x"].flags.writeable
    assert make.times == 2 and not list(tmp_path.rglob("*.arrays"))


def test_what_killed_writers_left_is_removed_and_living_ones_are_not(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, limit_bytes=10**9)
    (tmp_path / "ab").mkdir()
    old, new = tmp_path / "ab" / ".old.tmp", tmp_path / "ab" / ".new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    cache.get(KEY, Counted())
    assert new.exists() and not old.exists()


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("broken", ["mkdir", "open", "replace"])
def test_a_folder_that_cannot_be_written_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    cache, make = ArrayCache(tmp_path / "cache"), Counted()
    monkeypatch.setattr(Path, broken, refuse)
    for _ in range(3):
        assert_equal(cache.get(KEY, make))
    assert make.times == 3
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "goes on from the source files" in warnings[0].getMessage()


def test_a_file_in_place_of_the_folder_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    cache, make = ArrayCache(tmp_path / "cache"), Counted()
    for _ in range(3):
        assert_equal(cache.get(KEY, make))
    assert make.times == 3 and len(caplog.records) == 1


def test_a_full_disk_keeps_what_is_there_and_leaves_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache, first, second = ArrayCache(tmp_path), Counted(), Counted({"x": np.ones(3)})
    cache.get(KEY, first)
    usage = cache_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    for _ in range(2):
        cache.get(cache_key("new", {}), second)
        cache.get(KEY, first)
    assert first.times == 1 and second.times == 2
    assert len(caplog.records) == 1 and "would stay free" in caplog.text
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_threads_may_make_the_same_entries_at_once(tmp_path: Path) -> None:
    cache, found = ArrayCache(tmp_path), []
    keys = [cache_key(str(number), {}) for number in range(5)]
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for number in [*range(5)] * 10:
            arrays = cache.get(keys[number], Counted({"x": np.full(5000, number)}))
            found.append(bool((arrays["x"] == number).all()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 300 and all(found)
    assert len(list(tmp_path.rglob("*.*"))) == 5


def write_and_read(folder: Path, limit: int | None, rounds: int) -> None:
    cache = ArrayCache(folder, limit)
    for number in [*range(8)] * rounds:
        arrays = cache.get(cache_key(str(number), {}), Counted({"x": np.full(20_000, number)}))
        assert (arrays["x"] == number).all()


@pytest.mark.parametrize("limit", [None, 700_000])
def test_processes_may_share_a_folder(tmp_path: Path, limit: int | None) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_and_read, args=(tmp_path, limit, 15)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert not list(tmp_path.rglob("*.tmp"))
