"""How far layers move: against copies of the weights; the same whether a run was continued or not."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import medgraft as mg
from medgraft.data.task import Task
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.update_sizes import UpdateSizes
from medgraft.methods import FineTune
from medgraft.testing import make_cohort, make_model


def test_the_mean_absolute_change_per_step_is_measured():
    model = make_model("segment")
    sizes = UpdateSizes(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted: dict[str, list[float]] = {}
    for _ in range(2):
        for _ in range(3):
            before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
            model(torch.rand(2, model.spec.channels, 32, 32)).square().mean().backward()
            sizes.step(optimizer)
            optimizer.zero_grad()
            for name, weight in model.named_parameters():
                wanted.setdefault(name, []).append((weight.detach() - before[name]).abs().mean().item())
        sizes.end_epoch()
    table = sizes.table()
    assert set(table["group"]) == {"context", "localization", "transpose", "segmentation"}
    assert not table["tensor"].str.contains("norm|bias").any()
    for name, rows in table.groupby("tensor"):
        first, second = rows.sort_values("epoch")["update"]
        assert first == pytest.approx(sum(wanted[str(name)][:3]) / 3, rel=1e-4)
        assert second == pytest.approx(sum(wanted[str(name)][3:]) / 3, rel=1e-4)


def test_frozen_layers_are_left_out():
    run = Run(device="cpu", progress=False, record_updates=True, limit=Limit(1, 1))
    adapt(make_model("segment"), Task(target=make_cohort("segment")), FineTune(scope="first"), run)
    assert set(run.shared.records.tables["updates"]["group"]) == {"context"}


def method() -> FineTune:
    return FineTune(augmentation=None, schedule=Schedule(epochs=3, batch_size=4, optimizer="avagrad", lr=0.1))


def run(folder, **options) -> Run:
    options |= {"record_updates": True, "checkpoint_seconds": 0}
    return Run(folder, device="cpu", progress=False, select="last", **options)


def test_a_continued_run_has_measured_every_epoch(tmp_path):
    task, model = Task(target=make_cohort("segment")), make_model("segment")
    adapt(model, task, method(), run(tmp_path / "whole"))
    adapt(model, task, method(), run(tmp_path / "part", limit=Limit(epochs=2)))
    tables = []
    for name in ("whole", "part"):
        adapt(model, task, method(), run(tmp_path / name))
        tables.append(pd.read_parquet(tmp_path / name / "records" / "updates.parquet"))
    assert set(tables[0]["epoch"]) == {0, 1, 2}
    pd.testing.assert_frame_equal(*tables)


def test_it_is_evidence_of_a_run(tmp_path):
    task = Task(target=make_cohort("segment"))
    mg.adapt("random/unet_width8", task, method(), run(tmp_path / "run", limit=Limit(2, 1)))
    table = mg.load_evidence(tmp_path / "run", "sgd").tables["updates/sgd/0"]
    assert list(table.columns) == ["epoch", "group", "tensor", "update"]
    assert (table["update"] > 0).tolist() == (
        table["epoch"] == 1
    ).tolist()  # AvaGrad's first step moves nothing
