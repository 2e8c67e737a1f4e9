"""What features are worth while a training goes on: fresh classifiers on a small labelled set that it does not use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.data.cohort import Cohort
from medgraft.engine.features import extract_features
from medgraft.engine.loading import Loader
from medgraft.errors import DataError, RunError, SettingsError
from medgraft.metrics.probes import linear_probe, neighbours_probe
from medgraft.metrics.tsne import FEWEST, draw_rows, embed_in_plane
from medgraft.models.collapse import effective_rank
from medgraft.models.model import Model
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.engine.run import Run

WATCHED, PLANES = "watched", "watched_planes"
"""Names of the tables that a run records."""
MOST_SHOWN = 500
"""Images of a picture: more take seconds and hide one another."""


class Watched(NamedTuple):
    """A labelled set beside a training, and how often features are asked about it.

    cohort: of kind `classify`, with labels. It trains nothing and chooses no epoch. Its rows of the split `test` are
        left out, for what is watched decides how long one trains.
    every: so many epochs; also before the first one and after the last.
    """

    cohort: Cohort
    every: int = 10


class Watch:
    """Ask nearest neighbours and a logistic regression on the model's features about labels, by patient.

    Args:
        watched: the set, and how often.
        run: how its images are read.

    Raises:
        DataError: the set has no labels, or fewer than two patients of a label.
        SettingsError: `every` is below 1.

    `table` has a row per look: `epoch` (as many as were trained), balanced accuracy and AUROC of both probes, and the
    effective rank of the features. Patients are held out in turn, see `metrics.probes`. `planes` has a row per image
    (up to 500) at the first look and the last: `epoch`, `x`, `y` (t-SNE, each look by itself), `label`; shuffled, so
    that no row tells which image it is.
    """

    def __init__(self, watched: Watched, run: Run) -> None:
        if watched.every < 1:
            raise SettingsError(
                "Watching a training",
                "a look every 1 epoch or more",
                f"got every={watched.every}",
                "Take 10.",
            )
        self.every = watched.every
        self.cohort = _usable(watched.cohort)
        self.labels = np.unique(self.cohort.labels, return_inverse=True)[1]
        self._shown = draw_rows(self.labels, most=MOST_SHOWN)
        self._run = run
        self._loader: Loader | None = None
        self.looks: list[JSON] = []
        self._planes: list[JSON] = []

    def look(self, model: Model, epoch: int, last: bool) -> str:
        """Measure where a look is due; what to tell of it, or nothing.

        Args:
            model: an encoder or classifier, as it is after so many epochs; left as it was.
            epoch: as many as were trained.
            last: no epoch follows.

        Raises:
            RunError: the features are not finite.
        """
        if (epoch % self.every and not last) or any(look["epoch"] == epoch for look in self.looks):
            return ""
        if self._loader is None:
            self._loader = self._run.loader(self.cohort, model.spec.preparation)
        device = next(model.parameters()).device
        features = extract_features(model, self.cohort, device=device, loader=self._loader)
        if not bool(features.isfinite().all()):
            raise RunError(
                "Watching a training", "finite features", f"some are not after {epoch} epochs",
                "Lower the learning rate or set schedule.clip_norm=1.0.",
            )  # fmt: skip
        found: JSON = {"epoch": epoch, "effective_rank": effective_rank(features).item()}
        for name, ask in (("neighbours", neighbours_probe), ("linear", linear_probe)):
            probe = ask(features.numpy(), self.labels, self.cohort.units)
            found |= {f"{name}_balanced_accuracy": probe.balanced_accuracy, f"{name}_auroc": probe.auroc}
        if last or not self.looks:
            self._lay_out(features.numpy(), epoch)
        self.looks.append(found)
        return f"  linear probe {found['linear_auroc']:.3f}"

    def _lay_out(self, features: NDArray[np.float32], epoch: int) -> None:
        """Keep where images lie: of the first look, and of the one that is the last so far."""
        shown = features[self._shown].astype(np.float64)
        if len(shown) < FEWEST or shown.shape[1] < 2 or not np.ptp(shown, axis=0).any():
            return
        plane = embed_in_plane(shown, iterations=500, angle=0.8).round(2)
        self._planes[1:] = [{"epoch": epoch, "x": plane[:, 0].tolist(), "y": plane[:, 1].tolist()}]

    def state(self) -> JSON:
        """What was seen so far."""
        return {"looks": self.looks, "planes": self._planes}

    def resume(self, state: JSON) -> None:
        """Put back what was seen before."""
        self.looks, self._planes = list(state["looks"]), list(state["planes"])

    def table(self) -> pd.DataFrame:
        """One row per look."""
        return pd.DataFrame(self.looks)

    def planes(self) -> pd.DataFrame:
        """One row per image of the first look and of the last."""
        shuffled = np.random.default_rng(0).permutation(len(self._shown))
        names = np.asarray(self.cohort.classes)[self.cohort.labels[self._shown]]
        found = [
            pd.DataFrame({"epoch": plane["epoch"], "x": plane["x"], "y": plane["y"], "label": names}).iloc[
                shuffled
            ]
            for plane in self._planes
        ]
        columns = ["epoch", "x", "y", "label"]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _usable(cohort: Cohort) -> Cohort:
    who = "Watching a training"
    rows = cohort.split("train", "validation") if cohort.has_splits else cohort
    if rows.kind != "classify" or "truth" not in rows.fields:
        raise DataError(
            who, "a set of kind classify with labels", f"{rows.name} is of kind {rows.kind}"
            + ("" if "truth" in rows.fields else " without labels"),
            "Give a manifest with the column 'label'.",
        )  # fmt: skip
    for code in np.unique(rows.labels):
        patients = len(np.unique(rows.units[rows.labels == code]))
        if patients < 2:
            raise DataError(
                who, f"two {rows.unit_name} or more of every label",
                f"{rows.classes[int(code)]!r} has {patients} in {rows.name}"
                + (", its test rows left out" if cohort.has_splits else ""),
                "Add images of other patients, or leave the label out.",
            )  # fmt: skip
    if len(np.unique(rows.labels)) < 2:
        raise DataError(who, "two labels or more", f"{rows.name} has one", "Add images with another label.")
    return rows
