"""run.json: what a run was asked to do, in enough detail to do it again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from medgraft.engine.run import Limit, Run
from medgraft.errors import DataError, RunError
from medgraft.evaluation.evaluate import versions
from medgraft.types import JSON
from medgraft.whole_files import write_text

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method

FILE = "run.json"
FORMAT = 1
RUN_FIELDS = (
    "seed",
    "device",
    "precision",
    "processes",
    "select",
    "allow_leak",
    "save_optimizer",
    "record_updates",
    "compile",
)


def describe(source: JSON, task: Task, method: Method, run: Run) -> JSON:
    """The part of run.json that decides the result: equal descriptions give equal weights."""
    return {
        "source": source,
        "task": {"source": _describe_cohort(task.source), "target": _describe_cohort(task.target)},
        "method": describe_method(method),
        "run": {name: getattr(run, name) for name in RUN_FIELDS} | {"limit": run.limit._asdict()},
    }


def describe_method(method: Method) -> JSON:
    """A method's name, class and all its settings, defaults included."""
    cls = type(method)
    where = f"{cls.__module__}:{cls.__qualname__}"
    return {"method": method.name, "class": where, "settings": settings_of(method)}


def settings_of(method: object, *, defaults: bool = True) -> JSON:
    """A method's settings as JSON; without those that have their default, where the method can tell.

    >>> from medgraft.methods import FineTune
    >>> settings_of(FineTune(scope="head"), defaults=False)
    {'scope': 'head'}
    """
    if isinstance(method, BaseModel):
        return method.model_dump(mode="json", exclude_defaults=not defaults)
    if dataclasses.is_dataclass(method) and not isinstance(method, type):
        return dataclasses.asdict(method)
    return {}


def run_of(recipe: JSON, folder: Path | str | None) -> Run:
    """The run that a recipe describes, in another folder."""
    fields = dict(recipe["run"])
    return Run(folder, limit=Limit(**fields.pop("limit")), **fields)


def read_recipe(path: Path | str) -> JSON:
    """Read a run.json, or that of a run's folder.

    Raises:
        RunError: there is none, or it is not one of ours.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        got = f"{path} does not exist" if not path.exists() else f"{path} is not valid JSON"
        raise RunError(
            "Repeating a run", f"the {FILE} that it wrote", got, "Name that file or its folder."
        ) from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        raise RunError(
            "Repeating a run", f"a {FILE} of format {FORMAT}", f"{path} is another file",
            "Name the file that `medgraft adapt` wrote into its folder.",
        )  # fmt: skip
    return recipe


def write_recipe(folder: Path, recipe: JSON) -> None:
    """Write run.json, whole or not at all."""
    write_text(
        folder / FILE, json.dumps({"format": FORMAT, **recipe, "versions": versions()}, indent=1) + "\n"
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Places at which two descriptions differ, as dotted names.

    >>> list(differences({"run": {"seed": 1}, "a": 2}, {"run": {"seed": 2}, "a": 2}))
    ['run.seed']
    """
    for key in dict.fromkeys([*first, *second]):
        here = f"{place}.{key}" if place else key
        mine, other = first.get(key), second.get(key)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            yield from differences(mine, other, here)
        elif mine != other:
            yield here


def fingerprint(cohort: Cohort) -> str:
    """SHA-256 over a cohort's rows and files.

    Raises:
        DataError: a file is missing or may not be read.
    """
    try:
        return cohort.fingerprint()
    except OSError as error:
        raise DataError(
            f"The manifest of {cohort.name}", "every file that it names",
            f"{error.filename} cannot be read ({error.strerror})",
            "Correct the path; `medgraft check` lists all such rows at once.",
        ) from error  # fmt: skip


def _describe_cohort(cohort: Cohort | None) -> JSON | None:
    if cohort is None:
        return None
    return {
        "name": cohort.name,
        "rows": len(cohort),
        "classes": list(cohort.classes),
        "fingerprint": fingerprint(cohort),
        "recipe": cohort.recipe,
    }
