"""How methods that train on masks come to weigh pixels by the risk of transfer, and what they tell of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medgraft.engine.checkpoint import Saved
from medgraft.engine.loading import Loader
from medgraft.engine.patches import Patches, load_batch
from medgraft.engine.pixel_risk import PixelRisk, RiskSums, freeze, sum_risk
from medgraft.engine.run import Run
from medgraft.errors import ModelError, SettingsError
from medgraft.methods.labelled.risk_picture import draw_risk
from medgraft.metrics.expected_prediction import labels_given_source
from medgraft.models.losses import LossSettings
from medgraft.models.model import Model
from medgraft.types import Preparation

WHO = "loss.risk_map"
PICTURES = 3
INTENSITIES = ("intensity", "window", "percentiles", "mean", "std")


def weigh_by_risk(source: Model, rows: Loader | Patches, loss: LossSettings, run: Run) -> PixelRisk | None:
    """Measure once how well the source foretells the target's training pixels, and make the weights of pixels from it.

    The table "risk" and some pictures "risk_map/1" become evidence of the run.

    Args:
        source: as the method was given it, with its own head; stays as it is.
        rows: the target's training rows, prepared as the adapted model wants them.
        loss: the loss that is trained on.
        run: keeps what was measured until it ends.

    Returns: for `Supervised(pixel_weights=...)`; None where the loss has no risk map.

    Raises:
        ModelError: the source does not segment.
        SettingsError: the adapted model has other channels or slices than the source.
    """
    if loss.risk_map is None:
        return None
    _check(source, rows.preparer.preparation, run)
    frozen = freeze(source, run.fabric.device)
    classes = rows.cohort.classes

    def measure() -> Saved:
        sums = sum_risk(
            frozen,
            rows,
            lambda: run.generator("risk map"),
            ignore_label=loss.ignore_label,
            shown=run.progress,
        )
        return Saved(sums._asdict())

    sums = RiskSums(**run.once("risk_map", measure).tensors)
    risk = PixelRisk(frozen, labels_given_source(sums.joint), loss.risk_map, loss.ignore_label)
    run.record("risk", risk_table(sums, classes))
    for number, sample in enumerate(_spaced(sums.shows), 1):
        run.record(f"risk_map/{number}", _picture(risk, rows, sample, run))
    return risk


def risk_table(sums: RiskSums, classes: tuple[str, ...]) -> pd.DataFrame:
    """Risk and LEEP of the pixels of each class, of all, of the foreground, and with every class counting the same.

    Returns: columns of, share_of_pixels, mean_risk, leep (mean logarithm of the expected prediction, at most 0; higher
        is better); NaN where a class has no pixel.
    """
    pixels, log_expected, risk = (column.numpy() for column in (sums.pixels, sums.log_expected, sums.risk))
    with np.errstate(invalid="ignore"):  # a class without a pixel
        means = np.stack([risk, log_expected], 1) / pixels[:, None]
        groups = {"all pixels": slice(None), "foreground": slice(1, None)}
        rows = [(name, count, *mean) for name, count, mean in zip(classes, pixels, means)]
        for name, part in groups.items():
            count = pixels[part].sum()
            rows.append((name, count, risk[part].sum() / count, log_expected[part].sum() / count))
    balanced = means[pixels > 0].mean(axis=0)
    rows.append(("classes alike", pixels.sum(), *balanced))
    table = pd.DataFrame(rows, columns=["of", "share_of_pixels", "mean_risk", "leep"])
    return table.assign(share_of_pixels=table["share_of_pixels"] / pixels.sum())


def _check(source: Model, preparation: Preparation, run: Run) -> None:
    if source.spec.kind != "segment":
        raise ModelError(
            WHO, "a source that segments, with classes of its own", f"this one's kind is '{source.spec.kind}'",
            "Leave risk_map out, or train a segmenter on source masks first and adapt from its folder.",
        )  # fmt: skip
    own = source.spec.preparation
    for name in ("channels", "slices"):
        before, after = getattr(own, name), getattr(preparation, name)
        if before != after:
            raise SettingsError(
                WHO, f"images that the source can look at, with {name}={before}",
                f"the preparation says {name}={after}", f"Leave preparation.{name} out, or risk_map.",
            )  # fmt: skip
    changed = [name for name in INTENSITIES if getattr(own, name) != getattr(preparation, name)]
    if changed:
        run.warn(
            "the risk map is that of the source on images prepared otherwise than it was trained with "
            f"({', '.join(changed)})"
        )


def _spaced(shows: Tensor) -> list[int]:
    """A few samples with foreground, evenly spaced; of any kind where none has some."""
    found = shows.nonzero().flatten() if shows.any() else torch.arange(len(shows))
    places = np.unique(np.linspace(0, len(found) - 1, PICTURES).round().astype(int))
    return [int(found[place]) for place in places]


def _picture(risk: PixelRisk, rows: Loader | Patches, sample: int, run: Run) -> np.ndarray:
    images, truth, _ = load_batch(rows, np.asarray([sample]), run.generator("risk map pictures", sample))
    assert truth is not None
    device = run.fabric.device
    found = risk.risk(images.to(device), truth.to(device)).cpu()
    known = risk.known(truth)
    found = found.where(known, torch.nan)
    if truth.ndim == 4:  # of a volume the slice that shows most
        place = int(((truth[0] > 0) & known[0]).flatten(1).sum(1).argmax())
        images, truth, found = images[:, :, place], truth[:, place], found[:, place]
    middle = images.shape[1] // 2  # of neighbouring slices the one that the mask belongs to
    return draw_risk(images[0, middle].numpy(), truth[0].numpy(), found[0].numpy())
