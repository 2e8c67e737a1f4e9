"""Features from images without labels: where patches belong and how they looked are to be told (POPAR)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from pydantic import Field as Setting
from torch import Tensor, nn

from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.objective import Objective
from medgraft.engine.predict import placed
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import draw_batches
from medgraft.errors import SettingsError, ShapeError
from medgraft.images.appearance import Appearance, AppearanceParameters
from medgraft.images.patches_order import cut, draw_orders, is_permuted, join, permute_patches
from medgraft.images.pictures import as_colours, ends, side_by_side
from medgraft.models.masked_images import ReconstructionHead
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.popar import PUBLISHED, SubTasks, order_accuracy, popar_loss
from medgraft.pretraining.images_alone import SHOWN, Pretraining
from medgraft.types import Loss, Progress, Step

RIGHT, WRONG = (0.1, 0.4, 1.0), (1.0, 0.5, 0.0)
"""Colours (red, green, blue) of cells that were put into their place (blue) and of others (orange)."""
TINT = 0.35
"""Share of that colour in a cell."""
UNCLAIMED = 0.5
"""Grey of places where no cell was put."""


class POPAR(Pretraining):
    """Pre-train an encoder on source images without labels: order of patches and clean looks are to be given back.

    Each image either has its cells permuted or its looks changed (pixels shuffled in small boxes, intensities bent,
    parts painted over), never both. The network says of each place which cell stands there, and draws the image as it
    was. Any source may be continued whose last map has one place per cell: ViT, Swin, and convolutional networks, too,
    of images that are larger than their stride. What comes back encodes: it is saved, ranked and fine-tuned like every
    source, also on images of another size than it was pre-trained on. The two heads are no part of it, but are kept
    beside it, and a training by this method that starts from it goes on with those that fit.

    The table `history` tells per epoch the loss and its terms, and how often the place of a cell was said rightly:
    `accuracy_permuted` of images whose cells were moved, where guessing gives one in all cells, and
    `accuracy_identity` of others, which says little, as repeating the position is right there. Picture: `put in order
    (image, seen, restored, order)` (weights of the last epoch), whose last column has each cell where the network puts
    it, blue where that is its place and orange where not; of several for one place the surest is shown, and places that
    none was put into are grey.

    >>> POPAR(subtasks={"transformed": 0}).subtasks.identity_chance
    0.0

    Source: Pang et al. 2022. Differs: means instead of sums in the loss, as in their code; channels of a pixel stay
        together when pixels are shuffled; pixels are restored as the source prepares them, which is in [0, 1] for
        `random/NAME`, without the published mean and deviation.
    """

    name: ClassVar[str] = "popar"

    subtasks: SubTasks = PUBLISHED
    """Weights of order, of restoring permuted images and of restoring changed ones; 0 switches one off."""
    cell: int | None = Setting(default=None, ge=1)
    """Side in pixels of the cells that are moved. None takes the network's stride, as it must be; published are 32 for
    Swin-B at 448 x 448 and 16 for ViT-B at 224 x 224 pixels, 196 cells each."""
    appearance: Appearance = Appearance()
    """How looks are changed, by default as published."""
    schedule: Schedule = Schedule(epochs=300, batch_size=64, lr=1e-3, weight_decay=0.0, warmup_epochs=5)
    """By default AdamW from 1e-3 for small data. Published is SGD with momentum 0.9 from 0.1, 300 epochs for Swin-B and
    1000 for ViT-B: in 200 epochs of 64 small images it taught a small ViT, later than AdamW, and left a small Swin at
    guessing. The order is learned late: many epochs pass before `accuracy_permuted` leaves chance."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """A pre-trained copy of the model that encodes.

        Raises:
            ModelError: the model has no last map.
            DataError: images of different sizes, none, or images that show nothing.
            SettingsError: another cell than the network's stride; more processes than images in a batch.
            ShapeError: images that the network's last map does not cover exactly, of a single cell, or too small.
        """
        encoder, rows, images = self.begin(model, task, run)
        stride, channels = self.stride(encoder, images)
        cells = self.cells_of(images, stride)
        with seeded(run.seed, run.path, "heads"):
            order = nn.Linear(channels, cells)
            restoration = ReconstructionHead(channels, stride, images.shape[1])
        heads = {"order": order, "restoration": restoration}
        self.reuse_heads(model, heads)
        objective = OrderAndAppearance(encoder, rows, order, restoration, stride, self)
        self.train(objective, heads, run)
        objective.show(images[:: -(-len(images) // SHOWN)], run)
        return encoder

    def cells_of(self, images: Tensor, stride: int) -> int:
        """How many cells images (B, C, H, W) have for a network of this stride.

        Raises:
            SettingsError: `cell` is not the stride.
            ShapeError: there is one only, or images are too small for changes of their looks.
        """
        if self.cell not in (None, stride):
            raise SettingsError(
                "POPAR", f"a cell of {stride} pixels, the stride of this network, so that each has a place in its map",
                f"cell is {self.cell}", "Leave it out, or choose another network.",
            )  # fmt: skip
        height, width = images.shape[2:]
        cells = (height // stride) * (width // stride)
        if cells == 1:
            raise ShapeError(
                "POPAR", f"images of several cells of {stride} pixels, better a hundred and more",
                f"these are {height} x {width}", "Set a larger `size`, or choose a network of a smaller stride.",
            )  # fmt: skip
        self.appearance.sample(0, height, width, torch.Generator())  # refuses what is too small for it
        return cells


class OrderAndAppearance(Objective):
    """Tell where the cells of an image belong, and draw it as it was.

    Args:
        model: an encoder with a last map, trained in place.
        rows: images.
        order: from the features of a place to a score for each cell; trained in place.
        restoration: draws the image from the last map; trained in place.
        cell: side of the cells, the stride of the map.
        method: the rest.
    """

    loss_is_sample_mean = True

    def __init__(
        self,
        model: Model,
        rows: Loader,
        order: nn.Linear,
        restoration: ReconstructionHead,
        cell: int,
        method: POPAR,
    ) -> None:
        super().__init__(model)
        self.rows, self.order, self.restoration = rows, order, restoration
        self.cell, self.method = cell, method

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled images, each permuted or changed, with what they were."""
        steps = self._disturbed(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _disturbed(self, generator: torch.Generator) -> Iterator[Step]:
        schedule = self.method.schedule
        for rows in draw_batches(len(self.rows), schedule.batch_size, generator, schedule.steps_per_epoch):
            clean = self.rows(rows).images
            orders = draw_orders(
                len(clean), self.order.out_features, generator, self.method.subtasks.identity_chance
            )
            images = self.disturb(clean, orders, generator)
            yield Step({"images": images, "clean": clean, "order": orders})

    def disturb(self, clean: Tensor, orders: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W) with cells permuted, or with other looks where the order (B, P) is the natural one."""
        images = permute_patches(clean, orders, self.cell)
        drawn = self.method.appearance.sample(len(clean), clean.shape[2], clean.shape[3], generator)
        kept = ~is_permuted(orders)
        if self.method.subtasks.transformed and kept.any():
            low, high = ends(clean[kept], self.rows.preparer.value_range)
            span = torch.where(high > low, high - low, 1.0)
            unit = ((clean[kept] - low) / span).clamp(0.0, 1.0)
            chosen = AppearanceParameters(*(parameter[kept] for parameter in drawn))
            images[kept] = self.method.appearance.apply(unit, chosen) * span + low
        return images

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, P, P) of cells at each place, and the image as it was, as the network thinks."""
        features = self.model.last_map(images)
        scores: Tensor = self.order(features.flatten(2).transpose(1, 2))
        restored: Tensor = self.restoration(features)
        return scores, restored

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The loss of POPAR, its terms before they are weighed, and accuracies of images that have them."""
        images, clean, order = (step.tensors[name] for name in ("images", "clean", "order"))
        permuted = is_permuted(order)
        scores, restored = self.outputs(images)
        loss = popar_loss(scores, order, restored, clean, permuted, self.method.subtasks)
        found = order_accuracy(scores.detach(), order, permuted)
        parts = {"order": loss.order, "misplaced": loss.misplaced, "transformed": loss.transformed}
        for name, share, chosen in zip(found._fields, found, (permuted, ~permuted)):
            having = chosen.double().mean()
            right = having * (0.0 if math.isnan(share) else share)
            parts[f"accuracy_{name}"] = torch.stack([right, having])
        return Loss(loss.total, parts)

    def show(self, images: Tensor, run: Run) -> None:
        """Record some images, every second one permuted and the others changed, and what the network makes of them."""
        generator, cells = run.generator("shown"), self.order.out_features
        orders = draw_orders(len(images), cells, generator, identity=0.0)
        orders[1::2] = torch.arange(cells)
        seen = self.disturb(images, orders, generator)
        with evaluation_mode(self), placed(self, "cpu"), torch.no_grad():
            scores, restored = self.outputs(seen)
        value_range = self.rows.preparer.value_range
        clean, shown, drawn = (as_colours(each, value_range) for each in (images, seen, restored))
        columns = [clean, shown, drawn, put_in_order(shown, scores.float(), orders, self.cell)]
        run.record("put in order (image, seen, restored, order)", side_by_side(columns))


def put_in_order(images: Tensor, scores: Tensor, order: Tensor, cell: int) -> Tensor:
    """Draw cells where a network says they belong, blue where it is right and orange where not.

    Args:
        images: (B, 3, H, W) float in [0, 1], cells permuted or not.
        scores: (B, P, P): of each place, a score for each cell that may stand there.
        order: (B, P) int64: which cell does.
        cell: side of a cell in pixels.

    Returns: like `images`. Of several cells put into one place, the one of the highest probability is drawn; a place
        without any is grey.

    >>> scores, order = torch.tensor([[[0.0, 9.0], [1.0, 0.0]]]), torch.tensor([[1, 0]])
    >>> put_in_order(torch.tensor([[[[1.0, 0.0]]]]).expand(1, 3, 1, 2), scores, order, cell=1)[0, :, 0].T
    tensor([[0.0350, 0.1400, 0.3500],
            [0.6850, 0.7900, 1.0000]])
    """
    surest, said = scores.softmax(2).max(2)
    right = (said == order)[:, :, None, None, None]
    cells = cut(images, cell)
    blue, orange = (torch.tensor(colour).reshape(3, 1, 1) for colour in (RIGHT, WRONG))
    tinted = torch.lerp(cells, torch.where(right, blue, orange).expand_as(cells), TINT)
    drawn = torch.full_like(cells, UNCLAIMED)
    for image, certainty in enumerate(surest):
        for place in certainty.argsort().tolist():  # the surest last, over the others
            drawn[image, said[image, place]] = tinted[image, place]
    return join(drawn, images.shape[2] // cell, images.shape[3] // cell)
