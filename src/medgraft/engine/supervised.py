"""Learning from labels: the objective that every supervised adaptation starts from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medgraft.engine.checkpoint import Saved
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.objective import Objective, freeze_normalisation
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import Patches, load_batch
from medgraft.engine.relative_gradients import BATCHES, RelativeGradientRates
from medgraft.engine.run import Run
from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation
from medgraft.models.model import Model
from medgraft.types import Kind, Loss, Progress, Step

Criterion = Callable[..., Tensor]
"""(outputs, truth) -> scalar; (outputs, truth, pixel weights) where pixels are weighed."""
PixelWeights = Callable[[Tensor, Tensor], Tensor]
"""(images, truth) -> factors of pixels (B, *spatial)."""


class Supervised(Objective):
    """Descend on a loss between a model's outputs and the truth of labelled rows.

    Args:
        model: trained in place.
        loader: labelled training rows, or patches of them.
        criterion: (outputs, truth) -> scalar loss.
        batch_size: rows per step at most.
        steps_per_epoch: how many steps an epoch needs; passes over the rows follow one another until it is full.
        augmentation: applied to each batch; None leaves images as prepared.
        lr_factors: learning-rate factor per trained block, see `Model.blocks`; blocks not named are frozen.
        freeze_batch_stats: running statistics of batch norm stay as they are.
        balanced: draw rows so that every class comes equally often (classification).
        penalty: model -> scalar, added to the loss; it may hold tensors of its own, but nothing to learn.
        rates: learning rates per tensor instead of per block, measured before each epoch; None keeps the blocks'.
        pixel_weights: weighs the pixels of augmented batches, of masks only; None passes the criterion no weights.
        row_tensors: further facts of each row of the cohort, (N, ...) by name, that come with every batch.
    """

    loss_is_sample_mean = True

    def __init__(
        self,
        model: Model,
        loader: Loader | Patches,
        criterion: Criterion,
        *,
        batch_size: int,
        steps_per_epoch: int | None = None,
        augmentation: Augmentation | None = None,
        lr_factors: Mapping[str, float] | None = None,
        freeze_batch_stats: bool = False,
        balanced: bool = False,
        penalty: nn.Module | None = None,
        rates: RelativeGradientRates | None = None,
        pixel_weights: PixelWeights | None = None,
        row_tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(model)
        self.row_tensors = dict(row_tensors or {})
        self.penalty, self.rates, self.pixel_weights = penalty, rates, pixel_weights
        self.loader, self.criterion, self.augmentation = loader, criterion, augmentation
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.lr_factors = dict(lr_factors) if lr_factors is not None else dict.fromkeys(model.blocks(), 1.0)
        self._groups = block_groups(model, self.lr_factors)
        self.freeze_batch_stats = freeze_batch_stats
        if isinstance(loader, Patches):
            self.sampling_weights: Tensor | None = loader.weights
        else:
            self.sampling_weights = balanced_weights(loader.cohort.labels) if balanced else None

    def train(self, mode: bool = True) -> Supervised:
        """Training mode, with batch statistics frozen where asked."""
        super().train(mode)
        if mode and self.freeze_batch_stats:
            freeze_normalisation([self.model])
        return self

    def groups(self, phase: str) -> list[ParamGroup]:
        """One group per trained block, or per tensor where rates are measured."""
        return self._groups if self.rates is None else self.rates.groups()

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled (or class-balanced) labelled batches, augmented."""
        if self.rates is not None:
            self.rates.measure(self._losses(progress, run))
        generator = run.generator("batches", progress.epoch)
        return prefetch(self._steps(generator), ahead=0 if run.workers == 0 else AHEAD)

    def _steps(self, generator: torch.Generator) -> Iterator[Step]:
        for rows in draw_batches(
            len(self.loader), self.batch_size, generator, self.steps_per_epoch, self.sampling_weights
        ):
            batch = load_batch(self.loader, rows, generator)
            assert batch.truth is not None
            images, truth = self.augmented(batch.images, batch.truth, generator)
            known = {name: values[batch.rows] for name, values in self.row_tensors.items()}
            yield Step({"images": images, "truth": truth, **known})

    def augmented(self, images: Tensor, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch after augmentation, masks moved like their images."""
        if self.augmentation is None:
            return images, truth
        mask = truth if self.model.spec.kind == "segment" else None
        value_range = self.loader.preparer.value_range
        images, mask = self.augmentation(images, generator, mask, value_range=value_range)
        return images, truth if mask is None else mask

    def _losses(self, progress: Progress, run: Run) -> Iterator[Tensor]:
        """Losses of a few batches of their own, for measuring gradients: in evaluation mode and full precision."""
        generator = run.generator("relative gradients", progress.epoch)
        for step in itertools.islice(self._steps(generator), BATCHES):
            yield self.loss(run.fabric.to_device(step), self.phases[0], progress).total

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The criterion on one batch, and the penalty where there is one."""
        pairs = self.model.outputs_at_levels(step.tensors["images"], step.tensors["truth"])
        weights = self.weigh_pixels(step)
        if weights is None:
            loss = deep_loss(self.criterion, pairs)
        else:
            loss = self.criterion(*pairs[0], weights)
        if self.penalty is None:
            return Loss(loss)
        penalty: Tensor = self.penalty(self.model)
        return Loss(loss + penalty, {"penalty": penalty})

    def weigh_pixels(self, step: Step) -> Tensor | None:
        """Factors of the pixels of a batch, (B, *spatial); None where all count the same."""
        if self.pixel_weights is None:
            return None
        return self.pixel_weights(step.tensors["images"], step.tensors["truth"])

    def state(self) -> Saved:
        """The rates measured so far."""
        return Saved({}) if self.rates is None else self.rates.state()

    def load_state(self, saved: Saved) -> None:
        """Put the rates back."""
        if self.rates is not None:
            self.rates.load_state(saved)


def deep_loss(criterion: Criterion, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean of a criterion over levels, each weighing half as much as the finer one before it.

    Args:
        criterion: (outputs, truth) -> scalar.
        pairs: outputs and truth, finest first; a single pair is scored as it is.

    Source: Isensee et al. 2021 (nnU-Net).

    >>> mean = lambda outputs, truth: (outputs - truth).mean()
    >>> deep_loss(mean, [(torch.ones(4), torch.zeros(4)), (torch.ones(2), torch.ones(2))])
    tensor(0.6667)
    """
    weights = [0.5**level for level in range(len(pairs))]
    total = sum(criterion(*pair) * weight for pair, weight in zip(pairs, weights))
    return torch.as_tensor(total) / sum(weights)


def draw_batches(
    rows: int,
    batch_size: int,
    generator: torch.Generator,
    steps: int | None = None,
    weights: Tensor | None = None,
) -> Iterator[np.ndarray]:
    """Cut shuffled rows into batches as equal as can be, so that no last batch of one row upsets batch norm.

    Args:
        rows: how many there are.
        batch_size: rows per batch at most.
        steps: how many batches; None is one pass. More than one pass starts shuffles of their own.
        weights: (rows,) chances of drawing each row, with replacement; None shuffles without.

    >>> [len(batch) for batch in draw_batches(9, 4, torch.Generator())]
    [3, 3, 3]
    """
    per_pass = -(-rows // batch_size)
    drawn = 0
    while drawn < (steps or per_pass):
        if weights is None:
            order = torch.randperm(rows, generator=generator)
        else:
            order = torch.multinomial(weights, rows, replacement=True, generator=generator)
        for batch in np.array_split(order.numpy(), per_pass):
            if drawn < (steps or per_pass):
                yield batch
                drawn += 1


def refuse_balance(who: str, kind: Kind) -> None:
    """Refuse to draw classes equally often where an image has not one class.

    Raises:
        SettingsError: the kind is another than `classify`.
    """
    if kind != "classify":
        raise SettingsError(
            f"{who} with balanced=True", "a task with one label per image", f"the kind is '{kind}'",
            "Leave it out, or weight classes in the loss.",
        )  # fmt: skip


def balanced_weights(labels: np.ndarray) -> Tensor:
    """Chances that make every class equally frequent.

    Args:
        labels: (N,) integers.

    >>> balanced_weights(np.array([0, 0, 0, 1])).tolist()
    [0.3333333333333333, 0.3333333333333333, 0.3333333333333333, 1.0]
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    del classes
    return torch.from_numpy(1.0 / counts[inverse])


def block_groups(model: Model, lr_factors: Mapping[str, float]) -> list[ParamGroup]:
    """Parameter groups of a model's named blocks, each with its learning-rate factor."""
    parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
    blocks = model.blocks()
    return [ParamGroup(_take(parameters, blocks[block]), factor) for block, factor in lr_factors.items()]


def _take(parameters: Mapping[str, nn.Parameter], names: Sequence[str]) -> list[nn.Parameter]:
    return [parameters[name] for name in names]
