from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medgraft.errors import RunError, cannot_write
from medgraft.whole_files import temporary_beside, write_text, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()
        temporary.write_text("whole")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "whole"


def test_a_failing_writer_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "earlier")
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "earlier"


def test_a_disk_that_tells_late_that_it_is_full_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "earlier")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError, match=r"permission for .*a\.txt, but the system said: No space left on device"
    ):
        write_text(tmp_path / "a.txt", "later")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "earlier"


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path, dead_process: int) -> None:
    (tmp_path / f".a.txt.{dead_process}.tmp").write_text("half")
    (tmp_path / f".other.txt.{dead_process}.tmp").write_text("of another file")
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == [f".other.txt.{dead_process}.tmp", "a.txt"]


@pytest.mark.parametrize("process", [os.getppid(), 1], ids=["our parent", "the first"])
def test_what_another_living_process_writes_is_left_to_it(tmp_path: Path, process: int) -> None:
    half = tmp_path / f".a.txt.{process}.tmp"
    half.write_text("half")
    write_text(tmp_path / "a.txt", "ours")
    half.replace(tmp_path / "a.txt")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "half"


@pytest.mark.parametrize(
    "process", ["0", "text", "9" * 30, str(os.getpid())], ids=["none", "text", "long", "ours"]
)
def test_a_name_that_no_other_living_process_has_is_no_obstacle(tmp_path: Path, process: str) -> None:
    (tmp_path / f".a.txt.{process}.tmp").write_text("half")
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"]


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"a folder that can be written to, but .*file is not \(File exists\)"):
        temporary_beside(tmp_path / "file" / "a.txt")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "whatever"), "No space left on device"),
        (OSError(errno.EDQUOT, "whatever"), "Disk quota exceeded"),
        (PermissionError(errno.EACCES, "whatever"), "Permission denied"),
        (OSError("Detail without a number."), "Detail without a number"),
        (OSError(), "OSError"),
    ],
)
def test_the_sentence_says_what_the_system_said(error: OSError, said: str) -> None:
    assert str(cannot_write("runs/a/log.csv", error)) == (
        f"Writing needs room and permission for runs/a/log.csv, but the system said: {said}. "
        "Free some space or mend the rights, then repeat the same command; what was finished before is kept."
    )
