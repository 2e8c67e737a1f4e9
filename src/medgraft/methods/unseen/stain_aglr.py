"""A classifier that says the same whatever the stain: Stain-AgLr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator
from pydantic import Field as Setting
from torch import Tensor

from medgraft.engine.loading import Loader, check_levels
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import Patches
from medgraft.engine.predict import placed
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.stain_normalised import to_unit
from medgraft.errors import DataError, SettingsError
from medgraft.images.augmentation import MOVING, Augmentation
from medgraft.images.color import is_grey
from medgraft.images.pictures import side_by_side
from medgraft.images.preparation import Preparer
from medgraft.methods.graft import AugmentationChoice
from medgraft.methods.unseen.bias_labels import BiasLabels
from medgraft.methods.unseen.erm import ERM, SourceImages
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.stain_decoder import (
    RGB,
    StainDecoder,
    consistency_loss,
    decoder_for,
    keep_decoder,
    regeneration_loss,
)
from medgraft.types import Kind, Loss, Progress, Step

ALTERED = "altered"
SHOWN = 6
"""Tiles in the picture."""
ALTERATIONS = {name: Augmentation.preset(f"hed_{name}").in_place() for name in ("light", "strong")}  # type: ignore[arg-type]


def _completed(value: object) -> object:
    if isinstance(value, str):
        return ALTERATIONS.get(value, value)
    return {**Augmentation.preset("none").model_dump(), **value} if isinstance(value, Mapping) else value


def _in_place(value: Augmentation) -> Augmentation:
    if value != value.in_place():
        raise ValueError(
            f"a copy is compared with its image pixel by pixel, so leave out {', '.join(MOVING)}: "
            "what moves belongs to augmentation"
        )
    return value


class StainAgLr(ERM):
    """Train on the source so that stains do not matter: each image also passes in another stain (Stain-AgLr).

    An image and its altered copy, in one batch, are to be told alike (consistency), and a decoder gives the raw colours
    back from the features of the altered copy (regeneration). The decoder is no part of the returned model, which costs
    what a plain classifier costs, but is kept beside its weights, so that `compare_stains` can show what it draws from
    tissue of other laboratories; the picture `stains (raw, altered, regenerated)` shows it of the source. (Its weights
    are those of the last epoch, whichever is kept of the model.) Without both parts, with the loss of raw images only,
    this is `ERM`; with that of altered ones, training with HED-light augmentation (Tellez et al. 2019), which
    `augmentation="hed_light"` gives to every method.

    >>> method = StainAgLr(alteration="strong")
    >>> method.alteration.hed, method.consistency_weight, method.regeneration_weight
    (0.2, 10.0, 0.1)

    Source: Raipuria et al. 2022. Differs: nothing is scaled or bent elastically.
    """

    name: ClassVar[str] = "stain_aglr"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel"})

    alteration: Annotated[Augmentation, BeforeValidator(_completed), AfterValidator(_in_place)] = ALTERATIONS[
        "light"
    ]
    """How brightness, contrast and stains of the copy are altered: `light` (as published: HED-light), `strong`, or
    settings of an `Augmentation` that move nothing, such as `hed=0.1`; what is not named stays as it is."""
    consistency_weight: float = Setting(default=10.0, ge=0)
    """Of the divergence of what is said of the altered images from what is said of the raw ones; 0 leaves it out."""
    regeneration_weight: float = Setting(default=0.1, ge=0)
    """Of the regenerated colours' squared distance from the raw ones; 0 builds no decoder."""
    cross_entropy_on: Literal["both", "raw", "altered"] = "both"
    """Which copies the loss of the labels sees; not published (its figure shows both passing). `both`: their mean."""
    stop_gradient: bool = False
    """Whether consistency moves the altered copy towards the raw one only. None is mentioned where this was published;
    other work on consistency has it."""
    augmentation: AugmentationChoice = Augmentation.preset("dihedral")
    """Before stains are altered, alike for both copies: its result is the raw image, which is regenerated. By default
    flips and quarter turns, as published."""
    schedule: Schedule = Schedule(
        epochs=50, batch_size=64, optimizer="adam", lr=1e-2, weight_decay=0.0, shape="cosine"
    )
    """By default Adam from 1e-2 as published for a small network from scratch on 48 000 tiles (5e-3 on 7 000); take
    1e-3 or less for pre-trained networks. Published is a tenth whenever the validation loss has not improved for 4
    epochs (15), until 1e-5; `shape="plateau"` with `plateau_epochs=4` and `minimum_lr=1e-5` comes close, by the
    selection score, but needs validation rows, so a cosine is the default. A step sees each image twice."""

    def _objective(
        self, model: Model, rows: Loader | Patches, labels: Sequence[BiasLabels], run: Run
    ) -> StainAgnostic:
        if isinstance(rows, Patches):
            raise DataError(
                "StainAgLr", "single images that the network sees whole",
                f"{rows.cohort.name} has volumes, or the preparation cuts patches",
                "Give each tile a row of its own, and set a size instead of a patch.",
            )  # fmt: skip
        _refuse_colourless(rows.preparer)
        return StainAgnostic(model, rows, labels, self, run)

    @property
    def alters(self) -> bool:
        """Whether any part asks for altered copies."""
        return self.cross_entropy_on != "raw" or self.consistency_weight > 0 or self.regeneration_weight > 0

    @property
    def sees_raw(self) -> bool:
        """Whether any part asks what the model makes of raw images."""
        return self.cross_entropy_on != "altered" or self.consistency_weight > 0


