"""The only training loop. Read `fit` from top to bottom: that is all that happens."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgraft.engine import checkpoint, optimizers, randomness
from medgraft.engine.checkpoint import Saved
from medgraft.engine.compiling import compiled
from medgraft.engine.distributed import refuse_disagreement, shard, synchronise_buffers
from medgraft.engine.epoch_means import epoch_means
from medgraft.engine.memory_order import channels_last, put_channels_last
from medgraft.engine.objective import Objective
from medgraft.engine.progress import Advance, progress_bar
from medgraft.engine.run import CHECKPOINTS, Run
from medgraft.engine.schedule import OptimizerName, Schedule, refuse_without_scores, schedules_per_phase
from medgraft.engine.tensorboard import EventFile
from medgraft.engine.throughput import Throughput
from medgraft.engine.update_sizes import UpdateSizes
from medgraft.engine.watch import PLANES, WATCHED, Watch
from medgraft.errors import RunError
from medgraft.models.optimizer_history import OptimizerHistory, restore_history
from medgraft.types import JSON, Progress, Step
from medgraft.whole_files import write_text

logger = logging.getLogger(__name__)
Value = TypeVar("Value")


class History(NamedTuple):
    """How a training went.

    rows: one per epoch: epoch, step, loss and its parts, score, lr, seconds.
    rule: how the kept epoch was chosen; kept: that epoch, counted from 0.
    """

    rows: list[JSON]
    rule: str
    kept: int


def fit(
    objective: Objective,
    run: Run,
    schedule: Schedule | Mapping[str, Schedule],
    optimizer_history: OptimizerHistory | None = None,
) -> History:
    """Train an objective to the end of its schedule, continuing from the run's last epoch boundary.

    Args:
        objective: its model is changed in place and holds the kept epoch's weights afterwards.
        run: a run or child that has not trained anything else.
        schedule: one for all phases, or one per phase; all with the same length and batch size.
        optimizer_history: what the first phase's optimiser remembers of the model when the training begins.

    Returns: the history, equal for an interrupted and an uninterrupted run except for `seconds`.

    Raises:
        RunError: a second training in the same run, another thread count than before, a loss that is not finite.
        ModelError: the optimiser history is of another kind of optimiser.
        Interrupted: a stop was requested.
    """
    if run.path in run.shared.fitted:
        raise RunError(
            "A training", "a run of its own", f"this run {'/'.join(run.path) or '(root)'} has trained already",
            "Pass run.child('name') to every training but one.",
        )  # fmt: skip
    run.shared.fitted.add(run.path)
    training = _Training(objective, run, schedule, optimizer_history)
    with compiled(objective.model, run.fabric.device) if run.compile else nullcontext():
        history = training.run_to_end()
    if run.save_optimizer:
        run.shared.optimizer_history = training.best_memory or training.memory()
    run.shared.rule = history.rule
    run.shared.loss_is_sample_mean &= objective.loss_is_sample_mean
    return history


MODEL_PREFIX = "model."
"""Of parameter names inside an objective."""


class _Training:
    """The state of one `fit`: wrapped objective, optimisers, best weights, history."""

    def __init__(
        self,
        objective: Objective,
        run: Run,
        schedule: Schedule | Mapping[str, Schedule],
        memory: OptimizerHistory | None,
    ) -> None:
        self.objective, self.run, self.first_memory = objective, run, memory
        self.schedules = schedules_per_phase(objective.phases, schedule)
        first = self.schedules[objective.phases[0]]
        self.epochs = min(first.epochs, run.limit.epochs or first.epochs)
        self.steps_per_epoch = min(filter(None, (first.steps_per_epoch, run.limit.steps)), default=None)
        self.optimizer_class = optimizers.CLASSES[first.optimizer].__name__
        self.patience = first.patience
        self.rule = run.selector.rule if run.selector is not None else "last"
        refuse_without_scores(self.schedules, self.rule)
        self.requires_grad = {p: p.requires_grad for p in objective.parameters()}  # as it was found
        objective.requires_grad_(True)  # data parallelism must know every parameter that any epoch may train
        put_channels_last(objective)
        self.wrapped = run.fabric.setup_module(objective)
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in objective.named_parameters()}
        self.optimizers: dict[str, dict[OptimizerName, Optimizer]] = {phase: {} for phase in objective.phases}
        self.loaded: dict[str, tuple[dict[str, Tensor], JSON]] = {}  # of optimisers, until they are built
        self.rows: list[JSON] = []
        self.step = 0
        self.best: dict[str, Tensor] | None = None
        self.best_memory: OptimizerHistory | None = None  # of the optimiser, where it is to be saved
        self.best_score, self.best_epoch = -math.inf, -1
        self.updates = UpdateSizes(objective.model) if run.record_updates else None
        self.watch = Watch(run.watched, run) if run.watched is not None else None
        self.saved_at = time.monotonic()

    @property
    def scores(self) -> list[float]:
        return [row["score"] for row in self.rows]

    @property
    def folder(self) -> Path | None:
        return None if self.run.folder is None else Path(self.run.folder) / CHECKPOINTS

    def run_to_end(self) -> History:
        epoch = self.resume()
        try:
            with (
                progress_bar(self.title, self.epochs, self.bar_shown) as advance,
                self.open_events() as events,
            ):
                for _ in range(epoch):
                    advance(None)
                self.look(epoch)
                while epoch < self.epochs and not self.out_of_patience(epoch):
                    self.train_epoch(epoch, advance)
                    if events is not None:
                        events.add(self.rows[-1])
                    epoch += 1
                    self.save(epoch, final=epoch == self.epochs or self.out_of_patience(epoch))
        finally:
            self.objective.to(memory_format=torch.contiguous_format)
            for parameter, required in self.requires_grad.items():
                parameter.requires_grad_(required)
                parameter.grad = None
        if self.best is not None:
            self.objective.model.load_state_dict(self.best)
        else:
            if self.rule != "last":
                logger.warning("no epoch had a defined validation score, so the last one is kept")
                self.rule = "last"
            self.best_epoch = len(self.rows) - 1
        refuse_disagreement(self.run.fabric, self.objective)
        if self.updates is not None:
            self.run.record("updates", self.updates.table())
        if self.watch is not None:
            self.run.record(WATCHED, self.watch.table())
            self.run.record(PLANES, self.watch.planes())
        self.run.record("history", pd.DataFrame(self.rows))
        return History(self.rows, self.rule, self.best_epoch)

    @property
    def title(self) -> str:
        return "training" if not self.run.path else f"training {'/'.join(self.run.path)}"

    @property
    def bar_shown(self) -> bool | None:
        return self.run.progress if self.run.fabric.global_rank == 0 else False

    def train_epoch(self, epoch: int, advance: Advance) -> None:
        started, first_step = time.monotonic(), self.step
        progress = Progress(epoch, self.epochs, self.step)
        objective, run = self.objective, self.run
        with randomness.seeded(run.seed, run.path, "epoch", epoch, run.fabric.global_rank):
            objective.eval()
            steps = objective.batches(progress, run)
            self.prepare_optimizers(epoch)
            objective.train()
            totals: dict[str, Tensor] = {}
            throughput = Throughput()
            for step in throughput.watch(itertools.islice(steps, self.steps_per_epoch)):
                self.train_step(step, Progress(epoch, self.epochs, self.step), totals)
                self.step += 1
                run.raise_if_stopped()
        objective.eval()
        means = epoch_means(totals, max(1, self.step - first_step), epoch, run.fabric)
        pace = throughput.tell()  # the means have waited for the accelerator
        synchronise_buffers(run.fabric, objective)
        if self.updates is not None:
            self.updates.end_epoch()
        score = self.select(epoch)
        lr = self.schedules[objective.phases[0]].learning_rate(epoch, self.scores)
        seconds = round(time.monotonic() - started, 3)
        self.rows.append(
            {"epoch": epoch, "step": self.step, **means, "score": score, "lr": lr, "seconds": seconds}
        )
        self.write_log()
        told = "" if math.isnan(score) else f"  score {score:.3f}"
        advance(f"loss {means.get('loss', math.nan):.3f}{told}{self.look(epoch + 1)}  {pace}")

    def look(self, epoch: int) -> str:
        """Let the watch see the model after so many epochs; what it has to tell."""
        if self.watch is None or self.run.fabric.global_rank != 0:
            return ""
        return self.watch.look(
            self.objective.model, epoch, last=epoch == self.epochs or self.out_of_patience(epoch)
        )

    def train_step(self, step: Step, progress: Progress, totals: dict[str, Tensor]) -> None:
        """For each phase: gradients to None, forward, backward, clip, step."""
        fabric = self.run.fabric
        local, weight = shard(step, fabric.global_rank, fabric.world_size)
        local = fabric.to_device(
            Step({name: channels_last(tensor) for name, tensor in local.tensors.items()})
        )
        for phase in self.objective.phases:
            for parameter in self.requires_grad:
                parameter.grad = None
            loss = self.wrapped(local, phase, progress)
            if loss is None:
                continue
            fabric.backward(loss.total if weight == 1.0 else loss.total * weight)
            schedule = self.schedules[phase]
            for optimizer in self.optimizers[phase].values():
                if schedule.clip_norm is not None:
                    fabric.clip_gradients(self.wrapped, optimizer, max_norm=schedule.clip_norm)
                elif schedule.clip_value is not None:
                    fabric.clip_gradients(self.wrapped, optimizer, clip_val=schedule.clip_value)
                optimizer.step() if self.updates is None else self.updates.step(optimizer)
            name = "loss" if len(self.objective.phases) == 1 else f"loss_{phase}"
            for part, value in {name: loss.total, **loss.parts}.items():
                value = value.detach() * weight
                totals[part] = totals[part] + value if part in totals else value

    def prepare_optimizers(self, epoch: int) -> None:
        """Read the groups anew: set learning rates, rebuild an optimiser only where its parameters changed."""
        trained: set[nn.Parameter] = set()
        for phase in self.objective.phases:
            schedule = self.schedules[phase]
            lr = schedule.learning_rate(epoch, self.scores)
            by_name: dict[OptimizerName, list[dict[str, Any]]] = {}
            for group in self.objective.groups(phase):
                decay = schedule.weight_decay if group.weight_decay is None else group.weight_decay
                options = {
                    "params": list(group.parameters),
                    "lr": lr * group.lr_factor,
                    "weight_decay": decay,
                }
                trained.update(group.parameters)
                by_name.setdefault(group.optimizer or schedule.optimizer, []).append(options)
            held = self.optimizers[phase]
            self.optimizers[phase] = {
                name: self.refresh_optimizer(held.get(name), phase, name, groups)
                for name, groups in by_name.items()
            }
        for parameter in self.requires_grad:
            parameter.requires_grad_(parameter in trained)

    def refresh_optimizer(
        self, held: Optimizer | None, phase: str, name: OptimizerName, groups: list[dict[str, Any]]
    ) -> Optimizer:
        same = held is not None and [g["params"] for g in held.param_groups] == [g["params"] for g in groups]
        if held is not None and same:
            for group, options in zip(held.param_groups, groups):
                group.update(lr=options["lr"], weight_decay=options["weight_decay"])
            return held
        optimizer = optimizers.build_optimizer(name, groups, self.schedules[phase])
        loaded = self.loaded.pop(f"{phase}/{name}", None)
        history = optimizers.collect_state(held, self.names) if held is not None else loaded
        if history is not None:
            optimizers.restore_state(optimizer, self.names, *history)
        elif self.first_memory is not None and not self.rows and phase == self.objective.phases[0]:
            restore_history(self.first_memory, optimizer, self.objective.model)
        return cast(Optimizer, self.run.fabric.setup_optimizers(optimizer))

    def select(self, epoch: int) -> float:
        selector = self.run.selector
        if selector is None or selector.rule == "last":
            return math.nan
        score = selector.score(self.objective.model)
        if score > self.best_score:
            self.best_score, self.best_epoch = score, epoch
            state = self.objective.model.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in state.items()}
            self.best_memory = self.memory() if self.run.save_optimizer else None
        return score

    def out_of_patience(self, epoch: int) -> bool:
        return self.patience is not None and epoch - 1 - max(self.best_epoch, 0) >= self.patience

    # What follows is the memory of the run: checkpoints at epoch boundaries, and the log.

    def save(self, epoch: int, final: bool) -> None:
        due = final or time.monotonic() - self.saved_at >= self.run.checkpoint_seconds
        if self.folder is None or not self._agree(due):
            return
        if self.run.writes:
            checkpoint.write_next(self.folder, epoch, self.collect(epoch))
        self.run.fabric.barrier()
        self.saved_at = time.monotonic()

    def _agree(self, due: bool) -> bool:
        """Clocks differ between processes: rank 0 decides."""
        return bool(self.run.fabric.broadcast(due, src=0)) if self.run.fabric.world_size > 1 else due

    def collect(self, epoch: int) -> Saved:
        tensors = {f"objective/{name}": tensor for name, tensor in self.objective.state_dict().items()}
        extra = self.objective.state()
        tensors.update({f"state/{name}": tensor for name, tensor in extra.tensors.items()})
        tensors.update({f"best/{name}": tensor for name, tensor in (self.best or {}).items()})
        memory = {} if self.best_memory is None else self.best_memory.flat()
        tensors.update({f"memory/{key}": value for key, value in memory.items() if isinstance(value, Tensor)})
        facts: JSON = {
            "memory": {key: value for key, value in memory.items() if not isinstance(value, Tensor)},
            "epoch": epoch, "step": self.step, "rows": self.rows, "state": extra.facts, "optimizers": {},
            "best_epoch": self.best_epoch, "best_score": self.best_score if self.best is not None else None,
            "threads": torch.get_num_threads(), "processes": self.run.fabric.world_size,
            "updates": [] if self.updates is None else self.updates.epochs,
            "watch": None if self.watch is None else self.watch.state(),
        }  # fmt: skip
        for phase, held in self.optimizers.items():
            for name, optimizer in held.items():
                state, rest = optimizers.collect_state(optimizer, self.names)
                tensors.update({f"optimizer/{phase}/{name}/{key}": tensor for key, tensor in state.items()})
                facts["optimizers"][f"{phase}/{name}"] = rest
        return Saved(tensors, facts)

    def resume(self) -> int:
        """Put the last whole checkpoint back and return the epoch to go on with."""
        if self.folder is None:
            return 0
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        found = checkpoint.read_latest(self.folder)
        if found is None:
            return 0
        epoch, (tensors, facts) = found
        for what, now in (("threads", torch.get_num_threads()), ("processes", self.run.fabric.world_size)):
            if facts[what] != now:
                raise RunError(
                    "Continuing a run", f"the same number of {what} as before ({facts[what]})", f"it is {now}",
                    f"Start it with {facts[what]} {what}, or in a new folder.",
                )  # fmt: skip
        self.objective.load_state_dict(_under("objective/", tensors))
        self.objective.load_state(Saved(_under("state/", tensors), facts["state"]))
        self.step, self.rows = facts["step"], facts["rows"]
        if self.updates is not None:
            self.updates.resume(facts["updates"])
        if self.watch is not None and facts["watch"] is not None:
            self.watch.resume(facts["watch"])
        if facts["best_score"] is not None:
            self.best = {k: v.to(self.run.fabric.device) for k, v in _under("best/", tensors).items()}
            self.best_epoch, self.best_score = facts["best_epoch"], facts["best_score"]
            if self.run.save_optimizer:
                values = {**_under("memory/", tensors), **facts["memory"]}
                self.best_memory = OptimizerHistory.of_flat(self.optimizer_class, values)
        for phase_and_name, rest in facts["optimizers"].items():
            self.loaded[phase_and_name] = _under(f"optimizer/{phase_and_name}/", tensors), rest
        return epoch

    def memory(self) -> OptimizerHistory:
        """What the first phase's optimiser remembers of the model now."""
        phase = self.objective.phases[0]
        name = self.schedules[phase].optimizer
        if name in self.optimizers[phase]:
            tensors, facts = optimizers.collect_state(self.optimizers[phase][name], self.names)
        else:  # the run was finished before
            tensors, facts = self.loaded[f"{phase}/{name}"]
        values = _under(MODEL_PREFIX, {**tensors, **facts})
        copied = {key: v.cpu().clone() if isinstance(v, Tensor) else v for key, v in values.items()}
        return OptimizerHistory.of_flat(self.optimizer_class, copied)

    def open_events(self) -> AbstractContextManager[EventFile | None]:
        if self.run.log != "tensorboard" or not self.run.writes:
            return nullcontext()
        return EventFile(Path(str(self.run.folder)), self.rows)

    def write_log(self) -> None:
        if self.run.writes:
            write_text(Path(str(self.run.folder)) / "log.csv", pd.DataFrame(self.rows).to_csv(index=False))


def _under(prefix: str, tensors: Mapping[str, Value]) -> dict[str, Value]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
