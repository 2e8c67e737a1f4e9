"""A training that is killed at any moment ends, when repeated, in the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = """
import sys, torch
from pathlib import Path
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.methods import FineTune
from medgraft.testing import make_cohort, make_model

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with seeded("source"):
        source = make_model("classify")
    schedule = Schedule(epochs=6, steps_per_epoch=12, batch_size=8, lr=1e-3)
    method = FineTune(scope="head_then_all", schedule=schedule, head_schedule=schedule)
    run = Run(folder / "run", seed=4, device="cpu", progress=False, checkpoint_seconds=0)
    adapted = adapt(source, Task(target=make_cohort("classify")), method, run)
    adapted.save(folder / "model", overwrite=True)
"""
MOMENTS = [(0, 0.01), (1, 0.05), (3, 0.0), (4, 0.12), (6, 0.0)]
"""Epochs of the second training that must have been logged, and seconds to wait then, before the kill."""


def start(script: Path, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.PIPE, env=os.environ
    )


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def logged_epochs(folder: Path) -> int:
    log = folder / "run" / "log.csv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def finish(script: Path, folder: Path) -> str:
    process = start(script, folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return digest(folder)


@pytest.mark.slow
def test_sigkill_at_five_moments_gives_byte_identical_weights(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    expected = finish(script, tmp_path / "whole")
    killed = 0
    for index, (epochs, wait) in enumerate(MOMENTS):
        folder = tmp_path / f"killed{index}"
        process = start(script, folder)
        deadline = time.monotonic() + 240
        while logged_epochs(folder) < epochs or not (folder / "run").exists():
            assert process.poll() is None or (folder / "model").exists(), process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        assert finish(script, folder) == expected, f"killed after {epochs} epochs and {wait} s"
        leftovers = [path.name for path in folder.rglob("*.tmp")]
        assert not leftovers, f"half-written files remain: {leftovers}"
    assert killed >= 4  # the last moment may come too late
