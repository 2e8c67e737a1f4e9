"""Rows of a cohort as network input: kept in memory while they fit, else on disk, and prepared ahead of time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from medgraft.data.cache import ArrayCache, cache_key
from medgraft.data.cohort import Cohort
from medgraft.data.loading import PreparedRow, hash_row, load_row, stack_rows
from medgraft.errors import DataError
from medgraft.images.preparation import Preparer
from medgraft.types import Batch, Preparation

Item = TypeVar("Item")
AHEAD = 2
"""Batches that wait for the network, at most."""
MOST_WORKERS = 8
"""More threads than this wait for one another: numpy and Python hold the interpreter for a part of each row."""


def usual_workers() -> int:
    """Threads that read and prepare when nobody says how many: one per core that this process may use, at most 8."""
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux tells what this process may use
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)


class Loader:
    """Give any rows of a cohort as network input; each row is read and prepared once while memory or disk last.

    The values do not depend on memory, cache or workers.

    Args:
        cohort: the rows; its truth is passed on only where the cohort has it.
        preparation: the model's own, from its spec.
        memory: bytes of prepared images to keep.
        cache: where prepared rows are kept for which memory has no room, and for other runs; None reads them again.
        workers: threads that read and prepare the rows of a batch; 0 does it in the caller.
    """

    def __init__(
        self,
        cohort: Cohort,
        preparation: Preparation,
        memory: int = 2**30,
        cache: ArrayCache | None = None,
        workers: int | None = None,
    ) -> None:
        self.cohort = cohort
        self.preparer = Preparer(preparation)
        self.workers = usual_workers() if workers is None else workers
        self._cache = cache
        self._room = memory
        self._kept: dict[int, PreparedRow] = {}

    def __len__(self) -> int:
        return len(self.cohort)

    def __call__(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Rows by position: images (B, C, *spatial) float32, truth as in `Batch`.

        Raises:
            DataError: the first of the rows that cannot be read or prepared; prepared sizes that differ.
        """
        positions = [int(row) for row in rows]
        missing = [position for position in dict.fromkeys(positions) if position not in self._kept]
        fresh = dict(zip(missing, self._prepare_all(missing)))
        for position, row in fresh.items():
            self._keep(position, row)
        prepared = [fresh[position] if position in fresh else self._kept[position] for position in positions]
        return stack_rows(self.cohort, positions, prepared)

    def batches(self, groups: Iterable[Sequence[int] | np.ndarray]) -> Iterator[Batch]:
        """Batch after batch, the coming ones prepared while the caller works on the present one."""
        return prefetch(map(self, groups), ahead=AHEAD if self.workers else 0)

    def _prepare_all(self, positions: list[int]) -> list[PreparedRow]:
        if self.workers == 0 or len(positions) < 2:
            return [self._prepare(position) for position in positions]
        return list(self._threads.map(self._prepare, positions))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="medgraft reader")

    def _prepare(self, position: int) -> PreparedRow:
        named = None if self._cache is None else hash_row(self.cohort, position)
        if self._cache is None or named is None:
            return load_row(self.cohort, position, self.preparer)
        key = cache_key(named, {"prepared": self.preparer.preparation.model_dump(mode="json")})
        arrays = self._cache.get(key, lambda: _as_arrays(load_row(self.cohort, position, self.preparer)))
        # copied: a mapped file would stay open as long as the row is kept
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return PreparedRow(tensors["image"], tensors.get("mask"))

    def _keep(self, position: int, row: PreparedRow) -> None:
        size = sum(tensor.nbytes for tensor in row if tensor is not None)
        if size <= self._room:
            self._room -= size
            self._kept[position] = row


def check_levels(who: str, cohort: Cohort, row: int, preparation: Preparation) -> None:
    """Refuse an image whose numbers the preparation would scale by its own least and greatest.

    Raises:
        DataError: intensity is `unit`, and the row's image holds other numbers than unsigned integers.
    """
    stored = cohort.picture(row).array.dtype
    if preparation.intensity == "unit" and stored.kind not in "bu":
        raise DataError(
            who, "images of 8 or 16 bits, whose colours can be compared",
            f"this one holds {stored}, which is scaled image by image ({cohort.where('image', row)})",
            "Save images as 8-bit RGB.",
        )  # fmt: skip


def _as_arrays(row: PreparedRow) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in row._asdict().items() if tensor is not None}


def prefetch(items: Iterator[Item], ahead: int = AHEAD) -> Iterator[Item]:
    """Let a thread make the coming items while the caller works on the present one.

    Args:
        items: made one after another by a single thread, so that random numbers are drawn in their order; its
            errors are raised where the item would have come.
        ahead: how many finished items wait at most; 0 makes each item when it is asked for.

    >>> list(prefetch(iter(range(4))))
    [0, 1, 2, 3]
    """
    if ahead == 0:
        yield from items
        return
    end = object()
    waiting: deque[Future[Item | object]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="medgraft batches") as thread:
        try:
            while True:
                while len(waiting) < ahead:
                    waiting.append(thread.submit(next, items, end))
                item = waiting.popleft().result()
                if item is end:
                    return
                waiting.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:  # also where the caller wants no more
            for future in waiting:
                future.cancel()
