"""How much of the time of its workers does a grid use? Equal cells of known length, on every runner.

    python benchmarks/grid_efficiency.py [--cells 12] [--seconds 5] [--workers 2] [--work wait|compute] [RUNNER ...]

A cell's method waits (or computes) for so long; efficiency is the work of cells over workers x wall time of the whole
call: planning, starting of workers and collecting included, imports of this process not. Cells evaluate a tiny model
besides, and the baselines of the grid are cells, too. The second figure is from the start of the first cell to the end
of the last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import medgraft as mg
import medgraft.models.sources  # so that the clock does not count it

METHOD = """
import time
from typing import ClassVar, Literal
import torch
from medgraft.engine.method import MethodSettings, Needs
from medgraft.models.regraft import regraft

class Occupy(MethodSettings):
    name: ClassVar[str] = "occupy"
    kinds: ClassVar[frozenset] = frozenset({"segment"})
    seconds: float = 1.0
    work: Literal["wait", "compute"] = "wait"
    @property
    def needs(self):
        return Needs.of(target=("images", "truth"))
    def adapt(self, model, task, run):
        used = time.process_time if self.work == "compute" else time.monotonic
        until = used() + self.seconds
        matrix = torch.eye(128)
        while used() < until:
            matrix @ matrix if self.work == "compute" else time.sleep(0.01)
        return regraft(model, task.classes, kind=task.kind)[0]
"""


def offer_method(folder: Path) -> None:
    """Lay the method out as an installed package, so that workers find it as they find any other."""
    information = folder / "occupying-0.1.dist-info"
    information.mkdir(parents=True)
    (folder / "occupying.py").write_text(METHOD)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: occupying\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text("[medgraft.methods]\noccupy = occupying:Occupy\n")
    sys.path.insert(0, str(folder))


def main() -> None:
    """Print one line per runner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runners", nargs="*", default=["local", "pool", "ray"])
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", choices=["wait", "compute"], default="wait")
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    offer_method(scratch / "package")
    quick = {"schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 1}, "augmentation": "none"}
    for runner in asked.runners:
        grid = {
            "seeds": list(range(asked.cells)),
            "budgets": [1],
            "budget_by": "image",
            "cohorts": {"brain": {"data": "samples/brain", "targets": ["robex"]}},
            "sources": {"unet": {"model": "random/unet"}},
            "methods": {
                "occupy": {"method": "occupy", "settings": {"seconds": asked.seconds, "work": asked.work}}
            },
            "defaults": {"fine_tune": {"settings": quick}},
            "run": {"repeats": 10, "device": "cpu"},
        }
        started = time.monotonic()
        evidence = mg.benchmark(grid, scratch / runner, runner=runner, workers=asked.workers)
        wall = time.monotonic() - started
        table = evidence.tables["grid"]
        assert (table["state"] == "finished").all()
        own = table[table["method"] == "occupy"]["seconds"]
        workers = 1 if runner == "local" else asked.workers
        spent = table["seconds"].sum()
        print(
            f"{runner:6} {len(table)} cells, {own.mean():.2f} s for {asked.seconds} s of {asked.work}; "
            f"wall {wall:.1f} s; work of cells / ({workers} workers x wall) = {spent / (workers * wall):.3f}, "
            f"once they run {spent / (workers * _window(scratch / runner)):.3f}"
        )


def _window(folder: Path) -> float:
    """Seconds from the start of the first cell to the end of the last."""
    ends = {path: path.stat().st_mtime for path in folder.glob("cells/*/cell.json")}
    starts = [end - json.loads(path.read_text("utf-8"))["seconds"] for path, end in ends.items()]
    return max(ends.values()) - min(starts)


if __name__ == "__main__":
    main()
