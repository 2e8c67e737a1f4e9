"""Where the features of source, training and test images go while a model adapts."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.api.adaptation import open_for
from medgraft.api.evidence import load_evidence
from medgraft.api.moments import adapt_by_moments
from medgraft.engine.features import extract_features, spread_evenly
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, ModelError, RunError, SettingsError
from medgraft.evidence import Evidence
from medgraft.metrics.separation import separation
from medgraft.plugins import activate, resolve_method
from medgraft.ranking.projections import to_plane

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method
    from medgraft.engine.run import Run
    from medgraft.models.model import Model

WHO = "follow_features"
SOURCE, TRAIN, TEST = "source", "target train", "target test"
PAIRS = ((TRAIN, TEST), (SOURCE, TEST))
COMPONENTS = 50
"""Principal components that are laid out, where features are longer."""
Moment = dict[str, NDArray[np.float32]]
"""Features of each side at one moment."""


class Side(NamedTuple):
    """The images of one side that are looked at, the same at every moment."""

    rows: Cohort
    patients: NDArray[Any]


def follow_features(
    source: str | Path | Model,
    task: Task,
    method: Method | str | Mapping[str, Any],
    run: Run,
    epochs: Sequence[int],
    *,
    subject: str = "model",
    images: int = 200,
    architecture: str | None = None,
) -> Evidence:
    """Adapt a model and show where its features of source, training and test images lie on the way.

    Where training and test images of the target come apart, the model fits its few examples and not the site.

    Args:
        source, task, method, architecture: as for `adapt`; the target has rows of the splits train and test.
        run: as for `adapt`; its folder is left as by `adapt`, beside the weights of the moments in `moments/`. None as
            folder keeps nothing. With a rule other than `last`, the last moment is the epoch that was kept.
        epochs: after how many epochs to look; 0 is the source model as it is.
        subject: what the model is called in tables and reports; evidence of several adds up.
        images: at most so many of each side, spread over patients.

    Returns: the tables "features_over_training", of all moments in one plane (t-SNE), and "feature_separation": how
        well nearest neighbours tell training from test images and source from test images, 0.5 not at all, 1 always.

    Raises:
        SettingsError: no epochs, or one beyond the schedule; a method without a schedule.
        DataError: no test rows.
        RunError: the run in the folder was past an epoch before, or stopped before all of them.
        ModelError: features of the source and of the adapted model have different lengths.

    Source: Goodman et al. 2022, figure 1 (t-SNE of the U-Net's bottleneck). Differs: one layout for all moments, so
        that they can be compared, and a number in all dimensions beside each picture.

    >>> import medgraft as mg
    >>> from medgraft.testing import make_cohort
    >>> task = mg.Task(source=make_cohort("segment", "A"), target=make_cohort("segment", "B"))
    >>> method = mg.methods.FineTune(schedule=mg.Schedule(epochs=2), augmentation=None)
    >>> run = mg.Run(device="cpu", progress=False, select="last")
    >>> evidence = mg.follow_features("random/unet_width8", task, method, run, [0, 2])
    >>> evidence.tables["feature_separation"][["epoch", "pair"]].values.tolist()[:2]
    [[0, 'target train and target test'], [0, 'source and target test']]
    """
    activate()
    chosen = resolve_method(method)
    asked = _check_epochs(epochs, chosen, run)
    sides = _choose_sides(task, images, run.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(run.folder) if run.folder is not None else Path(temporary) / "run"
        followed = dataclasses.replace(run, folder=folder)
        later = adapt_by_moments(
            source, task, chosen, followed, [epoch for epoch in asked if epoch], architecture=architecture
        )
        moments: dict[int, Moment] = {}
        if asked[0] == 0:
            moments[0] = _look(open_for(source, task, run, architecture)[0], sides, followed)
        moments |= {epoch: _look(model, sides, followed) for epoch, model in later}
        told = load_evidence(folder, subject)
    if not moments:
        raise RunError(
            WHO,
            "a training that reaches one of these epochs",
            "it stopped early before",
            "Ask for earlier ones.",
        )
    entry = {
        "what": "follow features", "subject": subject, "cohort": sides[TEST].rows.name, "seed": run.seed,
        "epochs": asked, "images": {side: len(chosen.rows) for side, chosen in sides.items()},
    }  # fmt: skip
    notes = {
        name: note for side in sides.values() for name, note in side.rows.notes.items() if note
    }  # simulated, silver
    entry["data"] = {"notes": notes}
    tables = {
        "features_over_training": _points(subject, moments, run.seed),
        "feature_separation": _separations(subject, moments, sides, run.seed),
    }
    return Evidence(
        provenance=(*told.provenance, entry),
        tables={
            name: table.assign(cohort=sides[TEST].rows.name, seed=run.seed) for name, table in tables.items()
        },
        warnings=(*told.warnings, *_warnings(subject, asked, moments, told, run.seed)),
    )


def _check_epochs(epochs: Sequence[int], method: Method, run: Run) -> list[int]:
    """The epochs in order, each once."""
    schedule = getattr(method, "schedule", None)
    if not isinstance(schedule, Schedule):
        raise SettingsError(
            WHO, "a method that trains by a schedule", f"{method.name} has none", "Choose another method."
        )
    last = min(schedule.epochs, run.limit.epochs or schedule.epochs)
    asked = sorted({int(epoch) for epoch in epochs})
    if not asked or asked[0] < 0 or asked[-1] > last:
        got = f"it got {', '.join(map(str, asked))}" if asked else "it got none"
        raise SettingsError(
            WHO, f"epochs from 0 to {last}, the length of the training", got,
            f"Ask for instance for {sorted({0, last // 2, last})}.",
        )  # fmt: skip
    return asked


def _choose_sides(task: Task, images: int, seed: int) -> dict[str, Side]:
    if images < 1:
        raise SettingsError(WHO, "at least one image of each side", f"it got {images}", "Take 200.")
    target = task.target
    if target is None or not target.has_splits or not len(target.split("test")):
        name = "the task has no target" if target is None else f"{target.name} has none"
        raise DataError(
            WHO, "target rows of the split 'test'", name, "Mark some patients as 'test' in the manifest."
        )
    found = {TRAIN: target.split("train"), TEST: target.split("test")}
    if task.source is not None:
        found = {SOURCE: task.source.training_rows, **found}
    sides = {}
    for number, (side, rows) in enumerate(found.items()):
        if not len(rows):
            raise DataError(WHO, f"images of the side '{side}'", "there are none", "Mark rows as 'train'.")
        chosen = rows.take(choose_over_patients(rows.units, images, seed=seed + number))
        sides[side] = Side(chosen, chosen.units)
    return sides


def choose_over_patients(patients: NDArray[Any], most: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Choose images such that patients have as equal a number of them as can be.

    Args:
        patients: (n,) of any kind.
        most: how many images.
        seed: which ones.

    Returns: (min(n, most),) their places, in order.

    >>> names = np.array(["a", "a", "a", "a", "b", "c"])
    >>> [str(name) for name in names[choose_over_patients(names, 4)]]
    ['a', 'a', 'b', 'c']
    """
    rng = np.random.default_rng(seed)
    known = rng.permutation(np.unique(patients.astype(str)))
    own = [np.flatnonzero(patients.astype(str) == name) for name in known]
    quotas = spread_evenly(np.array([len(places) for places in own]), most)
    drawn = [rng.choice(places, quota, replace=False) for places, quota in zip(own, quotas, strict=True)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _look(model: Model, sides: Mapping[str, Side], run: Run) -> Moment:
    device = run.fabric.device
    return {
        name: extract_features(model, side.rows, device=device, shown=run.progress).numpy()
        for name, side in sides.items()
    }


def _points(subject: str, moments: Mapping[int, Moment], seed: int) -> pd.DataFrame:
    """One row per moment and image; rows are shuffled, so that none tells which image it is."""
    parts = [(epoch, side, own) for epoch, moment in moments.items() for side, own in moment.items()]
    lengths = sorted({own.shape[1] for _, _, own in parts})
    if len(lengths) > 1:
        raise ModelError(
            WHO, "features of one length at all moments", f"they have {' and '.join(map(str, lengths))}",
            "Leave epoch 0 out.",
        )  # fmt: skip
    plane = lay_out(np.concatenate([own for _, _, own in parts]), seed=seed)
    tables = []
    for (epoch, side, own), places in zip(
        parts, np.split(plane, np.cumsum([len(own) for _, _, own in parts])[:-1]), strict=True
    ):
        shuffled = places[np.random.default_rng(seed).permutation(len(own))]
        tables.append(
            pd.DataFrame(
                {"subject": subject, "epoch": epoch, "side": side, "x": shuffled[:, 0], "y": shuffled[:, 1]}
            )
        )
    return pd.concat(tables, ignore_index=True)


def lay_out(features: NDArray[np.floating], *, seed: int = 0) -> NDArray[np.float64]:
    """Lay features out in the unit square by t-SNE, of their first 50 principal components where they are longer.

    Args:
        features: (n, D) finite.
        seed: as of `to_plane`.

    Returns: (n, 2) in [0, 1]; both axes have one scale, the longer one ends at 1.

    Raises:
        UndefinedError: fewer than five, or all the same.

    >>> lay_out(np.array([[0.0], [1.0], [2.0], [4.0], [8.0]]))[:, 0].tolist()
    [0.0, 0.125, 0.25, 0.5, 1.0]
    """
    if features.shape[1] > COMPONENTS and np.isfinite(features).all():
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            components = PCA(min(COMPONENTS, len(features)), svd_solver="full")
            features = components.fit_transform(features.astype(np.float64))
    plane = to_plane(features, seed=seed)
    plane = plane - plane.min(axis=0)
    return np.asarray(plane / plane.max(), dtype=np.float64)


def _separations(
    subject: str, moments: Mapping[int, Moment], sides: Mapping[str, Side], seed: int
) -> pd.DataFrame:
    rows = []
    for epoch, moment in moments.items():
        for first, second in PAIRS:
            if first not in sides:
                continue
            value, reason = math.nan, ""
            try:
                value = separation(
                    moment[first], moment[second], sides[first].patients, sides[second].patients, seed=seed
                )
            except DataError as error:
                reason = str(error)
            pair = f"{first} and {second}"
            rows.append(
                {"subject": subject, "epoch": epoch, "pair": pair, "balanced_accuracy": value}
                | {"reason": reason}
            )
    return pd.DataFrame(rows)


def _warnings(
    subject: str, asked: Sequence[int], moments: Mapping[int, Moment], told: Evidence, seed: int
) -> list[str]:
    found = []
    missing = [str(epoch) for epoch in asked if epoch not in moments]
    if missing:
        found.append(
            f"{subject}: the training stopped early, before epoch {', '.join(missing)}; features are not shown there."
        )
    rule, trained = told.provenance[0]["selection"], len(told.tables.get(f"history/{subject}/{seed}", ()))
    if rule not in ("last", "none") and trained in moments:
        found.append(
            f"{subject}: features after epoch {trained} are those of the epoch that the rule '{rule}' kept."
        )
    return found
