"""A model adapted to the images that it is to predict, at the moment it predicts them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from medgraft.api.images import Images, open_images
from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.donor_bank import How
from medgraft.engine.fourier_adapted import FourierAdapted
from medgraft.engine.run import Run
from medgraft.engine.stain_normalised import StainNormalised
from medgraft.errors import ModelError, SettingsError
from medgraft.methods.unlabelled import AdaBN
from medgraft.methods.unseen import Fourier, NormaliseStain
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.plugins import build_settings

At = Literal["fourier", "normalise_stain", "ada_bn"]
LENDING = {"fourier": "Fourier adaptation", "normalise_stain": "Stain normalisation"}
"""Adaptations for which the source lends images, by what they are called in sentences."""


def check_choice(adapt: str | None, donors: object, beta: float | None, choose: str | None) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        SettingsError: an unknown adaptation; donors missing, or something that this one does not take.
    """
    if adapt is not None and adapt not in get_args(At):
        raise SettingsError(
            "predict", f"adapt as one of {', '.join(get_args(At))}", f"it got {adapt!r}",
            "Choose one of these; other methods train: `medgraft adapt`.",
        )  # fmt: skip
    if adapt in LENDING and donors is None:
        lent = "contrast" if adapt == "fourier" else "colours"
        raise SettingsError(
            LENDING[adapt], f"images of the source that lend their {lent}", "it got none",
            "Name a manifest or folder of them: --donors.",
        )  # fmt: skip
    if choose is not None and choose not in get_args(How):
        raise SettingsError(
            "predict",
            f"choose as one of {', '.join(get_args(How))}",
            f"it got {choose!r}",
            "Choose one of these.",
        )
    given = {"donors": None if adapt in LENDING else donors, "beta": beta, "choose": choose}
    unused = [name for name, value in given.items() if value is not None]
    if adapt != "fourier" and unused:
        raise SettingsError(
            "predict", f"adapt='fourier' beside {' and '.join(unused)}", f"it got adapt={adapt!r}",
            "Add --adapt fourier, or leave the rest out.",
        )  # fmt: skip


def adapt_to_images(
    model: Model,
    images: Cohort,
    adapt: At,
    donors: Images | None,
    beta: float | None,
    choose: How | None,
    *,
    device: str,
    progress: bool | None,
) -> Model:
    """A copy of a model, adapted to all of these images; what was asked for has passed `check_choice`.

    Raises:
        ModelError: it is adapted so already, or cannot be.
        DataError, ShapeError, SettingsError: see the methods.
    """
    run = Run(device=device, progress=progress)  # type: ignore[arg-type]
    if adapt == "ada_bn":
        return AdaBN().adapt(model, Task(target=_as_seen(images, model.spec)), run)
    if isinstance(model, FourierAdapted | StainNormalised):
        raise ModelError(
            f"--adapt {adapt}", "a model without donors", "this one carries its own",
            "Leave --adapt out: it adapts whatever it predicts.",
        )  # fmt: skip
    method: Fourier | NormaliseStain = NormaliseStain()
    if adapt == "fourier":
        settings: dict[str, Any] = {"beta": beta, "how": choose}
        given = {name: value for name, value in settings.items() if value is not None}
        method = build_settings(Fourier, given)
    assert donors is not None
    return method.adapt(model, Task(source=_as_seen(open_images(donors)[0], model.spec)), run)


def _as_seen(images: Cohort, spec: ModelSpec) -> Cohort:
    """Images without truth as rows of the model's own task."""
    view = images.only(images.fields - {"truth"})
    view.kind, view.classes = spec.kind, spec.classes
    return view