class StainAgnostic(SourceImages):
    """Descend on the loss of labels, the consistency between an image and its altered copy, and regenerated colours.

    Copies share one forward pass, first all raw images, then all altered ones: norms see the statistics of both.

    Args:
        model: a classifier of colour images, trained in place.
        rows: labelled source rows whose preparation keeps black and white.
        labels: of attributes by which groups are balanced.
        method: the rest.
        run: seeds the decoder.

    Raises:
        ModelError: colours shall be regenerated, and the model has no feature maps.
        DataError: images hold numbers that the preparation scales one by one, such as floats.

    Source: Raipuria et al. 2022, equations 1 to 3.
    """

    def __init__(
        self, model: Model, rows: Loader, labels: Sequence[BiasLabels], method: StainAgLr, run: Run
    ) -> None:
        super().__init__(model, rows, labels, method)
        self.method = method
        few = np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)
        self.shown = rows(few).images
        self.decoder: StainDecoder | None = None
        if method.regeneration_weight:
            with seeded(run.seed, run.path, "decoder"):
                self.decoder, self.block = decoder_for(model, self.shown[:1])
            self._groups = [*self._groups, ParamGroup(list(self.decoder.parameters()))]
        if method.alters:
            for row in few:
                check_levels("StainAgLr", rows.cohort, row, rows.preparer.preparation)
            self._warn_of_grey(run)

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """The same batches as without alteration, with an altered copy of each image."""
        self.alterations = run.generator("alteration", progress.epoch)
        return super().batches(progress, run)

    def _steps(self, generator: torch.Generator) -> Iterator[Step]:
        for step in super()._steps(generator):
            if self.method.alters:
                altered = self.altered(step.tensors["images"], self.alterations)
                step = Step({**step.tensors, ALTERED: altered})
            yield step

    def altered(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Prepared images (B, 3, H, W) in other stains, prepared likewise."""
        value_range = self.loader.preparer.value_range
        return self.method.alteration(images, generator, value_range=value_range)[0]

    def colours(self, images: Tensor) -> Tensor:
        """Prepared images as red, green and blue in [0, 1]."""
        return to_unit(images, self.loader.preparer.preparation)

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The sum of the parts that are switched on, each logged before it is weighed."""
        method, altered = self.method, step.tensors.get(ALTERED)
        if altered is None:
            return super().loss(step, phase, progress)
        raw, count = step.tensors["images"], len(altered)
        images = torch.cat([raw, altered]) if method.sees_raw else altered
        if self.decoder is None:
            outputs: Tensor = self.model(images)
        else:
            outputs, inner = self.model.activations(images, [self.block])
        of_raw, of_altered = outputs[:count], outputs[-count:]
        total = self._of_labels({"both": outputs, "raw": of_raw, "altered": of_altered}, step)
        parts = {"task": total}
        if method.consistency_weight:
            known = of_raw.detach() if method.stop_gradient else of_raw
            parts["consistency"] = consistency_loss(known, of_altered, self.model.spec.kind)
            total = total + method.consistency_weight * parts["consistency"]
        if self.decoder is not None:
            regenerated = self.decoder(inner[self.block][-count:], (raw.shape[2], raw.shape[3]))
            parts["regeneration"] = regeneration_loss(regenerated, self.colours(raw))
            total = total + method.regeneration_weight * parts["regeneration"]
        return Loss(total, parts)

    def _of_labels(self, outputs: dict[str, Tensor], step: Step) -> Tensor:
        """The criterion on the chosen copies, whose labels and weights are those of their images."""
        chosen = outputs[self.method.cross_entropy_on]
        weights = self.weigh_pixels(step)
        known = [step.tensors["truth"], *([] if weights is None else [weights])]
        copies = len(chosen) // len(known[0])
        return self.criterion(chosen, *(torch.cat([values] * copies) for values in known))

    def show(self, run: Run) -> None:
        """Record some training tiles as they are, altered, and regenerated from the features of the altered ones.

        The decoder is left with the model.
        """
        if not self.method.alters:
            return
        altered = self.altered(self.shown, run.generator("shown alteration"))
        columns = {"raw": self.colours(self.shown), "altered": self.colours(altered)}
        if self.decoder is not None:
            run.shared.pretraining_heads = keep_decoder(self.method.name, self.decoder, self.block)
            with evaluation_mode(self), placed(self, "cpu"), torch.no_grad():
                inner = self.model.activations(altered, [self.block])[1][self.block]
                columns["regenerated"] = self.decoder(inner, (altered.shape[2], altered.shape[3]))
        run.record(f"stains ({', '.join(columns)})", side_by_side(list(columns.values())))

    def _warn_of_grey(self, run: Run) -> None:
        colours = self.colours(self.shown)
        if is_grey(colours).all():
            run.warn(
                f"StainAgLr alters stains, but the {len(colours)} training images looked at are grey, so that it "
                "teaches the model nothing useful; use it for stained tissue in colour"
            )


def _refuse_colourless(preparer: Preparer) -> None:
    preparation = preparer.preparation
    if preparation.channels != RGB or preparation.slices != 1:
        raise SettingsError(
            "StainAgLr", "a model for colour images (3 channels of one slice)",
            f"this one's have {preparation.channels} of {preparation.slices}",
            "Start from one trained on RGB, such as packaged/efficientnet_lite0, or use erm.",
        )  # fmt: skip
    if preparer.value_range is None:
        raise SettingsError(
            "StainAgLr", "a preparation that keeps black and white, so that colours can be told",
            f"preparation.intensity is '{preparation.intensity}'", "Set preparation.intensity='unit'.",
        )  # fmt: skip
