"""Does a grid that is killed twice say what an uninterrupted one says, and how long does it take?

    python benchmarks/killed_grid.py claims/first_layers.toml FOLDER [--workers 2]

`medgraft benchmark GRID --runner pool` runs whole, from start to report, in FOLDER/whole. Then the same grid runs in
FOLDER/killed: it is ended with SIGKILL once a third of its cells are there, with SIGTERM once two thirds are, and is
then repeated to its end. Both evidences must be equal in every fact, table and warning, but for times and memory.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from medgraft.evidence import Evidence

MEASURED = ["seconds", "peak_mib", "gpu_seconds"]
"""Columns of tables that tell of the machine, not of methods."""


def main() -> None:
    """Print how long, how often killed, and whether anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    whole, killed = arguments.folder / "whole", arguments.folder / "killed"
    if arguments.folder.exists():
        raise SystemExit(f"{arguments.folder} is there already. Name a new folder.")
    arguments.folder.mkdir(parents=True)
    began = time.monotonic()
    assert start(arguments.grid, whole, arguments.workers).wait() == 0
    cells = finished(whole)
    print(f"uninterrupted: {cells} cells, start to report {time.monotonic() - began:.0f} s", flush=True)
    for number, kind in ((cells // 3, signal.SIGKILL), (2 * cells // 3, signal.SIGTERM)):
        process = start(arguments.grid, killed, arguments.workers)
        while finished(killed) < number:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.2)
        process.send_signal(kind)
        code = process.wait()
        print(f"{kind.name} with {finished(killed)} of {cells} cells: exit code {code}", flush=True)
    began = time.monotonic()
    assert start(arguments.grid, killed, arguments.workers).wait() == 0
    print(f"continued to its end: {time.monotonic() - began:.0f} s")
    found = differences(Evidence.load(whole / "evidence"), Evidence.load(killed / "evidence"))
    print("\n".join(found) or "evidence: equal")
    sys.exit(bool(found))


def start(grid: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """The command as a user types it."""
    command = [sys.executable, "-m", "medgraft.cli.main", "benchmark", grid, "--out", out, "--quiet"]
    return subprocess.Popen([*map(str, command), "--runner", "pool", "--workers", str(workers)])


def finished(folder: Path) -> int:
    """How many cells have a result."""
    return len(list(folder.glob("cells/*/cell.json")))


def differences(one: Evidence, other: Evidence) -> list[str]:
    """What two evidences do not share, one line each."""
    found = []
    if not one.facts.equals(other.facts):
        found.append("facts differ")
    if list(one.tables) != list(other.tables):
        found.append("other tables")
    for name in one.tables.keys() & other.tables.keys():
        left, right = (without_measured(each.tables[name]) for each in (one, other))
        if not left.equals(right):
            found.append(f"table {name} differs")
    if one.warnings != other.warnings:
        found.append("warnings differ")
    if list(one.images) != list(other.images):
        found.append("images differ")
    return found


def without_measured(table: pd.DataFrame) -> pd.DataFrame:
    """A table without what the machine decides."""
    return table.drop(columns=[column for column in MEASURED if column in table])


if __name__ == "__main__":
    main()
