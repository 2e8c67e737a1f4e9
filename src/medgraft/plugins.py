"""Methods by name, ours and those of other packages, and settings from what a user wrote."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import itertools
import logging
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from medgraft.engine.method import Method
from medgraft.engine.schedule import Schedule, fill_preset
from medgraft.errors import SettingsError

logger = logging.getLogger(__name__)

Group = Literal["methods", "readers", "models", "scorers"]
OURS = "medgraft"


class Plugin(NamedTuple):
    """Something found by name.

    owner: the package that brings it.
    load: imports and returns it.
    """

    name: str
    owner: str
    load: Callable[[], Any]


def find_plugins(group: Group) -> dict[str, Plugin]:
    """What is installed in a group, ours first, without importing any of the others.

    Args:
        group: other packages name theirs under the entry point ``medgraft.GROUP``.

    Raises:
        SettingsError: two packages claim the same name.

    >>> find_plugins("methods")["fine_tune"].owner
    'medgraft'
    """
    found: dict[str, Plugin] = {}
    for plugin in [*(_built_in_methods() if group == "methods" else ()), *_installed(group)]:
        other = found.setdefault(plugin.name, plugin)
        if other is not plugin:
            raise SettingsError(
                f"The entry point medgraft.{group}", "a name of its own for everything installed",
                f"'{plugin.name}' belongs to {other.owner} and to {plugin.owner}",
                f"Uninstall one of the two, or ask the authors of {plugin.owner} to rename theirs.",
            )  # fmt: skip
    return found


def methods() -> dict[str, type[Method]]:
    """All methods that are installed, by name; one that cannot be imported is logged and left out.

    >>> methods()["fine_tune"].__name__
    'FineTune'
    """
    found = {}
    for name, plugin in find_plugins("methods").items():
        try:
            found[name] = _load_method(plugin)
        except SettingsError as error:
            logger.warning("%s", error)
    return found


@cache
def activate() -> None:
    """Import other packages' readers and models once: importing registers them. One that fails is logged."""
    groups: tuple[Group, ...] = ("readers", "models")
    for group in groups:
        for plugin in find_plugins(group).values():
            try:
                plugin.load()
            except Exception as error:
                logger.warning("%s of %s cannot be imported: %s", plugin.name, plugin.owner, error)


