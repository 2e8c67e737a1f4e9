from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medgraft.engine.checkpoint import Saved
from medgraft.engine.loop import fit
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.engine.schedule import Schedule
from medgraft.errors import RunError, SettingsError
from medgraft.models.model import Model
from medgraft.testing import StopsAfter
from medgraft.types import Loss, Progress, Step

from .conftest import OnFixedRows, TinyLine, make_line


def quiet(folder: Path | None = None, **options: object) -> Run:
    return Run(folder, device="cpu", progress=False, checkpoint_seconds=0, **options)  # type: ignore[arg-type]


SGD = Schedule(epochs=3, optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, shape="constant")


class Scores:
    """A selector that gives prepared scores."""

    def __init__(self, scores: list[float]) -> None:
        self.rule, self.scores = "target_validation", iter(scores)
        self.seen: list[Tensor] = []

    def score(self, model: Model) -> float:
        self.seen.append(next(model.parameters()).detach().clone())
        return next(self.scores)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_equals_a_loop_written_by_hand(line: TinyLine) -> None:
    twin = make_line()
    schedule = Schedule(
        epochs=4, optimizer="adamw", lr=0.03, weight_decay=0.1, shape="cosine", warmup_epochs=1
    )
    run = quiet(seed=3)
    fit(OnFixedRows(line), run, schedule)

    optimizer = torch.optim.AdamW(twin.parameters(), weight_decay=0.1)
    objective = OnFixedRows(twin)
    for epoch in range(4):
        curve = [
            0.015,
            0.03,
            0.03 * 0.5 * (1 + math.cos(math.pi / 3)),
            0.03 * 0.5 * (1 + math.cos(2 * math.pi / 3)),
        ]
        optimizer.param_groups[0]["lr"] = curve[epoch]
        for step in objective.batches(Progress(epoch, 4), quiet(seed=3)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(twin(step.tensors["inputs"]), step.tensors["truth"]).backward()
            optimizer.step()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(line.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)


def test_logs_the_mean_loss_of_each_epoch(line: TinyLine, tmp_path: Path) -> None:
    before = make_line()
    objective = OnFixedRows(before, batch=11)
    expected = nn.functional.cross_entropy(before(objective.inputs), objective.truth).item()
    history = fit(OnFixedRows(line, batch=11), quiet(tmp_path), SGD)
    assert history.rows[0]["loss"] == pytest.approx(expected, rel=1e-6)
    assert [row["step"] for row in history.rows] == [1, 2, 3]
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["loss"].tolist() == pytest.approx([row["loss"] for row in history.rows])


class OneGroup(OnFixedRows):
    def groups(self, phase: str) -> list[ParamGroup]:
        return [ParamGroup(list(self.model.get_submodule("head").parameters()))]


class OfSomeRows(OnFixedRows):
    """Logs the mean of the first input where it is above 1, which is so in some rows of some batches, or in none."""

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        total = super().loss(step, phase, progress).total
        values = step.tensors["inputs"][:, 0]
        having = (values > 1).double()
        parts = {"large": torch.stack([(values * having).mean(), having.mean()]), "none": torch.zeros(2)}
        return Loss(total, parts)


def test_what_only_some_rows_have_is_averaged_over_these(line: TinyLine) -> None:
    run, objective = quiet(), OfSomeRows(line, rows=12, batch=4)
    assert any((rows > 1).any() for rows in objective.inputs[:, 0].split(4))
    fit(objective, run, SGD)
    history = run.shared.records.tables["history"]
    values = objective.inputs[:, 0]
    assert history["large"].tolist() == pytest.approx([float(values[values > 1].mean())] * 3)
    assert history["none"].isna().all()


def test_parameters_in_no_group_stay_as_they_are_and_need_no_gradient_meanwhile(line: TinyLine) -> None:
    line.body[0].bias.requires_grad_(False)
    before = weights(line)
    fit(OneGroup(line), quiet(), SGD)
    after = weights(line)
    assert torch.equal(before["body.0.weight"], after["body.0.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert [p.requires_grad for p in line.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in line.parameters())


class TwoPhases(OnFixedRows):
    """Phase one descends on the head, phase two ascends on the body."""

    phases = ("down", "up")

    def groups(self, phase: str) -> list[ParamGroup]:
        part = self.model.get_submodule("head" if phase == "down" else "body")
        return [ParamGroup(list(part.parameters()))]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        return [Step({"inputs": self.inputs, "truth": self.truth})]

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss | None:
        if phase == "up" and progress.epoch == 0:
            return None
        total = super().loss(step, phase, progress).total
        return Loss(total if phase == "down" else -total, {"plain": total})


def test_phases_step_in_turn_each_on_its_own_gradient(line: TinyLine) -> None:
    twin = make_line()
    objective = TwoPhases(twin)
    fit(TwoPhases(line), quiet(), {"down": SGD, "up": SGD.model_copy(update={"lr": 0.1})})
    for epoch in range(3):
        for phase, lr, part in (("down", 0.5, twin.head), ("up", 0.1, twin.body)):
            twin.zero_grad()
            loss = objective.loss(
                Step({"inputs": objective.inputs, "truth": objective.truth}), phase, Progress(epoch, 3)
            )
            if loss is not None:
                loss.total.backward()
                with torch.no_grad():
                    for parameter in part.parameters():
                        parameter -= lr * parameter.grad
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(line.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)


def test_one_schedule_per_phase_is_asked_for(line: TinyLine) -> None:
    with pytest.raises(SettingsError, match="one schedule per phase"):
        fit(TwoPhases(line), quiet(), {"down": SGD})
    with pytest.raises(SettingsError, match="same length"):
        fit(TwoPhases(line), quiet(), {"down": SGD, "up": SGD.model_copy(update={"epochs": 9})})


def test_gradients_are_clipped_by_norm_and_by_value(line: TinyLine) -> None:
    before = weights(line)
    schedule = SGD.model_copy(update={"epochs": 1, "lr": 1.0, "clip_norm": 1e-3})
    fit(OnFixedRows(line, batch=11), quiet(), schedule)
    moved = torch.cat([(weights(line)[name] - before[name]).flatten() for name in before])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-4)

    other = make_line()
    fit(
        OnFixedRows(other, batch=11),
        quiet(),
        schedule.model_copy(update={"clip_norm": None, "clip_value": 1e-4}),
    )
    largest = max(float((weights(other)[name] - before[name]).abs().max()) for name in before)
    assert largest == pytest.approx(1e-4, rel=1e-3)


def test_bf16_takes_effect_through_the_wrapped_objective() -> None:
    full, half = make_line(), make_line()
    fit(OnFixedRows(full), quiet(), SGD)
    fit(OnFixedRows(half), quiet(precision="bf16-mixed"), SGD)
    difference = max(float((weights(full)[n] - weights(half)[n]).abs().max()) for n in weights(full))
    assert 1e-6 < difference < 0.1
    assert all(tensor.dtype == torch.float32 for tensor in weights(half).values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "nadam", "rmsprop", "avagrad", "avagradw"])
@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, optimizer: str, stop_after: int
) -> None:
    schedule = Schedule(epochs=3, optimizer=optimizer, lr=0.05, warmup_epochs=1)  # type: ignore[arg-type]
    whole = make_line(dropout=0.5)
    uninterrupted = fit(OnFixedRows(whole), quiet(), schedule)
    stopped = make_line(dropout=0.5)
    run = quiet(tmp_path, shared=StopsAfter(stop_after))
    with pytest.raises(Interrupted):
        fit(OnFixedRows(stopped), run, schedule)
    resumed = make_line(dropout=0.5)
    history = fit(OnFixedRows(resumed), dataclasses.replace(run, shared=Shared()), schedule)
    assert_equal(weights(whole), weights(resumed))
    for one, other in zip(uninterrupted.rows, history.rows):
        assert {**one, "seconds": 0, "score": 0} == {**other, "seconds": 0, "score": 0}


