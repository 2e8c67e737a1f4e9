"""Features from images without labels: what is hidden of an image is to be filled in (SimMIM)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.objective import Objective
from medgraft.engine.predict import placed
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import draw_batches
from medgraft.errors import SettingsError
from medgraft.images.augmentation import Augmentation
from medgraft.images.pictures import as_colours, side_by_side
from medgraft.models.masked_images import (
    MaskToken,
    ReconstructionHead,
    draw_masks,
    masked_l1_loss,
    masked_units,
    spread_masks,
)
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.patch_tokens import hidden_patches, patch_embedding
from medgraft.pretraining.images_alone import SHOWN, Pretraining
from medgraft.pretraining.views import MILD_VIEWS, MildViewsChoice, suiting
from medgraft.types import Loss, Progress, Step

UNIT, UNITS = 32, 4
"""Side of the published mask unit in pixels, and how many units an image has at least where its patches allow."""
GREY = 0.5


class SimMIM(Pretraining):
    """Pre-train a vision transformer on source images without labels: hidden parts are to be filled in from the rest.

    Any ViT or Swin may be continued, ImageNet's included: domain-adaptive pre-training is this method on the images of
    the own field, started from another training of it. What comes back encodes: it is saved, ranked and fine-tuned
    like every source. The decoder and the token that stands for hidden patches are no part of it, but are kept beside
    it, and a training by this method that starts from it goes on with them.

    The table `history` tells per epoch the loss and, as `median_instead`, what it would be if the median of what can be
    seen of each image were said of all that is hidden: a network that is not below that has learned nothing. Picture:
    `filled in (image, masked, restored)` (weights of the last epoch; what was not hidden is shown as it was). Features
    of a ViT that pools its class token, which the loss does not reach, are of little use before fine-tuning.

    >>> method = SimMIM()
    >>> method.unit_of(192, 192, patch=4), method.unit_of(224, 224, patch=16), method.unit_of(64, 64, patch=16)
    (32, 32, 16)

    Source: Xie et al. 2022; on chest films Ma et al. 2022. Differs: no left-right flips of grey images; the cosine ends
        at 0; weight decay of all parameters; stochastic depth is the architecture's own; pixels are restored as the
        source prepares them, which is in [0, 1] for `random/NAME`, without the published mean and deviation.
    """

    name: ClassVar[str] = "simmim"

    mask_unit: int | None = Setting(default=None, ge=1)
    """Side in pixels of the squares that are hidden or seen, a multiple of the network's patch; published is 32. None
    takes the largest one up to 32 that cuts images into 4 x 4 or more (32 from 128 pixels on, if 32 divides the sides),
    and where there is none the patch."""
    mask_ratio: float = Setting(default=0.6, gt=0, lt=1)
    """Share of the squares to hide; their number is rounded up."""
    views: MildViewsChoice = None
    """`scan`, `tissue`, `dermoscopy`, `photograph`; an `Augmentation`, or a table of some of its settings with a
    `base`, the set that they change. None takes `scan`, which crops two thirds or more and flips nothing, of images
    that show grey, however many channels they have, and `photograph`, which also swaps left and right, of others."""
    schedule: Schedule = Schedule(
        epochs=100,
        batch_size=256,
        optimizer="adamw",
        lr=1e-4,
        weight_decay=0.05,
        warmup_epochs=10,
        clip_norm=5.0,
    )
    """By default as published for 100 epochs: AdamW, learning rate 2e-4 x batch / 512, which is that of 256 images.
    Take 1e-3 for small networks from scratch, which learned more so in 30 epochs of 64 small images than with 1e-4 in
    60. A short training needs a shorter warm-up."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """A pre-trained copy of the model that encodes.

        Raises:
            ModelError: the model embeds no patches: it is no vision transformer.
            DataError: images of different sizes, none, or images that show nothing.
            SettingsError: a mask unit that cuts patches; more processes than images in a batch.
            ShapeError: images that mask units, or the network's last map, do not cover exactly.
        """
        patch_embedding(model)  # refused before anything is opened
        encoder, rows, images = self.begin(model, task, run)
        embedding = patch_embedding(encoder)
        height, width = images.shape[2:]
        unit = self.unit_of(height, width, embedding.patch_size[0])
        masked_units(height, width, unit, self.mask_ratio)
        stride, channels = self.stride(encoder, images)
        with seeded(run.seed, run.path, "decoder"):
            token = MaskToken(embedding.proj.out_channels)
            decoder = ReconstructionHead(channels, stride, images.shape[1])
        heads = {"mask_token": token, "decoder": decoder}
        self.reuse_heads(model, heads)
        objective = FillingIn(encoder, rows, token, decoder, unit, self)
        self.train(objective, heads, run)
        objective.show(images[:: -(-len(images) // SHOWN)], run)
        return encoder

    def unit_of(self, height: int, width: int, patch: int) -> int:
        """Side of the mask's units in images of this size, for a network of patches of this side, all in pixels.

        Raises:
            SettingsError: `mask_unit` is no multiple of the patch.
        """
        if self.mask_unit is not None:
            if self.mask_unit % patch:
                raise SettingsError(
                    "SimMIM", f"a mask_unit that is a multiple of the network's patch, {patch} pixels",
                    f"{self.mask_unit} would cut patches", f"Take {max(1, self.mask_unit // patch) * patch}.",
                )  # fmt: skip
            return self.mask_unit
        fitting = [
            unit
            for unit in range(patch, UNIT + 1, patch)
            if height % unit == width % unit == 0 and min(height, width) >= UNITS * unit
        ]
        return max(fitting, default=patch)

    def views_of(self, rows: Loader) -> Augmentation:
        """What makes views of these images."""
        return self.views or MILD_VIEWS[suiting(rows)]


class FillingIn(Objective):
    """Give the hidden pixels of an image back from those that can be seen.

    Args:
        model: an encoder that embeds patches, trained in place.
        rows: images.
        token: stands for hidden patches; trained in place.
        decoder: of the encoder's last map; trained in place.
        unit: side of the squares that are hidden.
        method: the rest.
    """

    loss_is_sample_mean = True  # as many pixels are hidden in each image

    def __init__(
        self,
        model: Model,
        rows: Loader,
        token: MaskToken,
        decoder: ReconstructionHead,
        unit: int,
        method: SimMIM,
    ) -> None:
        super().__init__(model)
        self.rows, self.token, self.decoder, self.unit, self.method = rows, token, decoder, unit, method
        self.change = method.views_of(rows)

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Shuffled views of images, each with a mask."""
        steps = self._masked(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _masked(self, generator: torch.Generator) -> Iterator[Step]:
        schedule, value_range = self.method.schedule, self.rows.preparer.value_range
        for rows in draw_batches(len(self.rows), schedule.batch_size, generator, schedule.steps_per_epoch):
            images = self.change(self.rows(rows).images, generator, value_range=value_range)[0]
            yield Step({"images": images, "masks": self.draw(images, generator)})

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Masks of units for images (B, C, H, W): (B, H / unit, W / unit) bool."""
        return draw_masks(
            len(images), images.shape[2], images.shape[3], generator, self.unit, self.method.mask_ratio
        )

    def restored(self, images: Tensor, masks: Tensor) -> Tensor:
        """What the network draws of images (B, C, H, W), hidden parts and others, from what it can see."""
        with hidden_patches(self.model, self.token, masks):
            drawn: Tensor = self.decoder(self.model.last_map(images))
        return drawn

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """Mean absolute error of hidden pixels; beside it, that of the median of what is seen of each image."""
        images, masks = step.tensors["images"], step.tensors["masks"]
        hidden = spread_masks(masks, images.shape[2], images.shape[3])
        seen = images.masked_fill(hidden[:, None], math.nan).flatten(2)
        median = seen.nanmedian(2).values[..., None, None].expand_as(images)
        return Loss(
            masked_l1_loss(self.restored(images, masks), images, hidden),
            {"median_instead": masked_l1_loss(median, images, hidden)},
        )

    def show(self, images: Tensor, run: Run) -> None:
        """Record some images, what is seen of them, and what the network fills in."""
        masks = self.draw(images, run.generator("shown"))
        with evaluation_mode(self), placed(self, "cpu"), torch.no_grad():
            restored = self.restored(images, masks)
        hidden = spread_masks(masks, images.shape[2], images.shape[3])[:, None]
        value_range = self.rows.preparer.value_range
        whole = as_colours(images, value_range)
        masked = torch.where(hidden, GREY, whole)
        filled = as_colours(torch.where(hidden, restored, images), value_range)
        run.record("filled in (image, masked, restored)", side_by_side([whole, masked, filled]))
