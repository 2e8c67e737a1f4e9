"""Files that are damaged, or change, in the middle of the work: one sentence, and nothing that was finished is lost."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgraft.engine import checkpoint, loading, loop
from medgraft.testing import make_cohort, make_model

SOURCE = ("--source", "random/test_resnet", "--device", "cpu", "--quiet")
WORDS = (
    *SOURCE, "--set", "schedule.epochs=4", "--set", "schedule.batch_size=12", "--set", "schedule.steps_per_epoch=2",
)  # fmt: skip


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def volumes(tmp_path: Path) -> list[Path]:
    """Three NIfTI volumes of four slices each."""
    import nibabel

    cohort = make_cohort("segment")
    files = []
    for number in range(3):
        slices = [cohort.picture(4 * number + index).array[..., 0] for index in range(4)]
        files.append(tmp_path / f"volume{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.stack(slices, -1).astype(np.int16), np.eye(4)), files[-1])
    return files


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    return make_model("segment").save(tmp_path / "segmenter")


def truncate(file: Path) -> bytes:
    """Cut a file in half; returns what it was."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return whole


def test_a_truncated_volume_between_whole_ones_is_named_and_the_rest_can_go_on(
    medgraft, refused, volumes, segmenter, tmp_path
) -> None:
    words = ("predict", segmenter, *volumes, "--device", "cpu", "--quiet", "--out")
    assert medgraft(*words, tmp_path / "whole").exit_code == 0
    whole = truncate(volumes[1])
    told = refused(*words, tmp_path / "out")
    assert "Reading an image needs a whole" in told and f"row 2, image {volumes[1]}" in told
    assert not (tmp_path / "out" / "predictions.csv").exists()
    assert not list(tmp_path.glob("out/masks/*")) and not list((tmp_path / "out").rglob("*.tmp"))
    volumes[1].write_bytes(whole)
    assert medgraft(*words, tmp_path / "out").exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_earlier_predictions_stay_where_a_volume_is_truncated(
    medgraft, refused, volumes, segmenter, tmp_path
) -> None:
    words = ("predict", segmenter, *volumes, "--device", "cpu", "--quiet", "--out", tmp_path / "out")
    assert medgraft(*words).exit_code == 0
    before = contents(tmp_path / "out")
    truncate(volumes[2])
    refused(*words)
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before


def test_a_truncated_volume_in_a_table_is_found_before_training(medgraft, refused, volumes, tmp_path) -> None:
    table = tmp_path / "table.csv"
    rows = [
        {"image": f"{file.name}#slice:{index}", "label": "ab"[index % 2], "split": "train"}
        for file in volumes
        for index in range(4)
    ]
    pd.DataFrame(rows).to_csv(table, index=False)
    truncate(volumes[1])
    told = refused("adapt", table, *WORDS, "--out", tmp_path / "run")
    assert re.search(r"row [5-8], image volume1\.nii\.gz#slice:[0-3]", told)  # its first slices may be whole
    assert not (tmp_path / "run").exists()
    checked = medgraft("check", table)
    errors = [line for line in checked.output.splitlines() if line.startswith("error")]
    assert checked.exit_code != 0 and errors
    assert all("volume1.nii.gz" in line for line in errors)  # discs that resemble one another are warnings


@pytest.fixture
def rows_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for data that do not fit into memory; and with a checkpoint after each epoch."""
    monkeypatch.setattr(loading.Loader, "_keep", lambda *_: None)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0, 60).__next__))


def change_after(monkeypatch: pytest.MonkeyPatch, epoch: int, file: Path, content: bytes | None) -> None:
    """Replace a file once the checkpoint of an epoch is written, or take it away."""
    write_next = checkpoint.write_next

    def then_change(folder: Path, index: int, saved: checkpoint.Saved) -> None:
        write_next(folder, index, saved)
        if index == epoch:
            file.unlink() if content is None else file.write_bytes(content)

    monkeypatch.setattr(checkpoint, "write_next", then_change)


@pytest.mark.parametrize("how", ["another image", "half an image", "no image"])
def test_a_file_that_changes_during_a_run_is_named_and_the_run_goes_on_once_it_is_back(
    medgraft, refused, on_disk, tmp_path, monkeypatch, rows_are_read_again, how
) -> None:
    table, out = on_disk("classify"), tmp_path / "run"
    image = table.parent / "03.png"
    assert medgraft("adapt", table, *WORDS, "--out", tmp_path / "whole").exit_code == 0
    original = image.read_bytes()
    Image.fromarray(255 - np.asarray(Image.open(image))).save(tmp_path / "other.png")
    other = (tmp_path / "other.png").read_bytes()
    with monkeypatch.context() as patches:
        changed = {"another image": other, "half an image": original[:60], "no image": None}[how]
        change_after(patches, 2, image, changed)
        told = refused("adapt", table, *WORDS, "--out", out)
    assert "A run needs files that stay as they are, but row 4, image 03.png" in told
    assert checkpoint.read_latest(out / "checkpoints")[0] == 2  # type: ignore[index]
    if how == "another image":
        told = refused("adapt", table, *WORDS, "--out", out)
        assert f"some have changed since the run in {out} began" in told and "Put them back" in told
    image.write_bytes(original)
    assert medgraft("adapt", table, *WORDS, "--out", out).exit_code == 0
    assert weights(out) == weights(tmp_path / "whole")


def test_a_file_that_changes_after_it_was_kept_in_memory_changes_nothing(
    medgraft, on_disk, tmp_path, monkeypatch
) -> None:
    table = on_disk("classify")
    assert medgraft("adapt", table, *WORDS, "--out", tmp_path / "whole").exit_code == 0
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0, 60).__next__))
    change_after(monkeypatch, 2, table.parent / "03.png", b"no longer an image")
    assert medgraft("adapt", table, *WORDS, "--out", tmp_path / "run").exit_code == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize("how", ["a file in its place", "damaged entries"])
def test_a_cache_that_cannot_be_read_is_told_and_costs_only_time(
    medgraft, on_disk, tmp_path, caplog, how
) -> None:
    table, cache = on_disk("classify"), tmp_path / "cache"
    assert medgraft("adapt", table, *WORDS, "--out", tmp_path / "whole").exit_code == 0
    if how == "a file in its place":
        cache.write_text("not a folder")
    else:
        assert medgraft("adapt", table, *WORDS, "--cache", cache, "--out", tmp_path / "first").exit_code == 0
        entries = [path for path in cache.rglob("*") if path.is_file()]
        assert len(entries) > 10
        for entry in entries:
            entry.write_bytes(entry.read_bytes()[:-40])
    caplog.clear()
    assert medgraft("adapt", table, *WORDS, "--cache", cache, "--out", tmp_path / "run").exit_code == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    warnings = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    if how == "a file in its place":
        assert (
            len(warnings) == 1
            and str(cache) in warnings[0]
            and "goes on from the source files" in warnings[0]
        )
    else:
        assert len(warnings) == len(entries) and all("are damaged" in warning for warning in warnings)
