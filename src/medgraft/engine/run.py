"""A run: its folder, its seed, its device, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from medgraft.engine import checkpoint, randomness
from medgraft.engine.checkpoint import Saved
from medgraft.errors import RunError, SettingsError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from lightning_fabric import Fabric

    from medgraft.data.cache import ArrayCache
    from medgraft.data.cohort import Cohort
    from medgraft.engine.loading import Loader
    from medgraft.engine.select import Selector
    from medgraft.engine.watch import Watched
    from medgraft.models.optimizer_history import OptimizerHistory
    from medgraft.models.pretraining_heads import PretrainingHeads
    from medgraft.types import Preparation

logger = logging.getLogger(__name__)
CHECKPOINTS, ONCE = "checkpoints", "once"
SCRATCH = (CHECKPOINTS, ONCE)
"""Folders inside a run's folder."""
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Limit(NamedTuple):
    """Cut every training short: at most so many epochs, and so many steps in each. For trials and tests."""

    epochs: int | None = None
    steps: int | None = None


class Interrupted(RunError):  # noqa: N818 - not an error
    """The run was asked to stop; its last epoch boundary is on disk and the same command continues from there."""

    exit_code = 75


class Shared:
    """What a run and its children share while they are in memory; never written to disk."""

    def __init__(self) -> None:
        self.fabric: Fabric | None = None
        self.fitted: set[tuple[str, ...]] = set()
        from medgraft.engine.records import Records

        self.records = Records({}, {})
        self.optimizer_history: OptimizerHistory | None = (
            None  # of the last training, where it is to be saved
        )
        self.pretraining_heads: PretrainingHeads | None = None  # that go with the model to be returned
        self.rule: str | None = None  # how the last training chose its epoch
        self.warnings: list[str] = []  # of what is adapted now
        self.loss_is_sample_mean = True  # of every training so far
        self.stop = False
        self.cache: ArrayCache | None = None


