"""What every method must pass, built in or plugged in: `check_method`, and tiny made-up cohorts to try things on."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import Method, adapt, withhold
from medgraft.engine.predict import predict_labels, predict_masks
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.errors import NeedError
from medgraft.models.model import Model, evaluation_mode
from medgraft.models.optimizer_history import record_history
from medgraft.models.sources import open_source
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model
from medgraft.models.unet import Norm, UNet
from medgraft.types import Kind, Preparation

LIMIT = Limit(epochs=2, steps=2)
"""How far `check_method` trains: two epochs of two steps."""
RGB = 3
"""Channels of the source models of `check_method`, as most pre-trained ones have."""


def make_cohort(kind: Kind, site: str = "A", patients: int = 12, size: int = 32, seed: int = 0) -> Cohort:
    """A made-up cohort: two grey images per patient, a bright disc whose size and place the truth tells.

    Its attribute `camera`, old or new, has nothing to do with the rest.

    Args:
        kind: `classify` and `multilabel` have classes small, large; `segment` background, disc; `encode` no truth.
        site: its name; other sites have other contrast.
        patients: at least 6; two thirds are `train`, the rest `validation` and `test` in equal parts.
        size: pixels per side.

    >>> cohort = make_cohort("segment")
    >>> len(cohort), cohort.classes
    (24, ('background', 'disc'))
    """
    rng = np.random.default_rng([seed, *site.encode()])
    rows, columns = np.mgrid[:size, :size]
    images, masks, labels = [], [], []
    for index in range(2 * patients):
        large = (index // 2) % 2
        radius = size * (0.32 if large else 0.16)
        centre = size * rng.uniform(0.4, 0.6, 2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
        image = rng.normal(60, 8, (size, size)) + disc * rng.uniform(80, 120) + 30 * (site != "A")
        images.append(image.clip(0, 255).astype(np.uint8)[..., None])
        masks.append(disc.astype(np.uint8))
        labels.append(large)
    truths: dict[Kind, np.ndarray | None] = {
        "classify": np.asarray(labels),
        "multilabel": np.stack([1 - np.asarray(labels), np.asarray(labels)], 1).astype(np.float32),
        "segment": np.stack(masks),
        "encode": None,
    }
    classes = {"segment": ("background", "disc"), "encode": ()}.get(kind, ("small", "large"))
    held_out = patients // 6
    split = ["train"] * (patients - 2 * held_out) + ["validation"] * held_out + ["test"] * held_out
    return Cohort.from_arrays(
        np.stack(images),
        truths[kind],
        kind=kind,
        classes=classes,
        patients=[f"{site}{index // 2}" for index in range(2 * patients)],
        sites=[site] * (2 * patients),
        attributes=pd.DataFrame(
            {"camera": [("old", "new", "new")[index // 2 % 3] for index in range(2 * patients)]}
        ),
        split=[split[index // 2] for index in range(2 * patients)],
        name=f"made-up site {site}",
    )


def make_model(kind: Kind, norm: Norm = "batch", channels: int = 1, architecture: str | None = None) -> Model:
    """A tiny untrained source model for made-up cohorts.

    Args:
        kind: what it is for.
        norm: of a segmenter, a U-Net.
        channels: of its input.
        architecture: of others, as timm lists it, for images of 32 pixels; None is a ResNet for images of any size.
    """
    if kind == "segment":
        preparation = Preparation(channels=channels)
        spec = ModelSpec(
            kind=kind, classes=("background", "disc"), channels=channels, preparation=preparation
        )
        return UNet(spec, width=4, depth=2, norm=norm)
    classes = () if kind == "encode" else ("first", "second", "third")
    return open_source(
        f"random/{architecture or 'test_resnet'}",
        kind=kind,
        classes=classes,
        channels=channels,
        size=None if architecture is None else (32, 32),
    )


def check_method(method: Method, *, processes: bool = False, architecture: str | None = None) -> list[str]:
    """Check that a method keeps the promises that every method makes; takes about 8 seconds.

    Args:
        method: with settings for tiny data: batch size at most 16.
        processes: also compare two processes with one (starts two; half a minute).
        architecture: of the source models other than segmenters, as timm lists it, for methods that need a certain one;
            it sees images of 32 pixels.

    Returns: the clauses that were checked.

    Raises:
        AssertionError: a clause does not hold; the message names it.

    >>> from medgraft.methods import SimpleBaseline
    >>> check_method(SimpleBaseline())[0]
    "classify: the caller's model stays as it is"
    """
    checked: list[str] = []
    with deterministic():
        for kind in sorted(method.kinds & {"classify", "multilabel", "segment", "encode"}):
            source = _source(kind, architecture)
            for clause, check in CLAUSES.items():
                check(method, source)
                checked.append(f"{kind}: {clause}")
        if processes:
            checked.append(_two_processes_equal_one(method, architecture))
    return checked


class deterministic:  # noqa: N801 - used like a function
    """One thread, so that sums are added in one order."""

    def __enter__(self) -> None:
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self.threads)


def _task(kind: Kind) -> Task:
    return Task(source=make_cohort(kind, "A"), target=make_cohort(kind, "B"))


def _adapted(method: Method, source: Model, run: Run | None = None, task: Task | None = None) -> Model:
    run = run or Run(limit=LIMIT, device="cpu", progress=False)
    return adapt(source, task or _task(source.spec.kind), method, run)


def _source(kind: Kind, architecture: str | None = None) -> Model:
    with seeded("source", kind):
        return _remembering(make_model(kind, channels=RGB, architecture=architecture))


def _remembering(model: Model) -> Model:
    """With what Adam remembers after a step that changed nothing, for methods that go on from it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    with evaluation_mode(model):
        model(torch.rand(2, model.spec.channels, 32, 32)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    model.optimizer_history = record_history(optimizer, model)
    return model


def _snapshot(model: Model) -> tuple[dict[str, Tensor], dict[str, object]]:
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    grads = {f"grad of {name}": (p.requires_grad, p.grad is None) for name, p in model.named_parameters()}
    return weights, {**modes, **grads, "spec": model.spec}


def _same(first: Model, second: Model, clause: str) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys(), (
        f"{clause}: the two have different tensors: {one.keys() ^ other.keys()}"
    )
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, (
        f"{clause}: {len(different)} of {len(one)} tensors differ, the first is {different[0]}"
    )


def _model_untouched(method: Method, source: Model) -> None:
    model, kind = source, source.spec.kind
    weights, rest = _snapshot(model)
    adapted = method.adapt(
        model, withhold(_task(kind), method.needs), Run(limit=LIMIT, device="cpu", progress=False)
    )
    weights_after, rest_after = _snapshot(model)
    changed = [name for name in weights if not torch.equal(weights[name], weights_after[name])]
    assert not changed, f"the caller's model stays as it is: adapt changed {changed[0]}"
    altered = [name for name in rest if rest[name] != rest_after.get(name)]
    assert not altered, f"the caller's model stays as it is: adapt changed the state of {altered[0]}"
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in adapted.parameters()}
    assert not shared, "the caller's model stays as it is: the adapted model shares memory with it"