def test_a_finished_training_is_loaded_not_repeated(tmp_path: Path, line: TinyLine) -> None:
    fit(OnFixedRows(line), quiet(tmp_path), SGD)

    class Fails(OnFixedRows):
        def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
            raise AssertionError("trained again")

    again = make_line(seed=9)
    fit(Fails(again), quiet(tmp_path), SGD)
    assert_equal(weights(line), weights(again))


class WithState(OnFixedRows):
    """Keeps a tensor and a number that are neither parameter nor buffer and change the loss."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.centre, self.count = torch.zeros(2), 0

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        self.centre = self.centre + 0.1 * (1 + self.count)
        self.count += 1
        return super().batches(progress, run)

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        pulled = (self.model(step.tensors["inputs"]) - self.centre).square().mean()
        return Loss(super().loss(step, phase, progress).total + pulled)

    def state(self) -> Saved:
        return Saved({"centre": self.centre}, {"count": self.count})

    def load_state(self, saved: Saved) -> None:
        self.centre, self.count = saved.tensors["centre"], saved.facts["count"]


def test_state_beyond_parameters_survives_a_resume(tmp_path: Path) -> None:
    whole, resumed = make_line(), make_line()
    fit(WithState(whole), quiet(), SGD)
    run = quiet(tmp_path, shared=StopsAfter(5))
    with pytest.raises(Interrupted):
        fit(WithState(make_line()), run, SGD)
    fit(WithState(resumed), dataclasses.replace(run, shared=Shared()), SGD)
    assert_equal(weights(whole), weights(resumed))


def test_a_damaged_checkpoint_is_passed_over_and_replayed(tmp_path: Path) -> None:
    whole, resumed = make_line(), make_line()
    fit(OnFixedRows(whole), quiet(), SGD)
    run = quiet(tmp_path, shared=StopsAfter(7))
    with pytest.raises(Interrupted):
        fit(OnFixedRows(make_line()), run, SGD)
    (file,) = (tmp_path / "checkpoints").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8] + b"\x00" * 8)
    fit(OnFixedRows(resumed), dataclasses.replace(run, shared=Shared()), SGD)
    assert_equal(weights(whole), weights(resumed))


def test_another_thread_count_is_refused(tmp_path: Path) -> None:
    fit(OnFixedRows(make_line()), quiet(tmp_path), SGD)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(RunError, match=f"same number of threads as before \\({threads}\\)"):
            fit(OnFixedRows(make_line()), quiet(tmp_path), SGD)
    finally:
        torch.set_num_threads(threads)


def test_the_best_epoch_is_kept_and_its_rule_told(line: TinyLine) -> None:
    selector = Scores([0.1, 0.9, 0.4])
    history = fit(OnFixedRows(line), quiet(selector=selector), SGD)
    assert (history.rule, history.kept) == ("target_validation", 1)
    assert torch.equal(next(line.parameters()), selector.seen[1])


def test_training_stops_when_patience_is_over(line: TinyLine) -> None:
    scores = [0.5, 0.4, 0.6, 0.5, 0.5, 0.9]
    schedule = SGD.model_copy(update={"epochs": 6, "patience": 2})
    history = fit(OnFixedRows(line), quiet(selector=Scores(scores)), schedule)
    assert (len(history.rows), history.kept) == (5, 2)
    with pytest.raises(SettingsError, match="selection rule"):
        fit(OnFixedRows(make_line()), quiet(), schedule)


PLATEAU = Schedule(epochs=5, lr=0.05, shape="plateau", gamma=0.5, plateau_epochs=1)
FALLING = [0.5, 0.4, 0.6, 0.5, 0.5]


def test_the_learning_rate_falls_on_a_plateau_of_the_score(line: TinyLine) -> None:
    history = fit(OnFixedRows(line), quiet(selector=Scores(FALLING)), PLATEAU)
    assert [row["lr"] for row in history.rows] == [0.05, 0.05, 0.025, 0.025, 0.0125]
    constant = make_line()
    fit(
        OnFixedRows(constant),
        quiet(selector=Scores(FALLING)),
        PLATEAU.model_copy(update={"shape": "constant"}),
    )
    assert not torch.equal(line.head.weight, constant.head.weight)


@pytest.mark.parametrize("stop_after", [2, 5, 8, 11, 14])
def test_a_plateau_goes_on_where_it_was_interrupted(tmp_path: Path, stop_after: int) -> None:
    whole, resumed = make_line(), make_line()
    uninterrupted = fit(OnFixedRows(whole), quiet(selector=Scores(FALLING)), PLATEAU)
    run = quiet(tmp_path, shared=StopsAfter(stop_after), selector=Scores(FALLING))
    with pytest.raises(Interrupted):
        fit(OnFixedRows(make_line()), run, PLATEAU)
    left = Scores(
        FALLING[stop_after // 3 :]
    )  # three steps an epoch: those scored before come from the checkpoint
    history = fit(OnFixedRows(resumed), dataclasses.replace(run, shared=Shared(), selector=left), PLATEAU)
    assert [row["lr"] for row in history.rows] == [row["lr"] for row in uninterrupted.rows]
    assert_equal(weights(whole), weights(resumed))


def test_a_plateau_without_scores_is_refused_with_a_way_out(line: TinyLine) -> None:
    with pytest.raises(
        SettingsError, match=r"'plateau' needs a selection rule .* Add validation rows .*=cosine"
    ):
        fit(OnFixedRows(line), quiet(), PLATEAU)


def test_a_loss_that_is_not_finite_is_named(line: TinyLine) -> None:
    class Breaks(OnFixedRows):
        def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
            return Loss(super().loss(step, phase, progress).total * math.nan)

    with pytest.raises(RunError, match="'loss' became nan in epoch 0"):
        fit(Breaks(line), quiet(), SGD)


def test_a_second_training_needs_a_child_run(line: TinyLine) -> None:
    run = quiet()
    fit(OnFixedRows(line), run, SGD)
    with pytest.raises(RunError, match="run of its own"):
        fit(OnFixedRows(line), run, SGD)
    fit(OnFixedRows(line), run.child("second"), SGD)


def test_limits_and_steps_per_epoch_cut_training_short(line: TinyLine) -> None:
    history = fit(OnFixedRows(line), quiet(limit=Limit(epochs=2, steps=1)), SGD)
    assert [row["step"] for row in history.rows] == [1, 2]
    long = SGD.model_copy(update={"steps_per_epoch": 2})
    assert [row["step"] for row in fit(OnFixedRows(make_line()), quiet(), long).rows] == [2, 4, 6]


class Unfreezing(OnFixedRows):
    """Head first; from the second epoch on everything, the body slower and with its own optimiser."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.epoch = 0

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        self.epoch = progress.epoch
        return super().batches(progress, run)

    def groups(self, phase: str) -> list[ParamGroup]:
        head = ParamGroup(list(self.model.get_submodule("head").parameters()))
        body = ParamGroup(
            list(self.model.get_submodule("body").parameters()), lr_factor=0.1, optimizer="adam"
        )
        return [head] if self.epoch == 0 else [head, body]


