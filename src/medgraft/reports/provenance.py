"""What was done, from provenance: said once where it was the same, by subject and seed where it differed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.wording import duration

KEYS = ("what", "subject", "cohort")
ONE_LINE = ("rows", "versions")


class Field(NamedTuple):
    """A name and what stands there, as lines; `code` where it is a hash, a command or a version."""

    name: str
    lines: list[str]
    code: bool


class Deed(NamedTuple):
    """Something done to a subject on a cohort, all seeds together."""

    title: str
    fields: list[Field]


class Account(NamedTuple):
    """What every entry says alike, then each deed."""

    common: list[Field]
    deeds: list[Deed]
    seconds: str


def make_account(evidence: Evidence) -> Account | None:
    """Everything in provenance, nothing dropped; None where there is none."""
    entries = [_flatten(entry) for entry in evidence.provenance]
    if not entries:
        return None
    shared = _shared(entries) if len(entries) > 1 else {}
    shared = {name: value for name, value in shared.items() if name not in KEYS}
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for entry in entries:
        what, subject, cohort = (entry.get(key, "") for key in KEYS)
        groups.setdefault((what, subject, cohort), []).append(entry)
    alone = len({cohort for _, _, cohort in groups}) == 1
    deeds = [
        Deed(_title(key[:2] if alone else key), _fields(group, set(shared) | set(KEYS)))
        for key, group in groups.items()
    ]
    taken = [
        entry["seconds"] for entry in evidence.provenance if isinstance(entry.get("seconds"), (int, float))
    ]
    common = [Field(name, [value], _is_code(name)) for name, value in shared.items()]
    return Account(common, [deed for deed in deeds if deed.fields], duration(sum(taken)) if taken else "")


def _flatten(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested dictionaries as one, keys joined by dots, values as text."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        name = f"{before}{key}"
        if isinstance(item, Mapping) and item and key not in ONE_LINE:
            flat |= _flatten(item, f"{name}.")
        else:
            flat[name] = _text(key, item)
    return flat


def _text(key: str, item: object) -> str:
    if item is None or item in ({}, []):
        return "none"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if key == "seconds" and isinstance(item, (int, float)):
        return duration(item)
    if isinstance(item, int) and key not in ("seed", "version"):
        return f"{item:,}"
    if isinstance(item, list):
        return ", ".join(_text("", part) for part in item)
    if isinstance(item, Mapping):
        return " · ".join(f"{name} {_text(name, part)}" for name, part in item.items())
    return str(item)


def _shared(entries: list[dict[str, str]]) -> dict[str, str]:
    first, *others = entries
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _fields(group: list[dict[str, str]], known: set[str]) -> list[Field]:
    fields = []
    for name in dict.fromkeys(name for entry in group for name in entry if name not in known):
        values = [(entry.get("seed", ""), entry.get(name, "none")) for entry in group]
        if name == "seed":
            lines = [", ".join(value for _, value in values)]
        elif len({value for _, value in values}) == 1:
            lines = [values[0][1]]
        else:
            lines = [f"seed {seed}: {value}" if seed else value for seed, value in values]
        fields.append(Field(name, lines, _is_code(name)))
    return fields


def _title(key: tuple[str, ...]) -> str:
    what, subject, *cohort = key
    return " · ".join(part for part in (subject, what, *cohort) if part) or "run"


def _is_code(name: str) -> bool:
    last = name.rsplit(".", 1)[-1]
    return name.startswith("versions") or any(
        word in last for word in ("command", "hash", "fingerprint", "sha256", "path", "folder", "file")
    )
