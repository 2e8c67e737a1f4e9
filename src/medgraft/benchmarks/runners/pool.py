"""Cells in several processes of this machine, each with threads of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medgraft.benchmarks.runners import Ended, Outcome

if TYPE_CHECKING:
    from medgraft.benchmarks.cell import Cell

LOG = "workers.log"
PATIENCE = 120.0
"""Seconds that a worker has to finish its step once it is asked to stop."""


class Pool:
    """Worker processes that get a cell as a line of JSON and answer with a word; results are on the disk.

    A worker that dies (killed, out of memory) takes nothing with it: its cell is reported as lost, and a new worker
    takes its place. When this process dies, its workers see the end of their input and stop.

    Args:
        folder: of the grid.
        workers: processes.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.slots = workers
        self._folder = folder
        self._ended: queue.Queue[Ended] = queue.Queue()
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: dict[str, subprocess.Popen[str]] = {}
        self._log = (folder / LOG).open("ab")

    def start(self, cell: Cell) -> None:
        """Hand the cell to a worker, a new one where none is idle."""
        worker = self._idle.pop() if self._idle else self._new_worker()
        self._busy[cell.key] = worker
        threading.Thread(target=self._hand_over, args=(worker, cell), daemon=True).start()

    def wait(self) -> list[Ended]:
        """Cells that ended since; waits up to a second for the first."""
        found: list[Ended] = []
        try:
            found.append(self._ended.get(timeout=1.0))
            while True:
                found.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        for ended in found:
            worker = self._busy.pop(ended.key)
            if worker.poll() is None:
                self._idle.append(worker)
        return found

    def close(self) -> None:
        """Ask workers to stop after their step; what does not stop is ended."""
        workers = [*self._idle, *self._busy.values()]
        for worker in self._busy.values():
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            _close_input(worker)  # one that has just answered still waits for the next line
        for worker in workers:
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._idle, self._busy = [], {}
        self._log.close()

    def _new_worker(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "medgraft.benchmarks.runners.worker", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=worker_environment(),
        )

    def _hand_over(self, worker: subprocess.Popen[str], cell: Cell) -> None:
        """Runs in a thread of its own: a line there, a line back."""
        assert worker.stdin is not None and worker.stdout is not None
        answer = ""
        try:
            worker.stdin.write(cell.model_dump_json() + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline().strip()
        except (OSError, ValueError):  # it died before it could read, or its input was closed
            pass
        if answer in ("done", "busy"):
            self._ended.put(Ended(cell.key, cast(Outcome, answer)))
            return
        worker.wait()
        self._ended.put(Ended(cell.key, "lost", how_it_ended(worker.returncode, self._folder / LOG)))


def worker_environment() -> dict[str, str]:
    """That of this process, with what it can import, and one thread for libraries that start threads when loaded."""
    path = os.pathsep.join(part for part in sys.path if part)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, "PYTHONPATH": path, **threads}


def how_it_ended(code: int, log: Path) -> str:
    """The end of a process in words.

    >>> how_it_ended(-9, Path("workers.log"))
    'its process was ended by signal 9, perhaps for want of memory'
    """
    if code < 0:
        return f"its process was ended by signal {-code}" + (
            ", perhaps for want of memory" if code == -9 else ""
        )
    return f"its process ended with code {code}; see {log}"


def _close_input(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    with suppress(OSError):  # it is gone already
        worker.stdin.close()
