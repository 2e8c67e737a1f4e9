"""A disk that fills up while a command writes: one sentence, nothing lost, and the same bytes once there is room."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medgraft.engine import checkpoint, loop
from medgraft.models.model import Model
from medgraft.testing import make_model

SOURCE = ("--source", "random/test_resnet", "--device", "cpu", "--quiet")
WORDS = (
    *SOURCE, "--log", "tensorboard", "--set", "schedule.epochs=4", "--set", "schedule.batch_size=12",
    "--set", "schedule.steps_per_epoch=1",
)  # fmt: skip


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a full disk, the system takes no more than so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_in(monkeypatch: pytest.MonkeyPatch, target: str, call: int, size: int) -> None:
    """Let the disk be full while a function is called the n-th time."""
    module, name = target.rsplit(".", 1)
    owner: Any = sys.modules[module] if module in sys.modules else __import__(module, fromlist=[name])
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if next(calls) != call:
            return original(*arguments, **options)
        with no_file_above(size):
            return original(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapped)


def contents(folder: Path) -> dict[str, bytes]:
    """All files whose bytes tell no time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "log.csv") and "tfevents" not in path.name
        and not path.name.startswith("history")
    }  # fmt: skip


def temporary_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


@pytest.fixture
def a_checkpoint_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0, 60).__next__))


@pytest.mark.parametrize(
    ("target", "call", "size", "file"),
    [
        ("medgraft.engine.checkpoint.write_saved", 3, 20_000, "checkpoints/epoch-000003.safetensors"),
        pytest.param(
            "medgraft.engine.checkpoint.write_text",
            3,
            5,
            "checkpoints/epoch-000003.json",
            marks=pytest.mark.slow,
        ),
        pytest.param("medgraft.engine.loop.write_text", 3, 5, "log.csv", marks=pytest.mark.slow),
        pytest.param(
            "medgraft.engine.tensorboard.EventFile.add",
            3,
            5,
            "tensorboard/events.out.tfevents.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "medgraft.engine.records.write_record", 2, 5, "records/history.parquet", marks=pytest.mark.slow
        ),
        pytest.param("medgraft.api.adaptation.save_model", 1, 20_000, "model", marks=pytest.mark.slow),
        pytest.param("medgraft.api.adaptation.write_recipe", 2, 5, "run.json", marks=pytest.mark.slow),
    ],
)
def test_a_training_goes_on_from_its_last_good_checkpoint(
    medgraft, refused, on_disk, tmp_path, monkeypatch, a_checkpoint_per_epoch, target, call, size, file
) -> None:
    table, out = on_disk("classify"), tmp_path / "run"
    assert medgraft("adapt", table, *WORDS, "--out", tmp_path / "whole").exit_code == 0
    with monkeypatch.context() as patches:
        if target.endswith("EventFile.add"):
            from medgraft.engine.tensorboard import EventFile

            original, calls = EventFile.add, itertools.count(1)

            def add(events: EventFile, row: dict[str, Any]) -> None:
                with no_file_above(size if next(calls) == call else resource.RLIM_INFINITY):
                    original(events, row)

            patches.setattr(EventFile, "add", add)
        else:
            full_in(patches, target, call, size)
        told = refused("adapt", table, *WORDS, "--out", out)
    assert f"{out / file}" in told and "File too large" in told and "Free some space" in told
    assert not temporary_files(out)
    found = checkpoint.read_latest(out / "checkpoints")
    assert found is not None and found[0] >= 2
    assert medgraft("adapt", table, *WORDS, "--out", out).exit_code == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert not temporary_files(out) and not (out / "checkpoints").exists()


def test_a_run_that_cannot_begin_can_begin_later(medgraft, refused, on_disk, tmp_path) -> None:
    table, out = on_disk("classify"), tmp_path / "run"
    with no_file_above(0):
        told = refused("adapt", table, *WORDS, "--out", out)
    assert str(out / "run.json") in told
    assert medgraft("adapt", table, *WORDS, "--out", out).exit_code == 0


