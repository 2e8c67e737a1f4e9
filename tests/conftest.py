"""Made-up cohorts as a user has them: image files and a table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # of this process and those it starts: the last bits of sums hang on it

import pytest

from medgraft.testing import make_cohort
from medgraft.types import Kind


def write_cohort(folder: Path, kind: Kind) -> Path:
    """Write the images (and masks) of a made-up cohort and its table; returns the table."""
    from PIL import Image

    cohort = make_cohort(kind, patients=18)
    folder.mkdir(parents=True)
    table = cohort.table
    table["image"] = [f"{position:02d}.png" for position in range(len(cohort))]
    for position, name in enumerate(table["image"]):
        Image.fromarray(cohort.picture(position).array[..., 0]).save(folder / name)
        if kind == "segment":
            Image.fromarray(cohort.mask(position).array[..., 0].astype("uint8")).save(folder / f"mask-{name}")
    if kind == "segment":
        table["mask"] = "mask-" + table["image"]
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture(autouse=True)
def as_if_alone() -> Iterator[None]:
    """Whatever tests before did: one thread, and the global generator at its start, on which fresh networks draw."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[[Kind], Path]:
    """Write a made-up cohort of a kind into the test's own folder; returns its table."""
    return lambda kind="classify": write_cohort(tmp_path / f"data-{kind}", kind)
