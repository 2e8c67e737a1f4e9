"""Cells as Ray tasks, on this machine or on a cluster whose machines share the folder."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgraft.benchmarks.runners import ATTEMPTS, Ended
from medgraft.benchmarks.runners.pool import worker_environment
from medgraft.errors import RunError

if TYPE_CHECKING:
    from medgraft.benchmarks.cell import Cell


class Cluster:
    """One Ray task per cell; Ray begins a task anew, on another worker, when its worker dies.

    Args:
        folder: of the grid, under the same path on every machine.
        workers: CPUs of the Ray that is started here where there is no address.
        address: "auto" or HOST:PORT of a running Ray.

    Raises:
        RunError: no Ray answers at the address.
    """

    def __init__(self, folder: Path, workers: int, address: str | None) -> None:
        import ray

        self._folder = str(folder.resolve())
        self._under_way: dict[Any, str] = {}
        self._ours = not ray.is_initialized()
        environment = worker_environment()
        passed_on = {name: environment[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        options: dict[str, Any] = (
            {"address": address} if address else {"address": "local", "num_cpus": workers}
        )
        if self._ours:
            try:
                _knock(address)
                ray.init(
                    **options, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING
                )  # fmt: skip
            except (OSError, RuntimeError, ValueError) as error:
                raise RunError(
                    "--runner ray", f"a Ray that answers at {address or 'this machine'}",
                    f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                    "Start one with `ray start --head`, leave out --address, or give Ray its token where it wants one.",
                ) from error  # fmt: skip
        self._task: Any = ray.remote(max_retries=ATTEMPTS - 1, runtime_env={"env_vars": passed_on})(compute)
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]

    def start(self, cell: Cell) -> None:
        """Submit the cell; it takes as many CPUs as it has threads, and a GPU where it asks for one."""
        wanted = {"num_cpus": cell.run.threads, "num_gpus": 1 if cell.run.device == "cuda" else 0}
        reference = self._task.options(**wanted).remote(cell.model_dump_json(), self._folder)
        self._under_way[reference] = cell.key

    def wait(self) -> list[Ended]:
        """Tasks that ended since; waits up to a second for the first."""
        import ray

        if not self._under_way:
            return []
        ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=1.0)
        found = []
        for reference in ready:
            key = self._under_way.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                why = f"its Ray task did not end well ({type(error).__name__})"
                found.append(Ended(key, "lost", why))
                continue
            found.append(Ended(key, answer))
        return found

    def close(self) -> None:
        """Cancel what is under way; a Ray that was started here is shut down."""
        import ray

        for reference in self._under_way:
            ray.cancel(reference)
        if self._under_way:
            ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=60.0)
        self._under_way = {}
        if self._ours:
            ray.shutdown()


def _knock(address: str | None) -> None:
    """Ray itself waits for minutes where nobody answers at HOST:PORT.

    Raises:
        OSError: nobody answers.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def compute(cell: str, folder: str) -> str:
    """A cell in a Ray worker, which imports what it needs by itself."""
    from medgraft.benchmarks.cell import Cell, run_cell
    from medgraft.benchmarks.stop import Stop
    from medgraft.benchmarks.store import Store

    return run_cell(Cell.model_validate_json(cell), Store(Path(folder)), Stop())
