"""What methods share that learn from two random views of each image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.objective import Objective
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.supervised import draw_batches
from medgraft.images.augmentation import Augmentation
from medgraft.models.collapse import alignment, effective_rank, feature_deviation, uniformity
from medgraft.models.model import Model, evaluation_mode
from medgraft.pretraining.images_alone import Pretraining, warn_of_collapse
from medgraft.pretraining.views import VIEWS, ViewsChoice, suiting
from medgraft.types import Progress, Step

Heads = dict[str, nn.Module]


class TwoViews(Pretraining):
    """Base of the methods that learn from two random views of each image.

    A subclass adds its settings, and defines `heads` and `objective`.
    """

    fewest: ClassVar[int] = 2  # an image is told from others

    views: ViewsChoice = None
    """`scan` (X-ray, CT, MR), `tissue` (H&E), `dermoscopy`, `photograph`; an `Augmentation`, or a table of some of its
    settings with a `base`, the set that they change. None takes `scan`, which flips nothing, of images that show grey,
    however many channels they have, and `photograph` of others. Set flips to 0 where left and right are to be told
    apart."""
    second_views: ViewsChoice = None
    """The same of the second view; None makes both views alike."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """A pre-trained copy of the model that encodes.

        Raises:
            ModelError: the model cannot encode.
            DataError: images of different sizes, too few images, or images that show nothing.
            SettingsError: batches of fewer than two images per process.
        """
        encoder, rows, images = self.begin(model, task, run)
        with torch.no_grad(), evaluation_mode(encoder):
            features = encoder.features(images[:1]).shape[1]
        with seeded(run.seed, run.path, "projector"):
            heads = self.heads(encoder, features)
            self.reuse_heads(model, heads)
            objective = self.objective(encoder, rows, heads)
        warn_of_collapse(type(self).__name__, self.train(objective, heads, run), run)
        return encoder

    def heads(self, encoder: Model, features: int) -> Heads:
        """New heads by name, for so many features; weights are drawn from the global generator."""
        raise NotImplementedError(f"{type(self).__name__} must define heads")

    def objective(self, encoder: Model, rows: Loader, heads: Heads) -> TwoViewsObjective:
        """What trains the encoder and its heads, in place."""
        raise NotImplementedError(f"{type(self).__name__} must define objective")

    def views_of(self, rows: Loader) -> tuple[Augmentation, Augmentation]:
        """What makes the first and the second view of these images."""
        first = self.views or VIEWS[suiting(rows)]
        return first, self.second_views or first


class TwoViewsObjective(Objective):
    """Two views of each image; a subclass says what is to be learned from them.

    Each view passes by itself, so that norms see the statistics of one view, and of their own process.

    Args:
        model: an encoder, trained in place.
        rows: images.
        heads: of its features, trained in place; each becomes an attribute of its name.
        method: the rest.
    """

    def __init__(self, model: Model, rows: Loader, heads: Heads, method: TwoViews) -> None:
        super().__init__(model)
        self.rows, self.schedule = rows, method.schedule
        self.changes = method.views_of(rows)
        for name, head in heads.items():
            self.add_module(name, head)

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled images, each changed at random twice, and which rows they are."""
        steps = self._viewed(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _viewed(self, generator: torch.Generator) -> Iterator[Step]:
        schedule, value_range = self.schedule, self.rows.preparer.value_range
        for rows in draw_batches(len(self.rows), schedule.batch_size, generator, schedule.steps_per_epoch):
            images = self.rows(rows).images
            first, second = (change(images, generator, value_range=value_range)[0] for change in self.changes)
            yield Step({"first": first, "second": second, "rows": torch.as_tensor(rows)})


def describe_features(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """How much of their space the features of a batch fill, and how close those of two views of an image lie.

    Args:
        first: (B, D) features of one view of B >= 2 images, and
        second: of another; no gradient reaches them.
    """
    first, second = first.detach(), second.detach()
    return {
        "effective_rank": effective_rank(first),
        "feature_deviation": feature_deviation(first),
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
    }