@pytest.mark.parametrize("size", [0, 300])
def test_predictions_and_evidence_are_whole_or_absent(medgraft, refused, trained, tmp_path, size) -> None:
    run, table = trained
    for words, file in (
        (("predict", run, table, "--out", tmp_path / "p"), tmp_path / "p" / "predictions.csv"),
        (("evaluate", run, table, "--out", tmp_path / "e", "--quiet"), tmp_path / "e" / "evidence"),
    ):
        with no_file_above(size):
            told = refused(*words)
        assert str(file) in told and "File too large" in told
        assert not file.exists() and not temporary_files(tmp_path)
        assert medgraft(*words).exit_code == 0 and file.exists()


def test_masks_that_were_done_wait_until_there_is_room(
    medgraft, refused, on_disk, tmp_path, monkeypatch
) -> None:
    table = on_disk("segment")
    model = make_model("segment").save(tmp_path / "model")
    words = ("predict", model, table, "--device", "cpu", "--quiet", "--out")
    batches: list[int] = []
    predict = Model.predict

    def counted(model: Model, images: Any, rows: Any = None) -> Any:
        batches.append(len(images))
        return predict(model, images, rows)

    monkeypatch.setattr(Model, "predict", counted)
    assert medgraft(*words, tmp_path / "whole").exit_code == 0
    assert batches == [16, 16, 4]
    with monkeypatch.context() as patches:
        full_in(patches, "medgraft.api.masks.write_mask", 22, 20)
        told = refused(*words, tmp_path / "out")
    assert "room and permission" in told and "File too large" in told
    assert not (tmp_path / "out" / "masks").exists() and not list(tmp_path.rglob("*.tmp"))
    batches.clear()
    assert medgraft(*words, tmp_path / "out").exit_code == 0
    assert batches == [16, 4]  # the second batch again as a whole, for the same bits
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not temporary_files(tmp_path / "out")


def test_a_report_that_is_replaced_stays_as_it_was(medgraft, refused, trained, tmp_path) -> None:
    run, table = trained
    assert medgraft("evaluate", run, table, "--out", tmp_path / "e", "--quiet").exit_code == 0
    page = tmp_path / "e" / "report.html"
    before = page.read_bytes()
    with no_file_above(5000):
        told = refused("report", tmp_path / "e" / "evidence", "--out", page, "--title", "another")
    assert str(page) in told and page.read_bytes() == before and not temporary_files(tmp_path / "e")


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount a small disk"
)
def test_a_small_disk_in_earnest(on_disk, tmp_path) -> None:
    """A file system of its own that holds one checkpoint but not two; later it is made larger."""
    disk, table = tmp_path / "disk", on_disk("segment")
    disk.mkdir()
    script = tmp_path / "train.py"  # as the command line, with a checkpoint after every epoch
    script.write_text(
        "import sys\nfrom medgraft.engine.run import Run\n"
        "defaults = list(Run.__init__.__defaults__)\ndefaults[defaults.index(10.0)] = 0.0\n"
        "Run.__init__.__defaults__ = tuple(defaults)\n"
        "from medgraft.cli.main import main\nmain()\n"
    )
    words = [
        sys.executable, str(script), "adapt", str(table), "--source", "random/unet", "--device", "cpu", "--quiet",
        "--threads", "1", "--set", "size=[32,32]", "--limit-epochs", "3", "--limit-steps", "2", "--out",
    ]  # fmt: skip
    subprocess.run([*words, str(tmp_path / "whole")], check=True)
    weights = (tmp_path / "whole" / "model" / "model.safetensors").stat().st_size
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={int(6.5 * weights)}", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        full = subprocess.run([*words, str(disk / "run")], capture_output=True, text=True)
        (line,) = full.stderr.strip().splitlines()
        assert full.returncode == 2 and line.startswith("medgraft: Writing needs room and permission for")
        assert "No space left on device" in line and "epoch-000002.safetensors" in line
        assert checkpoint.read_latest(disk / "run" / "checkpoints")[0] == 1  # type: ignore[index]
        assert not temporary_files(disk)
        subprocess.run(["mount", "-o", f"remount,size={40 * weights}", str(disk)], check=True)
        subprocess.run([*words, str(disk / "run")], check=True)
        assert contents(disk / "run") == contents(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
