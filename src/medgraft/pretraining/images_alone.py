"""What all pre-training shares: an encoder, images without labels, heads that wait for more of the same."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field as Setting
from torch import Tensor, nn

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import History, fit
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.objective import Objective
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.pretraining_heads import PretrainingHeads
from medgraft.models.regraft import regraft
from medgraft.types import Kind

logger = logging.getLogger(__name__)
LOOKED_AT, LOOKED_AT_FOR_COLOUR = 64, 1000
"""Images that are looked at before the training: whether they show something, and whether they have colours."""
SHOWN = 6
"""Images in the pictures that a training leaves."""
COLLAPSED_RANK, COLLAPSED_DEVIATION = 1.5, 0.01
"""Features that fill fewer directions, or vary by a smaller share of what they did in the first epoch, are lost."""


class Begun(NamedTuple):
    """What a training begins with.

    encoder: a copy of the source model without its head. rows: all images. images: some of them, (B, C, H, W).
    """

    encoder: Model
    rows: Loader
    images: Tensor


class Pretraining(MethodSettings):
    """Base of the methods that see nothing but source images, and return an encoder.

    A subclass adds its settings and `adapt`, which calls `begin`, makes heads and an objective, calls `train`, and
    returns the encoder.

    fewest: images that a process must see at once.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"encode"})
    fewest: ClassVar[int] = 1

    channels: int | None = Setting(default=None, ge=1)
    """Input channels of the encoder; None takes 1 where files have one (1000 of them are looked at), else the source
    model's."""
    size: tuple[int, int] | None = None
    """(H, W) in pixels to resize images to; None keeps the source model's."""
    schedule: Schedule = Schedule()

    @property
    def needs(self) -> Needs:
        """Source images."""
        return Needs.of(source=("images",))

    def begin(self, model: Model, task: Task, run: Run) -> Begun:
        """Open the images and make the encoder; what cannot be trained on is refused.

        Raises:
            ModelError: the model cannot encode, or not images of this size.
            DataError: too few images, or they are all constant or the same, or differ in size.
            SettingsError: batches of too few images.
        """
        assert task.source is not None
        encoder = self.encoder(model, task.source)
        rows = run.loader(task.source, encoder.spec.preparation)
        self.check_batches(len(rows), run)
        return Begun(encoder, rows, self.look_at(rows))

    def train(self, objective: Objective, heads: Mapping[str, nn.Module], run: Run) -> History:
        """Train the encoder and its heads, and leave these with the encoder, for a training that goes on from it."""
        # validation scores of a task say nothing of an encoder without a head
        history = fit(objective, dataclasses.replace(run, selector=None), self.schedule)
        run.shared.pretraining_heads = PretrainingHeads.record(self.name, heads)
        return history

    def encoder(self, model: Model, cohort: Cohort) -> Model:
        """The source model as an encoder of these images, its head dropped.

        Raises:
            ModelError: it cannot encode, or not images of this size.
        """
        unsaid = self.channels is None and model.spec.preparation.slices == 1
        channels = 1 if unsaid and _has_one_channel(cohort) else self.channels
        return regraft(model, (), channels, kind="encode", size=self.size)[0]

    def check_batches(self, images: int, run: Run) -> None:
        """Refuse fewer images than a batch, and batches that leave a process fewer than it needs.

        Raises:
            DataError: the images are too few, for the method or for the batches that are asked for.
            SettingsError: the batches are.
        """
        who, least = type(self).__name__, self.fewest * run.processes
        if images < least:
            raise DataError(
                who, f"at least {least} image{'s' * (least > 1)}, better hundreds", f"the source has {images}",
                "Add images: they need no labels.",
            )  # fmt: skip
        batch = self.schedule.batch_size
        if images < batch:
            raise DataError(
                who, f"at least as many images as a batch has, {batch} here", f"the source has {images}",
                f"Add images, they need no labels; or set schedule.batch_size={images}, the largest that would do.",
            )  # fmt: skip
        smallest = images // -(-images // batch)
        if smallest < least:
            raise SettingsError(
                who, f"batches of at least {self.fewest} images per process, better 256 in all",
                f"{images} images in batches of {batch} leave one with {smallest} for {run.processes} "
                f"process{'es' * (run.processes > 1)}",
                "Raise schedule.batch_size.",
            )  # fmt: skip

    def look_at(self, rows: Loader) -> Tensor:
        """Some prepared images, evenly over the cohort, that show something.

        Raises:
            DataError: they are all constant, or all the same, or differ in size.
        """
        few = np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).round().astype(int)
        images = rows(few).images
        flat = images.flatten(1)
        for blank, found in (
            (bool((flat.amax(1) == flat.amin(1)).all()), "have one value each"),
            (len(flat) > 1 and bool((flat == flat[:1]).all()), "are the same"),
        ):
            if blank:
                raise DataError(
                    type(self).__name__, "images that show something and differ",
                    f"the {len(flat)} of {rows.cohort.name} that were looked at {found} after preparation",
                    "Look at the files, and at `intensity` and `window` of the preparation.",
                )  # fmt: skip
        return images

    def stride(self, encoder: Model, images: Tensor) -> tuple[int, int]:
        """Pixels of these images per place of the encoder's last map along each axis, and the map's channels.

        Raises:
            ModelError: the encoder has no such map.
            ShapeError: its places do not cover images of this size exactly.
        """
        with torch.no_grad(), evaluation_mode(encoder):
            found = encoder.last_map(images[:1])
        (height, width), (rows, columns) = images.shape[2:], found.shape[2:]
        # networks that pad have a place for what is left over at the edge, so sides that divide prove nothing
        stride = encoder.reduction or max(1, round(height / rows))
        if (rows * stride, columns * stride) != (height, width):
            fitting = [-(-side // stride) * stride for side in (height, width)]
            raise ShapeError(
                type(self).__name__, "images that the places of the network's last map cover exactly",
                f"images of {height} x {width} give a map of {rows} x {columns}, of {stride} pixels each",
                f"Set size={fitting} or other multiples of {stride}." if fitting != [height, width]
                else "Choose another network: this one cuts off edges.",
            )  # fmt: skip
        return stride, found.shape[1]

    def reuse_heads(self, model: Model, heads: Mapping[str, nn.Module]) -> None:
        """Give new heads the weights that an earlier training by this method left with the source model, in place.

        A head whose shapes differ stays new; the log tells which.
        """
        left = model.pretraining_heads
        if left is None or left.method != self.name:
            return
        for name, head in heads.items():
            found = left.of(name)
            own = head.state_dict()
            if (
                found
                and own.keys() == found.keys()
                and all(own[key].shape == found[key].shape for key in own)
            ):
                head.load_state_dict(found)
                logger.info("%s goes on with the %s of the source model", type(self).__name__, name)
            elif found:
                logger.info(
                    "the %s of the source model does not fit; %s begins a new one", name, type(self).__name__
                )


def warn_of_collapse(who: str, history: History, run: Run) -> None:
    """Say it where the features of a training, whose history tells their rank and deviation, have collapsed."""
    first, last = history.rows[0], history.rows[-1]
    rank = last["effective_rank"]
    share = last["feature_deviation"] / max(first["feature_deviation"], 1e-30)
    if rank < COLLAPSED_RANK or share < COLLAPSED_DEVIATION:
        run.warn(
            f"the features of {who} have collapsed: they fill {rank:.1f} directions and vary by {share:.2g} of what "
            "they did in the first epoch. Lower schedule.lr, raise schedule.batch_size, or choose milder views."
        )


def shows_grey(cohort: Cohort) -> bool:
    """Whether most images have no colour in their pixels: one channel, or several that are equal."""
    grey = [bool((array == array[..., :1]).all()) for array in _some(cohort)]
    return 2 * sum(grey) > len(grey)


def _has_one_channel(cohort: Cohort) -> bool:
    return all(array.shape[-1] == 1 for array in _some(cohort))


def _some(cohort: Cohort) -> Iterator[np.ndarray]:
    """Up to a thousand images as stored, evenly over the cohort."""
    rows = np.linspace(0, len(cohort) - 1, min(LOOKED_AT_FOR_COLOUR, len(cohort))).round().astype(int)
    return (cohort.picture(int(row)).array for row in rows)
