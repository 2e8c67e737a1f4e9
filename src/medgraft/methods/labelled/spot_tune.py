"""SpotTUNet: for every image, learn which layers to tune and which to leave as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

import pandas as pd
import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.memory_order import channels_last
from medgraft.engine.method import Needs
from medgraft.engine.optimizers import ParamGroup
from medgraft.engine.patches import Patches, load_batch, open_rows
from medgraft.engine.predict import placed
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Criterion, Supervised, draw_batches
from medgraft.methods.graft import OnImages, graft
from medgraft.models.layers import find_layers
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.model import Model
from medgraft.models.policy_network import choose_frozen, draw_gumbel
from medgraft.models.spot_tuned import SpotTuned
from medgraft.types import JSON, Kind, Loss, Progress, Step

PUBLISHED = Schedule(
    epochs=60,
    steps_per_epoch=100,
    batch_size=16,
    optimizer="sgd",
    lr=1e-3,
    weight_decay=0.0,
    nesterov=True,
    shape="step",
)
KEPT_UNLESS_NAMED = ("optimizer", "weight_decay", "nesterov", "shape")
TUNED = "tuned "
"""Before a layer's name: the column of the history that says for which share of the images it was tuned."""


class SpotTUNet(OnImages):
    """Train a copy of the network, and a small network that chooses its layers or the source's for every image.

    The adapted model carries both copies and the chooser: it is a little more than twice as large as the source. Which
    layers were tuned, and for how many of the training images, is recorded as `policy` and drawn in the report.

    >>> SpotTUNet(regularisation=0.01).policy_lr
    0.01

    Source: Zakazov et al. 2021 (SpotTUNet); Guo et al. 2019 (SpotTune). Differs: the penalty is a mean over images and
    layers, as in the published code, not the paper's sum; batch statistics of frozen copies stay as they were, which
    that code lets drift. A layer that is new, such as a head for other classes, has no frozen copy and is always tuned.
    """

    name: ClassVar[str] = "spottunet"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "multilabel", "segment"})

    regularisation: float = Setting(default=0.005, ge=0)
    """Weight of the penalty on tuning: the share of layers that are tuned, a mean over the images of a batch. Published
    values lie between 0 and 0.02, the higher the fewer the labelled images."""
    temperature: float = Setting(default=0.1, gt=0)
    """Of the Gumbel-softmax by which the choices' gradients are estimated."""
    policy_width: int = Setting(default=32, ge=1)
    """Channels of the choosing network's first convolution; its three blocks double them."""
    policy_optimizer: Literal["sgd", "adam"] = "sgd"
    """Of the choosing network; momentum, betas, curve and clipping are those of `schedule`."""
    policy_lr: float = Setting(default=1e-2, gt=0)
    """Learning rate of the choosing network at the top of the curve."""
    policy_weight_decay: float = Setting(default=1e-3, ge=0)
    """L2 of the choosing network."""
    loss: LossSettings | None = None
    """None takes the usual loss of the task's kind."""
    schedule: Schedule = PUBLISHED
    """Training of the tuned copy. What it does not name of `optimizer`, `weight_decay`, `nesterov` and `shape` is as
    published: SGD with Nesterov momentum, no decay, a tenth of the learning rate in the last quarter."""

    @field_validator("schedule")
    @classmethod
    def _published_unless_named(cls, schedule: Schedule) -> Schedule:
        missing = [name for name in KEPT_UNLESS_NAMED if name not in schedule.model_fields_set]
        return schedule.model_copy(update={name: getattr(PUBLISHED, name) for name in missing})

    @property
    def needs(self) -> Needs:
        """Labelled target images; patients where the cohort names them."""
        return Needs.of(target=("images", "truth"), optional_target=("patients",))

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Regraft the model onto the target's classes, double it, and train one copy and the choosing network.

        Raises:
            ModelError: the model is neither a U-Net nor a timm network.
        """
        assert task.target is not None
        find_layers(model)  # refused before anything is done
        grafted, plan = graft(model, task, run, size=self.size, changes=self.preparation)
        adapted = SpotTuned(
            grafted.spec,
            grafted,
            always_tuned=new_layers(grafted, plan.names("new")),
            policy_width=self.policy_width,
        )
        loader = open_rows(task.target, adapted.spec.preparation, run, self.foreground)
        criterion = build_loss(self.loss or LossSettings.default(task.kind), task.kind)
        history = fit(SpotTuning(adapted, loader, criterion, self), run, self.schedule)
        run.record("policy_by_epoch", policy_by_epoch(adapted, history.rows))
        shares = tuned_shares(
            adapted,
            loader,
            run.generator("policy"),
            batch_size=self.schedule.batch_size,
            device=run.fabric.device,
        )
        run.record("policy", policy_table(adapted, shares))
        return adapted


class SpotTuning(Supervised):
    """Descend on a loss under drawn choices of layers, and on the share of layers that are tuned.

    Args:
        model: its tuned copy and policy network are trained in place.
        loader: labelled training rows, or patches of them.
        criterion: (outputs, truth) -> scalar loss.
        method: its penalty, temperature, optimisers, augmentation and schedule.
    """

    model: SpotTuned

    def __init__(
        self, model: SpotTuned, loader: Loader | Patches, criterion: Criterion, method: SpotTUNet
    ) -> None:
        schedule = method.schedule
        super().__init__(
            model,
            loader,
            criterion,
            batch_size=schedule.batch_size,
            steps_per_epoch=schedule.steps_per_epoch,
            augmentation=method.augmentation,
        )
        self.method = method

    def groups(self, phase: str) -> list[ParamGroup]:
        """The tuned copy, and the policy network with an optimiser and a rate of its own."""
        parameters = dict(self.model.named_parameters())
        method = self.method
        return [
            ParamGroup([parameters[name] for name in self.model.tuned_names()]),
            ParamGroup(
                list(self.model.policy_network.parameters()),
                lr_factor=method.policy_lr / method.schedule.lr,
                weight_decay=method.policy_weight_decay,
                optimizer=method.policy_optimizer,
            ),
        ]

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Labelled batches, each with the noise that its choices are drawn with."""
        noise = run.generator("policy noise", progress.epoch)
        return self._with_noise(super().batches(progress, run), noise)

    def _with_noise(self, steps: Iterable[Step], generator: torch.Generator) -> Iterator[Step]:
        for step in steps:
            rows = len(step.tensors["images"])
            noise = draw_gumbel((rows, len(self.model.layers), 2), generator)
            yield Step({**step.tensors, "noise": noise})

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The criterion under the drawn choices and the penalty; the share for which each layer is tuned as parts."""
        images = step.tensors["images"]
        logits = self.model.policy_logits(images)
        frozen = choose_frozen(logits, step.tensors["noise"], self.method.temperature)
        outputs = self.model.outputs_under(images, frozen)
        penalty = self.method.regularisation * (1 - frozen).mean()
        shares = dict(zip(self.model.layers, (1 - frozen).mean(dim=0)))
        parts = {"penalty": penalty} | {f"{TUNED}{layer.name}": share for layer, share in shares.items()}
        return Loss(self.criterion(outputs, step.tensors["truth"]) + penalty, parts)


def new_layers(network: Model, new: Sequence[str]) -> list[str]:
    """Names of layers that hold newly initialised parameters.

    >>> from medgraft.testing import make_model
    >>> new_layers(make_model("segment"), ["head.bias"])
    ['head']
    """
    return [
        layer.name
        for layer in find_layers(network)
        if any(name.startswith(f"{module}.") for module in layer.modules for name in new)
    ]


def tuned_shares(
    model: SpotTuned,
    loader: Loader | Patches,
    generator: torch.Generator,
    *,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
) -> Tensor:
    """For which share of some rows each layer is tuned, by the likeliest choices: one pass, without augmentation.

    Args:
        model: left in the mode and on the device it was found in.
        loader: prepared rows, or patches of them drawn as in training.
        generator: draws the patches.
        batch_size: rows per batch at most.
        device: where to compute.

    Returns: (L,) float64 in [0, 1], in the order of `model.layers`.
    """
    weights = loader.weights if isinstance(loader, Patches) else None
    tuned, rows = torch.zeros(len(model.layers), dtype=torch.float64), 0
    with placed(model, device):
        for chosen in draw_batches(len(loader), batch_size, generator, weights=weights):
            images = channels_last(load_batch(loader, chosen, generator).images.to(device))
            tuned += (1 - model.policy(images)).sum(dim=0).cpu()
            rows += len(chosen)
    return tuned / rows


def policy_table(model: SpotTuned, shares: Tensor) -> pd.DataFrame:
    """One row per layer, input to output: layer, block, level (see `Layer`), tuned (share of images).

    Layers without a frozen copy are tuned for all.
    """
    by_name = {layer.name: float(share) for layer, share in zip(model.layers, shares)}
    rows = [
        (layer.name, layer.block, layer.level, by_name.get(layer.name, 1.0))
        for layer in find_layers(model.tuned)
    ]
    return pd.DataFrame(rows, columns=["layer", "block", "level", "tuned"])


def policy_by_epoch(model: SpotTuned, history: Sequence[JSON]) -> pd.DataFrame:
    """One row per epoch (from 0) and layer with a frozen copy: for which share of images it was tuned in training.

    These are means over batches of drawn choices, of augmented images.
    """
    rows = [
        (row["epoch"], layer.name, row[f"{TUNED}{layer.name}"]) for row in history for layer in model.layers
    ]
    return pd.DataFrame(rows, columns=["epoch", "layer", "tuned"])
