"""The one predictor: every score, every picture and every saved prediction comes through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.progress import progress_bar
from medgraft.errors import ModelError
from medgraft.images.preparation import Preparer
from medgraft.models.model import Model


class Predicted(NamedTuple):
    """Predictions for the rows of a cohort, in its order.

    probabilities: (N, K) float32; softmax over classes, or one per label for `multilabel`.
    labels: (N,) int64 for `classify`, (N, K) int64 of 0 and 1 for `multilabel`.
    """

    probabilities: np.ndarray
    labels: np.ndarray


class PredictedMask(NamedTuple):
    """One image's predicted segmentation at its native resolution.

    row: position in the cohort.
    labels: (H, W) integer class map.
    confidence: (H, W) float32, the probability of the predicted class.
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
    shown: bool | None = False,
) -> Predicted:
    """Predict a whole cohort with a classifier.

    Args:
        model: kind `classify` or `multilabel`.
        cohort: only its images are used.
        batch_size: images per forward pass; does not change the result.
        device: where to compute; the model is left where it was.
        loader: prepared rows to reuse; must stem from the same cohort and preparation.
        shown: progress bar; None shows it at a terminal.

    Raises:
        ModelError: the model segments or only encodes.
    """
    if model.spec.kind not in ("classify", "multilabel"):
        raise ModelError(
            "predict_labels", "a model that classifies", f"this one's kind is {model.spec.kind!r}",
            "Use predict_masks for segmentation, extract_features for an encoder.",
        )  # fmt: skip
    parts = list(_forward(model, cohort, batch_size, device, loader, shown))
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
    shown: bool | None = False,
) -> Iterator[PredictedMask]:
    """Segment a cohort image by image, at native resolution; holds one batch in memory.

    Raises:
        ModelError: the model does not segment.
    """
    if model.spec.kind != "segment":
        raise ModelError(
            "predict_masks", "a model that segments", f"this one's kind is {model.spec.kind!r}",
            "Use predict_labels for a classifier.",
        )  # fmt: skip
    preparer = Preparer(model.spec.preparation)
    for rows, probabilities, _ in _forward(model, cohort, batch_size, device, loader, shown):
        for row, scores in zip(rows, torch.from_numpy(probabilities)):
            shape = cohort.picture(int(row)).array.shape[:2]
            native = preparer.restore(scores, shape)
            confidence, labels = native.max(dim=0)
            yield PredictedMask(int(row), labels.numpy(), confidence.numpy())


def _forward(
    model: Model,
    cohort: Cohort,
    batch_size: int,
    device: str | torch.device,
    loader: Loader | None,
    shown: bool | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    loader = loader or Loader(cohort.only({"images", "patients"}), model.spec.preparation, memory=0)
    groups = batch_rows(model, cohort, batch_size)
    with placed(model, device), progress_bar("predicting", len(groups), shown) as advance:
        for rows in groups:
            predicted = model.predict(channels_last(loader(rows).images.to(device)), rows=rows)
            yield rows, predicted.probabilities.float().cpu().numpy(), predicted.labels.cpu().numpy()
            advance(None)


@contextmanager
def placed(model: Model, device: str | torch.device) -> Iterator[None]:
    """A model on a device with channels-last weights, which halves the time of convolutions; afterwards as before."""
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    filters = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    contiguous = all(parameter.is_contiguous() for parameter in filters)
    model.to(device)
    model.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        model.to(home)
        if contiguous:
            model.to(memory_format=torch.contiguous_format)


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in the memory order of `placed` models; other shapes as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def batch_rows(model: Model, cohort: Cohort, batch_size: int) -> list[np.ndarray]:
    """Rows of each forward pass: consecutive ones, or whole patients in order where the model asks for them."""
    if model.predict_by == "patient":
        patients = cohort.patients
        return [np.flatnonzero(patients == patient) for patient in dict.fromkeys(patients.tolist())]
    return [
        np.arange(start, min(start + batch_size, len(cohort))) for start in range(0, len(cohort), batch_size)
    ]
