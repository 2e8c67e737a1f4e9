"""Who computes a grid changes nothing in what it says, and what dies takes nothing with it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.benchmarks.test_benchmark import assert_equal_evidence, results

import medgraft as mg
from medgraft.benchmarks.cell import Stop
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.runners.pool import PATIENCE, Pool
from medgraft.benchmarks.store import Store
from medgraft.engine.run import Interrupted
from medgraft.errors import RunError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture
def mixed(grid, tmp_path):
    """A grid with a training, a method that kills its process once, and one that fails."""

    def make(marks: str, deaths: int = 1) -> dict:
        methods = {
            "dies": {"method": "die", "settings": {"marks": str(tmp_path / marks), "deaths": deaths}},
            "fails": {"method": "fail"},
            "pixels": {"method": "simple_baseline"},
        }
        return grid(methods=methods)

    return make


def local(some: dict, folder: Path, marks: Path):
    """In this process, where nothing dies."""
    marks.mkdir(exist_ok=True)
    for number in range(some["methods"]["dies"]["settings"]["deaths"]):
        (marks / str(number)).touch()
    return mg.benchmark(some, folder)


@pytest.mark.slow
def test_a_pool_says_what_this_process_says_and_loses_nothing(mixed, plugin, tmp_path):
    evidence = mg.benchmark(mixed("marks"), tmp_path / "pool", runner="pool", workers=2)
    assert len(list((tmp_path / "marks").iterdir())) == 1, "a worker died"
    assert_equal_evidence(evidence, local(mixed("marks"), tmp_path / "local", tmp_path / "marks"))
    assert set(results(tmp_path / "pool")) == set(results(tmp_path / "local"))


@pytest.mark.slow
def test_a_cell_that_always_dies_fails_alone(mixed, plugin, tmp_path):
    table = mg.benchmark(mixed("marks", deaths=99), tmp_path / "pool", runner="pool", workers=1).tables[
        "grid"
    ]
    lines = table.set_index("method")
    assert lines.loc["dies", "error"] == (
        "Begun 3 times, and each time its process was ended by signal 9, perhaps for want of memory."
    )
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert (lines.drop(["dies", "fails"])["state"] == "finished").all()


@pytest.mark.slow
def test_a_pool_that_is_stopped_leaves_no_process_and_continues(grid, plugin, tmp_path):
    some = grid(methods={"waits": {"method": "wait", "settings": {"seconds": 2.0}}}, seeds=[0, 1])
    stop = Stop()

    def ask_after_the_first_result() -> None:
        while not results(tmp_path / "out"):
            time.sleep(0.02)
        stop.ask()

    threading.Thread(target=ask_after_the_first_result, daemon=True).start()
    with pytest.raises(Interrupted):
        mg.benchmark(some, tmp_path / "out", runner="pool", workers=2, stop=stop)
    assert not workers_of(tmp_path / "out")
    evidence = mg.benchmark(some, tmp_path / "out")
    assert (evidence.tables["grid"]["state"] == "finished").all()


@pytest.mark.slow
def test_a_worker_that_has_just_answered_stops_too(grid, tmp_path):
    out = tmp_path / "out"
    plan = make_plan(grid(methods={"pixels": {"method": "simple_baseline"}}), [])
    Store(out).begin(plan.grid.model_dump(mode="json"))
    cell = next(
        cell for cell in plan.cells.values() if cell.needs is None and cell.method == "simple_baseline"
    )
    pool = Pool(out, 1)
    pool.start(cell)
    until = time.monotonic() + 120
    while cell.key not in results(out) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)
    began = time.monotonic()
    pool.close()  # nobody has asked yet what ended
    assert time.monotonic() - began < PATIENCE / 4 and not workers_of(out)


def workers_of(folder: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(folder) in words and "medgraft.benchmarks.runners.worker" in words:
            found.append(int(process.parent.name))
    return found


@pytest.fixture
def ray_elsewhere():
    """A Ray with two CPUs that another process started."""
    code = "import ray, sys; started = ray.init(num_cpus=2, include_dashboard=False);"
    code += "print('ready', flush=True); sys.stdin.read()"
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout.readline() == "ready\n"
    yield
    started.stdin.close()
    started.wait(60)


@needs_ray
@pytest.mark.slow
def test_a_running_ray_says_what_this_process_says_when_a_worker_dies(mixed, plugin, ray_elsewhere, tmp_path):
    evidence = mg.benchmark(mixed("marks"), tmp_path / "ray", runner="ray", address="auto")
    assert len(list((tmp_path / "marks").iterdir())) == 1, "a worker died"
    assert_equal_evidence(evidence, local(mixed("marks"), tmp_path / "local", tmp_path / "marks"))


@needs_ray
@pytest.mark.slow
def test_ray_is_started_where_there_is_none_and_a_killed_worker_costs_nothing(grid, plugin, tmp_path):
    some = grid(methods={"waits": {"method": "wait", "settings": {"seconds": 1.0}}}, seeds=[0, 1])
    killed = []

    def kill_once() -> None:
        """From outside, as the system does for want of memory."""
        while not killed and (tmp_path / "ray").parent.exists():
            time.sleep(0.1)
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if process.read_bytes().startswith(b"ray::compute") and not killed:
                        os.kill(int(process.parent.name), signal.SIGKILL)
                        killed.append(process)

    threading.Thread(target=kill_once, daemon=True).start()
    evidence = mg.benchmark(some, tmp_path / "ray", runner="ray", workers=2)
    assert killed
    assert_equal_evidence(evidence, mg.benchmark(some, tmp_path / "local"))


@needs_ray
@pytest.mark.slow
def test_a_ray_that_does_not_answer_is_one_sentence(grid, tmp_path):
    with pytest.raises(RunError, match=r"needs a Ray that answers at 127\.0\.0\.1:1, but Connection"):
        mg.benchmark(grid(), tmp_path / "out", runner="ray", address="127.0.0.1:1")