@dataclass(frozen=True)
class Run:
    """Where and how something is computed. A run with a folder continues where it was killed.

    Args:
        folder: where checkpoints, logs and records go; None keeps everything in memory.
        seed: decides every random choice of the run.
        limit: cuts trainings short.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        processes: data-parallel processes; more than one starts them through Fabric.
        select: rule that chooses the epoch to keep: "last", "target_validation", "source_validation" or "oracle";
            None takes the best one the method may use.
        allow_leak: go on although the same patient or the same pixels stand on both sides of a split.
        progress: show bars; None shows them at a terminal.
        checkpoint_seconds: least time between two checkpoints; they are written at epoch boundaries.
        log: "tensorboard" also writes the history as an event file, one per training, into its `tensorboard/`.
        workers: threads that read, prepare and augment while the network computes; None is one per core and at most
            8, 0 none. Decides nothing but time.
        cache: folder where prepared images are kept, for all epochs and for other runs; None keeps in memory what fits
            there. Decides nothing but time; see `ArrayCache`.
        save_optimizer: keep what the last training's optimiser remembered at the kept epoch with the model, and beside
            its weights where it is saved; OCTL goes on from it.
        record_updates: record how far each layer moves in a step, as the table "updates"; costs a copy of the weights.
        compile: let torch compile the network's blocks while it trains: minutes at the start for faster steps, on a GPU
            above all. Changes the last digits of sums.
        watched: a small labelled set; while anything trains, fresh probes on its features are recorded as the table
            "watched". Decides nothing.

    >>> run = Run(seed=1)
    >>> bool((run.generator("order").initial_seed() == run.generator("order").initial_seed()))
    True
    >>> run.child("probe").path
    ('probe',)
    """

    folder: Path | str | None = None
    seed: int = 0
    limit: Limit = Limit()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "32-true"
    processes: int = 1
    select: str | None = None
    allow_leak: bool = False
    progress: bool | None = None
    checkpoint_seconds: float = 10.0
    log: Literal["tensorboard"] | None = None
    workers: int | None = None
    cache: Path | str | None = None
    save_optimizer: bool = False
    record_updates: bool = False
    compile: bool = False
    watched: Watched | None = field(default=None, repr=False)
    path: tuple[str, ...] = ()
    selector: Selector | None = field(default=None, repr=False)
    shared: Shared = field(default_factory=Shared, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.folder is not None:
            object.__setattr__(self, "folder", Path(self.folder))
        if self.processes < 1:
            raise SettingsError(
                "Run", "processes of at least 1", f"it got {self.processes}", "Leave it out for one process."
            )
        if self.workers is not None and self.workers < 0:
            raise SettingsError(
                "Run", "workers of at least 0", f"it got {self.workers}", "Leave it out for one per core."
            )
        if self.precision not in get_args(Precision):
            raise SettingsError(
                "Run", f"a precision among {', '.join(get_args(Precision))}", f"it got {self.precision!r}",
                "Choose one of these.",
            )  # fmt: skip

        if self.log is not None:
            self._check_log()

    def _check_log(self) -> None:
        from medgraft.engine.tensorboard import require_tensorboard

        if self.log != "tensorboard":
            raise SettingsError(
                "Run", "the log 'tensorboard', or none", f"it got {self.log!r}",
                "Correct it; log.csv is always written.",
            )  # fmt: skip
        if self.folder is None:
            raise SettingsError(
                "Logging for TensorBoard", "a run with a folder", "this one lives in memory",
                "Name a folder for the run.",
            )  # fmt: skip
        require_tensorboard()

    def child(self, name: str) -> Run:
        """A part of this run with its own folder and its own random numbers; each training needs one of its own."""
        if not re.fullmatch(r"[\w.-]+", name):
            raise RunError(
                "A run's child",
                "a name of letters, digits, '.', '-' and '_'",
                f"it got {name!r}",
                "Rename it.",
            )
        folder = None if self.folder is None else Path(self.folder) / name
        return dataclasses.replace(self, folder=folder, path=(*self.path, name))

    def generator(self, purpose: str, epoch: int = 0) -> torch.Generator:
        """A CPU generator that depends on the seed, the child's path, the purpose and the epoch only."""
        return randomness.generator(self.seed, self.path, purpose, epoch)

    def seed_for(self, purpose: str, epoch: int = 0) -> int:
        """A 32-bit seed for library fits that take an integer."""
        return randomness.stable_seed(self.seed, self.path, purpose, epoch) % 2**32

    def warn(self, told: str) -> None:
        """Tell what a reader of the results must know: in the log now, and in the run's record."""
        if told not in self.shared.warnings:
            logger.warning("%s", told)
            self.shared.warnings.append(told)

    def once(self, name: str, compute: Callable[[], Saved]) -> Saved:
        """Compute something costly once; a resumed run reads it from the folder.

        Args:
            name: names the file; letters, digits, '.', '-' and '_'.
            compute: returns tensors and JSON; called at most once per process and not at all when the file is there.
        """
        if self.folder is None:
            return compute()
        path = Path(self.folder) / ONCE / name
        found = checkpoint.read_saved(path)
        if found is None:
            if self.fabric.global_rank == 0:
                checkpoint.write_saved(path, compute())
            self.fabric.barrier()
            found = checkpoint.read_saved(path)
            if found is None:
                raise RunError(
                    "The run",
                    f"to read back '{name}'",
                    "it does not match its hash",
                    "Check the disk and run again.",
                )
        return found

    def loader(self, cohort: Cohort, preparation: Preparation) -> Loader:
        """Rows of a cohort as network input, by this run's workers and cache."""
        from medgraft.engine.loading import Loader

        return Loader(cohort, preparation, cache=self.array_cache, workers=self.workers)

    @property
    def array_cache(self) -> ArrayCache | None:
        """The folder `cache`, one object for the run and its children; None where there is none."""
        if self.cache is not None and self.shared.cache is None:
            from medgraft.data.cache import ArrayCache

            self.shared.cache = ArrayCache(Path(self.cache))
        return self.shared.cache

    def record(self, name: str, item: pd.DataFrame | np.ndarray) -> None:
        """Keep a table or a picture (H, W, 3) uint8 as evidence of the run; names may hold '/'."""
        import pandas as pd

        from medgraft.engine.records import write_record

        whole_name = "/".join((*self.path, name))
        if isinstance(item, pd.DataFrame):
            self.shared.records.tables[whole_name] = item
        else:
            self.shared.records.images[whole_name] = item
        if self.folder is not None and self.writes:
            write_record(Path(self.folder) / "records", name, item)

    def clear_scratch(self) -> None:
        """Delete what only an unfinished run needs: checkpoints and results of `once`, of this run and its children."""
        if self.folder is not None:
            for name in SCRATCH:
                for folder in list(Path(self.folder).rglob(name)):
                    shutil.rmtree(folder, ignore_errors=True)

    @property
    def fabric(self) -> Fabric:
        """Lightning Fabric: device, precision and processes; made at first use."""
        if self.shared.fabric is None:
            from medgraft.engine.distributed import make_fabric

            self.shared.fabric = make_fabric(self)
        return self.shared.fabric

    @property
    def writes(self) -> bool:
        """True in the one process that writes to the folder."""
        return self.folder is not None and self.fabric.global_rank == 0

    def request_stop(self) -> None:
        """Ask the training to stop after the current step."""
        self.shared.stop = True

    def raise_if_stopped(self) -> None:
        """Raise `Interrupted` once a stop was requested."""
        if self.shared.stop:
            raise Interrupted(
                "The run", "to be continued", "it was asked to stop", "Repeat the same command to continue."
            )
