"""Colour for one-channel images, learned for a backbone that was trained on colour images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import pandas as pd
import torch
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.method import Needs
from medgraft.engine.patches import Patches, load_batch, open_rows
from medgraft.engine.predict import placed
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, Supervised, refuse_balance
from medgraft.errors import ModelError
from medgraft.images.pictures import side_by_side_with_difference
from medgraft.methods.graft import OnImages, PreparationChanges, graft
from medgraft.models.colorization import DECONV, RGB, ColorModule, ColorU, PixelShuffle
from medgraft.models.colorized import BLOCK, Colorized, load_colorization
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model, evaluation_mode
from medgraft.types import Kind

MEASURED, SHOWN = 16, 4
"""Training images on which colours are measured, and how many of these are shown."""


class Colorization(OnImages):
    """Put a small network that learns to colour one-channel images in front of a source model for colour images.

    Step one trains the network and the head while the source model stays as it is, step two everything. The network
    starts as plain replication of grey into three channels. The baseline of step one is therefore
    ``FineTune(scope="head")`` on the same source: its preparation replicates one-channel images into three channels.

    Evidence: the picture `learned_colours (...)`, some training images below one another, each as named in the brackets
    from left to right: grey, before training where the network had learned before, after step one, after step two, on
    one scale per image, and what was added in the end, magnified so that it can be seen. The table
    `deviation_from_grey` tells how far colours are from grey, overall and by channel.

    >>> Colorization(module="color_u", width=8).step_one_schedule.lr > Colorization().schedule.lr
    True

    Source: Morra et al. (learned colorization, poster), after DE2CO (Carlucci et al. 2018). Differs: start at
    replicated grey. Learning rates, lengths and the widths of two networks are not published; they are ours.
    """

    name: ClassVar[str] = "colorization"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    module: Literal["deconv", "pixel_shuffle", "color_u"] = "deconv"
    """The network, unless one is there already (`start`, or a source adapted by this method). `deconv`: residual blocks
    on a grid of every fourth pixel, enlarged by a transposed convolution. `pixel_shuffle`: the same blocks, 16 pixels
    from each place. `color_u`: a U-Net at full resolution."""
    width: int | None = Setting(default=None, ge=1)
    """Channels of the network (color_u: of its first level); None takes 64, of color_u 16."""
    blocks: int = Setting(default=8, ge=1)
    """Residual blocks of deconv and pixel_shuffle."""
    depth: int = Setting(default=3, ge=1)
    """Halvings of color_u."""
    learned_upsampling: bool = True
    """Whether deconv also trains its enlargement, or keeps linear interpolation as DE2CO does."""
    start: Path | None = None
    """Folder of a network saved alone, or of a model adapted by this method to take it from; None starts anew, and
    keeps that of a source which has one."""
    steps: Literal["module", "module_then_all"] = "module_then_all"
    """`module`: step one only. `module_then_all`: both."""
    step_one_schedule: Schedule = Schedule()
    """Training of network and head in front of and behind the frozen source model."""
    schedule: Schedule = Schedule(lr=1e-4)
    """Training of everything."""
    head_lr_factor: float = Setting(default=10.0, gt=0)
    """Multiplies the head's learning rate in step one: by default that of a head trained on frozen features."""
    balanced: bool = False
    """Draw every class equally often (one label per image only)."""
    preparation: PreparationChanges = Setting(default_factory=dict)
    """Other changes to how the source model prepares images; see `Preparation`. Channels stay three behind the network
    and one in front of it."""
    loss: LossSettings | None = None
    """None takes cross-entropy, binary cross-entropy or Dice + cross-entropy, by the task's kind."""

    @model_validator(mode="after")
    def _one_choice_of_network(self) -> Colorization:
        if self.start is not None:
            for name in ("module", "width", "blocks", "depth", "learned_upsampling"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"start names a network, and {name} describes another: leave one of them out"
                    )
        return self

    @property
    def needs(self) -> Needs:
        """Labelled target images; patients where the cohort names them."""
        return Needs.of(target=("images", "truth"), optional_target=("patients", "sites"))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Put a network in front of the model and train in one or two steps."""
        assert task.target is not None
        if self.balanced:
            refuse_balance("Colorization", task.kind)
        adapted = self._colorized(model, task, run)
        loader = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        criterion = build_loss(self.loss or LossSettings.default(task.kind), task.kind)
        colours = LearnedColours(adapted.colorization, loader, run)
        both = self.steps == "module_then_all"
        rates = {BLOCK: 1.0, list(adapted.blocks())[-1]: self.head_lr_factor}
        first = self._objective(FrozenBackbone, adapted, loader, criterion, self.step_one_schedule, rates)
        fit(first, run.child("module") if both else run, self.step_one_schedule)
        colours.look("step one")
        if both:
            everything = dict.fromkeys(adapted.blocks(), 1.0)
            fit(self._objective(Supervised, adapted, loader, criterion, self.schedule, everything),
                run, self.schedule)  # fmt: skip
            colours.look("step two")
        colours.record(run)
        return adapted

    def _colorized(self, model: Model, task: Task, run: Run) -> Colorized:
        """The source for the target's classes behind its own, a saved or a fresh module."""
        known: ColorModule | None = None
        if isinstance(model, Colorized):
            known, model = model.colorization, model.bare_backbone()
        if model.spec.channels != RGB:
            raise ModelError(
                "Colorization", "a source model for colour images (3 channels)",
                f"this one's images have {model.spec.channels}",
                "Start from one trained on RGB, such as packaged/efficientnet_lite0, or use fine_tune.",
            )  # fmt: skip
        if self.start is not None:
            known = load_colorization(self.start)
        backbone, _ = graft(model, task, run, size=self.size, changes=self.preparation)
        return Colorized.around(backbone, known or self._fresh_module())

    def _fresh_module(self) -> ColorModule:
        if self.module == "color_u":
            return ColorU(width=self.width or 16, depth=self.depth)
        width = self.width or 64
        if self.module == "pixel_shuffle":
            return PixelShuffle(width=width, blocks=self.blocks)
        return DECONV(width=width, blocks=self.blocks, learned=self.learned_upsampling)

    def _objective(
        self,
        objective: type[Supervised],
        model: Colorized,
        loader: Loader | Patches,
        criterion: Criterion,
        schedule: Schedule,
        lr_factors: Mapping[str, float],
    ) -> Supervised:
        return objective(
            model,
            loader,
            criterion,
            batch_size=schedule.batch_size,
            steps_per_epoch=schedule.steps_per_epoch,
            augmentation=self.augmentation,
            lr_factors=lr_factors,
            balanced=self.balanced,
        )


