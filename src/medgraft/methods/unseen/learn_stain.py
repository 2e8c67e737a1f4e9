"""Networks that learn the colours of the source's laboratory and give them to grey versions of any tile."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from pydantic import Field as Setting
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from medgraft.data.task import Task
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.loop import fit
from medgraft.engine.method import MethodSettings, Needs
from medgraft.engine.objective import Objective
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import draw_batch, drawing_chances
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.stain_normalised import StainNormalised, from_unit, to_unit
from medgraft.engine.stain_normalisers import LearnedNormaliser, to_grey
from medgraft.errors import ShapeError
from medgraft.images.augmentation import Augmentation
from medgraft.images.dscsi import dscsi
from medgraft.images.pictures import side_by_side_with_difference
from medgraft.methods.unseen.normalise_stain import check_source_model, drawn_colours
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.stain_generator import PatchDiscriminator, StainGenerator
from medgraft.types import Kind, Loss, Progress, Step

SHOWN = 4
"""Source tiles in the picture."""
LOOKED_AT = 100
"""Source tiles that are drawn to see whether they have colours, at most."""
MOST_HALVINGS, MOST_JUDGED = 8, 4
"""Of the published generator and discriminator, for tiles of 256 pixels."""
SMALLEST = 8
"""Pixels a side needs: of fewer a discriminator can make nothing."""


class LearnedStain(MethodSettings):
    """What both methods share: a generator that colours grey source tiles, taught by a discriminator and the tiles.

    Each step the discriminator learns first, then the generator. The last epoch is kept. Evidence: the table `history`,
    with the share of places where the discriminator is right as `told_apart` (0.5 means that it knows nothing), and the
    picture `regenerated tiles (raw, grey, regenerated, what differs, magnified)`.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})
    sees_grey: ClassVar[bool]

    width: int = Setting(default=64, ge=1)
    """Channels of the generator's first convolution, doubled up to eight times as many."""
    depth: int | None = Setting(default=None, ge=1)
    """Halvings of the generator; None halves the shorter side of a tile to one place, at most 8 times."""
    discriminator_width: int = Setting(default=64, ge=1)
    """Channels of the discriminator's first convolution."""
    turn: bool
    schedule: Schedule

    @property
    def needs(self) -> Needs:
        """Source images; where patients are named, each is equally likely to be drawn."""
        return Needs.of(source=("images",), optional_source=("patients",))

    @property
    @abstractmethod
    def adversarial(self) -> float:
        """Weight of deceiving the discriminator."""

    @abstractmethod
    def content(
        self, model: StainNormalised, real: Tensor, regenerated: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the generator descends on beside deceiving, weighted, and its unweighted parts by name."""

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """The model in a wrapper that carries the generator; see `StainNormalised`.

        Raises:
            ModelError: the model is of another kind than the task, sees no whole colour images, or normalises already.
            DataError: the source's images are grey, or their colours are not absolute.
            ShapeError: tiles of fewer than 8 pixels a side.
        """
        assert task.source is not None
        check_source_model(model, task)
        preparation = model.spec.preparation
        drawn_colours(task.source, preparation, run, LOOKED_AT)  # refuses what no stain can be learned from
        rows = run.loader(task.source, preparation)
        evenly = np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)
        shown = to_unit(rows(evenly).images, preparation)
        side = min(shown.shape[2:])
        if side < SMALLEST:
            raise ShapeError(
                "Learned stain normalisation", f"tiles of at least {SMALLEST} pixels a side",
                f"these are {shown.shape[2]} x {shown.shape[3]}", "Cut larger tiles.",
            )  # fmt: skip
        halvings = int(math.log2(side))
        generator = StainGenerator(self.width, self.depth or min(MOST_HALVINGS, halvings))
        adapted = StainNormalised(
            model.spec,
            network=copy.deepcopy(model),
            normaliser=LearnedNormaliser(generator),
            per="tile",
            seed=run.seed,
        )
        discriminator = PatchDiscriminator(
            4 if self.sees_grey else 3, self.discriminator_width, min(MOST_JUDGED, halvings - 2)
        )
        objective = Regeneration(adapted, rows, discriminator, self)
        # colours are not chosen by how the network fares with them, which may have other classes than the source
        fit(objective, dataclasses.replace(run, selector=None), self.schedule)
        run.shared.optimizer_history = None  # that is the discriminator's
        _show(adapted, shown, run)
        return adapted


class STST(LearnedStain):
    """Give new tissue the colours of the source by a network that learned to colour its tiles from grey (pix2pix).

    Only grey versions of tiles reach the network, so no image of another laboratory is needed to train it. How light a
    tile is, grey tells: a stain that is paler or stronger than the source's stays so. Defaults are as published for
    tiles of 256 pixels, but for the depth, which follows the tiles; they need a graphics card. For tiles of 64 pixels
    `width` and `discriminator_width` of 16 and a schedule of 10 epochs of 50 steps of 8 tiles do: about a minute.

    >>> STST().needs.source == {"images"}, STST().needs.target == frozenset()
    (True, True)

    Source: Salehi & Chalechale 2020 (STST), after Isola et al. 2017; as compared by Raipuria et al. 2022
        (Stain-AgLr). Differs: see `StainGenerator`, above all no dropout when testing; the discriminator takes one step
        on real and regenerated tiles together instead of one on each.
    """

    name: ClassVar[str] = "stst"
    sees_grey: ClassVar[bool] = True

    adversarial_weight: float = Setting(default=1.0, ge=0)
    """Of binary cross-entropy, the discriminator being deceived."""
    l1_weight: float = Setting(default=100.0, ge=0)
    """Of the mean absolute difference of colours, which go from -1 to 1 there."""
    turn: bool = False
    """Flip and turn tiles by right angles at random; square tiles only."""
    schedule: Schedule = Schedule(
        epochs=15,
        steps_per_epoch=3000,
        batch_size=1,
        optimizer="adam",
        lr=2e-4,
        betas=(0.5, 0.999),
        weight_decay=0.0,
        shape="constant",
    )
    """Of both networks, by default as published."""

    @property
    def adversarial(self) -> float:
        """`adversarial_weight`."""
        return self.adversarial_weight

    def content(
        self, model: StainNormalised, real: Tensor, regenerated: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean absolute difference of colours, which go from -1 to 1."""
        l1 = 2 * (regenerated.float() - real).abs().mean()
        return self.l1_weight * l1, {"l1": l1}


class DSCSIGAN(LearnedStain):
    """Give new tissue the colours of the source by a network that keeps what the source model sees in its tiles.

    As `STST`, but the network is taught by the similarity of hue, chroma and structure (`dscsi`) and by the features
    that the source model, which stays as it is, finds in regenerated tiles. Of these only the features and the
    discriminator know how light a tile is, so lightness may drift: look at the picture.

    >>> DSCSIGAN().schedule.batch_size, DSCSIGAN().needs.source == {"images"}
    (4, True)

    Source: Liang, Plataniotis & Li 2020 (DSCSI-GAN); as compared by Raipuria et al. 2022 (Stain-AgLr). Differs: the
        input is grey, for their released code colours tiles from themselves, of which a network learns to change
        nothing; generator and discriminator are those of STST, the latter without the grey tile; the divergence of
        features is summed over features, where the release divides it by their number; hues are compared as Lee &
        Plataniotis do; images are drawn by patient instead of two of each class.
    """

    name: ClassVar[str] = "dscsi_gan"
    sees_grey: ClassVar[bool] = False

    adversarial_weight: float = Setting(default=0.2, ge=0)
    """Of binary cross-entropy, the discriminator being deceived."""
    features_weight: float = Setting(default=0.4, ge=0)
    """Of the Kullback-Leibler divergence of the source model's features after softmax."""
    colour_weight: float = Setting(default=0.4, ge=0)
    """Of 1 - DSCSI, a plain mean over places."""
    turn: bool = True
    """Flip and turn tiles by right angles at random; square tiles only."""
    schedule: Schedule = Schedule(
        epochs=8,
        batch_size=4,
        optimizer="adam",
        lr=1e-3,
        betas=(0.5, 0.999),
        weight_decay=0.0,
        shape="constant",
    )
    """Of both networks, by default as published; the learning rate is high for adversaries."""

    @property
    def adversarial(self) -> float:
        """`adversarial_weight`."""
        return self.adversarial_weight

    def content(
        self, model: StainNormalised, real: Tensor, regenerated: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Divergence of features and unlikeness of colours.

        Raises:
            ShapeError: tiles of fewer than 7 pixels a side.
        """
        preparation = model.spec.preparation
        with torch.no_grad():
            wanted = model.network.features(from_unit(real, preparation))
        found = model.network.features(from_unit(regenerated, preparation))
        features = feature_divergence(wanted, found)
        colour = 1 - dscsi(real.float(), regenerated.float(), pooling=1).mean()
        return self.features_weight * features + self.colour_weight * colour, {
            "features": features,
            "colour": colour,
        }


def feature_divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """Kullback-Leibler divergence of features after softmax, summed over features.

    Args:
        wanted, found: (B, D) float, any range.

    Returns: scalar float32, at least 0, a mean over images.

    >>> wanted, found = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()
    >>> round(feature_divergence(wanted, found).item(), 4)  # (1/2 ln(1/2 / 1/5) + 1/2 ln(1/2 / 4/5))
    0.2231
    """
    logs, of_wanted = (features.float().log_softmax(dim=1) for features in (found, wanted))
    return functional.kl_div(logs, of_wanted, log_target=True, reduction="batchmean")


class Judged(NamedTuple):
    """Logits of a discriminator; above 0 it takes a place for real."""

    real: Tensor
    regenerated: Tensor


class Regeneration(Objective):
    """Tell regenerated tiles from real ones, then regenerate tiles that are told apart less and like the real ones.

    Args:
        model: its `LearnedNormaliser` is trained in place by the second phase; its network only predicts.
        rows: source tiles.
        discriminator: trained in place by the first phase.
        method: its losses and schedule.
    """

    phases = ("discriminate", "generate")

    def __init__(
        self, model: StainNormalised, rows: Loader, discriminator: PatchDiscriminator, method: LearnedStain
    ) -> None:
        super().__init__(model)
        self.rows, self.discriminator, self.method = rows, discriminator, method
        schedule = method.schedule
        self.steps = schedule.steps_per_epoch or -(-len(rows) // schedule.batch_size)
        self.chances = drawing_chances(rows)

    @property
    def stained(self) -> StainNormalised:
        """The model."""
        return cast(StainNormalised, self.model)

    @property
    def normaliser(self) -> LearnedNormaliser:
        """What is trained of it."""
        return cast(LearnedNormaliser, self.stained.normaliser)

    def train(self, mode: bool = True) -> Regeneration:
        """The network stays in evaluation mode, so that it is always the same."""
        super().train(mode)
        self.stained.network.eval()
        return self

    def groups(self, phase: str) -> list[ParamGroup]:
        """The discriminator in the first phase, the generator in the second."""
        part = self.discriminator if phase == "discriminate" else self.normaliser
        return [ParamGroup(list(part.parameters()))]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Source tiles in [0, 1], flipped and turned where asked."""
        steps = self._drawn(run.generator("batches", progress.epoch))
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _drawn(self, generator: torch.Generator) -> Iterator[Step]:
        for _ in range(self.steps):
            images = draw_batch(self.rows, self.chances, self.method.schedule.batch_size, generator).images
            images = to_unit(images, self.model.spec.preparation)
            if self.method.turn:
                images, _ = Augmentation.preset("dihedral")(images, generator)
            yield Step({"images": images})

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The discriminator's loss, or the generator's with its parts."""
        real = step.tensors["images"]
        if phase == "discriminate":
            with torch.no_grad():
                regenerated = self.normaliser.regenerate(real)
            judged = Judged(*(self._judge(real, colours) for colours in (real, regenerated)))
            total = (_cross_entropy(judged.real, 1.0) + _cross_entropy(judged.regenerated, 0.0)) / 2
            right = ((judged.real > 0).float().mean() + (judged.regenerated < 0).float().mean()) / 2
            return Loss(total, {"told_apart": right})
        regenerated = self.normaliser.regenerate(real)
        # the adversary stands still: without gradients of its own, which would be thrown away
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        deceived = _cross_entropy(self._judge(real, regenerated, frozen), 1.0)
        content, parts = self.method.content(self.stained, real, regenerated)
        total = self.method.adversarial * deceived + content
        # named "loss" as well, so that the learning curve is that of the generator
        return Loss(total, {"loss": total, "adversarial": deceived, **parts})

    def _judge(self, real: Tensor, colours: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        seen = torch.cat([to_grey(real), colours], dim=1) if self.method.sees_grey else colours
        logits: Tensor = functional_call(self.discriminator, weights or {}, (seen,))
        return logits.float()


def _cross_entropy(logits: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


def _show(model: StainNormalised, tiles: Tensor, run: Run) -> None:
    """Leave a picture of source tiles as they are, grey, and as the generator colours them."""
    normaliser = cast(LearnedNormaliser, model.normaliser)
    with evaluation_mode(normaliser), torch.no_grad():
        device = next(normaliser.parameters()).device
        regenerated = normaliser.regenerate(tiles.to(device)).cpu()
    columns = [tiles, to_grey(tiles).expand_as(tiles), regenerated]
    run.record(
        "regenerated tiles (raw, grey, regenerated, what differs, magnified)",
        side_by_side_with_difference(columns),
    )
