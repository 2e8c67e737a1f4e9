"""The layers of a network as SpotTUNet tells them apart: finer than blocks, coarser than modules."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier, parameter_groups
from medgraft.models.model import Model
from medgraft.models.unet import UNet

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class Layer(NamedTuple):
    """A piece of a network that is computed as one.

    name: of its first module.
    block: of `Model.blocks`.
    modules: names of modules that are run one after another, each on what the one before put out.
    level: 1 where it works at full resolution, 2 below the first halving of a U-Net, ...; always 1 in classifiers.
    """

    name: str
    block: str
    modules: tuple[str, ...]
    level: int = 1


def find_layers(network: Model) -> list[Layer]:
    """The layers of a U-Net or a classifier, input to output.

    In a U-Net every convolution with its norm is one, as are shortcuts, enlargements and heads. In a timm network it is
    what timm's layer-wise learning rates tell apart: residual, dense or attention blocks, a stem's convolution with
    its norm, what lies between stages, a last norm, the head. Parameters of the network itself, such as position
    embeddings, lie in no layer.

    Raises:
        ModelError: it is neither.

    >>> from medgraft.models.spec import ModelSpec
    >>> model = UNet(ModelSpec(kind="segment", classes=("rest", "nucleus")), width=4, depth=1)
    >>> [layer.name for layer in find_layers(model)][:3]
    ['encoder1.first', 'encoder1.second', 'bottleneck.first']
    >>> [layer.modules for layer in find_layers(model)][0]
    ('encoder1.first', 'encoder1.first_norm')
    """
    if isinstance(network, UNet):
        return _layers_of_unet(network)
    if isinstance(network, Classifier):
        return _layers_of_classifier(network)
    raise ModelError(
        "A choice of layers for every image", "a U-Net or a timm network as its source",
        f"got a {type(network).__name__}", "Choose another source or another method.",
    )  # fmt: skip


def _layers_of_unet(network: UNet) -> list[Layer]:
    modules = dict(network.named_modules())
    found = []
    for name, module in modules.items():
        if isinstance(module, CONVOLUTIONS):
            norm = f"{name}_norm"
            block = name.split(".")[0]
            chain = (name, norm) if norm in modules else (name,)
            found.append(Layer(name, block, chain, _level(block, network.depth)))
    return found


def _level(block: str, depth: int) -> int:
    if block == "bottleneck":
        return depth + 1
    digits = block.removeprefix("encoder").removeprefix("decoder")
    return int(digits) if digits.isdigit() else 1


def _layers_of_classifier(network: Classifier) -> list[Layer]:
    blocks = {name: block for block, names in network.blocks().items() for name in names}
    head = next(
        name for name, module in network.net.named_modules() if module is network.net.get_classifier()
    )
    found: list[Layer] = []
    for names in parameter_groups(network.net, f"{head}.weight", coarse=False):
        of_head = {name for name in names if name.startswith(f"{head}.")}
        for wanted in (set(names) - of_head, of_head):
            for chain in _chains(network.net, _outermost(network.net, "", wanted)):
                first = next(network.net.get_submodule(chain[0]).named_parameters())[0]
                modules = tuple(f"net.{name}" for name in chain)
                found.append(Layer(modules[0], blocks[f"net.{chain[0]}.{first}"], modules))
    return found


def _outermost(module: nn.Module, prefix: str, wanted: Collection[str]) -> list[str]:
    """Names of the outermost modules that are run as a whole and hold none but the wanted parameters."""
    found: list[str] = []
    for name, child in module.named_children():
        held = [f"{prefix}{name}.{parameter}" for parameter, _ in child.named_parameters()]
        chosen = [parameter in wanted for parameter in held]
        if held and all(chosen) and not _only_holds(child):
            found.append(f"{prefix}{name}")
        elif any(chosen):
            found += _outermost(child, f"{prefix}{name}.", wanted)
    return found


def _only_holds(module: nn.Module) -> bool:
    """Whether a module is a list of others, which a network may run without running the list."""
    alone = isinstance(module, nn.Sequential) and len(list(module.children())) == 1
    return alone or type(module) in (nn.ModuleList, nn.ModuleDict)


def _chains(network: nn.Module, names: list[str]) -> list[tuple[str, ...]]:
    """Each module by itself, but a norm together with the convolution before it."""
    chains: list[tuple[str, ...]] = []
    for name in names:
        module = network.get_submodule(name)
        before = network.get_submodule(chains[-1][-1]) if chains else None
        if isinstance(before, nn.Sequential):
            before = before[-1]
        if isinstance(module, NORMS) and isinstance(before, CONVOLUTIONS):
            chains[-1] = (*chains[-1], name)
        else:
            chains.append((name,))
    return chains
