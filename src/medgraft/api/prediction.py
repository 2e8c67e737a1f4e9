"""Predict images that nobody has labelled yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd

from medgraft.api.adaptation import adapted_model
from medgraft.api.at_test_time import At, adapt_to_images, check_choice
from medgraft.api.images import Images, open_images
from medgraft.api.masks import forget_unfinished, predict_and_write
from medgraft.data.writers import MaskFormat
from medgraft.engine.distributed import choose_device
from medgraft.engine.donor_bank import How
from medgraft.engine.flips import Axis
from medgraft.engine.predict import predict_labels
from medgraft.errors import DataError, SettingsError
from medgraft.models.model import Model
from medgraft.models.storage import load_model
from medgraft.whole_files import write_text

FILE = "predictions.csv"


def predict(
    model: Model | str | Path,
    images: Images,
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    flips: Sequence[Axis] = (),
    masks: MaskFormat = "auto",
    progress: bool | None = False,
    adapt: At | None = None,
    donors: Images | None = None,
    beta: float | None = None,
    choose: How | None = None,
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
        adapt: "fourier" shows the model the images in the contrast of donors, "normalise_stain" tissue in their
            colours; "ada_bn" gives it the batch statistics of these images, all of them together; None takes it as it
            is. See `docs/no_labels.md` and `docs/no_target.md`.
        donors: for "fourier" and "normalise_stain", images of the source, given like `images`.
        beta, choose: for "fourier", how much is swapped and how donors are chosen ("3d", "2d", "2.5d", "random");
            None takes the method's default, see `medgraft methods fourier`.

    Returns: one line per image: row (in the manifest, or counted from 1), image (only where files or a folder
        were given), predicted, and one probability per class; for masks the share of pixels per class; remark (only
        where there is one), such as that an adapted model kept the plain prediction.

    Raises:
        DataError: no images there, or unreadable ones.
        ModelError: no model there, or one that cannot be adapted so.
        SettingsError: an axis, a format of masks or an adaptation that there is not, or donors missing.
        ShapeError: donors of another size than the images.
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
    check_choice(adapt, donors, beta, choose)
    if adapt is not None:
        model = adapt_to_images(model, cohort, adapt, donors, beta, choose, device=device, progress=progress)
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
        remarks = written.remarks
    else:
        predicted = predict_labels(model, cohort, device=device, flips=flips, shown=progress)
        columns["predicted"] = [_name(label, classes) for label in predicted.labels.tolist()]
        columns |= {
            f"p_{name}": predicted.probabilities[:, index].tolist() for index, name in enumerate(classes)
        }
        remarks = [model.remarks.get(row, "") for row in range(len(cohort))]
    if any(remarks):
        columns["remark"] = list(remarks)
    table = pd.DataFrame(columns)
    if out is not None:
        write_text(Path(out) / FILE, table.to_csv(index=False))
        forget_unfinished(Path(out))
    return table


def _name(label: int | list[int], classes: Sequence[str]) -> str:
    if isinstance(label, int):
        return classes[label]
    return "|".join(name for name, value in zip(classes, label) if value)
