"""S_FU: how strongly a target pulls at a source's second convolution, compared with its first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, ShapeError
from medgraft.ranking.inputs import UndefinedError, check_inputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model

WHO = "The feature update"
MARGIN = 0.05
"""Of the triplet loss, on embeddings of length 1; the published code's value, its text gives none."""
BATCHES = 6
"""A pass is cut into batches of a sixth of the images; what is left over makes a seventh."""
FEWEST = 3
"""Images of the smallest batch that holds a triplet."""
COINCIDE = 1e-6
"""Below this, distances between features in float32 are rounding, and so is the way in which they point."""


class TripletLoss(NamedTuple):
    """value: mean over the triplets that violate the margin, 0 if none does. gradient: (n, D) float64 of `value`."""

    value: float
    gradient: NDArray[np.float64]


def feature_update(
    model: Model,
    cohort: Cohort,
    features: ArrayLike,
    *,
    seed: int | None = 0,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    shown: bool | None = False,
) -> float:
    """Tell how much a source would change its second layer rather than its first to suit a target.

    The gradient of a triplet loss on the source's features is taken with respect to the weights of the first two
    convolutions that an image meets; the score is the mean norm of the second over that of the first. Nothing is
    trained. Besides the features, which a ranking has anyway, it costs one forward and one backward pass.

    Args:
        model: any whose images meet two convolutions; left as it was found.
        cohort: n images of kind `classify`.
        features: (n, D), `extract_features(model, cohort)`.
        seed: shuffles the images first, because a batch needs several classes; None keeps their order, as published.
        batch_size: images per backward pass; bounds the memory and does not change the result.
        device: where to compute.
        shown: progress bar; None shows it at a terminal.

    Returns: at least 0, usually of the order of 1; higher: local patterns would be learned anew. 0 where the second
        convolution has no say in the features, as in untrained residual networks, whose blocks start switched off.

    Raises:
        DataError: images without one label each.
        ShapeError: the features are not those of this model for these images.
        UndefinedError: fewer than 18 images, one class only, a model without two convolutions, or no triplet that
            violates the margin, so that nothing pulls.

    Source: the thesis' chapter 6, equation 6.4, whose code takes the ratio of means over batches of n // 6 images and
        the usual triplet loss of metric learning. Differs: shuffled unless `seed` is None.

    >>> from medgraft.engine.features import extract_features
    >>> from medgraft.models.backbones import Classifier
    >>> from medgraft.models.spec import ModelSpec
    >>> from medgraft.testing import make_cohort
    >>> cohort = make_cohort("classify")
    >>> model = Classifier(ModelSpec(classes=cohort.classes), architecture="test_resnet")
    >>> feature_update(model, cohort, extract_features(model, cohort)) > 0
    True
    """
    inputs = check_inputs(WHO, features, _labels(cohort))
    if len(inputs.labels) < FEWEST * BATCHES:
        raise UndefinedError(
            WHO, f"{FEWEST * BATCHES} images or more", f"there are {len(inputs.labels)}", "Add images."
        )
    order = np.arange(len(inputs.labels))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    size = len(order) // BATCHES
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    def pull_of(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return triplet_loss(inputs.features[rows], inputs.labels[rows]).gradient

    first, second = np.sum(list(_norms(model, cohort, batches, pull_of, batch_size, device, shown)), axis=0)
    if first == 0:
        raise UndefinedError(
            WHO, "images that pull at the first convolution",
            "the features are the same for all of a batch, its images belong to one class, or none lies within "
            f"{MARGIN} of being nearer to another class than to its own",
            "Judge this source by its other scores; pass a seed where images are sorted by class.",
        )  # fmt: skip
    # the number of batches cancels: a ratio of sums is the ratio of means
    return float(second / first)


def triplet_loss(embeddings: ArrayLike, labels: ArrayLike, margin: float = MARGIN) -> TripletLoss:
    """Ask how far images are from being nearer to their own class than to the others, and which way they would move.

    L = mean of max(0, |a - p| - |a - n| + margin) over those triplets of anchor a, another image p of its class and
    an image n of another class for which it is positive; embeddings are first scaled to length 1.

    Args:
        embeddings: (n, D) real numbers, finite.
        labels: (n,) whole numbers.
        margin: by which the own class should be nearer.

    Returns: the loss, in [0, 2 + margin], and its gradient with respect to the embeddings as given; that of an
        embedding of zeros, which points nowhere, is zero.

    Source: Schroff et al. 2015, equation 1; all triplets, and the mean over those that count, as in
        pytorch-metric-learning. Counted by sorting instead of listing them: n^2 log n, not n^3.

    >>> loss = triplet_loss([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [0, 0, 1])
    >>> round(loss.value, 4)  # the second image is nearer to the third: .8944 - .6325 + .05
    0.312
    """
    given = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(given, axis=1, keepdims=True)
    has_direction = lengths > 0
    unit = np.divide(given, lengths, out=np.zeros_like(given), where=has_direction)
    squares = (unit**2).sum(axis=1)
    distances = np.sqrt(np.maximum(0.0, squares[:, None] + squares - 2 * unit @ unit.T))
    total, active, pull = _count_triplets(distances, np.asarray(labels), margin)
    if active == 0:
        return TripletLoss(0.0, np.zeros_like(given))
    # d|u - v| / du = (u - v) / |u - v|; images that coincide pull one another nowhere
    along = np.divide(pull / active, distances, out=np.zeros_like(pull), where=distances > COINCIDE)
    along += along.T
    on_unit = along.sum(axis=1, keepdims=True) * unit - along @ unit
    # of the pull on u = e / |e|, the part along e only changes its length, which does not count
    across = on_unit - (on_unit * unit).sum(axis=1, keepdims=True) * unit
    return TripletLoss(
        total / active, np.divide(across, lengths, out=np.zeros_like(given), where=has_direction)
    )


def first_convolutions(model: Model, images: Tensor) -> list[nn.Module]:
    """Find the first two convolutions, in the order in which an image meets them.

    Args:
        model: any; in evaluation mode.
        images: (B, C, *spatial) prepared for it; B = 1 will do.

    Raises:
        UndefinedError: fewer than two convolutions on the way to the features.
    """
    import torch
    from torch import nn

    kinds = (nn.Conv2d, nn.Conv3d)  # those over one axis serve attention between channels
    met: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object) -> None:
        if module not in met:
            met.append(module)

    handles = [
        part.register_forward_pre_hook(note)
        for part in model.modules()
        if isinstance(part, kinds) and isinstance(part.weight, nn.Parameter)
    ]
    try:
        with torch.no_grad():
            model.features(images)
    finally:
        for handle in handles:
            handle.remove()
    if len(met) < 2:
        raise UndefinedError(
            WHO, "a model whose images meet two convolutions", f"{_name(model)} has {len(met)} on their way",
            "Leave this score out for it; it is made for convolutional networks.",
        )  # fmt: skip
    return met[:2]