def _withheld_fields_absent(method: Method, source: Model) -> None:
    needs, task = method.needs, _task(source.spec.kind)
    given = withhold(task, needs)
    for side, cohort, allowed in (
        ("source", given.source, needs.source | needs.optional_source),
        ("target", given.target, needs.target | needs.optional_target),
    ):
        seen = frozenset() if cohort is None else cohort.fields
        assert seen <= allowed, (
            f"withheld fields are absent: the {side} still offers {sorted(seen - allowed)}"
        )
        if cohort is not None and cohort.has_splits:
            assert len(cohort.split("test")) == 0, (
                f"withheld fields are absent: the {side} still has test rows"
            )
    if "truth" not in needs.target | needs.optional_target and task.target is not None:
        blind = Task(task.source, _without_truth(task.target))
        run = Run(limit=LIMIT, device="cpu", progress=False, select="last")
        again = dataclasses.replace(run, shared=Shared())  # a run trains once
        _same(_adapted(method, source, run), _adapted(method, source, again, blind), "target truth")


def _without_truth(cohort: Cohort) -> Cohort:
    return cohort.only(cohort.fields - {"truth"})


def _same_seed_same_weights(method: Method, source: Model) -> None:
    first = _adapted(method, source)
    torch.rand(3)  # a caller's use of the global generator must not matter
    _same(first, _adapted(method, source), "same seed, same weights")


def _resumed_equals_uninterrupted(method: Method, source: Model) -> None:
    whole = _adapted(method, source)
    with tempfile.TemporaryDirectory() as folder:
        for stop_after in (1, 3):
            run = _stopping_run(Path(folder) / str(stop_after), stop_after)
            try:
                resumed = _adapted(method, source, run)
            except Interrupted:
                resumed = _adapted(method, source, dataclasses.replace(run, shared=Shared()))
            _same(whole, resumed, f"interrupted after step {stop_after} and resumed equals uninterrupted")