class FrozenBackbone(Supervised):
    """Supervised training of a `Colorized` model in which all layers of the backbone only predict."""

    def train(self, mode: bool = True) -> FrozenBackbone:
        """The backbone stays in evaluation mode, so that batch norm keeps its running statistics."""
        super().train(mode)
        cast(Colorized, self.model).backbone.eval()
        return self


class LearnedColours:
    """What a module makes of some training images, step by step; becomes evidence.

    Args:
        module: looked at whenever `look` is called, and now if it was trained before.
        loader: its rows or samples, evenly spaced, are what is looked at.
        run: gives the random numbers where samples are crops.
    """

    def __init__(self, module: ColorModule, loader: Loader | Patches, run: Run) -> None:
        self.module = module
        count = min(MEASURED, len(loader))
        chosen = np.linspace(0, len(loader) - 1, count).round().astype(int)
        self.images = load_batch(loader, chosen, run.generator("learned colours")).images
        self.columns: dict[str, Tensor] = {}
        self.rows: list[dict[str, str | int | float]] = []
        self.look("before training")
        if not self.rows[0]["mean_absolute_deviation"]:
            del self.columns["before training"]  # still grey, as the first column

    def look(self, when: str) -> None:
        """Measure and keep what the module makes of the images now."""
        with evaluation_mode(self.module), placed(self.module, "cpu"), torch.no_grad():
            colours, grey = self.module(self.images), self.module.replicate(self.images)
            self.columns = {"grey": self._displayed(grey)} | self.columns | {when: self._displayed(colours)}
        away = (colours - grey).double().abs()
        red, green, blue = away.mean(dim=(0, 2, 3)).tolist()
        self.rows.append(
            {"step": when, "images": len(self.images), "mean_absolute_deviation": float(away.mean()),
             "red": red, "green": green, "blue": blue}
        )  # fmt: skip

    def record(self, run: Run) -> None:
        """Leave the picture, and the table in the backbone's units (standard deviations where it has them)."""
        names = [*self.columns, "what was added, magnified"]
        picture = side_by_side_with_difference(list(self.columns.values()))
        run.record(f"learned_colours ({', '.join(names)})", picture)
        run.record("deviation_from_grey", pd.DataFrame(self.rows))

    def _displayed(self, colours: Tensor) -> Tensor:
        """The first few images on the scale of the grey image, where all channels of grey are equal."""
        shape = (1, RGB, 1, 1)
        return colours[:SHOWN] * self.module.std.view(shape) + self.module.mean.view(shape)
