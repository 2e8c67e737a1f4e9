"""The command itself: quick, polite to signals, one sentence for what the user can mend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMANDS = ("demo", "check", "pretrain", "adapt", "predict", "evaluate", "report", "methods", "skin-tone")
MEDGRAFT = [sys.executable, "-m", "medgraft.cli.main"]


def test_help_names_every_command_and_is_quick():
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        told = subprocess.run([*MEDGRAFT, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.monotonic() - started)
    assert all(f"\n  {command} " in told.stdout for command in COMMANDS)
    assert min(seconds) < 1.0  # half a second is promised; machines that run tests are busy


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_without_torch(command):
    code = (
        "import sys; from medgraft.cli.main import app\n"
        f"try: app(['{command}', '--help'])\n"
        "except SystemExit: print([name for name in ('torch', 'pandas') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.rstrip().endswith("[]")
    assert "--help" in told.stdout


def test_words_that_are_not_understood_end_in_one_sentence(refused):
    assert (
        refused("adpt")
        == "No such command 'adpt'. Did you mean 'adapt'? `medgraft --help` shows what there is."
    )
    assert "--nope" in refused("methods", "--nope")
    assert "--seed" in refused("adapt", "--seed", "many")
    assert "Missing option '--out'" in refused("predict", "model", "image.png")


def test_what_the_system_refuses_ends_in_one_sentence(refused, tmp_path):
    assert "cannot read or write" in refused("check", tmp_path / ("long" * 100))


def test_debug_shows_the_traceback(medgraft, tmp_path):
    from medgraft.errors import DataError

    with pytest.raises(DataError):
        medgraft("--debug", "evaluate", tmp_path, tmp_path / "no.csv", "--out", tmp_path / "out")


def wait_for_an_epoch(process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if log.exists() and len(log.read_text().splitlines()) > 1:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("no epoch in half a minute")


@pytest.mark.slow
def test_a_terminated_run_exits_with_75_and_the_same_command_continues(medgraft, on_disk, tmp_path):
    words = [
        "adapt",
        str(on_disk("classify")),
        "--source",
        "random/test_resnet",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    words += ["--set", "schedule.epochs=20", "--set", "schedule.batch_size=8", "--quiet", "--out"]
    assert medgraft(*words, tmp_path / "whole").exit_code == 0
    run = tmp_path / "run"
    process = subprocess.Popen([*MEDGRAFT, *words, str(run)], stderr=subprocess.PIPE, env=os.environ)
    wait_for_an_epoch(process, run / "log.csv")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors.decode()
    assert errors.decode().splitlines()[-1].endswith("Repeat the same command to continue.")
    assert not (run / "model").exists()
    assert medgraft(*words, run).exit_code == 0
    first, second = (
        (folder / "model" / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", run)
    )
    assert first == second
