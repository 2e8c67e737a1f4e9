"""A command that is killed just before it gives a file its name ends, when repeated, in the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medgraft.testing import make_model

KILL_EVERYWHERE = '''
"""Fork from a process that has imported everything but run nothing; kill each child at another renaming."""
import itertools, os, shutil, signal, sys
from pathlib import Path
import pyarrow, torch, torch.optim  # noqa: imported once, for all children
import medgraft.api.adaptation, medgraft.api.evaluation, medgraft.api.prediction, medgraft.reports, medgraft.testing
from medgraft.cli.main import app
from medgraft.engine.run import Run

torch.set_num_threads(1)
defaults = list(Run.__init__.__defaults__)
defaults[defaults.index(10.0)] = 0.0  # a checkpoint after every epoch
Run.__init__.__defaults__ = tuple(defaults)
folder, words = Path(sys.argv[1]), sys.argv[2:]
TELL_SECONDS = ("run.json", "log.csv", "history", "events.out", "evidence.json", "provenance.json", "report.html")


def contents(out):
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith(TELL_SECONDS):
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


def run(out, kill_at=None):
    """True if it was killed."""
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        def killing(original):
            def replace(source, target, **options):
                if next(calls) == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                original(source, target, **options)
            return replace
        if kill_at is not None:
            os.replace, os.rename = killing(os.replace), killing(os.rename)
        try:
            app([*words, "--out", str(out)], prog_name="medgraft", standalone_mode=False)
        except BaseException as error:
            print(repr(error), getattr(error, "exit_code", ""), flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or status == 0, f"killed at renaming {kill_at}, it ended with {status}"
    return killed


run(folder / "whole")
expected = contents(folder / "whole")
for renaming in itertools.count(1):
    out = folder / f"killed-{renaming}"
    if not run(out, renaming):
        break
    run(out)
    assert contents(out) == expected, f"other bytes after a kill at renaming {renaming}"
    hidden = [path.name for path in out.rglob(".*")] + [path.name for path in folder.glob(".*")]
    assert not hidden, f"{hidden} remain after a kill at renaming {renaming}"
    shutil.rmtree(out)
print("kills", renaming - 1)
'''


def kill_everywhere(tmp_path: Path, *words: object) -> int:
    """Run a command with a kill at each of its renamings; returns how many there were."""
    script = tmp_path / "kill_everywhere.py"
    script.write_text(KILL_EVERYWHERE)
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "runs"), *map(str, words)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_adapt(on_disk, tmp_path: Path) -> None:
    words = (
        "--source",
        "random/test_resnet",
        "--device",
        "cpu",
        "--quiet",
        "--limit-epochs",
        2,
        "--limit-steps",
        1,
    )
    kills = kill_everywhere(tmp_path, "adapt", on_disk("classify"), *words, "--log", "tensorboard")
    assert (
        kills >= 11
    )  # run.json twice, the plan, a log and a checkpoint in two files for each epoch, history, model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_predict(on_disk, tmp_path: Path, kind) -> None:
    model = make_model(kind).save(tmp_path / "model")
    images = sorted(on_disk(kind).parent.glob("0[0-2].png"))
    kills = kill_everywhere(tmp_path, "predict", model, *images, "--device", "cpu", "--quiet")
    assert kills == (
        1 if kind == "classify" else 10
    )  # each mask, its record and its last place; then the table


@pytest.mark.slow
def test_evaluate(on_disk, tmp_path: Path) -> None:
    words = ("--source", "random/test_resnet", "--method", "simple_baseline", "--device", "cpu", "--quiet")
    table = on_disk("classify")
    from typer.testing import CliRunner

    from medgraft.cli.main import app

    assert (
        CliRunner().invoke(app, ["adapt", str(table), *words, "--out", str(tmp_path / "run")]).exit_code == 0
    )
    assert kill_everywhere(tmp_path, "evaluate", tmp_path / "run", table, "--quiet", "--device", "cpu") >= 2
