"""Settings as words of a command line or as a file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medgraft.errors import SettingsError


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """Turn ``key=value`` words into nested settings; values as in TOML, plain text without quotes.

    Raises:
        SettingsError: a word without '=', or a key that is both a value and a group.

    >>> parse_settings(["scope=head", "schedule.lr=0.1", "size=[96,96]", "augmentation=none"])
    {'scope': 'head', 'schedule': {'lr': 0.1}, 'size': [96, 96], 'augmentation': None}
    """
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise SettingsError(
                "--set", "KEY=VALUE", f"it got {word!r}", "Write for instance --set schedule.lr=0.001."
            )
        merge_settings(settings, _nested(key.strip().split("."), _value(value.strip())))
    return settings


def merge_settings(settings: dict[str, Any], others: Mapping[str, Any]) -> None:
    """Put other settings over these, group by group.

    >>> settings = {"schedule": {"lr": 0.1, "epochs": 3}}
    >>> merge_settings(settings, {"schedule": {"lr": 0.2}})
    >>> settings
    {'schedule': {'lr': 0.2, 'epochs': 3}}
    """
    for key, value in others.items():
        held = settings.get(key)
        if isinstance(held, dict) and isinstance(value, Mapping):
            merge_settings(held, value)
        else:
            settings[key] = dict(value) if isinstance(value, Mapping) else value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: no such file, or not TOML; the line is named.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            "--config", "an existing file", f"{path} does not exist", "Correct the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "--config", "a readable TOML or JSON file", f"{path} cannot be read: {error}", "Check the file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"The file {path}", "valid TOML", f"it is not: {error}", "Correct that line."
        ) from error


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _value(text: str) -> Any:
    """A TOML value where it is one, nothing for the word none, else the text itself."""
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
