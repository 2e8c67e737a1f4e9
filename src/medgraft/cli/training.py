"""What the commands that train something have in common: options, stopping, the last words."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medgraft.cli.cohorts import open_cohort
from medgraft.errors import SettingsError

if TYPE_CHECKING:
    from medgraft.engine.run import Shared
    from medgraft.engine.watch import Watched

Value = TypeVar("Value")

SourceOption = Annotated[
    str | None,
    typer.Option(
        help="packaged/efficientnet_lite0, timm/NAME, random/NAME, random/unet, random/unet3d, "
        "a folder or a file."
    ),
]
ArchitectureOption = Annotated[
    str | None, typer.Option(help="timm name, for a source that is a weights file.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the method, e.g. schedule.lr=0.001 (repeatable)."),
]
SeedOption = Annotated[int, typer.Option(help="Decides every random choice.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.")]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Let torch compile the network: faster steps after a slow start.")
]
ProcessesOption = Annotated[int, typer.Option(help="Data-parallel processes.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; a run continues with as many.")]
LimitEpochsOption = Annotated[int | None, typer.Option(min=1, help="Trial: at most so many epochs.")]
LimitStepsOption = Annotated[int | None, typer.Option(min=1, help="Trial: at most so many steps in each.")]
LogOption = Annotated[str | None, typer.Option(help="tensorboard: also write curves that TensorBoard shows.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Threads that read images ahead; 0 for none, without it one per core."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps prepared images, for sets larger than memory and for later runs."),
]
AllowLeakOption = Annotated[
    bool, typer.Option("--allow-leak", help="Go on although patients or pixels leak.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")]
WatchOption = Annotated[
    Path | None,
    typer.Option(help="Small labelled set: record while training what fresh probes read from features."),
]
WatchEveryOption = Annotated[int, typer.Option(min=1, help="Look at --watch after so many epochs.")]


def open_watched(watch: Path | None, every: int) -> Watched | None:
    """The set that is watched, or none; its rows need no splits."""
    if watch is None:
        return None
    from medgraft.engine.watch import Watched

    return Watched(open_cohort(watch, "classify", None, divide=False), every)


def required(value: Value | None, option: str, example: str, command: str = "adapt") -> Value:
    """An option that must be there although a file may give it.

    Raises:
        SettingsError: it is not.
    """
    if value is None:
        raise SettingsError(
            f"medgraft {command}", option, "it is missing", f"Add it, for instance {example}."
        )
    return value


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None leaves it as it is."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def words() -> list[str]:
    """The command line, for the record."""
    return ["medgraft", *sys.argv[1:]]


@contextmanager
def stopped_by_sigterm(shared: Shared) -> Iterator[None]:
    """Take SIGTERM as a polite request: finish the step, exit 75, continue another time."""

    def stop(*_: object) -> None:
        shared.stop = True

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def print_summary(folder: Path, told: Collection[str] = ()) -> None:
    """What a finished run did, and where its files are; warnings but for those that were told before."""
    from medgraft.api.recipe import read_recipe

    recipe: Mapping[str, Any] = read_recipe(folder)
    for warning in recipe["warnings"]:
        if warning not in told:
            typer.echo(f"Warning: {warning}", err=True)
    task = recipe["task"]
    side, done = ("target", "Adapted to") if task["target"] else ("source", "Trained on")
    rows = recipe.get("training_rows", {}).get(side, task[side]["rows"])  # the first runs did not record them
    typer.echo(
        f"{done} {rows} rows of {task[side]['name']} with {recipe['method']['method']} "
        f"in {recipe['seconds']:.0f} s."
    )
    typer.echo(
        f"Epoch kept by: {recipe['selection']}\nModel: {folder / 'model'}\nRecord: {folder / 'run.json'}"
    )
