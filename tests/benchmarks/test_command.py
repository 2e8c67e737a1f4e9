"""`medgraft benchmark`: killed, stopped and repeated, to the same evidence; one sentence for what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.benchmarks.conftest import as_toml
from tests.benchmarks.test_benchmark import assert_equal_evidence, results
from typer.testing import CliRunner

import medgraft as mg
from medgraft.benchmarks.cell import Stop
from medgraft.cli.benchmark import stopped_politely
from medgraft.cli.main import app


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="medgraft")


def test_a_grid_file_becomes_evidence_and_a_report(grid, tmp_path):
    told = call("benchmark", as_toml(grid(name="two ways"), tmp_path / "two.toml"))
    assert told.exit_code == 0, told.output
    out = tmp_path / "two"
    assert (out / "report.html").is_file() and (out / "evidence" / "evidence.json").is_file()
    assert "two ways" in (out / "report.html").read_text("utf-8")
    lines = told.stdout.splitlines()
    assert lines[0].split()[:4] == ["cohort", "subject", "metric", "mean"]
    assert sum(line.startswith("discs at B") for line in lines) == 3
    told = call("report", out, "--out", tmp_path / "again.html")
    assert told.exit_code == 0 and (tmp_path / "again.html").is_file()


def test_a_bad_grid_is_told_line_by_line(grid, tmp_path):
    bad = grid(methods={"a": {"method": "fine_tun"}, "b": {"method": "simple_base"}})
    told = call("benchmark", as_toml(bad, tmp_path / "bad.toml"), "--runner", "cloud")
    assert told.exit_code == 2
    lines = told.stderr.splitlines()
    assert lines[0] == f"medgraft: The grid {tmp_path / 'bad.toml'} cannot be run; 3 problems:"
    assert [line.split()[0] for line in lines[1:]] == ["methods.a:", "methods.b:", "--runner"]
    assert not (tmp_path / "bad").exists()


def test_failed_cells_are_told_and_change_the_exit_code(grid, plugin, tmp_path):
    told = call("benchmark", as_toml(grid(methods={"fails": {"method": "fail"}}), tmp_path / "fails.toml"))
    assert told.exit_code == 1 and (tmp_path / "fails" / "report.html").is_file()
    assert "1 of 3 cells failed" in told.stderr and "--retry-failed" in told.stderr


def test_the_first_ctrl_c_is_a_request_and_the_second_an_order():
    stop = Stop()
    shell = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests that ignore it
    try:
        with stopped_politely(stop):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, shell)


@pytest.mark.slow
def test_a_grid_that_is_killed_twice_says_what_an_uninterrupted_one_says(grid, plugin, tmp_path):
    methods = {
        "waits": {"method": "wait", "settings": {"seconds": 1.0}},
        "head": {"method": "fine_tune", "settings": {"scope": "head"}},
    }
    some = grid(methods=methods, seeds=[0, 1, 2])
    whole = mg.benchmark(some, tmp_path / "whole")
    file, out = as_toml(some, tmp_path / "grid.toml"), tmp_path / "grid"
    command = [
        sys.executable,
        "-m",
        "medgraft.cli.main",
        "benchmark",
        str(file),
        "--runner",
        "pool",
        "--quiet",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    codes = []
    for number, kind in ((3, signal.SIGKILL), (9, signal.SIGTERM)):
        process = subprocess.Popen(command, env=environment)
        wait_for(lambda number=number: len(results(out)) >= number, process)
        process.send_signal(kind)
        codes.append(process.wait(200))
        assert len(results(out)) < 12, "it was killed on the way"
    assert codes == [-signal.SIGKILL, 75]
    subprocess.run(command, env=environment, check=True, timeout=200)
    assert len(results(out)) == 12
    assert_equal_evidence(whole, mg.load_evidence(out / "evidence"))


def wait_for(happened, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while not happened():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def test_help_needs_no_torch():
    code = "import sys; from typer.testing import CliRunner; from medgraft.cli.main import app;"
    code += "CliRunner().invoke(app, ['benchmark', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stopping_tells_how_to_go_on(grid, tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "asked", True, raising=False)
    monkeypatch.setattr(Stop, "__init__", lambda self: setattr(self, "_under_way", None))
    told = call("benchmark", as_toml(grid(), tmp_path / "grid.toml"))
    assert told.exit_code == 75 and "Repeat the same command" in told.stderr
