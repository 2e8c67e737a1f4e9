"""Where cells of a grid keep their results: a folder per hash; what is there is never computed again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medgraft.errors import RunError
from medgraft.evidence import Evidence
from medgraft.types import JSON
from medgraft.whole_files import write_text

FORMAT = 2
"""Of results; part of every cell's hash, raised when the same cell would give other numbers."""
GRID, RESULT, LOCK = "grid.json", "cell.json", "lock"
CELLS, EVIDENCE, MODEL, SCRATCH = "cells", "evidence", "model", "scratch"
SHARED = "shared"
"""Runs that gave one model for several cells; they go when the grid is complete."""


class Result(BaseModel):
    """How a cell ended.

    seconds: of all its starts. peak_mib: of the process while it ran. gpu_seconds: that it held a GPU, or None.
    labelled_images: of the target, whose truth training or selection saw. tried: settings. settings: those chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["finished", "failed"]
    error: str = ""
    selection: str = "none"
    labelled_images: int = 0
    tried: int = 0
    settings: JSON = {}
    seconds: float = 0.0
    peak_mib: float = 0.0
    gpu_seconds: float | None = None
    what: JSON = {}


class Store:
    """The folder of a grid.

    Args:
        folder: holds grid.json, evidence/, and cells/KEY/ with cell.json, evidence/ and, of sources, model/; while
            cells are missing also shared/.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder)

    def folder(self, key: str) -> Path:
        """Of one cell."""
        return self.root / CELLS / key

    def scratch(self, key: str) -> Path:
        """What only an unfinished cell needs."""
        return self.folder(key) / SCRATCH

    def shared(self, key: str) -> Path:
        """Of runs whose models serve several cells."""
        return self.root / SHARED / key

    def forget_shared(self) -> None:
        """Remove what served several cells, but for what another process is at."""
        for folder in (self.root / SHARED).glob("*"):
            with locked(folder / LOCK, wait=False) as mine:
                if mine:
                    shutil.rmtree(folder, ignore_errors=True)

    def model(self, key: str) -> Path:
        """The model of a source's cell, or of any where models are kept."""
        return self.folder(key) / MODEL

    def begin(self, grid: JSON) -> None:
        """Write down the grid; other grids may share the folder only if they extend it, which hashes see to.

        Raises:
            RunError: the folder holds something else.
        """
        if self.root.exists() and not (self.root.is_dir() and self._is_ours()):
            held = "other files" if self.root.is_dir() else "a file"
            raise RunError(
                "A benchmark", "a new folder, or one of a benchmark", f"{self.root} is {held}"
                if held == "a file" else f"{self.root} holds {held}", "Choose another --out.",
            )  # fmt: skip
        write_text(self.root / GRID, json.dumps(grid, indent=1) + "\n")

    def _is_ours(self) -> bool:
        names = [path.name for path in self.root.iterdir()]
        return GRID in names or all(name.startswith(f".{GRID}.") for name in names)

    def result(self, key: str) -> Result | None:
        """How a cell ended; None where it has not, or where its file is damaged."""
        try:
            return Result.model_validate_json((self.folder(key) / RESULT).read_text("utf-8"))
        except (OSError, ValidationError, ValueError):
            return None

    def evidence(self, key: str) -> Evidence:
        """What a finished cell measured."""
        return Evidence.load(self.folder(key) / EVIDENCE)

    def finish(self, key: str, result: Result) -> None:
        """Write a result, the last of a cell's files, and remove what nobody needs any more."""
        write_text(self.folder(key) / RESULT, result.model_dump_json(indent=1) + "\n")
        shutil.rmtree(self.scratch(key), ignore_errors=True)

    def forget(self, key: str) -> None:
        """Remove a result, so that the cell is computed anew; one that another process computes is left alone."""
        with self.claimed(key) as mine:
            if mine:
                (self.folder(key) / RESULT).unlink(missing_ok=True)
                for name in (SCRATCH, EVIDENCE, MODEL):
                    shutil.rmtree(self.folder(key) / name, ignore_errors=True)

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """True where this process alone may write the cell; the system gives it free when the process ends."""
        with locked(self.folder(key) / LOCK, wait=False) as mine:
            yield mine

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """One process at a time writes what belongs to the whole grid."""
        with locked(self.root / CELLS / LOCK, wait=True):
            yield


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock file; False where another process holds it and we do not wait. Killed processes hold nothing."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
