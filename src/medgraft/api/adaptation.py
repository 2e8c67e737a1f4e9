"""Adapt a model and leave behind what repeats, continues and explains it."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medgraft.api.recipe import (
    FILE,
    describe,
    differences,
    fingerprint,
    read_recipe,
    run_of,
    write_recipe,
)
from medgraft.engine.method import adapt_verbosely
from medgraft.engine.randomness import seeded
from medgraft.engine.run import CHECKPOINTS, ONCE, Interrupted, Run, Shared
from medgraft.errors import DataError, RunError, SettingsError
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.storage import load_model, save_model
from medgraft.models.weights import hash_weights
from medgraft.plugins import activate, resolve_method
from medgraft.types import JSON, SPLITS

if TYPE_CHECKING:
    from medgraft.data.task import Task
    from medgraft.engine.method import Method

logger = logging.getLogger(__name__)
MODEL = "model"


def adapt(
    source: str | Path | Model,
    task: Task,
    method: Method | str | Mapping[str, Any] = "fine_tune",
    run: Run | None = None,
    *,
    architecture: str | None = None,
    command: Sequence[str] = (),
) -> Model:
    """Adapt a source model to a target and, in a run's folder, leave the model and how it came about.

    Args:
        source: a model, or what `open_source` opens: packaged/efficientnet_lite0, timm/NAME, random/NAME, a
            folder, a file; a run's folder stands for the model in it.
        task: source and target cohorts.
        method: an object, a name or "package.module:Class".
        run: its folder receives `model/`, `run.json`, checkpoints and records; the same call continues, or
            returns what is there. None keeps everything in memory.
        architecture: timm name of the network, for a source that is a file of weights.
        command: words of the command line, for the record.

    Returns: a new model; its provenance tells source, method, data and seed.

    Raises:
        RunError: the folder holds something else.
        Interrupted: a stop was requested; the same call continues.
        NeedError, LeakError, SettingsError, ModelError, DataError: see the message.

    >>> import medgraft as mg
    >>> from medgraft.testing import make_cohort
    >>> task = mg.Task(target=make_cohort("classify"))
    >>> model = mg.adapt("random/test_resnet", task, mg.methods.SimpleBaseline(), mg.Run(seed=1))
    >>> model.spec.provenance["adapted"][0]["method"]
    'simple_baseline'
    """
    activate()
    run = run or Run()
    chosen = resolve_method(method)
    check_task(task)
    model, named = open_for(source, task, run, architecture)
    description = describe(named, task, chosen, run)
    if run.folder is not None:
        folder = Path(run.folder)
        found = _earlier(folder, description)
        if found is not None and "seconds" in found and (folder / MODEL).is_dir():
            logger.info("%s was finished before", folder)
            run.clear_scratch()  # where it was killed while it tidied up
            return load_model(folder / MODEL)
        write_recipe(folder, description | _circumstances(command))
    started = time.monotonic()
    try:
        run.raise_if_stopped()
        adapted = adapt_verbosely(model, task, chosen, run)
    except Exception as error:
        if run.folder is not None and found is None and not isinstance(error, Interrupted):
            _leave_nothing(folder)
        raise
    result = adapted.model
    result.spec = _with_provenance(result, model, description, adapted.selection)
    if run.folder is not None:
        save_model(result, folder / MODEL, overwrite=True)
        outcome = {
            "selection": adapted.selection,
            "warnings": list(adapted.warnings),
            "training_rows": {
                side: len(cohort.training_rows)
                for side, cohort in (("source", task.source), ("target", task.target))
                if cohort is not None
            },
            "weights_sha256": hash_weights(result),
            "seconds": round(time.monotonic() - started, 2),
        }
        write_recipe(folder, description | _circumstances(command) | outcome)
        run.clear_scratch()
    return result


def repeat(
    path: Path | str,
    out: Path | str,
    *,
    method: str | None = None,
    allow_changed_data: bool = False,
    command: Sequence[str] = (),
    log: Literal["tensorboard"] | None = None,
    workers: int | None = None,
    cache: Path | str | None = None,
    progress: bool | None = None,
    shared: Shared | None = None,
) -> Model:
    """Do again what a run.json describes, with as many threads, and so get the same weights.

    Args:
        path: a run.json or the folder that holds it.
        out: folder of the new run.
        method: "package.module:Class" where the method is not installed under its name.
        allow_changed_data: go on although images or table have changed since.
        command: words of the command line, for the record.
        log: "tensorboard" also writes event files.
        workers, cache: as of a `Run`; they change no weight.
        progress: show bars; None shows them at a terminal.
        shared: its `stop` may be set from elsewhere to interrupt the run.

    Raises:
        RunError: data or source have changed, or lived in memory only.
    """
    import torch

    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task

    recipe = read_recipe(path)
    cohorts: dict[str, Cohort | None] = {}
    for side, described in recipe["task"].items():
        cohorts[side] = None if described is None else Cohort.from_recipe(described["recipe"])
        if described is not None and not allow_changed_data:
            _refuse_changed(side, described["fingerprint"], fingerprint(cohorts[side]))  # type: ignore[arg-type]
    name = recipe["source"]["name"]
    if name is None:
        raise RunError(
            "Repeating a run", "a source model with a name or a path", "this one was an object in memory",
            "Save the source model and adapt from its folder.",
        )  # fmt: skip
    asked = {key: recipe["method"][key] for key in ("method", "settings")}
    chosen = resolve_method(method, asked["settings"]) if method is not None else resolve_method(asked)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe["threads"])
    try:
        return adapt(
            name,
            Task(**cohorts),
            chosen,
            dataclasses.replace(
                run_of(recipe, out),
                log=log,
                workers=workers,
                cache=cache,
                progress=progress,
                shared=shared or Shared(),
            ),
            architecture=recipe["source"]["architecture"],
            command=command,
        )
    finally:
        torch.set_num_threads(threads)


def open_for(
    source: str | Path | Model, task: Task, run: Run, architecture: str | None = None
) -> tuple[Model, JSON]:
    """The source model as a run on this task begins with it, and what names it in run.json."""
    if isinstance(source, Model):
        model, name = source, None
    else:
        name = str(source)
        if architecture is not None and not Path(name).is_file():
            raise SettingsError(
                "An architecture", "a source that is a file of weights", f"the source is {name}",
                "Leave the architecture out.",
            )  # fmt: skip
        with seeded(run.seed, "source"):  # random ones draw their weights
            if name.startswith("random/"):
                model = open_source(name, kind=task.kind, classes=task.classes)
            else:  # with its own head, so that the method sees which head is new
                model = open_source(adapted_model(source), architecture=architecture)
    return model, {"name": name, "architecture": architecture, "weights_sha256": hash_weights(model)}


def adapted_model(path: str | Path) -> str | Path:
    """The model's folder inside a run's folder; any other path or name as it is.

    Raises:
        RunError: the run has no model yet.
    """
    if not (Path(path) / FILE).is_file():
        return path
    if not (Path(path) / MODEL).is_dir():
        raise RunError(
            "The model of a run", "a run that is finished", f"the one in {path} is not",
            "Repeat the command that started it; it continues.",
        )  # fmt: skip
    return Path(path) / MODEL


def check_task(task: Task) -> None:
    """Refuse what no method can use, before anything is written.

    Raises:
        DataError: fewer than two classes, or a split that is none of the three.
    """
    for cohort in (task.source, task.target):
        if cohort is None:
            continue
        if cohort.kind in ("classify", "segment") and "truth" in cohort.fields and len(cohort.classes) < 2:
            raise DataError(
                "adapt", "at least two classes", f"{cohort.name} has {', '.join(cohort.classes) or 'none'}",
                "Add images of another class, or name all classes with --classes.",
            )  # fmt: skip
        splits = cohort.table["split"] if cohort.has_splits else ()
        for row, split in enumerate(splits):
            if split not in SPLITS:
                raise DataError(
                    f"The column 'split' of {cohort.name}", f"one of {', '.join(SPLITS)} in every row",
                    f"row {cohort.table.index[row]} has {split!r}", "Correct it.",
                )  # fmt: skip


def _leave_nothing(folder: Path) -> None:
    """Empty the folder of a run that failed before its first checkpoint, so that it can be tried again there."""
    if any(folder.rglob(f"{CHECKPOINTS}/*.json")) or any(folder.rglob(f"{ONCE}/*")):
        return
    shutil.rmtree(folder)


def _earlier(folder: Path, description: JSON) -> JSON | None:
    """The run.json of the same command in this folder; None where the folder is new.

    Raises:
        RunError: the folder holds another run, or other files.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError("A run", "a folder", f"{folder} is a file", "Choose another --out.")
    if not folder.exists() or all(fnmatch(name, f".{FILE}.*.tmp") for name in os.listdir(folder)):
        return None  # nothing, or what a run left that was killed while it wrote its first file
    if not (folder / FILE).is_file():
        raise RunError(
            "A run",
            "a new folder, or one of the same run",
            f"{folder} holds other files",
            "Choose another --out.",
        )
    found = read_recipe(folder)
    parts = {key: found.get(key) for key in description}
    changed = list(differences(parts, description))
    if changed and all(place.endswith(".fingerprint") for place in changed):
        raise RunError(
            "Continuing a run", "the images and the table as they were",
            f"some have changed since the run in {folder} began",
            "Put them back to continue, or choose another --out to begin anew.",
        )  # fmt: skip
    if changed:
        raise RunError(
            "A run", "a new folder, or one of the same run",
            f"{folder} holds a run that differs in {', '.join(changed[:4])}",
            "Choose another --out, or repeat the earlier command to continue that run.",
        )  # fmt: skip
    return found


def _circumstances(command: Sequence[str]) -> JSON:
    import torch

    return {"threads": torch.get_num_threads(), "command": list(command)}


def _with_provenance(result: Model, source: Model, description: JSON, selection: str) -> Any:
    task = description["task"]
    entry = {
        "source": description["source"],
        "method": description["method"]["method"],
        "settings": description["method"]["settings"],
        "data": {side: described and described["fingerprint"] for side, described in task.items()},
        "seed": description["run"]["seed"],
        "selection": selection,
    }
    earlier = source.spec.provenance.get("adapted", [])
    return result.spec.changed(provenance=result.spec.provenance | {"adapted": [*earlier, entry]})


def _refuse_changed(side: str, before: str, now: str) -> None:
    if before != now:
        raise RunError(
            "Repeating a run", f"the {side} data as they were", "a row or an image of them has changed since",
            "Restore them, or pass --allow-changed-data and expect other weights.",
        )  # fmt: skip
