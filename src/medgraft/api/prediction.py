"""Predict images that nobody has labelled yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd

from medgraft.api.adaptation import adapted_model
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.readers import known_extensions
from medgraft.engine.distributed import choose_device
from medgraft.engine.predict import PredictedMask, predict_labels, predict_masks
from medgraft.engine.whole_files import write_text, written_together
from medgraft.errors import DataError
from medgraft.models.model import Model
from medgraft.models.storage import load_model

FILE = "predictions.csv"
TABLES = (".csv", ".tsv", ".tab", ".parquet")


def predict(
    model: Model | str | Path,
    images: Cohort | str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = False,
) -> pd.DataFrame:
    """Predict the class, the labels or the mask of every image.

    Args:
        model: a model, or the folder of one or of a run.
        images: a cohort; a manifest; or image files and folders of them (their sub-folders too).
        out: folder that receives `predictions.csv` and, for segmentation, `masks/` at each image's own size.
        device: "auto", "cpu" or "cuda".
        progress: show a bar; None shows it at a terminal.

    Returns: one line per image: row (in the manifest, or counted from 1), image (only where files or a folder
        were given), predicted, and one probability per class; for masks the share of pixels per class.

    Raises:
        DataError: no images there, or unreadable ones.
        ModelError: no model there.
    """
    if not isinstance(model, Model):
        model = load_model(adapted_model(model))
    device = choose_device(device)
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise DataError("predict", "a folder for its results", f"{out} is a file", "Choose another --out.")
    cohort, files = open_images(images)
    if not len(cohort):
        raise DataError("predict", "at least one image", f"{cohort.name} has none", "Check the path.")
    columns: dict[str, list[object]] = {"row": cohort.table.index.tolist()}
    if files:
        columns["image"] = list(files)
    classes = model.spec.classes
    if model.spec.kind == "segment":
        masks = predict_masks(model, cohort, device=device, shown=progress)
        columns |= _shares(masks, cohort, classes, None if out is None else Path(out) / "masks")
    else:
        predicted = predict_labels(model, cohort, device=device, shown=progress)
        columns["predicted"] = [_name(label, classes) for label in predicted.labels.tolist()]
        columns |= {
            f"p_{name}": predicted.probabilities[:, index].tolist() for index, name in enumerate(classes)
        }
    table = pd.DataFrame(columns)
    if out is not None:
        write_text(Path(out) / FILE, table.to_csv(index=False))
    return table


def open_images(images: Cohort | str | Path | Sequence[str | Path]) -> tuple[Cohort, Sequence[str]]:
    """A cohort without truth, and file names where these are what tells the rows apart."""
    if isinstance(images, Cohort):
        return images.only({"images", "patients"}), ()
    if isinstance(images, str | Path):
        path = Path(images)
        if path.suffix in TABLES or (path.suffix == ".npz" and "#" not in path.name):
            return read_manifest(path, kind="encode").only({"images", "patients"}), ()
        images = [path]
    files = [str(file) for path in images for file in _images_in(Path(path))]
    for number, file in enumerate(files, start=1):
        if not Path(file.split("#")[0]).is_file():
            raise DataError(
                "predict",
                "existing image files",
                f"file {number}, {file}, does not exist",
                "Correct the path.",
            )
    return _cohort_of_files(files), files


def _images_in(path: Path) -> Sequence[Path]:
    """The images of a folder and its sub-folders; a file as it is."""
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and _readable(file)]
    if not found:
        raise DataError(
            "predict", f"images ({', '.join(sorted(known_extensions()))})", f"{path} holds none",
            "Check the path.",
        )  # fmt: skip
    return found


def _cohort_of_files(files: Sequence[str]) -> Cohort:
    table = pd.DataFrame({"image": files}, index=pd.RangeIndex(1, len(files) + 1))
    return Cohort(table.astype(object), kind="encode", classes=(), root=Path(), name="images")


def _readable(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.lower().endswith(tuple(known_extensions()))


def _name(label: int | list[int], classes: Sequence[str]) -> str:
    if isinstance(label, int):
        return classes[label]
    return "|".join(name for name, value in zip(classes, label) if value)


def _shares(
    masks: Iterable[PredictedMask], cohort: Cohort, classes: Sequence[str], folder: Path | None
) -> dict[str, list[object]]:
    """Write all masks, or none where an image cannot be read; and return the share of the pixels of each class."""
    rows = cohort.table.index
    shares = np.zeros((len(cohort), len(classes)))
    names: list[object] = [f"masks/row-{row:06d}.png" for row in rows]
    with nullcontext() if folder is None else written_together(folder) as place:
        for mask in masks:
            shares[mask.row] = np.bincount(mask.labels.ravel(), minlength=len(classes)) / mask.labels.size
            if place is not None:
                _write_mask(place / Path(str(names[mask.row])).name, mask.labels, len(classes))
    columns: dict[str, list[object]] = {} if folder is None else {"mask": names}
    return columns | {f"share_{name}": shares[:, index].tolist() for index, name in enumerate(classes)}


def _write_mask(path: Path, labels: np.ndarray, classes: int) -> None:
    from PIL import Image

    Image.fromarray(labels.astype(np.uint8 if classes <= 256 else np.uint16)).save(path, format="PNG")
