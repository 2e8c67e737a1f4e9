from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medgraft.engine import checkpoint
from medgraft.engine.checkpoint import Saved
from medgraft.engine.randomness import generator, seeded, stable_seed
from medgraft.engine.records import read_records
from medgraft.engine.run import Run
from medgraft.errors import RunError, SettingsError


def test_records_of_a_run_and_its_children_come_back(tmp_path: Path) -> None:
    run = Run(tmp_path, device="cpu")
    table = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y"]})
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    run.record("policy/first", table)
    run.child("head").record("picture", picture)
    found = read_records(tmp_path)
    pd.testing.assert_frame_equal(found.tables["policy/first"], table)
    assert np.array_equal(found.images["head/picture"], picture)
    assert set(run.shared.records.images) == {"head/picture"}
    assert not list(tmp_path.rglob("*.tmp"))


def test_costly_things_are_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> Saved:
        calls.append(1)
        return Saved({"x": torch.arange(3.0)}, {"note": "n"})

    for _ in range(2):
        found = Run(tmp_path, device="cpu").once("table", compute)
        assert torch.equal(found.tensors["x"], torch.arange(3.0)) and found.facts == {"note": "n"}
    assert len(calls) == 1
    (tmp_path / "once" / "table.safetensors").write_bytes(b"damaged")
    Run(tmp_path, device="cpu").once("table", compute)
    assert len(calls) == 2


def test_the_previous_checkpoint_stays_until_the_next_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.write_next(tmp_path, 1, Saved({"x": torch.zeros(2)}))
    monkeypatch.setattr(
        checkpoint,
        "hash_file",
        lambda path: "0" * 64 if "000002" in path.name and "tmp" not in path.name else "1",
    )
    with pytest.raises(RunError, match="previous checkpoint is untouched"):
        checkpoint.write_next(tmp_path, 2, Saved({"x": torch.ones(2)}))
    monkeypatch.undo()
    assert (tmp_path / "epoch-000001.safetensors").exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(RunError, match="to be a folder that can be written to"):
        checkpoint.write_saved(blocked / "inner", Saved({"x": torch.zeros(1)}))
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_tied_weights_are_stored() -> None:
    tensor = torch.arange(4.0)
    separate = checkpoint._without_shared_memory({"a": tensor, "b": tensor})
    assert separate["a"].data_ptr() != separate["b"].data_ptr() and torch.equal(separate["a"], separate["b"])


def test_seeds_depend_on_names_and_on_nothing_else() -> None:
    assert stable_seed(0, ("head",), "batches", 3) == stable_seed(0, ("head",), "batches", 3)
    seeds = {
        stable_seed(seed, path, "batches", epoch)
        for seed in (0, 1)
        for path in ((), ("a",))
        for epoch in (0, 1)
    }
    assert len(seeds) == 8
    torch.rand(5)
    assert torch.equal(torch.rand(3, generator=generator("x")), torch.rand(3, generator=generator("x")))


def test_global_generators_are_left_as_they_were() -> None:
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with seeded(1):
        first = torch.rand(2), np.random.rand(2), random.random()  # noqa: NPY002
    with seeded(1):
        again = torch.rand(2), np.random.rand(2), random.random()  # noqa: NPY002
    assert torch.equal(first[0], again[0]) and (first[1] == again[1]).all() and first[2] == again[2]
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()  # noqa: NPY002


def test_a_run_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SettingsError, match="processes of at least 1"):
        Run(processes=0)
    with pytest.raises(SettingsError, match="a precision among"):
        Run(precision="half")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="a name of letters"):
        Run().child("a/b")


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path, dead_process: int) -> None:
    for folder, name in (
        ("records", f".table.parquet.{dead_process}.tmp"),
        ("once", f".x.safetensors.{dead_process}.tmp"),
        ("", f".log.csv.{dead_process}.tmp"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(b"half")
    run = Run(tmp_path, device="cpu")
    run.record("table", pd.DataFrame({"a": [1]}))
    run.once("x", lambda: Saved({"x": torch.zeros(1)}))
    checkpoint.write_text(tmp_path / "log.csv", "a")
    assert not list(tmp_path.rglob("*.tmp"))
