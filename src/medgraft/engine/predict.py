"""The one predictor: every score, every picture and every saved prediction comes through here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from medgraft.data.cohort import Cohort
from medgraft.data.slice_positions import slice_positions
from medgraft.engine.flips import Axis, flip_dims, flipped_probabilities
from medgraft.engine.loading import Loader, check_levels
from medgraft.engine.memory_order import ORDERS, channels_last, put_channels_last
from medgraft.engine.progress import progress_bar
from medgraft.engine.sliding import segment_volume
from medgraft.errors import DataError, MedgraftError, ModelError
from medgraft.images.preparation import Preparer
from medgraft.models.model import Model
from medgraft.types import Batch, Preparation


class Predicted(NamedTuple):
    """Predictions for the rows of a cohort, in its order.

    probabilities: (N, K) float32; softmax over classes, or one per label for `multilabel`.
    labels: (N,) int64 for `classify`, (N, K) int64 of 0 and 1 for `multilabel`.
    """

    probabilities: np.ndarray
    labels: np.ndarray


class PredictedMask(NamedTuple):
    """One image's or volume's predicted segmentation at its native resolution.

    row: position in the cohort.
    labels: (H, W) or (D, H, W) integer class map.
    confidence: of the same shape, float32, the probability of the predicted class.
    """

    row: int
    labels: np.ndarray
    confidence: np.ndarray


def predict_labels(
    model: Model,
    cohort: Cohort,
    *,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    loader: Loader | None = None,
    flips: Sequence[Axis] = (),
    shown: bool | None = False,
) -> Predicted:
    """Predict a whole cohort with a classifier.

    Args:
        model: kind `classify` or `multilabel`.
        cohort: only its images are used.
        batch_size: images per forward pass; does not change the result.
        device: where to compute; the model is left where it was.
        loader: prepared rows to reuse; must stem from the same cohort and preparation.
        flips: axes to mirror; predictions are averaged over all combinations.
        shown: progress bar; None shows it at a terminal.

    Raises:
        ModelError: the model segments or only encodes.
        DataError: numbers that the preparation scales image by image, where the model needs levels.
    """
    if model.spec.kind not in ("classify", "multilabel"):
        raise ModelError(
            "predict_labels", "a model that classifies", f"this one's kind is {model.spec.kind!r}",
            "Use predict_masks for segmentation, extract_features for an encoder.",
        )  # fmt: skip
    parts = list(_forward(model, cohort, batch_size, device, loader, flips, shown))
    probabilities = np.concatenate([probabilities for _, probabilities, _ in parts])
    labels = np.concatenate([labels for _, _, labels in parts])
    order = np.argsort(np.concatenate([rows for rows, _, _ in parts]), kind="stable")
    return Predicted(probabilities[order], labels[order])


def predict_masks(
    model: Model,
    cohort: Cohort,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    loader: Loader | None = None,
    flips: Sequence[Axis] = (),
    shown: bool | None = False,
) -> Iterator[PredictedMask]:
    """Segment a cohort image by image, or volume by volume, at native resolution.

    Holds one batch of images in memory, or one volume; see `segment_volume`.

    Raises:
        ModelError: the model does not segment.
        DataError: single images for a three-dimensional network; numbers that the preparation scales image by image,
            where the model needs levels; as `Cohort.picture`.
    """
    if model.spec.kind != "segment":
        raise ModelError(
            "predict_masks", "a model that segments", f"this one's kind is {model.spec.kind!r}",
            "Use predict_labels for a classifier.",
        )  # fmt: skip
    flip_dims(flips, model.spec.preparation.dimensions)  # refused before anything is read
    if len(cohort) and needs_windows(model.spec.preparation, cohort):
        yield from _slide(model, cohort, batch_size, device, flips, shown)
        return
    preparer = Preparer(model.spec.preparation)
    for rows, probabilities, _ in _forward(model, cohort, batch_size, device, loader, flips, shown):
        for row, scores in zip(rows, torch.from_numpy(probabilities)):
            shape = cohort.picture(int(row)).array.shape[:2]
            native = preparer.restore(scores, shape)
            confidence, labels = native.max(dim=0)
            yield PredictedMask(int(row), labels.numpy(), confidence.numpy())


def needs_windows(preparation: Preparation, cohort: Cohort) -> bool:
    """Whether rows are volumes, or larger than what the network sees at a time; the first row tells."""
    is_flat = preparation.dimensions == 2 and preparation.patch is None
    return not is_flat or cohort.picture(0).array.ndim == 4


def _slide(
    model: Model,
    cohort: Cohort,
    batch_size: int,
    device: str | torch.device,
    flips: Sequence[Axis],
    shown: bool | None,
) -> Iterator[PredictedMask]:
    preparer = Preparer(model.spec.preparation)
    whole = model.predict_by != "image"
    windows = batch_size if model.spec.preparation.dimensions == 2 else max(1, batch_size // 8)
    _begin(model, cohort)

    def predict(images: Tensor) -> Tensor:
        rows = np.full(len(images), row) if whole else None
        with _told_where(cohort, row, ""):
            return flipped_probabilities(model, channels_last(images.to(device)), flips, rows).cpu()

    with placed(model, device), progress_bar("predicting", len(cohort), shown) as advance:
        for row in range(len(cohort)):
            volume, shape = prepare_volume(preparer, cohort, row)
            result = segment_volume(
                predict,
                preparer,
                volume,
                (1, *shape)[-3:],
                len(model.spec.classes),
                batch_size=volume.shape[1] if whole else windows,
            )
            yield PredictedMask(row, result.labels.reshape(shape), result.confidence.reshape(shape))
            advance(None)


def prepare_volume(preparer: Preparer, cohort: Cohort, row: int) -> tuple[Tensor, tuple[int, ...]]:
    """A row as (c, d, h, w), a single image as a volume of one slice; and its shape as stored."""
    array, spacing = cohort.picture(row)
    shape = array.shape[:-1]
    try:
        if array.ndim == 4:
            return preparer.volume(array, spacing), shape
        if preparer.preparation.dimensions == 3:
            raise DataError(
                "A three-dimensional network", "volumes", "this is a single image", "Give volumes only."
            )
        return preparer.volume(array[None], None if spacing is None else (1.0, *spacing)), shape
    except MedgraftError as error:
        error.got += f" ({cohort.where('image', row)})"
        raise


def _forward(
    model: Model,
    cohort: Cohort,
    batch_size: int,
    device: str | torch.device,
    loader: Loader | None,
    flips: Sequence[Axis],
    shown: bool | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    loader = loader or Loader(cohort.only({"images", "patients"}), model.spec.preparation, memory=0)
    surveys = model.predict_by == "survey"
    groups = batch_rows(model, cohort, batch_size)
    parts = [in_batches(rows, batch_size) if surveys else [rows] for rows in groups]
    _begin(model, cohort)
    with placed(model, device), progress_bar("predicting", sum(map(len, parts)), shown) as advance:
        for batch, known in _with_what_is_known(model, cohort, loader, parts, device):
            rows, images = batch.rows, channels_last(batch.images.to(device))
            with _told_where(cohort, int(rows[0]), "from " if len(rows) > 1 else ""):
                if flips:
                    probabilities = flipped_probabilities(model, images, flips, rows, **known)
                    several = model.spec.kind == "multilabel"
                    labels = (probabilities > 0.5).long() if several else probabilities.argmax(dim=1)
                else:
                    predicted = model.predict(images, rows=rows, **known)
                    probabilities, labels = predicted.probabilities.float(), predicted.labels
            yield rows, probabilities.cpu().numpy(), labels.cpu().numpy()
            advance(None)


def _with_what_is_known(
    model: Model,
    cohort: Cohort,
    loader: Loader,
    groups: Sequence[list[np.ndarray]],
    device: str | torch.device,
) -> Iterator[tuple[Batch, dict[str, Any]]]:
    """Batch after batch, with what the model is told of it; those of a group are read twice where it surveys them."""
    surveys = model.predict_by == "survey"
    positions = slice_positions(cohort) if model.predict_by == "patient" else None
    batches = loader.batches(rows for own in groups for rows in own * (2 if surveys else 1))
    for own in groups:
        known: dict[str, Any] = {}
        if surveys:
            surveyed = (batch.images.to(device) for batch in islice(batches, len(own)))
            with _told_where(cohort, int(own[0][0]), "from "):
                known["common"] = model.survey(surveyed, sum(map(len, own)))
        for batch in islice(batches, len(own)):
            yield batch, known if positions is None else {"positions": positions[batch.rows]}


def _begin(model: Model, cohort: Cohort) -> None:
    """Forget what was said of other rows, and refuse those whose numbers do not suit the model; the first row tells."""
    model.remarks = {}
    if model.needs_levels and len(cohort):
        check_levels(type(model).__name__, cohort, 0, model.spec.preparation)


@contextmanager
def _told_where(cohort: Cohort, row: int, words: str) -> Iterator[None]:
    """Name the row, or the first of several, in what a model has against its images."""
    try:
        yield
    except MedgraftError as error:
        error.got += f" ({words}{cohort.where('image', row)})"
        raise


@contextmanager
def placed(model: nn.Module, device: str | torch.device) -> Iterator[None]:
    """A model on a device with channels-last weights; afterwards as before."""
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    filters = [parameter for parameter in model.parameters() if parameter.ndim in ORDERS]
    contiguous = all(parameter.is_contiguous() for parameter in filters)
    model.to(device)
    put_channels_last(model)
    try:
        yield
    finally:
        model.to(home)
        if contiguous:
            model.to(memory_format=torch.contiguous_format)


def batch_rows(model: Model, cohort: Cohort, batch_size: int) -> list[np.ndarray]:
    """Rows that are predicted together: consecutive ones, or whole patients in order where the model asks for them."""
    if model.predict_by == "image":
        return in_batches(np.arange(len(cohort)), batch_size)
    return rows_by_patient(cohort)


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in their order, so many at a time.

    >>> in_batches(np.arange(5), 3)
    [array([0, 1, 2]), array([3, 4])]
    """
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def rows_by_patient(cohort: Cohort) -> list[np.ndarray]:
    """Rows of each patient, at each site by itself, in the order of the cohort."""
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(cohort.patients.tolist(), cohort.sites.tolist())):
        rows.setdefault(key, []).append(row)
    return [np.array(own) for own in rows.values()]
