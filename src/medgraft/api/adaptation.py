"""Adapt a model and leave behind what repeats, continues and explains it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgraft.api.recipe import (
    FILE,
    describe,
    describe_weights,
    differences,
    read_recipe,
    run_of,
    write_recipe,
)
from medgraft.engine.method import adapt_verbosely
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.errors import RunError
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.storage import load_model, save_model
from medgraft.plugins import activate, resolve_method
from medgraft.types import JSON

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
    model, named = _open(source, task, run, architecture)
    description = describe(named, task, chosen, run)
    if run.folder is not None:
        folder = Path(run.folder)
        found = _earlier(folder, description)
        if found is not None and "seconds" in found and (folder / MODEL).is_dir():
            logger.info("%s was finished before", folder)
            return load_model(folder / MODEL)
        write_recipe(folder, description | _circumstances(command))
    run.raise_if_stopped()
    started = time.monotonic()
    adapted = adapt_verbosely(model, task, chosen, run)
    result = adapted.model
    result.spec = _with_provenance(result, model, description, adapted.selection)
    if run.folder is not None:
        save_model(result, folder / MODEL, adapted.optimizer_history, overwrite=True)
        outcome = {
            "selection": adapted.selection,
            "warnings": list(adapted.warnings),
            "weights_sha256": describe_weights(result),
            "seconds": round(time.monotonic() - started, 2),
        }
        write_recipe(folder, description | _circumstances(command) | outcome)
    return result


def repeat(
    path: Path | str,
    out: Path | str,
    *,
    method: str | None = None,
    allow_changed_data: bool = False,
    command: Sequence[str] = (),
) -> Model:
    """Do again what a run.json describes, with as many threads, and so get the same weights.

    Args:
        path: a run.json or the folder that holds it.
        out: folder of the new run.
        method: "package.module:Class" where the method is not installed under its name.
        allow_changed_data: go on although images or table have changed since.
        command: words of the command line, for the record.

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
            _refuse_changed(side, described["fingerprint"], cohorts[side].fingerprint())  # type: ignore[union-attr]
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
            run_of(recipe, out),
            architecture=recipe["source"]["architecture"],
            command=command,
        )
    finally:
        torch.set_num_threads(threads)


def _open(source: str | Path | Model, task: Task, run: Run, architecture: str | None) -> tuple[Model, JSON]:
    """The source model, and what names it in run.json."""
    if isinstance(source, Model):
        model, name = source, None
    else:
        name = str(source)
        with seeded(run.seed, "source"):  # random ones draw their weights
            if name.startswith("random/") or architecture is not None:
                model = open_source(name, kind=task.kind, classes=task.classes, architecture=architecture)
            else:
                model = open_source(adapted_model(source))
    return model, {"name": name, "architecture": architecture, "weights_sha256": describe_weights(model)}


def adapted_model(path: str | Path) -> str | Path:
    """The model's folder inside a run's folder; any other path or name as it is."""
    inner = Path(path) / MODEL
    return inner if (Path(path) / FILE).is_file() and inner.is_dir() else path


def _earlier(folder: Path, description: JSON) -> JSON | None:
    """The run.json of the same command in this folder; None where the folder is new.

    Raises:
        RunError: the folder holds another run, or other files.
    """
    if not folder.exists() or not os.listdir(folder):
        return None
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
