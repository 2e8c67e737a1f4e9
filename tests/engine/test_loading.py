from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medgraft.data import loading as data_loading
from medgraft.data.cache import ArrayCache
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.engine import loading
from medgraft.engine.loading import Loader, prefetch
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.errors import DataError, SettingsError
from medgraft.images.preparation import Preparer
from medgraft.methods.labelled.fine_tune import FineTune
from medgraft.models.weights import hash_weights
from medgraft.testing import make_cohort, make_model
from medgraft.types import Kind, Preparation

PREPARATION = Preparation(channels=1, size=(24, 24), intensity="zscore")
OnDisk = Callable[[Kind], Path]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions that are read from files, in a list that grows."""
    read: list[int] = []
    whole = Cohort.picture

    def counted(self: Cohort, position: int) -> object:
        read.append(position)
        return whole(self, position)

    monkeypatch.setattr(Cohort, "picture", counted)
    return read


def test_a_row_is_read_once_while_memory_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, read = make_cohort("classify", "B", patients=6), count_reads(monkeypatch)
    loader = Loader(cohort, PREPARATION)
    first, again = loader([2, 0, 2]), loader([0, 2])
    assert sorted(read) == [0, 2]
    assert torch.equal(first.images[1], again.images[0]) and torch.equal(first.images[0], first.images[2])
    assert first.rows.tolist() == [2, 0, 2]
    forgetful = Loader(cohort, PREPARATION, memory=0)
    assert torch.equal(forgetful([2]).images, forgetful([2]).images)
    assert sorted(read) == [0, 2, 2, 2]


def test_memory_is_filled_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, read = make_cohort("classify", patients=6), count_reads(monkeypatch)
    loader = Loader(cohort, PREPARATION, memory=2 * 24 * 24 * 4 + 1)
    for _ in range(2):
        loader(range(4))
    assert sorted(read) == [0, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("kind", ["classify", "segment"])
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("memory", [0, 2**30])
@pytest.mark.parametrize("cached", [False, True])
def test_values_do_not_depend_on_memory_cache_or_workers(
    on_disk: OnDisk, tmp_path: Path, kind: Kind, workers: int, memory: int, cached: bool
) -> None:
    cohort = read_manifest(on_disk(kind))
    cache = ArrayCache(tmp_path / "cache") if cached else None
    wanted = cohort.load([3, 1, 7, 3, 0], Preparer(PREPARATION))
    loader = Loader(cohort, PREPARATION, memory, cache, workers)
    for _ in range(2):
        batch = loader([3, 1, 7, 3, 0])
        assert torch.equal(batch.images, wanted.images)
        assert batch.truth is not None and wanted.truth is not None and torch.equal(batch.truth, wanted.truth)
        assert batch.rows.tolist() == [3, 1, 7, 3, 0]


def test_another_process_finds_prepared_rows_in_the_cache(
    on_disk: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, read = on_disk("segment"), count_reads(monkeypatch)
    first = Loader(read_manifest(table), PREPARATION, cache=ArrayCache(tmp_path / "cache"))(range(8))
    once = len(read)
    again = Loader(read_manifest(table), PREPARATION, cache=ArrayCache(tmp_path / "cache"))(range(8))
    assert len(read) == once and torch.equal(first.images, again.images)
    assert first.truth is not None and again.truth is not None and torch.equal(first.truth, again.truth)


def test_another_preparation_or_another_mask_is_another_entry(on_disk: OnDisk, tmp_path: Path) -> None:
    table, cache = on_disk("segment"), ArrayCache(tmp_path / "cache")
    first = Loader(read_manifest(table), PREPARATION, cache=cache)([0])
    larger = Loader(read_manifest(table), PREPARATION.model_copy(update={"size": (28, 28)}), cache=cache)([0])
    assert larger.images.shape[-1] == 28
    mask = table.parent / "mask-00.png"
    Image.fromarray(1 - np.asarray(Image.open(mask))).save(mask)
    changed = Loader(read_manifest(table), PREPARATION, cache=cache)([0])
    assert torch.equal(changed.images, first.images)
    assert first.truth is not None and changed.truth is not None
    assert torch.equal(changed.truth, 1 - first.truth)


def test_rows_without_masks_do_not_share_entries_with_rows_that_have_them(
    on_disk: OnDisk, tmp_path: Path
) -> None:
    cohort, cache = read_manifest(on_disk("segment")), ArrayCache(tmp_path / "cache")
    assert Loader(cohort.only({"images"}), PREPARATION, cache=cache)([0, 1]).truth is None
    assert Loader(cohort, PREPARATION, cache=cache)([0, 1]).truth is not None
    assert Loader(cohort.only({"images"}), PREPARATION, cache=cache)([0, 1]).truth is None


@pytest.mark.parametrize("workers", [0, 3])
def test_a_bad_file_gives_the_same_sentence_from_a_worker(on_disk: OnDisk, workers: int) -> None:
    table = on_disk("classify")
    for name in ("02.png", "05.png"):
        (table.parent / name).write_bytes((table.parent / name).read_bytes()[:60])
    loader = Loader(read_manifest(table), PREPARATION, workers=workers)
    with pytest.raises(DataError) as failure:
        loader(range(8))
    assert re.search(
        r"a whole, readable file, but .*02\.png cannot be read .*row 3, image 02\.png", str(failure.value)
    )
    assert loader([0, 1]).rows.tolist() == [0, 1]  # and the others can still be had


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_that_changes_during_a_run_is_refused(on_disk: OnDisk, tmp_path: Path, cached: bool) -> None:
    table = on_disk("classify")
    cohort = read_manifest(table)
    cache = ArrayCache(tmp_path / "cache") if cached else None
    loader = Loader(cohort.split("train"), PREPARATION, memory=0, cache=cache)
    cohort.fingerprint()  # the run begins: what it reads later must be this
    loader([0, 1])
    changed = table.parent / cohort.split("train").table["image"].iloc[1]
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    with pytest.raises(DataError, match=rf"image {changed.name} has changed since it was first read"):
        loader([0, 1])
    changed.unlink()
    with pytest.raises(DataError, match=rf"image {changed.name} is gone"):
        loader([1])
    assert torch.isfinite(loader([0]).images).all()
    if cached:  # a new run works with the files as they are now
        Image.fromarray(np.full((32, 32), 9, np.uint8)).save(changed)
        os.utime(changed, ns=(1, 1))
        assert not Loader(read_manifest(table).split("train"), PREPARATION, cache=cache)([1]).images.any()


def test_an_unusable_cache_changes_nothing_but_a_warning(
    on_disk: OnDisk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("in the way")
    cohort = read_manifest(on_disk("classify"))
    loader = Loader(cohort, PREPARATION, memory=0, cache=ArrayCache(tmp_path / "cache"), workers=2)
    for _ in range(2):
        assert torch.equal(loader(range(6)).images, cohort.load(range(6), Preparer(PREPARATION)).images)
    assert "goes on from the source files" in caplog.text


def test_images_of_several_sizes_are_told_to_be_resized(tmp_path: Path) -> None:
    for number, side in enumerate((8, 9)):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text("image,label\n0.png,a\n1.png,b\n")
    with pytest.raises(DataError, match=r"\[\(8, 8\), \(9, 9\)\].*--set size"):
        Loader(read_manifest(tmp_path / "table.csv"), Preparation(channels=1))([0, 1])


def test_reading_really_happens_in_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(3, timeout=20)
    prepare_row = data_loading.load_row

    def meet(*arguments: object) -> object:
        meeting.wait()  # passes only when three threads are here at once
        return prepare_row(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_row", meet)
    assert len(Loader(make_cohort("classify"), PREPARATION, workers=3)(range(6)).rows) == 6


# Ahead of time


def count_up(made: list[int], until: int = 10**6, fails_at: int = -1) -> Iterator[int]:
    for number in range(until):
        if number == fails_at:
            raise DataError("A row", "a file", "it is gone", "Put it back.")
        made.append(number)
        yield number


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
def test_prefetching_keeps_the_order(ahead: int) -> None:
    assert list(prefetch(count_up([], 20), ahead)) == list(range(20))
    assert list(prefetch(iter(()), ahead)) == []


@pytest.mark.parametrize("ahead", [1, 3])
def test_prefetching_works_ahead_and_not_further(ahead: int) -> None:
    made: list[int] = []
    items = prefetch(count_up(made), ahead)
    assert next(items) == 0
    wait_for(lambda: len(made) == 1 + ahead)
    time.sleep(0.05)
    assert len(made) == 1 + ahead
    assert next(items) == 1
    wait_for(lambda: len(made) == 2 + ahead)
    items.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_comes_where_its_item_would_have_come(ahead: int) -> None:
    items, taken = prefetch(count_up([], fails_at=3), ahead), []
    with pytest.raises(DataError, match="Put it back"):
        for item in items:
            taken.append(item)
    assert taken == [0, 1, 2]


def test_a_worker_that_ends_the_program_is_not_silent() -> None:
    def exits() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    items = prefetch(exits())
    assert next(items) == 1
    with pytest.raises(SystemExit):
        next(items)


def test_a_caller_that_stops_early_leaves_no_thread_behind() -> None:
    made: list[int] = []
    before = threading.active_count()
    assert list(itertools.islice(prefetch(count_up(made)), 4)) == [0, 1, 2, 3]
    wait_for(lambda: threading.active_count() == before)
    assert len(made) <= 4 + 2


# Whole runs


@pytest.mark.parametrize("kind", ["segment", pytest.param("classify", marks=pytest.mark.slow)])
def test_trained_weights_do_not_depend_on_workers_or_cache(
    on_disk: OnDisk, tmp_path: Path, kind: Kind
) -> None:
    table, model, found = on_disk(kind), make_model(kind), []
    settings: list[dict[str, object]] = [
        {"workers": 0}, {"workers": 3}, {"workers": 2, "cache": tmp_path / "cache"},
        {"workers": 0, "cache": tmp_path / "cache"},
    ]  # fmt: skip
    for given in settings:
        run = Run(device="cpu", progress=False, limit=Limit(2, 3), seed=5, **given)  # type: ignore[arg-type]
        adapted = adapt(model, Task(target=read_manifest(table)), FineTune(), run)
        found.append(hash_weights(adapted))
    assert len(set(found)) == 1 and found[0] != hash_weights(model)
    assert any((tmp_path / "cache").rglob("*.arrays"))


def test_fewer_than_no_workers_are_refused() -> None:
    with pytest.raises(SettingsError, match="workers of at least 0"):
        Run(workers=-1)
