"""The one feature extractor: a single forward pass per image feeds whoever needs features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.engine.loading import Loader
from medgraft.engine.memory_order import channels_last
from medgraft.engine.patches import Patches
from medgraft.engine.predict import in_batches, needs_windows, placed
from medgraft.engine.progress import progress_bar
from medgraft.errors import DataError, ModelError, ShapeError
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.unet import UNet
from medgraft.types import Batch


def extract_features(
    model: Model,
    cohort: Cohort,
    *,
    at: str | None = None,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    shown: bool | None = False,
    loader: Loader | None = None,
) -> Tensor:
    """Features of every image of a cohort, in its order, in evaluation mode and without gradient.

    Args:
        model: any; left in the mode and on the device it was found in.
        cohort: N rows, of which only the images are used.
        at: as for `feature_vectors`.
        loader: of these rows, where there is one that remembers them.

    Returns: (N, D) float32 on the CPU.

    Raises:
        ShapeError: images whose inner maps are not of one size.
    """
    loader = loader or Loader(cohort.only({"images", "patients"}), model.spec.preparation, memory=0)
    groups = in_batches(np.arange(len(cohort)), batch_size)
    found: Tensor | None = None
    bar = progress_bar("extracting features", len(groups), shown)
    with placed(model, device), evaluation_mode(model), torch.no_grad(), bar as advance:
        for rows, batch in zip(groups, loader.batches(groups)):
            vectors = feature_vectors(model, channels_last(batch.images.to(device)), at).float().cpu()
            if found is None:  # filled in place: maps of many images are large
                found = torch.empty(len(cohort), vectors.shape[1])
            if vectors.shape[1] != found.shape[1]:
                raise ShapeError(
                    "Features", "images of one size",
                    f"{cohort.name} has some with {found.shape[1]} numbers at '{at}' and some with {vectors.shape[1]}",
                    "Set a size to resize to, for instance --set size=[192,192].",
                )  # fmt: skip
            found[torch.from_numpy(rows)] = vectors
            advance(None)
    return torch.empty(0, 0) if found is None else found


def feature_vectors(model: Model, images: Tensor, at: str | None = None) -> Tensor:
    """One vector per image, with gradients where these are on.

    Args:
        images: (B, C, *spatial) float.
        at: name of a block or submodule, whose whole map becomes the vector; None takes `Model.features`.

    Returns: (B, D).

    >>> from medgraft.models.spec import ModelSpec
    >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=2)
    >>> feature_vectors(model, torch.zeros(2, 3, 32, 32), "bottleneck.first_norm").shape
    torch.Size([2, 1024])
    """
    if at is None:
        return model.features(images)
    return model.activations(images, [at])[1][at].flatten(1)


class PixelSample(NamedTuple):
    """What a segmentation source makes of n pixels of a target, image after image.

    features: for each decoder block, outermost last, (n, D) float32.
    probabilities: (n, Z) float32, over the source's own classes.
    labels: (n,) int64, the target's classes.
    images: (n,) int64, rows of the cohort.
    """

    features: dict[str, np.ndarray]
    probabilities: np.ndarray
    labels: np.ndarray
    images: np.ndarray


def sample_pixels(
    model: Model,
    cohort: Cohort,
    *,
    per_class: int = 1000,
    seed: int = 0,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
    shown: bool | None = False,
) -> PixelSample:
    """Features of as many pixels of every class, from all images, in evaluation mode and without gradient.

    One forward pass per image. The pixels of a class are spread over the images that show it as evenly as these
    allow. Which ones they are depends on masks, preparation and seed, not on the model's weights. Of a volume, or where
    the preparation names a patch, one slice or crop is taken, rather one that shows something.

    Args:
        model: a `UNet` that segments; left in the mode and on the device it was found in.
        cohort: N rows with masks.
        per_class: pixels of each class in all, as far as there are so many.
        seed: decides which pixels.
        batch_size: images per forward pass; does not change the result.

    Raises:
        ModelError: the model has no decoder.
        DataError: no masks.
    """
    if not isinstance(model, UNet) or model.spec.kind != "segment":
        raise ModelError(
            "sample_pixels", "a U-Net that segments",
            f"got {type(model).__name__} of kind {model.spec.kind!r}", "Choose a segmentation source.",
        )  # fmt: skip
    if cohort.kind != "segment" or "truth" not in cohort.fields or not len(cohort):
        raise DataError(
            "sample_pixels", "images with masks",
            f"{cohort.name} is of kind '{cohort.kind}', has {len(cohort)} rows and offers "
            f"{', '.join(sorted(cohort.fields))}",
            "Give a cohort with the column 'mask'.",
        )  # fmt: skip
    rows = _Rows(model, cohort, seed, batch_size)
    truths = [batch.truth.to(torch.int16) for batch in rows if batch.truth is not None]
    chosen = iter(_choose(truths, per_class, seed))
    parts: list[PixelSample] = []
    bar = progress_bar("sampling pixels", len(rows), shown)
    with placed(model, device), evaluation_mode(model), torch.no_grad(), bar as advance:
        for batch in rows:
            places = [next(chosen) for _ in batch.rows]
            parts.append(_look_up(model, batch, places, device))
            advance(None)
    joined = {name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features}
    return PixelSample(joined, *(np.concatenate(column) for column in list(zip(*parts))[1:]))


class _Rows:
    """The same batches every time: whole images, or one slice or crop of each row."""

    def __init__(self, model: Model, cohort: Cohort, seed: int, batch_size: int) -> None:
        self._groups = in_batches(np.arange(len(cohort)), batch_size)
        self._seed = seed
        preparation = model.spec.preparation
        offered = cohort.only({"images", "patients", "truth"})
        self._source: Loader | Patches
        if needs_windows(preparation, cohort):
            self._source = Patches(offered, preparation, foreground=1.0)
        else:
            self._source = Loader(offered, preparation)

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self._source, Loader):
            yield from self._source.batches(self._groups)
            return
        for rows in self._groups:
            cut = [self._cut(self._source, int(row)) for row in rows]
            truth = torch.cat([one.truth for one in cut if one.truth is not None])
            yield Batch(torch.cat([one.images for one in cut]), truth, rows)

    def _cut(self, patches: Patches, row: int) -> Batch:
        """One sample of this row, drawn for it alone, so that batches do not matter."""
        seed = np.random.SeedSequence([self._seed, row]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        mine = np.flatnonzero([owner == row for owner, _ in patches.samples])
        drawn = torch.multinomial(patches.weights[mine], 1, generator=generator)
        return patches(mine[drawn.numpy()], generator)


def _choose(truths: Sequence[Tensor], per_class: int, seed: int) -> list[np.ndarray]:
    """Flat positions in each image, in ascending order, such that classes come to the same number."""
    images = [truth.flatten().numpy() for batch in truths for truth in batch]
    classes = np.unique(np.concatenate([np.unique(image) for image in images]))
    counts = np.stack([[(image == label).sum() for label in classes] for image in images])
    quotas = np.stack([spread_evenly(column, per_class) for column in counts.T], axis=1)
    chosen = []
    for number, (image, quota) in enumerate(zip(images, quotas)):
        rng = np.random.default_rng([seed, number])
        drawn = [
            rng.choice(np.flatnonzero(image == label), most, replace=False)
            for label, most in zip(classes, quota)
        ]
        chosen.append(np.sort(np.concatenate(drawn)))
    return chosen


def spread_evenly(available: np.ndarray, wanted: int) -> np.ndarray:
    """How many to take of each so that they come to `wanted`, or to all there are, and differ as little as possible.

    Args:
        available: (m,) whole numbers, at least 0.
        wanted: in all.

    Returns: (m,) int64, at most `available`.

    >>> spread_evenly(np.array([10, 2, 0, 10]), 11).tolist()
    [5, 2, 0, 4]
    """
    taken = np.zeros(len(available), np.int64)
    left = min(wanted, int(available.sum()))
    while left:
        open_ = np.flatnonzero(taken < available)
        share = max(1, left // len(open_))
        for place in open_[:left]:
            more = min(share, int(available[place] - taken[place]))
            taken[place] += more
            left -= more
    return taken


def _look_up(
    model: UNet, batch: Batch, places: Sequence[np.ndarray], device: str | torch.device
) -> PixelSample:
    """One forward pass, and what it says at flat positions of each image."""
    assert batch.truth is not None
    sides = batch.truth.shape[1:]
    names = [f"decoder{level}" for level in range(model.depth, 0, -1)]
    outputs, maps = model.activations(channels_last(batch.images.to(device)), names)
    owner = torch.from_numpy(np.repeat(np.arange(len(places)), [len(flat) for flat in places]))
    flat = torch.from_numpy(np.concatenate(places))
    where = torch.unravel_index(flat, sides)

    def read(values: Tensor, at: Sequence[Tensor]) -> np.ndarray:
        index = tuple(axis.to(values.device) for axis in (owner, *at))
        return values.movedim(1, -1)[index].float().cpu().numpy()

    margins = model.margins(sides)
    features = {}
    for name in names:
        # the network pads the image, and a deeper map has one place for several pixels
        inner = [
            (axis + before) * length // (before + side + after)
            for axis, (before, after), side, length in zip(where, margins, sides, maps[name].shape[2:])
        ]
        features[name] = read(maps[name], inner)
    probabilities = read(outputs.float().softmax(dim=1), where)
    labels = batch.truth[(owner, *where)].numpy()
    return PixelSample(features, probabilities, labels, batch.rows[owner.numpy()].astype(np.int64))
