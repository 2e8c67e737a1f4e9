"""The noun everything turns on: source, adapted, pooled and wrapped models are all a `Model`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from medgraft.errors import ModelError
from medgraft.models.optimizer_history import OptimizerHistory
from medgraft.models.pretraining_heads import PretrainingHeads
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Kind

if TYPE_CHECKING:
    import numpy as np


class Prediction(NamedTuple):
    """What a model says about a batch.

    outputs: raw (B, K) or (B, K, *spatial).
    probabilities: same shape, float32; softmax over classes, or a sigmoid per label for `multilabel`.
    labels: int64; (B,) or (B, *spatial) the likeliest class; `multilabel`: (B, K), 1 where probability > 0.5.
    """

    outputs: Tensor
    probabilities: Tensor
    labels: Tensor


class Model(nn.Module):
    """A network that knows what it is for, how its images are prepared, and how to rebuild itself.

    A subclass is registered with `register`, sets `kinds`, and defines `forward`, `features` and `config`.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset()
    """What this class of model can be used for."""
    dimensions: ClassVar[frozenset[int]] = frozenset((2,))
    """What it can look at: 2, images; 3, volumes."""
    order_matters: bool = False
    """True if predicting changes the model, so that the order of images counts."""
    predict_by: Literal["image", "patient", "survey"] = "image"
    """`patient`: the predictor passes whole scans, slices in order: all rows of a patient, or a volume. `survey`: it
    shows all images of a patient to `survey` and then passes them batch by batch, with what that found; or a volume."""
    needs_levels: ClassVar[bool] = False
    """True if the predictor has to refuse images that the preparation would scale one by one, as it does floats."""
    wraps: ClassVar[str | None] = None
    """Of a model around another: the name of the inner one in its config and as its submodule; regrafting changes
    that one."""
    optimizer_history: OptimizerHistory | None = None
    """What the optimiser that trained these weights remembered, where it was asked to keep it; saved and loaded with
    the model, and carried over to no other."""
    pretraining_heads: PretrainingHeads | None = None
    """What was trained beside these weights and is no part of them; saved and loaded with them, and with no others."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.remarks: dict[int, str] = {}
        """What a reader must know of a prediction, by row of the cohort that was predicted last; mostly nothing."""
        if spec.kind not in self.kinds:
            raise ModelError(
                type(self).__name__, f"a kind among {', '.join(sorted(self.kinds))}", f"got {spec.kind!r}",
                "Choose one of these kinds, or another model.",
            )  # fmt: skip
        if spec.preparation.dimensions not in self.dimensions:
            raise ModelError(
                type(self).__name__, f"a preparation of {' or '.join(map(str, sorted(self.dimensions)))} dimensions",
                f"got {spec.preparation.dimensions}", "Change it, or choose a U-Net, which takes both.",
            )  # fmt: skip
        self.spec = spec

    def config(self) -> JSON:
        """What besides the spec rebuilds this model untrained: JSON values, and any inner `Model` objects."""
        raise NotImplementedError(f"{type(self).__name__} must define config()")

    @classmethod
    def from_config(cls, config: JSON, spec: ModelSpec) -> Self:
        """Build the model untrained, drawing from the global generator; the inverse of `config`."""
        return cls(spec, **config)

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs: (B, C, *spatial) to (B, K) or (B, K, *spatial); (B, D) features for `encode`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def features(self, images: Tensor) -> Tensor:
        """One vector per image: (B, C, *spatial) to (B, D)."""
        raise ModelError(
            type(self).__name__,
            "a way to compute features",
            "it has none",
            "Use its inner model, or another model.",
        )

    def last_map(self, images: Tensor) -> Tensor:
        """What features are pooled from: (B, C, H, W) to (B, D, h, w), places as in the image.

        Raises:
            ModelError: the model has no such map.
        """
        raise ModelError(
            type(self).__name__, "a last map of features, one vector per place",
            "it gives none", "Use a timm network such as ViT, Swin or ResNet.",
        )  # fmt: skip

    @property
    def reduction(self) -> int | None:
        """Pixels per place of the last map along each axis, None where the model does not know."""
        return None

    def head_outputs(self, features: Tensor) -> Tensor:
        """What the head makes of features: (B, D) to (B, K); classifiers only."""
        raise ModelError(
            type(self).__name__, "a head on feature vectors", f"its kind is {self.spec.kind!r}",
            "Use a classifier: regraft(model, classes).",
        )  # fmt: skip

    def outputs_at_levels(self, images: Tensor, truth: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Raw outputs with the truth they are scored by; more than one pair where inner layers have heads as well."""
        return [(self(images), truth)]

    def outputs_of_both_heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs of the head and of the head kept from the source, from one forward pass.

        Raises:
            ModelError: none was kept.
        """
        raise no_source_head(type(self).__name__)

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Parameter names by block, input to output; every parameter in exactly one block, the head last."""
        grouped: dict[str, list[str]] = {}
        for name, _ in self.named_parameters():
            grouped.setdefault(name.split(".")[0], []).append(name)
        return {block: tuple(names) for block, names in grouped.items()}

    def block_modules(self) -> list[nn.Module]:
        """The module of each block, input to output; of a block without one of its own, its last part."""
        found = {_common_module(self, names): None for names in self.blocks().values()}
        return [self.get_submodule(name) for name in found]

    def layer_groups(self) -> dict[str, tuple[str, ...]]:
        """Parameter names by what their layers do, every parameter in exactly one group: here the blocks."""
        return self.blocks()

    def resized_state(self, size: tuple[int, ...]) -> dict[str, Tensor]:
        """This model's weights as another image size (H, W) needs them: the same, unless it has positions."""
        return dict(self.state_dict())

    def activations(self, images: Tensor, at: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs and inner maps from one forward pass, with gradients where these are on.

        Args:
            images: (B, C, *spatial) float.
            at: names of blocks (see `blocks`) or submodules; of a module that runs twice, the last run.

        Returns: raw outputs as `forward` gives them, and what each named part put out, by name.

        Raises:
            ModelError: a name is unknown, or that part did not run or puts out no tensor.
        """
        modules = {name: self._part(name) for name in at}
        kept: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, object, object], object]:
            def hook(_module: nn.Module, _inputs: object, output: object) -> object:
                if not isinstance(output, Tensor):
                    return None
                kept[name] = output
                # The network continues on a copy: an in-place activation must not overwrite what was kept.
                return output.clone()

            return hook

        handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
        try:
            outputs = self(images)
        finally:
            for handle in handles:
                handle.remove()
        silent = [name for name in at if name not in kept]
        if silent:
            raise ModelError(
                "activations", "parts that put out one tensor in the forward pass",
                f"{', '.join(silent)} did not", "Name another block or submodule.",
            )  # fmt: skip
        return outputs, kept

    def _part(self, name: str) -> nn.Module:
        modules: dict[str, nn.Module] = dict(self.named_modules())
        if name and name in modules:
            return modules[name]
        blocks = self.blocks()
        if name in blocks:
            return modules[_common_module(self, blocks[name])]
        known = [*blocks, *(known for known in modules if known)]
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.4) or list(blocks)[:8]
        raise ModelError(
            "activations", "the name of a block or submodule", f"{type(self).__name__} has no part {name!r}",
            f"Nearest names: {', '.join(near)}.",
        )  # fmt: skip

    def predict(
        self, images: Tensor, rows: np.ndarray | None = None, positions: np.ndarray | None = None
    ) -> Prediction:
        """Predict a prepared batch in evaluation mode, without gradient; every module keeps its mode.

        Args:
            images: (B, C, *spatial) float, prepared as `spec.preparation` says.
            rows: positions in the cohort, for models to which these matter; most ignore them.
            positions: (B,) of slices along the patient in mm, where they are known; for models that see whole scans.

        Raises:
            ModelError: the model encodes, so it has nothing to predict.
        """
        if self.spec.kind not in ("classify", "multilabel", "segment"):
            raise ModelError(
                "predict", "a model with classes", f"this one's kind is {self.spec.kind!r}",
                "Give it a head with regraft(model, classes), or use its features.",
            )  # fmt: skip
        with evaluation_mode(self), torch.no_grad():
            outputs: Tensor = self(images)
            if self.spec.kind == "multilabel":
                probabilities = outputs.float().sigmoid()
                return Prediction(outputs, probabilities, (probabilities > 0.5).long())
            return Prediction(outputs, outputs.float().softmax(dim=1), outputs.argmax(dim=1))

    def survey(self, batches: Iterable[Tensor], count: int) -> Any:
        """What all images of a patient have in common; models that predict by survey take it as `common` of `predict`.

        Args:
            batches: the patient's images, each (B, C, *spatial), prepared; all are to be looked at, none to be kept.
            count: of images in all batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must define survey()")

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a folder; see `medgraft.models.storage.save_model`."""
        from medgraft.models.storage import save_model

        return save_model(self, folder, overwrite=overwrite)


def no_source_head(who: str) -> ModelError:
    """The error of a model that is asked for a head it did not keep."""
    return ModelError(
        who,
        "a head kept from the source",
        "this model did not keep one",
        "Use regraft(..., keep_source_head=True).",
    )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and afterwards exactly the mode each submodule was found in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _common_module(model: nn.Module, names: Sequence[str]) -> str:
    """The outermost module that holds no parameters but these; else the innermost that holds the last one.

    A stem of loose convolution and norm has no module of its own: its output is that of its last one.
    """
    wanted = set(names)
    parents = names[-1].split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        prefix = ".".join(parents[:depth])
        held = {f"{prefix}.{name}" for name, _ in model.get_submodule(prefix).named_parameters()}
        if held <= wanted:
            return prefix
    return ".".join(parents)


_CLASSES: dict[str, type[Model]] = {}
_ELSEWHERE = {
    "FourierAdapted": "medgraft.engine.fourier_adapted",
    "StainNormalised": "medgraft.engine.stain_normalised",
}
"""Classes made of more than models, by the module of a higher layer that registers them."""
ModelClass = TypeVar("ModelClass", bound=type[Model])


def register(cls: ModelClass) -> ModelClass:
    """Make a model class loadable from files, under its own name; use as a decorator.

    Raises:
        ModelError: another class has this name.
    """
    other = _CLASSES.get(cls.__name__)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ModelError(
            "register", "a name of its own for every model class",
            f"{cls.__name__!r} belongs to {other.__module__} and {cls.__module__}", "Rename one of them.",
        )  # fmt: skip
    _CLASSES[cls.__name__] = cls
    return cls


def model_class(name: str) -> type[Model]:
    """The registered class of this name.

    Raises:
        ModelError: nobody registered it.
    """
    # The built-in ones register when imported; importing them here keeps this module light.
    from medgraft.models import backbones, colorization, colorized, simple, spot_tuned, unet  # noqa: F401

    if name in _ELSEWHERE:
        importlib.import_module(_ELSEWHERE[name])
    if name not in _CLASSES:
        raise ModelError(
            "model_class", f"a registered model class (known: {', '.join(sorted(_CLASSES))})",
            f"got {name!r}",
            "Install or import the package that defines it.",
        )  # fmt: skip
    return _CLASSES[name]
