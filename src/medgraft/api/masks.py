"""Predicted masks on their way to the disk: each is kept as soon as it is done, so that a stop loses none."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medgraft.data.cohort import Cohort
from medgraft.data.readers import hash_of_file, split_part
from medgraft.data.writers import MaskFormat, write_mask
from medgraft.engine.flips import Axis
from medgraft.engine.predict import PredictedMask, batch_rows, needs_windows, predict_masks
from medgraft.evaluation.evaluate import versions
from medgraft.models.model import Model
from medgraft.models.storage import tree
from medgraft.models.weights import hash_weights
from medgraft.types import JSON
from medgraft.whole_files import write_text, written_whole

MASKS, UNFINISHED = "masks", ".unfinished"
BATCH = 16
"""Images in one forward pass, as long as they are no volumes."""


class Written(NamedTuple):
    """names: (N,) mask files relative to the folder, empty without one; shares: (N, K) of the pixels per class.

    remarks: (N,) what the model says of each prediction, mostly nothing.
    """

    names: list[str]
    shares: np.ndarray
    remarks: list[str]


def predict_and_write(
    model: Model,
    cohort: Cohort,
    out: Path | None,
    *,
    device: str,
    flips: Sequence[Axis],
    format: MaskFormat,
    progress: bool | None,
) -> Written:
    """Segment a cohort and write its masks to `out/masks`.

    Masks that are done wait in a hidden folder, named by all that decides them. Where the prediction ends early, by
    a kill or by an image that cannot be read, the same command goes on from there; `forget_unfinished` comes last.
    """
    classes = len(model.spec.classes)
    if out is None:
        shares = np.zeros((len(cohort), classes))
        for mask in predict_masks(model, cohort, device=device, flips=flips, shown=progress):
            shares[mask.row] = _shares(mask.labels, classes)
        return Written([], shares, [model.remarks.get(row, "") for row in range(len(cohort))])
    unfinished = _Unfinished(out / UNFINISHED, model, cohort, flips, format)
    left = _left(model, cohort, unfinished)
    masks = predict_masks(
        model, cohort.take(left), batch_size=BATCH, device=device, flips=flips, shown=progress
    )
    try:
        for mask in masks:
            unfinished.keep(mask._replace(row=left[mask.row]), model.remarks.get(mask.row, ""))
    finally:
        with suppress(OSError):  # folders that hold something stay
            (out / UNFINISHED).rmdir()
            out.rmdir()
    records = [unfinished.record(row) for row in range(len(cohort))]
    names = []
    for row, record in enumerate(records):
        suffix = record["file"].removeprefix(unfinished.keys[row])
        names.append(f"{MASKS}/row-{cohort.table.index[row]:06d}{suffix}")
        with written_whole(out / names[row]) as temporary:
            shutil.copyfile(out / UNFINISHED / record["file"], temporary)
    shares = np.asarray([record["shares"] for record in records])
    return Written(names, shares, [record["remark"] for record in records])


def forget_unfinished(out: Path) -> None:
    """Delete what waited, once everything is in its place."""
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


class _Unfinished:
    """Masks of a prediction that is not finished, each with a record written after it."""

    def __init__(
        self, folder: Path, model: Model, cohort: Cohort, flips: Sequence[Axis], format: MaskFormat
    ) -> None:
        self.folder, self.cohort, self.format = folder, cohort, format
        self.classes = model.spec.classes
        if model.order_matters:  # then an image's mask depends on those before it
            shutil.rmtree(folder, ignore_errors=True)
        made_by = [versions(), hash_weights(model), tree(model), sorted(flips), format]
        self.keys = [_digest([*made_by, *_identify(cohort, row)]) for row in range(len(cohort))]

    def is_done(self, row: int) -> bool:
        return self._record_of(row).is_file()

    def record(self, row: int) -> JSON:
        found: JSON = json.loads(self._record_of(row).read_text(encoding="utf-8"))
        return found

    def keep(self, mask: PredictedMask, remark: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        reference = self.cohort.reference("image", mask.row)
        place = self.folder / self.keys[mask.row]
        written = write_mask(mask.labels, reference, place, classes=self.classes, format=self.format)
        shares = _shares(mask.labels, len(self.classes)).tolist()
        write_text(
            self._record_of(mask.row), json.dumps({"file": written.name, "shares": shares, "remark": remark})
        )

    def _record_of(self, row: int) -> Path:
        return self.folder / f"{self.keys[row]}.json"


def _left(model: Model, cohort: Cohort, unfinished: _Unfinished) -> list[int]:
    """Rows to predict, in whole batches: what stands beside an image may decide the last bit, or the whole scan."""
    alone = model.predict_by == "image" and needs_windows(model.spec.preparation, cohort)
    together = [[row] for row in range(len(cohort))] if alone else batch_rows(model, cohort, BATCH)
    return [int(row) for rows in together if not all(map(unfinished.is_done, rows)) for row in rows]


def _shares(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros(classes, np.int64)
    for part in labels:  # a volume slice by slice: counting makes 64-bit numbers of all
        counts += np.bincount(part.ravel(), minlength=classes)
    return counts / labels.size


def _identify(cohort: Cohort, row: int) -> list[str | None]:
    """What an image is: the bytes of its file and the part of it; or its pixels in memory."""
    reference = cohort.reference("image", row)
    if reference is None:
        pixels = np.ascontiguousarray(cohort.picture(row).array)
        return [str(pixels.shape), str(pixels.dtype), hashlib.sha256(pixels.tobytes()).hexdigest()]
    file, part = split_part(reference)
    return [reference, part, hash_of_file(file)]


def _digest(decides: list[object]) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
