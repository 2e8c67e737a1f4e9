"""What scores are computed from: one forward pass of a source over the labelled images of a target, kept on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgraft.models.weights import hash_weights, is_untrained
from medgraft.whole_files import written_whole

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model

FORMAT = 1
"""Of kept passes; part of their names, raised when the same pass would give other numbers."""


class Material(NamedTuple):
    """One source's view of a target.

    model, cohort: as they were given, for scores that need a gradient.
    labels: (n,) int64, 0..C-1, classes without an image left out; of several labels per image (n, L) floats with NaN
        for unknown ones; of masks those of the pixels.
    features: (n, D) float32, of images or pixels.
    probabilities: (n, Z) of the source's own classes; None where it has none.
    layers: of a segmentation source, (n, D) float32 by decoder block; else empty.
    images: (n,) int64, which image a row belongs to.
    """

    model: Model
    cohort: Cohort
    labels: NDArray[np.generic]
    features: NDArray[np.float32]
    probabilities: NDArray[np.floating] | None
    layers: dict[str, NDArray[np.float32]]
    images: NDArray[np.int64]

    def of_rows(self, rows: NDArray[np.int64]) -> Material:
        """The same of some rows only, classes numbered anew."""
        labels = self.labels[rows]
        if labels.ndim == 1:
            labels = np.unique(labels, return_inverse=True)[1]
        return self._replace(
            labels=labels,
            features=self.features[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            layers={name: layer[rows] for name, layer in self.layers.items()},
            images=self.images[rows],
        )


def gather_material(
    model: Model,
    cohort: Cohort,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    pixels_per_class: int = 1000,
    seed: int = 0,
    shown: bool | None = False,
) -> Material:
    """Look at every image once; a pass that was made before with these weights and images is read instead.

    Args:
        model: a source, with its own head.
        cohort: rows with truth; of classify, multilabel or segment.
        cache: folder for passes; None keeps nothing.
        batch_size: images per forward pass.
        device: where to compute.
        pixels_per_class: of segmentation, how many pixels of every class are looked at.
        seed: of segmentation, which pixels.
        shown: progress bar; None shows it at a terminal.

    Raises:
        ModelError: the source cannot look at these images, or has no features.
        RunError: the cache cannot be written.
    """
    what = [
        FORMAT, hash_weights(model), model.spec.preparation.model_dump(mode="json"), cohort.fingerprint(),
        [pixels_per_class, seed] if cohort.kind == "segment" else None,
    ]  # fmt: skip
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:20]
    path = cache / f"{name}.safetensors" if cache is not None else None
    found = _read(path)
    if found is None:
        found = _look(model, cohort, batch_size, device, pixels_per_class, seed, shown)
        if path is not None:
            _write(path, found)
    return _material(model, cohort, found)


def _look(
    model: Model, cohort: Cohort, batch_size: int, device: str, per_class: int, seed: int, shown: bool | None
) -> dict[str, NDArray[np.generic]]:
    if cohort.kind != "segment":
        from medgraft.engine.features import extract_features

        features = extract_features(model, cohort, batch_size=batch_size, device=device, shown=shown)
        return {"features": features.numpy()}
    from medgraft.engine.features import sample_pixels

    sample = sample_pixels(
        model, cohort, per_class=per_class, seed=seed, batch_size=batch_size, device=device, shown=shown
    )
    layers = {f"layer/{place}/{name}": layer for place, (name, layer) in enumerate(sample.features.items())}
    return {"probabilities": sample.probabilities, "labels": sample.labels, "images": sample.images, **layers}


def _material(model: Model, cohort: Cohort, found: dict[str, NDArray[np.generic]]) -> Material:
    if cohort.kind == "segment":
        ordered = sorted(
            (int(place), name, array)
            for (_, place, name), array in (
                (key.split("/", 2), array) for key, array in found.items() if "/" in key
            )
        )
        layers = {name: array.astype(np.float32) for _, name, array in ordered}
        labels = np.unique(found["labels"], return_inverse=True)[1]
        features = next(reversed(layers.values()))
        own = None if is_untrained(model) else found["probabilities"].astype(np.float32)
        return Material(model, cohort, labels, features, own, layers, found["images"].astype(np.int64))
    labels = cohort.labels
    if labels.ndim == 1:
        labels = np.unique(labels, return_inverse=True)[1]
    features = found["features"].astype(np.float32)
    images = np.arange(len(labels))
    return Material(model, cohort, labels, features, _head_probabilities(model, features), {}, images)


def _head_probabilities(model: Model, features: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """What the source's own head makes of the features: no second pass; None where it has no classes of its own."""
    import torch

    if model.spec.kind != "classify" or is_untrained(model):
        return None
    with torch.no_grad():
        outputs = model.head_outputs(torch.from_numpy(features)).double()
    return outputs.softmax(1).numpy()


def _read(path: Path | None) -> dict[str, NDArray[np.generic]] | None:
    """A pass that was kept; None where there is none or it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path is None or not path.is_file():
        return None
    try:
        found: dict[str, NDArray[np.generic]] = load_file(path)
    except (OSError, SafetensorError, ValueError):
        return None
    return found


def _write(path: Path, found: dict[str, NDArray[np.generic]]) -> None:
    from safetensors.numpy import save_file

    with written_whole(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in found.items()}, temporary)
