"""A run that keeps the weights of some epochs on its way, and ends as it would have without."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgraft.api.adaptation import adapt
from medgraft.engine import checkpoint
from medgraft.engine.checkpoint import Saved
from medgraft.engine.loop import MODEL_PREFIX
from medgraft.engine.records import read_records
from medgraft.engine.run import CHECKPOINTS, Interrupted, Run, Shared
from medgraft.errors import ModelError, RunError, SettingsError
from medgraft.models.model import Model

if TYPE_CHECKING:
    from medgraft.data.task import Task
    from medgraft.engine.method import Method

MOMENTS = "moments"
"""Folder inside a run's folder, with weights by epoch; it stays, so that the same call can be repeated."""


class StopsAfterEpoch(Shared):
    """Asks the training to stop once an epoch is on disk; the caller's own wish to stop comes first."""

    def __init__(self, callers: Shared, checkpoints: Path, epoch: int) -> None:
        self.callers, self.checkpoints, self.epoch = callers, checkpoints, epoch
        super().__init__()

    @property
    def stop(self) -> bool:
        return self.callers.stop or self.epoch in checkpoint.indices(self.checkpoints)

    @stop.setter
    def stop(self, value: bool) -> None:
        if value:
            self.callers.stop = True


def adapt_by_moments(
    source: str | Path | Model,
    task: Task,
    method: Method | str | Mapping[str, Any],
    run: Run,
    epochs: Sequence[int],
    *,
    architecture: str | None = None,
) -> Iterator[tuple[int, Model]]:
    """Adapt in the run's folder, and give the model as it was after each of these epochs.

    The run is interrupted after each of them and continued, never cut short: what depends on the number of epochs
    (learning rates, the mixture of MMTL) stays as it is. Each epoch writes a checkpoint, each moment repeats one step.

    Args:
        source, task, method, architecture: as for `adapt`.
        run: with a folder, in one process; a folder that was so adapted gives the same moments at once.
        epochs: of the last training, ascending, from 1.

    Returns: epochs and models. After the last epoch of all it is the model that the run leaves, which its selection
        rule chose; epochs that early stopping never reached are missing.

    Raises:
        RunError: the run was past an epoch before it was followed.
        ModelError: the method returns another network than it trains.
        Interrupted: the caller asked to stop; the same call continues.
    """
    if run.processes != 1:
        raise SettingsError(
            "Following a run", "one process", f"it got {run.processes}", "Leave processes out."
        )
    folder, final = Path(str(run.folder)), None
    options: dict[str, Any] = {"architecture": architecture}
    for epoch in epochs:
        if checkpoint.read_saved(_path(folder, epoch)) is not None:
            continue
        if any(written > epoch for written in checkpoint.indices(folder / CHECKPOINTS)):
            raise _past(folder, epoch)
        shared = StopsAfterEpoch(run.shared, folder / CHECKPOINTS, epoch)
        try:
            final = adapt(
                source,
                task,
                method,
                dataclasses.replace(run, checkpoint_seconds=0.0, shared=shared),
                **options,
            )
            break
        except Interrupted:
            if run.shared.stop:
                raise
            _keep(folder, epoch)
    if final is None:
        final = adapt(source, task, method, run, **options)
    return _look_back(folder, epochs, final)


def _look_back(folder: Path, epochs: Sequence[int], final: Model) -> Iterator[tuple[int, Model]]:
    trained = len(read_records(folder).tables.get("history", ()))
    for epoch in epochs:
        saved = checkpoint.read_saved(_path(folder, epoch))
        if saved is not None:
            yield epoch, _with_weights(final, saved)
        elif epoch == trained:
            yield epoch, final
        elif epoch < trained:
            raise _past(folder, epoch)


def _keep(folder: Path, epoch: int) -> None:
    """Copy the model's weights out of the checkpoint of this epoch."""
    found = checkpoint.read_latest(folder / CHECKPOINTS)
    if found is None or found[0] != epoch:
        raise RunError(
            "Following a run", f"the checkpoint of epoch {epoch}", f"it cannot be read back in {folder}",
            "Check the disk and begin anew in another folder.",
        )  # fmt: skip
    prefix = f"objective/{MODEL_PREFIX}"
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in found[1].tensors.items()
        if name.startswith(prefix)
    }
    (folder / MOMENTS).mkdir(exist_ok=True)
    checkpoint.write_saved(_path(folder, epoch), Saved(weights))


def _with_weights(model: Model, saved: Saved) -> Model:
    other = copy.deepcopy(model)
    try:
        other.load_state_dict(dict(saved.tensors))
    except RuntimeError as error:
        raise ModelError(
            "Following a run", "a method that returns the network it trains", "this one returns another",
            "Look at the adapted model alone.",
        ) from error  # fmt: skip
    return other


def _past(folder: Path, epoch: int) -> RunError:
    return RunError(
        "Following a run", f"the weights of epoch {epoch}", f"the run in {folder} was past it before",
        "Choose another folder to begin anew.",
    )  # fmt: skip


def _path(folder: Path, epoch: int) -> Path:
    return folder / MOMENTS / f"epoch-{epoch:06d}"