def resolve_method(
    asked: Method | str | Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> Method:
    """Turn what a user asked for into a method with its settings.

    Args:
        asked: a method (returned as it is); a name; ``"package.module:Class"``; or, as files hold it,
            ``{"method": name, "settings": {...}}``, where only a name is allowed.
        settings: fields of the method, nested as in TOML; text and numbers are coerced to what a field needs.

    Raises:
        SettingsError: no such method; or unknown or unfit settings, all of them named in one sentence.

    >>> resolve_method("fine_tune", {"scope": "head", "schedule": {"lr": "0.1"}}).schedule.lr
    0.1
    >>> resolve_method({"method": "simple_baseline", "settings": {"side": 8}}).side
    8
    """
    if isinstance(asked, Mapping):
        asked, settings = _from_file(asked, settings)
    if not isinstance(asked, str):
        if settings:
            raise SettingsError(
                type(asked).__name__, "its settings in its own constructor",
                f"it got {', '.join(settings)} besides", "Construct the method with them.",
            )  # fmt: skip
        return asked
    return build_settings(_method_class(asked), settings or {})


Settings = typing.TypeVar("Settings")


def build_settings(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Construct a settings class from values that a user wrote.

    Raises:
        SettingsError: one sentence that names every problem, with the nearest known names.

    >>> from medgraft.engine.schedule import Schedule
    >>> build_settings(Schedule, {"epoch": 3})
    Traceback (most recent call last):
    ...
    medgraft.errors.SettingsError: Schedule needs settings that it knows and can use, but 'epoch' is not one
    of them (did you mean 'epochs'?). Its settings are: preset, epochs, steps_per_epoch, ...
    """
    try:
        return cls(**_over_defaults(cls, values))
    except ValidationError as error:
        problems = _problems(cls, error)
    except TypeError as error:  # a plug-in's own class, not one of pydantic
        problems = [str(error)]
    if any("is not one of them" in problem for problem in problems):
        remedy = f"Its settings are: {', '.join(fields_of(cls))}."
    else:
        remedy = f"Correct it; `medgraft methods {getattr(cls, 'name', 'NAME')}` explains every setting."
    raise SettingsError(cls.__name__, "settings that it knows and can use", "; ".join(problems), remedy)


def _over_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a group of which only some settings are given with the method's own defaults for that group."""
    fields = cls.model_fields if issubclass(cls, BaseModel) else {}
    whole = dict(values)
    for name, value in values.items():
        default = fields[name].get_default(call_default_factory=True) if name in fields else None
        if isinstance(default, BaseModel) and isinstance(value, Mapping):
            given = _over_defaults(type(default), value)
            if isinstance(default, Schedule):
                given = fill_preset(given)  # a preset counts as named: the method's defaults lie below it
            whole[name] = {key: getattr(default, key) for key in type(default).model_fields} | given
    return whole


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at what was meant, or nothing.

    >>> nearest("schedul", ["scope", "schedule"]), nearest("zzz", ["scope"])
    (" (did you mean 'schedule'?)", '')
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _built_in_methods() -> list[Plugin]:
    import medgraft.methods
    import medgraft.pretraining

    def plugin(cls: type[Method]) -> Plugin:
        return Plugin(cls.name, OURS, lambda: cls)

    return [
        plugin(getattr(home, name))
        for home in (medgraft.methods, medgraft.pretraining)
        for name in home.__all__
    ]


def _installed(group: Group) -> tuple[Plugin, ...]:
    return _found(group, tuple(sys.path), entry_points)


@cache
def _found(
    group: Group, path: tuple[str, ...], find: Callable[..., Iterable[EntryPoint]]
) -> tuple[Plugin, ...]:
    """Once per process and import path: every installed package is looked at, which takes longer than many a step."""

    def owner(point: EntryPoint) -> str:
        return point.dist.name if point.dist is not None else point.value.split(":")[0]

    # a package that is installed twice (in the environment and beside a checkout) is still one owner
    unique = {(point.name, owner(point)): point for point in find(group=f"medgraft.{group}")}
    return tuple(Plugin(name, package, point.load) for (name, package), point in sorted(unique.items()))


def _load_method(plugin: Plugin) -> type[Method]:
    try:
        cls = plugin.load()
    except Exception as error:
        raise SettingsError(
            f"The method '{plugin.name}' of {plugin.owner}", "to be importable",
            f"importing it failed: {type(error).__name__}: {error}",
            f"Mend or uninstall {plugin.owner}.",
        ) from error  # fmt: skip
    return _checked(cls, f"The method '{plugin.name}' of {plugin.owner}")


def _checked(cls: Any, who: str) -> type[Method]:
    missing = [name for name in ("name", "kinds", "needs", "adapt") if not hasattr(cls, name)]
    if not isinstance(cls, type) or missing:
        raise SettingsError(
            who, "to be a class with name, kinds, needs and adapt",
            f"it lacks {', '.join(missing)}" if missing else "it is not a class",
            "See the four steps in CONTRIBUTING.md.",
        )  # fmt: skip
    return cls


def _method_class(asked: str) -> type[Method]:
    if ":" in asked:
        return _import_method(asked)
    found = find_plugins("methods")
    if asked not in found:
        raise SettingsError(
            "medgraft", f"a method among {', '.join(sorted(found))}, or package.module:Class",
            f"it got {asked!r}{nearest(asked, found)}", "`medgraft methods` tells what each of them does.",
        )  # fmt: skip
    return _load_method(found[asked])


def _import_method(path: str) -> type[Method]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            "medgraft", "an importable package.module:Class",
            f"{path!r} gave {type(error).__name__}: {error}",
            "Check the path, and that the package is installed in this environment.",
        ) from error  # fmt: skip
    return _checked(found, path)


def _from_file(
    asked: Mapping[str, Any], settings: Mapping[str, Any] | None
) -> tuple[str, Mapping[str, Any] | None]:
    unknown = sorted(set(asked) - {"method", "settings"})
    name = asked.get("method")
    if unknown or not isinstance(name, str):
        raise SettingsError(
            "A method in a file", "the keys 'method' and 'settings'",
            f"it also has {', '.join(unknown)}" if unknown else "it does not name its method",
            'Write {"method": name, "settings": {...}}.',
        )  # fmt: skip
    if ":" in name:
        raise SettingsError(
            "A method in a file", "the name of an installed method", f"it is the import path {name!r}",
            f"A file may not import code: add `--method {name}` to the command line.",
        )  # fmt: skip
    return name, {**asked.get("settings", {}), **(settings or {})}


def fields_of(cls: type) -> list[str]:
    """Names of settings, a class's own before those it inherits.

    >>> from medgraft.methods import L2SP
    >>> fields_of(L2SP)[:3], fields_of(L2SP)[-1]
    (['scope', 'alpha', 'beta'], 'augmentation')
    """
    known = cls.model_fields if issubclass(cls, BaseModel) else {}
    ordered = [
        name for owner in cls.__mro__ for name in vars(owner).get("__annotations__", {}) if name in known
    ]
    return list(dict.fromkeys([*ordered, *known]))


def _problems(cls: type, error: ValidationError) -> list[str]:
    """One clause per setting that is wrong."""
    found: dict[str, str] = {}
    for problem in error.errors():
        place, owner = _place(cls, problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = fields_of(owner) if owner is not None else []
            group = "them" if owner in (cls, None) else f"those of {owner.__name__} ({', '.join(known)})"
            text = f"'{place}' is not one of {group}{nearest(place.split('.')[-1], known)}"
        else:
            message = re.sub(r"^(Value error|Assertion failed), ", "", problem["msg"])
            text = message if message[1:2].isupper() else message[0].lower() + message[1:]  # OCTL stays OCTL
            if not isinstance(problem["input"], Mapping):  # a whole group would drown the sentence
                text += f", and it got {problem['input']!r}"
            text = f"'{place}': {text}" if place else message
        # each branch of a union has its say: the first one is the plainest
        found.setdefault(place, text)
    return list(found.values())


def _place(cls: type, location: tuple[int | str, ...]) -> tuple[str, type | None]:
    """A setting's dotted name from pydantic's location, and the class that its last part belongs to."""
    owner: type | None = cls
    inner: type | None = cls
    names: list[str] = []
    for step in location:
        if isinstance(step, int):
            names.append(str(step))
            continue
        known = inner.model_fields if inner is not None and issubclass(inner, BaseModel) else {}
        if step in known:
            names.append(step)
            owner, inner = inner, settings_class(known[step].annotation)
        elif step == location[-1] and inner is not None:  # unknown here
            names.append(step)
            owner = inner
        # anything else is the name that pydantic gives to a branch of a union
    return ".".join(names), owner


def setting_docs(cls: type) -> dict[str, str]:
    """What each setting does: the text that stands under it in the source, by name.

    >>> setting_docs(_method_class("simple_baseline"))["side"]
    'Side of the thumbnail for `pixels`.'
    """
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        except (OSError, TypeError):  # built in, or without its source
            continue
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, text in itertools.pairwise(statements):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                docs[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return docs


def settings_class(annotation: object) -> type | None:
    """The settings class inside an annotation such as ``Schedule | None``; None where there is none."""
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    for part in typing.get_args(annotation):
        found = settings_class(part)
        if found is not None:
            return found
    return None
