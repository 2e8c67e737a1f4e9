"""A small validator of JSON Schema: what our own schema uses, and an error for what it does not know."""

from __future__ import annotations

from typing import Any

TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip
KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "properties", "required",
         "additionalProperties", "items", "enum", "const", "anyOf"}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any], place: str = "$") -> list[str]:
    """Everything in which a value departs from a schema."""
    assert set(schema) <= KNOWN, f"{place}: the validator does not know {set(schema) - KNOWN}"
    found: list[str] = []
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        found += problems(value, root["$defs"][name], root, place)
    if "anyOf" in schema and all(problems(value, option, root, place) for option in schema["anyOf"]):
        found.append(f"{place} fits none of {len(schema['anyOf'])} forms")
    if "const" in schema and value != schema["const"]:
        found.append(f"{place} is {value!r}, not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place} is {value!r}, none of {schema['enum']}")
    if "type" in schema and not _is(value, schema["type"]):
        return [*found, f"{place} is of class {type(value).__name__}, not {schema['type']}"]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{place} lacks {name}" for name in schema.get("required", []) if name not in value]
        if schema.get("additionalProperties", True) is False:
            found += [f"{place} also has {name}" for name in value if name not in known]
        for name in set(known) & set(value):
            found += problems(value[name], known[name], root, f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += problems(item, schema["items"], root, f"{place}[{index}]")
    return found


def _is(value: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    # in JSON a truth value is no number
    return any(
        isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )
