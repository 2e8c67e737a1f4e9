"""What a cell took: seconds, also before it was killed, and memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from medgraft.errors import MedgraftError
from medgraft.whole_files import write_text

FILE = "started.json"


class Clock:
    """Counts the seconds of a cell, those of earlier starts included as far as files tell.

    Args:
        folder: scratch of the cell, which the earlier starts wrote into; it is kept while the cell is unfinished.
    """

    def __init__(self, folder: Path) -> None:
        self._before = _earlier(folder)
        self._started = time.monotonic()
        write_text(folder / FILE, json.dumps({"before": self._before, "started": time.time()}))

    @property
    def seconds(self) -> float:
        """So far."""
        return round(self._before + time.monotonic() - self._started, 2)


def _earlier(folder: Path) -> float:
    """Seconds of earlier starts: each ended, at the latest known, when it last wrote a file."""
    try:
        note = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return 0.0
    last = max((path.stat().st_mtime for path in folder.rglob("*")), default=note["started"])
    return float(note["before"] + max(0.0, last - note["started"]))


def forget_peak() -> None:
    """Let the next `peak_mib` count from now on, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most memory that this process held, MiB: since `forget_peak` on Linux, elsewhere since it began."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def on_gpu(device: Literal["auto", "cpu", "cuda"]) -> bool:
    """Whether what is computed on this device is computed on a GPU."""
    from medgraft.engine.distributed import choose_device

    try:
        return choose_device(device) == "cuda"
    except MedgraftError:
        return False
