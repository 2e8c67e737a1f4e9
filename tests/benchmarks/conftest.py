"""Tiny grids: two made-up sites on disk, and methods of another package that wait, fail or die."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from medgraft.benchmarks.rows import forget_data
from medgraft.testing import make_cohort
from medgraft.types import Kind

PLUGIN = '''
import os, signal, time
from pathlib import Path
from typing import ClassVar
from medgraft.engine.method import MethodSettings, Needs
from medgraft.errors import DataError
from medgraft.models.regraft import regraft

class Wait(MethodSettings):
    """Waits, then returns the source with a new head."""
    name: ClassVar[str] = "wait"
    kinds: ClassVar[frozenset] = frozenset({"classify", "segment"})
    seconds: float = 0.0
    number: int = 0
    warning: str = ""
    @property
    def needs(self):
        return Needs.of(target=("images", "truth"))
    def adapt(self, model, task, run):
        if self.warning:
            run.warn(self.warning)
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            run.raise_if_stopped()
            time.sleep(0.01)
        return regraft(model, task.classes, kind=task.kind)[0]

class Fail(Wait):
    """Fails while the file `unless` is not there."""
    name: ClassVar[str] = "fail"
    unless: str = ""
    defect: bool = False
    def adapt(self, model, task, run):
        if self.unless and Path(self.unless).exists():
            return super().adapt(model, task, run)
        if self.defect:
            raise ZeroDivisionError("a defect")
        raise DataError("Fail", "a file", f"{task.target.name} has none", "Add it.")

class Die(Wait):
    """Kills its own process, as often as `deaths` says."""
    name: ClassVar[str] = "die"
    marks: str
    deaths: int = 1
    def adapt(self, model, task, run):
        marks = Path(self.marks)
        marks.mkdir(exist_ok=True)
        if len(list(marks.iterdir())) < self.deaths:
            (marks / str(time.time_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().adapt(model, task, run)

class Unlabelled(Wait):
    """Looks at images only."""
    name: ClassVar[str] = "unlabelled"
    @property
    def needs(self):
        return Needs.of(source=("images", "truth"), target=("images",))

class Patients(Wait):
    """Needs what few cohorts have."""
    name: ClassVar[str] = "boxes"
    @property
    def needs(self):
        return Needs.of(target=("images", "truth", "imperfect_boxes"))
'''


def write_sites(folder: Path, kind: Kind, sites: str = "AB", patients: int = 12, size: int = 16) -> Path:
    """Write made-up images of several sites and one table; returns the table."""
    folder.mkdir(parents=True)
    tables = []
    for site in sites:
        cohort = make_cohort(kind, site, patients=patients, size=size)
        table = cohort.table
        table["image"] = [f"{site}{position}.png" for position in range(len(cohort))]
        for position, name in enumerate(table["image"]):
            Image.fromarray(cohort.picture(position).array[..., 0]).save(folder / name)
            if kind == "segment":
                Image.fromarray(cohort.mask(position).array[..., 0].astype("uint8")).save(folder / f"m{name}")
        if kind == "segment":
            table["mask"] = "m" + table["image"]
        tables.append(table)
    pd.concat(tables).to_csv(folder / "sites.csv", index=False)
    return folder / "sites.csv"


def write_plugin(folder: Path) -> None:
    """A package as it lies in an environment: its methods are found by their entry points."""
    information = folder / "made_up_methods-0.1.dist-info"
    information.mkdir(parents=True)
    (folder / "made_up_methods.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-methods\nVersion: 0.1\n")
    names = {"wait": "Wait", "fail": "Fail", "die": "Die", "unlabelled": "Unlabelled", "boxes": "Patients"}
    lines = [f"{name} = made_up_methods:{cls}" for name, cls in names.items()]
    (information / "entry_points.txt").write_text("[medgraft.methods]\n" + "\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def data_read_anew():
    yield
    forget_data()


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> None:
    """Methods wait, fail, die, unlabelled and boxes, found in this process and in those it starts."""
    write_plugin(tmp_path / "plugin")
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))
    yield
    sys.modules.pop("made_up_methods", None)


@pytest.fixture
def sites(tmp_path) -> Path:
    """A table of two sites, A and B, one label per image."""
    return write_sites(tmp_path / "sites", "classify")


@pytest.fixture
def masks(tmp_path) -> Path:
    """A table of two sites, A and B, with masks."""
    return write_sites(tmp_path / "masks", "segment")


QUICK = {"schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 8}, "augmentation": "none"}


@pytest.fixture
def grid(sites) -> Callable[..., dict[str, Any]]:
    """A grid of one cheap method, from an untrained network or one trained at A; keywords replace parts."""

    def make(trained: bool = False, **parts: Any) -> dict[str, Any]:
        return {
            "seeds": [0],
            "budgets": [2],
            "metric": "accuracy",
            "cohorts": {"discs": {"data": str(sites), "source": ["A"], "targets": ["B"]}},
            "sources": {"net": {"model": "random/test_resnet", **({"train": {}} if trained else {})}},
            "methods": {"pixels": {"method": "simple_baseline"}},
            "defaults": {"fine_tune": {"settings": QUICK}},
            "run": {"repeats": 20, "device": "cpu"},
            **parts,
        }

    return make


def as_toml(grid: dict[str, Any], path: Path) -> Path:
    """Write a grid as TOML: JSON values are TOML values, tables get headings."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return (
                "{"
                + ", ".join(
                    f"{json.dumps(key)} = {inline(item)}" for key, item in value.items() if item is not None
                )
                + "}"
            )
        return json.dumps(value)

    path.write_text("".join(f"{key} = {inline(value)}\n" for key, value in grid.items()))
    return path
