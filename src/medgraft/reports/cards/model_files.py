"""What the files of a saved model say about it; its weights are not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from medgraft.errors import ModelError

MODEL, RUN = "model.json", "run.json"
FORMAT = 1


class SavedModel(NamedTuple):
    """A model's description.

    spec: kind, classes, channels, preparation, provenance.
    run: the run.json of the run that made it; empty where the model was copied elsewhere.
    """

    name: str
    architecture: str
    spec: dict[str, Any]
    weights_sha256: str
    medgraft: str
    run: dict[str, Any]


def read_saved_model(folder: str | Path) -> SavedModel:
    """Read what stands beside the weights of a model, or of a run's model.

    Args:
        folder: that of a model, or of a finished run.

    Raises:
        ModelError: there is no model, or its description is damaged or of another version.
    """
    folder = Path(folder)
    place = folder if (folder / MODEL).is_file() or not (folder / RUN).is_file() else folder / "model"
    described = _json(place / MODEL, place)
    if described.get("format") != FORMAT:
        raise ModelError(
            f"The model in {place}", f"to be stored in format {FORMAT}", f"it says {described.get('format')!r}",
            "Use the version of medgraft that wrote it.",
        )  # fmt: skip
    tree, weights = described.get("tree"), described.get("weights")
    if not isinstance(tree, dict) or not isinstance(tree.get("spec"), dict) or not isinstance(weights, dict):
        raise _damaged(place, f"{MODEL} does not describe a model")
    run = place.parent / RUN
    inside_run = place.absolute().name == "model" and run.is_file()
    named = folder.resolve()
    return SavedModel(
        name=named.parent.name if named.name == "model" else named.name,
        architecture=_architecture(tree),
        spec=tree["spec"],
        weights_sha256=str(weights.get("sha256", "")),
        medgraft=str(described.get("medgraft", "unknown")),
        run=_json(run, place) if inside_run else {},
    )


def _architecture(tree: dict[str, Any]) -> str:
    """The class, and in brackets the backbone it names or the models inside it."""
    config = tree.get("config")
    values = list(config.values()) if isinstance(config, dict) else []
    inside = [value["__model__"] for value in values if isinstance(value, dict) and "__model__" in value]
    inner = config.get("architecture") if isinstance(config, dict) else None
    told = inner or ", ".join(_architecture(model) for model in inside if isinstance(model, dict))
    return f"{tree.get('class', 'unknown')} ({told})" if told else str(tree.get("class", "unknown"))


def _json(path: Path, folder: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(
            "A model card", f"a folder with {MODEL}", f"{folder} has no {path.name}",
            "Give the folder of a saved model or of a finished run.",
        )  # fmt: skip
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{path.name} cannot be read") from error
    if not isinstance(read, dict):
        raise _damaged(folder, f"{path.name} holds no JSON object")
    return read


def _damaged(folder: Path, got: str) -> ModelError:
    return ModelError(f"The model in {folder}", "whole files", got, "Copy the folder again, or save it anew.")
