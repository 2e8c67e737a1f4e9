"""How well a source foretells the labels of a target's pixels: measured once, then told for every training batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.memory_order import channels_last, put_channels_last
from medgraft.engine.patches import Patches, load_batch
from medgraft.engine.progress import progress_bar
from medgraft.metrics.expected_prediction import expected_predictions, labels_given_source
from medgraft.models.model import Model
from medgraft.models.risk_map import RiskMap, foreground_of, pixel_risk, risk_weights
from medgraft.types import Batch


class PixelRisk:
    """Weigh the pixels of a batch by the risk that what a source has learned misleads there.

    It is no `nn.Module`, so that the objective that holds it neither trains nor saves the source.

    Args:
        source: with its own head, from `freeze`; on the device of the batches.
        given: (C, Z) probability of each label where the source says one of its classes.
        settings: which weights.
        ignore_label: of pixels that count nowhere.
    """

    def __init__(
        self, source: Model, given: Tensor, settings: RiskMap, ignore_label: int | None = None
    ) -> None:
        self.source, self.settings, self.ignore_label = source, settings, ignore_label
        self.given = given.to(next(source.parameters()).device, torch.float32)

    def __call__(self, images: Tensor, truth: Tensor) -> Tensor:
        """Factors of a loss per pixel before its mean over an image; see `risk_weights`.

        Args:
            images: (B, C, *spatial) float32, as the training sees them.
            truth: (B, *spatial) int64.

        Returns: (B, *spatial) float32, at least 0.
        """
        foreground = foreground_of(images, truth, self.settings)
        return risk_weights(self.risk(images, truth), self.known(truth), foreground, self.settings)

    def risk(self, images: Tensor, truth: Tensor) -> Tensor:
        """Risk of each pixel, (B, *spatial) float32 in [0, 13.8]; arbitrary where the label is ignored."""
        labels = truth.where(self.known(truth), 0)
        return pixel_risk(expected_predictions(say(self.source, images), labels, self.given))

    def known(self, truth: Tensor) -> Tensor:
        """Which pixels have a label that counts."""
        return known_pixels(truth, self.ignore_label)


class RiskSums(NamedTuple):
    """What a source's classes say about the pixels of each label; float64 sums over the pixels of a cohort.

    joint: (C, Z) source probabilities.
    pixels: (C,) how many.
    log_expected: (C,) natural logarithms of the expected prediction, each at most 0.
    risk: (C,) risks.
    shows: (samples,) bool, which samples show a class other than the first.
    """

    joint: Tensor
    pixels: Tensor
    log_expected: Tensor
    risk: Tensor
    shows: Tensor


def freeze(model: Model, device: torch.device) -> Model:
    """A copy of a model that only looks: in evaluation mode, without gradients, on a device; the given one stays."""
    frozen = copy.deepcopy(model).requires_grad_(False).eval().to(device)
    frozen.optimizer_history = None
    put_channels_last(frozen)
    return frozen


@torch.no_grad()
def say(source: Model, images: Tensor) -> Tensor:
    """What a segmenter's own classes say of each pixel: (B, C, *spatial) to probabilities (B, *spatial, Z) float32."""
    probabilities: Tensor = source(channels_last(images)).float().softmax(dim=1)
    return probabilities.movedim(1, -1)


def known_pixels(truth: Tensor, ignore_label: int | None) -> Tensor:
    """Which pixels have a label that counts, (B, *spatial) bool."""
    return torch.ones_like(truth, dtype=torch.bool) if ignore_label is None else truth != ignore_label


def sum_risk(
    source: Model,
    rows: Loader | Patches,
    draw: Callable[[], torch.Generator],
    *,
    ignore_label: int | None = None,
    batch_size: int = 8,
    shown: bool | None = False,
) -> RiskSums:
    """Let a frozen source look at every training pixel twice: for the joint sums, and for what follows from them.

    Args:
        source: from `freeze`.
        rows: labelled rows as the adapted model sees them, not augmented; of volumes and crops one pass over samples.
        draw: gives the same generator every time, from which crops are drawn.
        ignore_label: of pixels that count nowhere.
        batch_size: rows per forward pass; volumes come one by one.
        shown: progress bar; None shows it at a terminal.
    """
    classes = len(rows.cohort.classes)
    labels = [label for label in range(classes) if label != ignore_label]
    size = batch_size if rows.preparer.preparation.dimensions == 2 else 1
    groups = np.array_split(np.arange(len(rows)), -(-len(rows) // size))
    shows: list[Tensor] = []
    joint = torch.zeros(classes, len(source.spec.classes), dtype=torch.float64)
    pixels, log_expected, risk = torch.zeros(3, classes, dtype=torch.float64)
    with progress_bar("measuring the risk of transfer", 2 * len(groups), shown) as advance:
        for probabilities, truth in _looks(source, rows, groups, draw()):
            for label in labels:  # one by one: adding by index is not repeatable on a GPU
                joint[label] += probabilities[truth == label].double().sum(0).cpu()
            shows.append(((truth > 0) & known_pixels(truth, ignore_label)).flatten(1).any(1).cpu())
            advance(None)
        given = labels_given_source(joint)
        for probabilities, truth in _looks(source, rows, groups, draw()):
            for label in labels:
                mine = probabilities[truth == label].double()
                expected = expected_predictions(mine, truth[truth == label], given.to(mine.device))
                pixels[label] += len(expected)
                log_expected[label] += expected.log().sum().cpu()
                risk[label] += pixel_risk(expected).sum().cpu()
            advance(None)
    return RiskSums(joint, pixels, log_expected, risk, torch.cat(shows))


def _looks(
    source: Model, rows: Loader | Patches, groups: list[np.ndarray], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the source says of each batch of samples, and their labels."""
    device = next(source.parameters()).device
    loaded: Iterator[Batch] = (load_batch(rows, group, generator) for group in groups)
    for batch in prefetch(loaded, ahead=AHEAD):
        assert batch.truth is not None
        yield say(source, batch.images.to(device)), batch.truth.to(device)
