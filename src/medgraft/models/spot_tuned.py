"""A network that decides for every image which of its layers are tuned and which stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medgraft.errors import ModelError, ShapeError
from medgraft.models.layers import Layer, find_layers
from medgraft.models.model import Model, evaluation_mode, register
from medgraft.models.policy_network import PolicyNetwork
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind


@register
class SpotTuned(Model):
    """A U-Net or timm network of whose layers there are two copies, one tuned and one frozen, chosen for every image.

    A small network looks at the image and chooses for every layer (see `find_layers`). What the chosen copy puts out
    goes on to the next layer. Where the frozen copy is chosen everywhere, the outputs are the source's, bit for bit;
    where it is chosen nowhere, they are those of a network tuned as a whole. Frozen copies are never in training mode:
    neither their weights nor their batch statistics change. Parameters in no layer stay the source's too.

    `regraft` refuses it, as it wraps others: regraft its `tuned` or `source`.

    Args:
        spec: what it is for, that of `network`.
        network: a U-Net or timm network; both copies begin as it is, and it is not changed.
        always_tuned: names of layers that have no frozen copy, such as a head for other classes.
        policy_width: channels of the policy network's first convolution.

    Raises:
        ModelError: another kind of network, a name that is none of its layers, or no layer left to choose for.

    Source: Zakazov et al. 2021 (SpotTUNet), after Guo et al. 2019 (SpotTune). Differs: batch statistics of frozen
        copies do not drift; a convolution and the norm behind it are one layer.

    >>> from medgraft.models.unet import UNet
    >>> network = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=1)
    >>> model = SpotTuned(network.spec, network, policy_width=4)
    >>> model.policy(torch.rand(2, 3, 32, 32)).shape  # images, layers
    torch.Size([2, 8])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("classify", "multilabel", "segment"))
    dimensions: ClassVar[frozenset[int]] = frozenset((2, 3))

    def __init__(
        self,
        spec: ModelSpec,
        network: Model,
        *,
        always_tuned: Sequence[str] = (),
        policy_width: int = 32,
    ) -> None:
        super().__init__(spec)
        layers = find_layers(network)
        self.always_tuned, self.policy_width = tuple(always_tuned), policy_width
        self.layers = [layer for layer in layers if layer.name not in self.always_tuned]
        unknown = set(self.always_tuned) - {layer.name for layer in layers}
        if unknown:
            raise ModelError(
                "SpotTuned", f"names of layers ({', '.join(layer.name for layer in layers[:4])}, ...) to tune always",
                f"got {min(unknown)!r}", "Choose among those that find_layers(network) lists.",
            )  # fmt: skip
        if not self.layers or policy_width < 1:
            raise ModelError(
                "SpotTuned", "a layer to choose for and a policy_width of at least 1",
                f"{len(self.layers)} layers are left and the width is {policy_width}", "Change these settings.",
            )  # fmt: skip
        self.source = copy.deepcopy(network).requires_grad_(False).eval()
        self.tuned = copy.deepcopy(network)
        self.policy_network = PolicyNetwork(
            spec.channels, len(self.layers), policy_width, spec.preparation.dimensions
        )

    def config(self) -> JSON:
        """The inner network, layers without a frozen copy, width of the policy network."""
        return {
            "network": self.tuned,
            "always_tuned": list(self.always_tuned),
            "policy_width": self.policy_width,
        }

    def train(self, mode: bool = True) -> SpotTuned:
        """Training mode, in which frozen copies are left out."""
        super().train(mode)
        self.source.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs under the likeliest choices: (B, C, *spatial) to (B, K) or (B, K, *spatial)."""
        return self.outputs_under(images, self._likeliest(images))

    def features(self, images: Tensor) -> Tensor:
        """One vector per image under the likeliest choices: (B, C, *spatial) to (B, D)."""
        with self._chosen(self._likeliest(images)):
            return self.tuned.features(images)

    def head_outputs(self, features: Tensor) -> Tensor:
        """What the head makes of features: (B, D) to (B, K); only where the head has no frozen copy.

        Raises:
            ModelError: it has one, and features do not tell which to choose.
        """
        head = set(self.tuned.blocks()["head"])
        if any(head & set(self._names(layer)) for layer in self.layers):
            raise ModelError(
                "A head on feature vectors", "one copy of the head", "the image decides between two",
                "Give images instead of features.",
            )  # fmt: skip
        return self.tuned.head_outputs(features)

    def policy(self, images: Tensor) -> Tensor:
        """Which layers are frozen for which image, in evaluation mode, without gradient.

        Args:
            images: (B, C, *spatial) float, prepared as `spec.preparation` says.

        Returns: (B, L) int64, in the order of `layers`: 1 the source's copy, 0 the tuned one.
        """
        with evaluation_mode(self), torch.no_grad():
            return self._likeliest(images).long()

    def policy_logits(self, images: Tensor) -> Tensor:
        """What the choices are drawn from: (B, C, *spatial) to (B, L, 2), of tuned and frozen."""
        dimensions = 2 + self.spec.preparation.dimensions
        if images.ndim != dimensions or images.shape[1] != self.spec.channels:
            raise ShapeError(
                "SpotTuned", f"images of {dimensions} dimensions with {self.spec.channels} channels second",
                f"got {tuple(images.shape)}", "Prepare them as model.spec.preparation says.",
            )  # fmt: skip
        logits: Tensor = self.policy_network(images)
        return logits

    def outputs_under(self, images: Tensor, frozen: Tensor) -> Tensor:
        """Raw outputs under given choices.

        Args:
            images: (B, C, *spatial) float.
            frozen: (B, L) float, 1 where the source's copy is chosen and 0 where the tuned one is; its gradient is
                that of tuned * (1 - frozen) + source * frozen.
        """
        with self._chosen(frozen):
            outputs: Tensor = self.tuned(images)
        return outputs

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Parameter names by block: the source's, the policy network's, then the tuned copy's, the head last."""
        named = {
            part: tuple(f"{part}.{name}" for name, _ in self.get_submodule(part).named_parameters())
            for part in ("source", "policy_network")
        }
        inner = self.tuned.blocks().items()
        return named | {block: tuple(f"tuned.{name}" for name in names) for block, names in inner}

    def tuned_names(self) -> tuple[str, ...]:
        """Parameters that tuning changes: of all layers, in the tuned copy."""
        found = [name for layer in find_layers(self.tuned) for name in self._names(layer)]
        return tuple(f"tuned.{name}" for name in found)

    def _names(self, layer: Layer) -> list[str]:
        return [
            f"{module}.{name}"
            for module in layer.modules
            for name, _ in self.tuned.get_submodule(module).named_parameters()
        ]

    def _likeliest(self, images: Tensor) -> Tensor:
        return self.policy_logits(images).argmax(dim=2).float()

    @contextmanager
    def _chosen(self, frozen: Tensor) -> Iterator[None]:
        """Inside, running the tuned copy runs the chosen copy of each layer.

        The copies stay whole networks, with their own names, and only for this time their layers do more.
        """
        counts = frozen.detach().sum(dim=0).tolist()
        needs_both = self.training or frozen.requires_grad
        replaced: list[nn.Module] = []
        try:
            for index, layer in enumerate(self.layers):
                own = [self.tuned.get_submodule(name) for name in layer.modules]
                old = [self.source.get_submodule(name) for name in layer.modules]
                tuned, source = _in_turn([module.forward for module in own]), _in_turn(old)
                if not needs_both and counts[index] in (0, len(frozen)):
                    run = source if counts[index] else tuned
                else:
                    run = _mixing(layer.name, tuned, source, frozen[:, index])
                for module in own:
                    # the first one does the work of all, so that those behind it only pass on
                    module.forward = run if module is own[0] else _pass_on
                    replaced.append(module)
            yield
        finally:
            for module in replaced:
                del module.forward