class StopsAfter(Shared):
    """Asks the training to stop when it looks for the n-th time."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__()

    @property
    def stop(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    @stop.setter
    def stop(self, value: bool) -> None:
        pass


def _stopping_run(folder: Path, stop_after: int) -> Run:
    shared = StopsAfter(stop_after)
    return Run(folder, limit=LIMIT, device="cpu", progress=False, checkpoint_seconds=0, shared=shared)


def _saved_equals_loaded(method: Method, source: Model) -> None:
    adapted, kind = _adapted(method, source), source.spec.kind
    with tempfile.TemporaryDirectory() as folder:
        adapted.save(Path(folder) / "model")
        loaded = load_model(Path(folder) / "model")
    _same(adapted, loaded, "saved equals loaded")
    assert loaded.spec == adapted.spec, "saved equals loaded: the specs differ"
    if kind != "encode":
        cohort = make_cohort(kind, "B")
        first, second = _predictions(adapted, cohort, 8), _predictions(loaded, cohort, 8)
        assert np.array_equal(first, second), "saved equals loaded: the predictions differ"


def _batch_size_irrelevant(method: Method, source: Model) -> None:
    adapted, kind = _adapted(method, source), source.spec.kind
    if kind == "encode" or adapted.order_matters:
        return
    cohort = make_cohort(kind, "B", patients=6)
    one, many = _predictions(adapted, cohort, 1), _predictions(adapted, cohort, 7)
    assert np.allclose(one, many, atol=1e-5), (
        f"the batch size is irrelevant to predictions: they differ by up to {np.abs(one - many).max():.2g}"
    )


def _predictions(model: Model, cohort: Cohort, batch_size: int) -> np.ndarray:
    if model.spec.kind == "segment":
        return np.stack([mask.confidence for mask in predict_masks(model, cohort, batch_size=batch_size)])
    return predict_labels(model, cohort, batch_size=batch_size).probabilities


def _missing_need_is_explained(method: Method, source: Model) -> None:
    task = _task(source.spec.kind)
    for side in ("source", "target"):
        cohort: Cohort | None = getattr(task, side)
        for name in sorted(getattr(method.needs, side)):
            assert cohort is not None
            # a cohort always has images: they are missing when the cohort is
            less = None if name == "images" else cohort.only(cohort.fields - {name})
            other = task.target if side == "source" else task.source
            poorer = Task(less, other) if side == "source" else Task(other, less)
            try:
                _adapted(method, source, task=poorer)
            except NeedError as error:
                assert f"{side}.{name}" in str(error), (
                    f"a missing need is explained: '{error}' lacks {side}.{name}"
                )
            else:
                raise AssertionError(f"a missing need is explained: adapt went on without {side}.{name}")


def _classes_are_the_targets(method: Method, source: Model) -> None:
    adapted, kind = _adapted(method, source), source.spec.kind
    assert not adapted.training, "the adapted model is ready to predict: it is in training mode"
    if "truth" in method.needs.target:
        task = _task(kind)
        assert adapted.spec.classes == task.classes, (
            f"the classes are the target's: {adapted.spec.classes} instead of {task.classes}"
        )


def _two_processes_equal_one(method: Method, architecture: str | None = None) -> str:
    """Equal to one process where the losses are means over rows and no norm looks at the batch; else repeatable."""
    kind: Kind = "segment" if "segment" in method.kinds else sorted(method.kinds)[0]
    with seeded("source", kind):
        source = _remembering(make_model(kind, "instance", RGB, architecture))
    one = Run(limit=LIMIT, device="cpu", progress=False, select="last")
    single = adapt(source, _task(kind), method, one)
    two = Run(limit=LIMIT, device="cpu", progress=False, select="last", processes=2)
    double = adapt(source, _task(kind), method, two)
    if not one.shared.loss_is_sample_mean or any(
        name.endswith("running_mean") for name in single.state_dict()
    ):
        _same(
            double,
            adapt(source, _task(kind), method, dataclasses.replace(two, shared=Shared())),
            "two processes",
        )
        return f"{kind}: two processes agree from run to run"
    for name, tensor in single.state_dict().items():
        difference = float((tensor - double.state_dict()[name]).abs().max())
        assert difference <= 1e-5, f"two processes equal one: {name} differs by {difference:.2g}"
    return f"{kind}: two processes equal one"


CLAUSES: dict[str, Callable[[Method, Model], None]] = {
    "the caller's model stays as it is": _model_untouched,
    "withheld fields are absent": _withheld_fields_absent,
    "same seed, same weights": _same_seed_same_weights,
    "interrupted and resumed equals uninterrupted": _resumed_equals_uninterrupted,
    "saved equals loaded": _saved_equals_loaded,
    "the batch size is irrelevant to predictions": _batch_size_irrelevant,
    "a missing need is explained": _missing_need_is_explained,
    "the classes are the target's": _classes_are_the_targets,
}
