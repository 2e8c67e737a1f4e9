"""What is wrong with a grid: every problem at once, each with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from medgraft.errors import MedgraftError, SettingsError
from medgraft.plugins import nearest, settings_class
from medgraft.types import JSON

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class GridError(SettingsError):
    """A grid that cannot be computed; nothing was run.

    Args:
        who: the grid, as messages call it.
        problems: each one a sentence that names its place in the file.

    >>> print(GridError("The grid a.toml", [SettingsError("seeds", "whole numbers", "it got 'x'", "Correct it.")]))
    The grid a.toml cannot be run; 1 problem:
      seeds needs whole numbers, but it got 'x'. Correct it.
    """

    def __init__(self, who: str, problems: Sequence[MedgraftError | str]) -> None:
        self.problems = tuple(dict.fromkeys(map(str, problems)))
        super().__init__(who, "to be without problems", f"it has {len(self.problems)}", "Correct them.")

    def __str__(self) -> str:
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        return "\n  ".join([f"{self.who} cannot be run; {count}:", *self.problems])

    def __reduce__(self) -> Any:
        return type(self), (self.who, self.problems)


def dotted(*keys: str) -> str:
    """A key's path as it is written in TOML.

    >>> dotted("methods", "full fine-tuning", "settings")
    'methods."full fine-tuning".settings'
    """
    return ".".join(key if re.fullmatch(r"[\w-]+", key) else f'"{key}"' for key in keys)


def at(where: str, problem: MedgraftError) -> SettingsError:
    """A problem found further in, said of its place in the file."""
    return SettingsError(f"{where}: {problem.who}", problem.needs, problem.got, problem.do)


def by_place(errors: Sequence[ErrorDetails], values: Mapping[str, Any]) -> dict[str, list[ErrorDetails]]:
    """What pydantic found, by the place in the file; a list that is wrong because of an entry is told by the entry."""
    found: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for error in errors:
        found.setdefault(tuple(_place(error, values)), []).append(error)
    inner = [keys for keys in found if not any(other[: len(keys)] == keys != other for other in found)]
    return {dotted(*map(str, keys)): found[keys] for keys in inner}


def _place(error: ErrorDetails, values: Mapping[str, Any]) -> list[int | str]:
    """A missing key is told by its own name, so that it hides nothing else that is wrong with its table."""
    keys = _existing(error["loc"], values)
    return [*keys, error["loc"][-1]] if error["type"] == "missing" else keys


def structural_problem(model: type[BaseModel], where: str, found: Sequence[ErrorDetails]) -> SettingsError:
    """A key that is unknown, missing or of another kind, as a sentence."""
    problem = found[0]
    last = str(problem["loc"][-1])
    if problem["type"] == "extra_forbidden":
        known = _keys(model, problem["loc"][:-1])
        return SettingsError(
            where, f"to be one of the keys {', '.join(known)}", f"it is none of them{nearest(last, known)}",
            "Correct or remove it.",
        )  # fmt: skip
    if problem["type"] == "missing":
        table = where.removesuffix(last).rstrip(".") or "The file"
        return SettingsError(table, f"the key '{last}'", "it is missing", "Add it.")
    texts = [
        re.sub(r"^(Value error|Assertion failed), ", "", one["msg"]) for one in found
    ]  # branches of a union
    wanted = " or ".join(dict.fromkeys(text[0].lower() + text[1:] for text in texts))
    got = problem["input"]
    shown = f"it got {got!r}" if not isinstance(got, Mapping) else "it got a table"
    return SettingsError(where, f"another value ({wanted})", shown, "Correct it.")


def without(values: Mapping[str, Any], location: Sequence[int | str]) -> JSON:
    """What a file holds without the place of a problem; of a missing key, without the table that lacks it."""
    return _cut(values, [key for key in _existing(location, values) if isinstance(key, str)])


def _existing(location: Sequence[int | str], values: Any) -> list[int | str]:
    """The beginning of a location that exists; what follows is pydantic's own, such as the branch of a union."""
    keys: list[int | str] = []
    for step in location:
        in_list = isinstance(values, (list, tuple)) and isinstance(step, int) and step < len(values)
        if not in_list and not (isinstance(values, Mapping) and step in values):
            break
        values = values[step]
        keys.append(step)
    return keys


def _cut(values: Mapping[str, Any], keys: Sequence[str]) -> JSON:
    whole = dict(values)
    if len(keys) > 1 and isinstance(whole.get(keys[0]), Mapping):
        whole[keys[0]] = _cut(whole[keys[0]], keys[1:])
    elif keys:
        whole.pop(keys[0], None)
    return whole


def _keys(model: type[BaseModel] | None, location: Sequence[int | str]) -> list[str]:
    """Keys of the table at a location; names of the user's own (of a cohort, say) stand between."""
    for step in location:
        fields = model.model_fields if model is not None else {}
        if step in fields:
            model = settings_class(fields[str(step)].annotation)
    return list(model.model_fields) if model is not None else []
