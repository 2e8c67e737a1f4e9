"""Cells one after the other in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgraft.benchmarks.cell import run_cell
from medgraft.benchmarks.runners import Ended
from medgraft.benchmarks.store import Store

if TYPE_CHECKING:
    from medgraft.benchmarks.cell import Cell
    from medgraft.benchmarks.stop import Stop


class Local:
    """In this process; peak memory is that of the whole process, whatever else it holds."""

    slots = 1

    def __init__(self, folder: Path, stop: Stop) -> None:
        self._store, self._stop = Store(folder), stop
        self._ended: list[Ended] = []

    def start(self, cell: Cell) -> None:
        """Compute the cell."""
        self._ended.append(Ended(cell.key, run_cell(cell, self._store, self._stop)))

    def wait(self) -> list[Ended]:
        """What was computed."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Nothing is left behind."""