def _norms(
    model: Model,
    cohort: Cohort,
    batches: Sequence[NDArray[np.intp]],
    pull_of: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    batch_size: int,
    device: str | torch.device,
    shown: bool | None,
) -> Iterator[tuple[float, float]]:
    """Norms of the two convolutions' gradients, batch after batch.

    The loss binds all images of a batch together, but only through their features, and in evaluation mode these do
    not depend on one another: its gradient there, known beforehand, can be sent back a few images at a time.
    """
    import torch

    from medgraft.engine.loading import Loader
    from medgraft.engine.memory_order import channels_last
    from medgraft.engine.predict import placed
    from medgraft.engine.progress import progress_bar
    from medgraft.models.model import evaluation_mode

    loader = Loader(cohort.only({"images"}), model.spec.preparation, memory=0)
    parts = [np.array_split(rows, -(-len(rows) // batch_size)) for rows in batches]
    loaded = loader.batches([part for several in parts for part in several])
    bar = progress_bar("measuring feature updates", len(batches), shown)
    with placed(model, device), evaluation_mode(model), bar as advance:
        found = first_convolutions(model, channels_last(loader([0]).images.to(device)))
        weights = [part.get_parameter("weight") for part in found]
        with _only(model, weights), torch.enable_grad():
            for rows, several in zip(batches, parts):
                pull = np.array_split(pull_of(rows), len(several))  # as the rows were
                sums = [torch.zeros_like(weight) for weight in weights]
                for given in map(torch.from_numpy, pull):
                    outputs = model.features(channels_last(next(loaded).images.to(device)))
                    _refuse_other_shape(outputs, given)
                    for total, gradient in zip(sums, _gradients(outputs, weights, given)):
                        total += gradient
                yield float(sums[0].double().norm()), float(sums[1].double().norm())
                advance(None)


def _gradients(outputs: Tensor, weights: Sequence[Tensor], pull: Tensor) -> Sequence[Tensor]:
    import torch

    return torch.autograd.grad(
        outputs, weights, grad_outputs=pull.to(outputs), allow_unused=True, materialize_grads=True
    )


def _count_triplets(
    distances: NDArray[np.float64], labels: NDArray[np.generic], margin: float
) -> tuple[float, int, NDArray[np.float64]]:
    """Sum of positive losses, their number, and how often each distance counts in them (other classes: negative)."""
    total, active = 0.0, 0
    pull = np.zeros_like(distances)
    for anchor, row in enumerate(distances):
        same = labels == labels[anchor]
        other = ~same
        same[anchor] = False
        reach = np.sort(row[same]) + margin
        near = np.sort(row[other])
        # a triplet counts where |a - n| < |a - p| + margin
        nearer = np.searchsorted(near, row[same] + margin, side="left")
        total += float(nearer @ (row[same] + margin) - np.concatenate([[0.0], near.cumsum()])[nearer].sum())
        active += int(nearer.sum())
        pull[anchor, same] = nearer
        pull[anchor, other] = np.searchsorted(reach, row[other], side="right") - len(reach)
    return total, active, pull


@contextmanager
def _only(model: Model, weights: Sequence[Tensor]) -> Iterator[None]:
    """Gradients for these weights alone, whatever was frozen; afterwards as before.

    Of the other layers, inputs then need not be kept.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(any(parameter is weight for weight in weights))
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _labels(cohort: Cohort) -> NDArray[np.int64]:
    if cohort.kind != "classify":
        raise DataError(
            WHO, "images with one label each", f"{cohort.name} is of kind '{cohort.kind}'",
            "Leave this score out; its triplets need classes that exclude one another.",
        )  # fmt: skip
    labels: NDArray[np.int64] = np.unique(cohort.labels, return_inverse=True)[1]
    return labels


def _refuse_other_shape(outputs: Tensor, given: Tensor) -> None:
    if outputs.shape != given.shape:
        raise ShapeError(
            WHO, f"the model's own features, {outputs.shape[1:].numel()} per image",
            f"those given have {given.shape[1]}", "Pass extract_features(model, cohort).",
        )  # fmt: skip


def _name(model: Model) -> str:
    return str(getattr(model, "architecture", type(model).__name__))