def test_groups_are_read_anew_each_epoch_and_momentum_survives(line: TinyLine) -> None:
    schedule = SGD.model_copy(update={"momentum": 0.9, "lr": 0.1, "epochs": 2})
    twin = make_line()
    fit(Unfreezing(line), quiet(), schedule)
    objective, run = OnFixedRows(twin), quiet()
    sgd = torch.optim.SGD(twin.head.parameters(), 0.1, 0.9)
    adam = torch.optim.Adam(twin.body.parameters(), 0.01)
    for epoch in range(2):
        for step in objective.batches(Progress(epoch, 2), run):
            twin.zero_grad()
            nn.functional.cross_entropy(twin(step.tensors["inputs"]), step.tensors["truth"]).backward()
            for optimizer in (sgd,) if epoch == 0 else (sgd, adam):
                optimizer.step()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(line.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)


def test_resume_across_a_change_of_groups(tmp_path: Path) -> None:
    whole, resumed = make_line(), make_line()
    fit(Unfreezing(whole), quiet(), SGD)
    run = quiet(tmp_path, shared=StopsAfter(7))
    with pytest.raises(Interrupted):
        fit(Unfreezing(make_line()), run, SGD)
    fit(Unfreezing(resumed), dataclasses.replace(run, shared=Shared()), SGD)
    assert_equal(weights(whole), weights(resumed))