def _in_turn(steps: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """One function that runs several, each on what the one before gave."""

    def run(*inputs: Any, **options: Any) -> Any:
        inner = steps[0](*inputs, **options)
        for step in steps[1:]:
            inner = step(inner)
        return inner

    return run


def _pass_on(inputs: Tensor) -> Tensor:
    return inputs


def _mixing(
    name: str, tuned: Callable[..., Any], source: Callable[..., Any], frozen: Tensor
) -> Callable[..., Tensor]:
    """A layer that runs both copies and takes one of the two for each image; `frozen` is (B,), 0 or 1."""

    def run(*inputs: Any, **options: Any) -> Tensor:
        ours, old = tuned(*inputs, **options), source(*inputs, **options)
        if not isinstance(ours, Tensor) or len(ours) != len(frozen):
            raise ModelError(
                f"The layer {name}", "to put out one tensor with a row per image",
                f"it puts out {tuple(ours.shape) if isinstance(ours, Tensor) else type(ours).__name__}",
                "Choose another source.",
            )  # fmt: skip
        chosen = frozen.view(-1, *(1 for _ in ours.shape[1:])).to(ours.dtype)
        mixed = torch.where(
            chosen.detach() > 0, old, ours
        )  # not a product: it would round, and turn inf into nan
        if chosen.requires_grad:
            mixed = mixed + (old - ours).detach() * (
                chosen - chosen.detach()
            )  # adds 0, and the choice's gradient
        return mixed

    return run
