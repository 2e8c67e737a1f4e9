"""Who computes cells: this process, a pool of processes, or Ray; the same cells give the same results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

from medgraft.errors import SettingsError

if TYPE_CHECKING:
    from medgraft.benchmarks.cell import Cell
    from medgraft.benchmarks.stop import Stop

RunnerName = Literal["local", "pool", "ray"]
Outcome = Literal["done", "busy", "lost"]
ATTEMPTS = 3
"""How often a cell is begun whose process dies, before it counts as failed."""


class Ended(NamedTuple):
    """A cell that is no longer under way: done (its result is in the store), busy (another process computes it), or
    lost (its process died, and `why`)."""

    key: str
    outcome: Outcome
    why: str = ""


class Runner(Protocol):
    """Computes cells, some at a time."""

    slots: int

    def start(self, cell: Cell) -> None:
        """Begin a cell; called while fewer than `slots` are under way."""
        ...

    def wait(self) -> list[Ended]:
        """Cells that ended since; waits up to a second for the first one."""
        ...

    def close(self) -> None:
        """Stop what is under way, wait for it, and give everything back."""
        ...


def open_runner(name: str, folder: Path, workers: int, address: str | None, stop: Stop) -> Runner:
    """Start a runner.

    Args:
        name: local, pool or ray.
        folder: of the grid; every worker must see it under this path.
        workers: of a pool, or of a Ray that is started here.
        address: of a running Ray: "auto", or HOST:PORT; None starts one on this machine.
        stop: ends a cell in this process.

    Raises:
        SettingsError: as `check_runner`.
    """
    check_runner(name, workers)
    if name == "pool":
        from medgraft.benchmarks.runners.pool import Pool

        return Pool(folder, workers)
    if name == "ray":
        from medgraft.benchmarks.runners.cluster import Cluster

        return Cluster(folder, workers, address)
    from medgraft.benchmarks.runners.local import Local

    return Local(folder, stop)


def check_runner(name: str, workers: int) -> None:
    """Refuse what `open_runner` cannot start.

    Raises:
        SettingsError: an unknown name, no worker, or Ray is not installed.
    """
    if name not in get_args(RunnerName):
        raise SettingsError(
            "--runner", f"one of {', '.join(get_args(RunnerName))}", f"it got {name!r}", "Choose one."
        )
    if workers < 1:
        raise SettingsError("--workers", "at least 1", f"it got {workers}", "Leave it out for two.")
    if name == "ray":
        import importlib.util

        if importlib.util.find_spec("ray") is None:
            raise SettingsError(
                "--runner ray",
                "the package ray",
                "it is not installed",
                "Call `pip install 'medgraft[ray]'`.",
            )
