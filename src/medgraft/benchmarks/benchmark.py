"""Compute a grid: what is missing, in an order that its parts allow, and what it says together."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgraft.benchmarks.cell import Cell
from medgraft.benchmarks.plan import Plan, Row, make_plan
from medgraft.benchmarks.runners import ATTEMPTS, Ended, Runner, check_runner, open_runner
from medgraft.benchmarks.stop import Stop
from medgraft.benchmarks.store import EVIDENCE, Result, Store
from medgraft.engine.progress import Advance, progress_bar
from medgraft.errors import MedgraftError, SettingsError

if TYPE_CHECKING:
    from medgraft.benchmarks.grid import Grid
    from medgraft.evidence import Evidence

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]
"""Is told a line for each cell that ended."""


def benchmark(
    grid: Grid | Mapping[str, Any] | str | Path,
    folder: str | Path,
    *,
    runner: str = "local",
    workers: int = 2,
    address: str | None = None,
    resume: bool = True,
    retry_failed: bool = False,
    progress: bool | None = None,
    tell: Tell | None = None,
    stop: Stop | None = None,
) -> Evidence:
    """Compare methods fairly: every method, budget and seed of a grid, with baselines, intervals and tests.

    Args:
        grid: path of a TOML file, or what such a file holds (`docs/benchmark.md`).
        folder: for results; what is there already is not computed again, also of another grid.
        runner: "local" (this process), "pool" (several processes) or "ray".
        workers: of a pool, or of a Ray that is started here.
        address: of a running Ray, e.g. "auto".
        resume: False computes every cell of this grid anew.
        retry_failed: compute cells anew that failed.
        progress: show a bar; None shows it at a terminal.
        tell: is called with a line for each cell that ended.
        stop: its `ask` ends the benchmark from elsewhere.

    Returns: evidence of all cells, which is also saved as FOLDER/evidence; cells that failed are rows of its table
        "grid", with their error.

    Raises:
        GridError: the grid cannot be run; every problem is told, and nothing was run.
        Interrupted: a stop was asked for; the same call continues.
        RunError: the folder holds something else or cannot be written.

    >>> import tempfile
    >>> from medgraft.benchmarks.benchmark import benchmark
    >>> benchmark({"cohorts": {"nuclei": {"data": "samples/nuclei", "targets": ["nest"]}}}, tempfile.mkdtemp())
    Traceback (most recent call last):
    ...
    medgraft.benchmarks.problems.GridError: The grid cannot be run; 1 problem:
      The file needs the key 'sources', but it is missing. Add it.
    """
    from medgraft.benchmarks.collect import collect

    found: list[MedgraftError] = []
    try:
        check_runner(runner, workers)
    except SettingsError as error:
        found.append(error)
    plan = make_plan(grid, found)
    store, stop = Store(folder), stop or Stop()
    store.begin(plan.grid.model_dump(mode="json"))
    _forget(plan, store, everything=not resume, failed=retry_failed)
    work = _Work(plan, store, tell)
    try:
        if work.missing:
            with progress_bar("cells", len(plan.cells), progress) as advance:
                work.compute(lambda: open_runner(runner, store.root, workers, address, stop), stop, advance)
            store.forget_shared()
    finally:
        with store.collecting():
            evidence = collect(plan, store, work.results)
            if not evidence.facts.empty or "grid" in evidence.tables:
                evidence.save(store.root / EVIDENCE)
    return evidence


def _forget(plan: Plan, store: Store, *, everything: bool, failed: bool) -> None:
    for key, cell in plan.cells.items():
        result = store.result(key)
        if result is None:
            continue
        lost = (
            cell.purpose == "train a source" and result.state == "finished" and not store.model(key).is_dir()
        )
        if everything or lost or (failed and result.state == "failed"):
            store.forget(key)


class _Work:
    """Which cells are computed, under way and waiting."""

    def __init__(self, plan: Plan, store: Store, tell: Tell | None) -> None:
        self.plan, self.store, self.tell = plan, store, tell
        self.names = _names(plan)
        self.attempts: Counter[str] = Counter()
        found = {key: store.result(key) for key in plan.cells}
        self.results: dict[str, Result] = {key: result for key, result in found.items() if result is not None}

    @property
    def missing(self) -> list[Cell]:
        """Cells without a result; a source that nobody waits for any more is not computed."""
        without = [cell for key, cell in self.plan.cells.items() if key not in self.results]
        wanted = {cell.needs for cell in without}
        return [cell for cell in without if cell.purpose != "train a source" or cell.key in wanted]

    def compute(self, open_one: Callable[[], Runner], stop: Stop, advance: Advance) -> None:
        """Compute what is missing."""
        for _ in range(len(self.plan.cells) - len(self.missing)):
            advance(None)
        waiting = self.missing
        under_way: dict[str, Cell] = {}
        later: list[Cell] = []  # other processes compute these
        runner = open_one()
        try:
            while waiting or under_way or later:
                stop.raise_if_asked()
                self._start(runner, waiting, under_way, advance)
                for ended in runner.wait():
                    cell = under_way.pop(ended.key)
                    if ended.outcome == "busy":
                        later.append(cell)
                    elif not self._settled(cell, ended, advance):
                        waiting.append(cell)
                if later and not under_way:  # what waits may wait for one of these
                    time.sleep(1.0)
                    waiting, later = [*later, *waiting], []
        finally:
            runner.close()

    def _start(
        self, runner: Runner, waiting: list[Cell], under_way: dict[str, Cell], advance: Advance
    ) -> None:
        """Begin as many cells as there is room for, in order, once their source model is there."""
        for cell in list(waiting):
            if len(under_way) >= runner.slots:
                return
            source = self.results.get(cell.needs) if cell.needs is not None else None
            if cell.needs is not None and source is None:
                continue
            waiting.remove(cell)
            if source is not None and source.state == "failed":
                failed = Result(
                    state="failed", error=f"Its source model could not be trained: {source.error}"
                )
                self._keep(cell, failed, advance)  # not written: it may succeed once the source does
                continue
            under_way[cell.key] = cell
            self.attempts[cell.key] += 1
            runner.start(cell)

    def _settled(self, cell: Cell, ended: Ended, advance: Advance) -> bool:
        """True once a cell has a result; one whose process died is begun anew, a few times."""
        result = self.store.result(cell.key)
        if result is None:
            why = ended.why or "its result cannot be read"
            logger.warning("cell %s: %s", cell.key, why)
            if self.attempts[cell.key] < ATTEMPTS:
                return False
            result = Result(state="failed", error=f"Begun {ATTEMPTS} times, and each time {why}.")
            self.store.finish(cell.key, result)
        self._keep(cell, result, advance)
        return True

    def _keep(self, cell: Cell, result: Result, advance: Advance) -> None:
        self.results[cell.key] = result
        advance(None)
        if self.tell is not None:
            end = f"{result.seconds:7.1f} s" if result.state == "finished" else f"failed: {result.error}"
            self.tell(f"{self.names[cell.key]}  {end}")


def _names(plan: Plan) -> dict[str, str]:
    """What a person calls a cell."""

    def name(row: Row) -> str:
        return f"{row.cohort} · {row.subject} · seed {row.seed}" + (" · oracle" if row.oracle else "")

    names = {
        key: f"source {cell.model} · seed {cell.seed}"
        for key, cell in plan.cells.items()
        if cell.purpose == "train a source"
    }
    for row in plan.rows:
        names.setdefault(row.key, name(row))
    for scored in plan.scored:
        names.setdefault(scored.key, f"{scored.cohort} · scores of {scored.source} · seed {scored.seed}")
    return names
