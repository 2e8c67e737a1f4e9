"""Predict images that nobody has labelled yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd

from medgraft.api.adaptation import adapted_model
from medgraft.api.images import open_images
from medgraft.api.masks import forget_unfinished, predict_and_write
from medgraft.data.cohort import Cohort
from medgraft.data.writers import MaskFormat
from medgraft.engine.distributed import choose_device
from medgraft.engine.flips import Axis
from medgraft.engine.predict import predict_labels
from medgraft.errors import DataError, SettingsError
from medgraft.models.model import Model
from medgraft.models.storage import load_model
from medgraft.whole_files import write_text

FILE = "predictions.csv"


def predict(
    model: Model | str | Path,
    images: Cohort | str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    flips: Sequence[Axis] = (),
    masks: MaskFormat = "auto",
    progress: bool | None = False,
) -> pd.DataFrame:
    """Predict the class, the labels or the mask of every image or volume.

    A segmentation that was stopped goes on where it was when the same command is given again.

    Args:
        model: a model, or the folder of one or of a run.
        images: a cohort; a manifest; or image files and folders of them (their sub-folders too). A DICOM series is
            one image.
        out: folder that receives `predictions.csv` and, for segmentation, `masks/` that lie on the images.
        device: "auto", "cpu" or "cuda".
        flips: axes to mirror ("depth", "height", "width"); predictions are averaged over all combinations.
        masks: "auto" writes NIfTI for NIfTI, DICOM SEG for DICOM and PNG for pictures; or "nifti", "png",
            "dicom_seg", "npy".
        progress: show a bar; None shows it at a terminal.

    Returns: one line per image: row (in the manifest, or counted from 1), image (only where files or a folder
        were given), predicted, and one probability per class; for masks the share of pixels per class.

    Raises:
        DataError: no images there, or unreadable ones.
        ModelError: no model there.
        SettingsError: an axis or a format of masks that there is not.
    """
    if not isinstance(model, Model):
        model = load_model(adapted_model(model))
    device = choose_device(device)
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise DataError("predict", "a folder for its results", f"{out} is a file", "Choose another --out.")
    if masks not in get_args(MaskFormat):
        raise SettingsError(
            "predict",
            f"masks as one of {', '.join(get_args(MaskFormat))}",
            f"it got {masks!r}",
            "Choose one of these.",
        )
    cohort, files = open_images(images)
    if not len(cohort):
        raise DataError("predict", "at least one image", f"{cohort.name} has none", "Check the path.")
    columns: dict[str, list[object]] = {"row": cohort.table.index.tolist()}
    if files:
        columns["image"] = list(files)
    classes = model.spec.classes
    if model.spec.kind == "segment":
        written = predict_and_write(
            model,
            cohort,
            None if out is None else Path(out),
            device=device,
            flips=flips,
            format=masks,
            progress=progress,
        )
        if out is not None:
            columns["mask"] = list(written.names)
        columns |= {f"share_{name}": written.shares[:, index].tolist() for index, name in enumerate(classes)}
    else:
        predicted = predict_labels(model, cohort, device=device, flips=flips, shown=progress)
        columns["predicted"] = [_name(label, classes) for label in predicted.labels.tolist()]
        columns |= {
            f"p_{name}": predicted.probabilities[:, index].tolist() for index, name in enumerate(classes)
        }
    table = pd.DataFrame(columns)
    if out is not None:
        write_text(Path(out) / FILE, table.to_csv(index=False))
        forget_unfinished(Path(out))
    return table


def _name(label: int | list[int], classes: Sequence[str]) -> str:
    if isinstance(label, int):
        return classes[label]
    return "|".join(name for name, value in zip(classes, label) if value)
