"""`medgraft methods`: which methods there are, and what they need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgraft.errors import SettingsError

if TYPE_CHECKING:
    from medgraft.engine.method import Method, Needs


def methods(
    name: Annotated[str | None, typer.Argument(help="Show this method's settings.")] = None,
    have: Annotated[
        list[str] | None,
        typer.Option(help="What you have, e.g. target.images,target.truth: list what works with it."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="classify, multilabel, segment, detect or encode.")] = None,
) -> None:
    """List methods that work with what you have; or explain one."""
    from medgraft import plugins

    if name is not None:
        _print_settings(name)
        return
    offered = parse_fields(have or [])
    _check_kind(kind)
    fitting = [
        (key, cls) for key, cls in sorted(plugins.methods().items())
        if (kind is None or kind in cls.kinds) and (have is None or _works_with(_needs(cls), offered))
    ]  # fmt: skip
    for key, cls in fitting:
        typer.echo(f"{key:20} {_summary(cls)}")
        needs = _needs(cls)
        if needs is not None:
            wanted = [*_named("source", needs.source), *_named("target", needs.target)]
            typer.echo(f"{'':20} needs {', '.join(wanted) or 'nothing'}; for {', '.join(sorted(cls.kinds))}")
    if not fitting:
        typer.echo("No installed method works with that.")


def parse_fields(words: Iterable[str]) -> dict[str, set[str]]:
    """Turn ``source.images,target.truth`` into the fields of each side; whoever has a field has the images.

    >>> parse_fields(["target.truth"]) == {"source": set(), "target": {"truth", "images"}}
    True
    """
    from medgraft.types import FIELDS

    offered: dict[str, set[str]] = {"source": set(), "target": set()}
    for word in [word.strip() for text in words for word in text.split(",")]:
        side, _, field = word.partition(".")
        if side not in offered or field not in FIELDS:
            raise SettingsError(
                "--have", f"source.FIELD or target.FIELD with a field among {', '.join(FIELDS)}",
                f"it got {word!r}",
                "Write for instance --have source.images --have target.images,target.truth.",
            )  # fmt: skip
        offered[side] |= {"images", field}
    return offered


def _check_kind(kind: str | None) -> None:
    from medgraft.types import KINDS

    if kind is not None and kind not in KINDS:
        raise SettingsError(
            "--kind", f"one of {', '.join(KINDS)}", f"it got {kind!r}", "Choose one of these."
        )


def _needs(cls: type[Method]) -> Needs | None:
    """What the method needs with default settings; None where it has none."""
    try:
        return cls().needs
    except (TypeError, ValueError):  # a setting without a default
        return None


def _works_with(needs: Needs | None, offered: dict[str, set[str]]) -> bool:
    return needs is None or (needs.source <= offered["source"] and needs.target <= offered["target"])


def _named(side: str, fields: Iterable[str]) -> list[str]:
    from medgraft.types import FIELDS

    return [f"{side}.{field}" for field in FIELDS if field in fields]


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _print_settings(name: str) -> None:
    from medgraft import plugins

    found = plugins.methods()
    if name not in found:
        raise SettingsError(
            "medgraft methods", f"a method among {', '.join(sorted(found))}",
            f"it got {name!r}{plugins.nearest(name, found)}", "Run `medgraft methods` for a list.",
        )  # fmt: skip
    cls = found[name]
    typer.echo(f"{name}: {_summary(cls)}\n")
    _print_fields(cls, None, "")
    typer.echo("\nSet them with --set KEY=VALUE, or in a TOML file under [settings].")


def _print_fields(cls: Any, defaults: object, prefix: str) -> None:
    """One line per setting with its default, then what it does; groups under their dotted names."""
    from medgraft.plugins import fields_of, setting_docs, settings_class

    docs = setting_docs(cls)
    for field in fields_of(cls):
        information = cls.model_fields[field]
        default = (
            information.get_default(call_default_factory=True)
            if defaults is None
            else getattr(defaults, field)
        )
        inner = settings_class(information.annotation)
        if inner is not None and default is not None:
            typer.echo(f"{prefix}{field}: {_summary(inner)}")
        else:
            required = defaults is None and information.is_required()
            typer.echo(f"{prefix}{field} = {'(required)' if required else _as_toml(default)}")
        for line in docs.get(field, "").splitlines():
            typer.echo(f"    {line.strip()}")
        if inner is not None:
            _print_fields(inner, default, f"{prefix}{field}.")


def _as_toml(value: object) -> str:
    """A default as one would write it behind --set."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return str(value)
