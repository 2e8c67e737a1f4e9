"""Learning from a labelled source while the clusters of a target's images are pulled to those of the source."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medgraft.engine.checkpoint import Saved
from medgraft.engine.features import extract_features, feature_vectors
from medgraft.engine.loading import AHEAD, Loader, prefetch
from medgraft.engine.run import Run
from medgraft.engine.supervised import Criterion, Supervised, draw_batches
from medgraft.errors import DataError
from medgraft.images.augmentation import Augmentation
from medgraft.methods.unlabelled.alignment_loss import Reduction, alignment_loss
from medgraft.methods.unlabelled.cluster_examples import draw_pairs
from medgraft.methods.unlabelled.clustering import Clustering
from medgraft.methods.unlabelled.joint_plane import lay_out
from medgraft.methods.unlabelled.site_clusters import cluster_sites
from medgraft.methods.unlabelled.two_sites import refuse_other_sizes
from medgraft.models.model import Model, evaluation_mode
from medgraft.types import JSON, Loss, Progress, Step

FIRST_LOSSES = 6
"""Alignment losses whose mean decides how much alignment weighs."""


class ClusterSettings(NamedTuple):
    """How the images of two sites are clustered, and what becomes of it.

    clusters: of each site; components: principal ones before t-SNE; period: epochs between two clusterings.
    at: inner layer whose map represents an image; None takes the features of the model.
    slice_position: the place of an image among those of its patient is one more column beside the components.
    seed_target_centres: the target's clusters start from the source's centres.
    reduction: of the alignment loss; factor: multiplies its weight.
    memory: bytes that the features of all images may take.
    """

    clusters: int
    components: int
    period: int
    at: str | None
    slice_position: bool
    seed_target_centres: bool
    reduction: Reduction
    factor: float
    memory: int


class AlignedSites(Supervised):
    """Descend on the loss of labelled source images and on the distance of target clusters from source clusters.

    Both sites go through the whole network, one after the other, so that batch norm sees both.

    Args:
        model: trained in place.
        source: labelled rows.
        target: rows of which only the images are used.
        criterion: (outputs, truth) -> scalar loss of source images.
        settings: of clusters and alignment.
        batch_size: source images per step at most.
        target_batch: target images per step at most.
        steps_per_epoch: None is one pass over the source.
        augmentation: of source images; target images stay as they were when they were clustered.
        lr_factors: as for `Supervised`.
    """

    loss_is_sample_mean = False  # a cluster's mean is not a mean over the rows of a process
    first_losses: Tensor

    def __init__(
        self,
        model: Model,
        source: Loader,
        target: Loader,
        criterion: Criterion,
        settings: ClusterSettings,
        *,
        batch_size: int,
        target_batch: int,
        steps_per_epoch: int | None = None,
        augmentation: Augmentation | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            model,
            source,
            criterion,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch or -(-len(source) // batch_size),
            augmentation=augmentation,
            lr_factors=lr_factors,
        )
        self.source, self.target, self.settings, self.target_batch = source, target, settings, target_batch
        self.first: Clustering | None = None  # for evidence
        self.now: Clustering | None = None
        self.periods: list[JSON] = []
        self.register_buffer("first_losses", torch.full((FIRST_LOSSES,), torch.nan))

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        """Cluster both sites with the present weights where a period begins, then give batches of both."""
        if self.now is None or progress.epoch % self.settings.period == 0:
            self._cluster(progress, run)
        assert self.now is not None
        self.now = self.now._replace(centres=run.fabric.to_device(self.now.centres))
        steps = self._pairs(self.now.target, progress, run)
        return prefetch(steps, ahead=0 if run.workers == 0 else AHEAD)

    def _pairs(self, clusters: Tensor, progress: Progress, run: Run) -> Iterator[Step]:
        generator = run.generator("batches", progress.epoch)
        steps = self.steps_per_epoch
        sources = draw_batches(len(self.source), self.batch_size, generator, steps)
        targets = draw_batches(
            len(self.target), self.target_batch, run.generator("target batches", progress.epoch), steps
        )
        for source_rows, target_rows in zip(sources, targets):
            labelled, other = self.source(source_rows), self.target(target_rows).images
            assert labelled.truth is not None
            images, truth = self.augmented(labelled.images, labelled.truth, generator)
            order = mixed_order(len(images), len(other))
            filler = truth.new_zeros((len(other), *truth.shape[1:]))
            nowhere = torch.full((len(images),), -1)
            yield Step(
                {
                    "images": torch.cat([images, other])[order],
                    "truth": torch.cat([truth, filler])[order],
                    "is_target": order >= len(images),
                    "cluster": torch.cat([nowhere, clusters[torch.from_numpy(target_rows)]])[order],
                }
            )

    def loss(self, step: Step, phase: str, progress: Progress) -> Loss:
        """The criterion on source images, and the weighted alignment loss of target images."""
        assert self.now is not None
        images, is_target = step.tensors["images"], step.tensors["is_target"]
        total = images.new_zeros(())
        parts = {}
        if not is_target.all():  # a process may have got rows of one site only
            source = {name: step.tensors[name][~is_target] for name in ("images", "truth")}
            total = parts["supervised"] = super().loss(Step(source), phase, progress).total
        if is_target.any():
            alignment = alignment_loss(
                feature_vectors(self.model, images[is_target], self.settings.at),
                step.tensors["cluster"][is_target],
                self.now.centres,
                self.now.matches,
                self.settings.reduction,
            )
            weight = self._weigh(alignment.detach())
            parts |= {"alignment": alignment, "alignment_weight": weight}
            total = total + weight * alignment
        return Loss(total, parts)

    def _weigh(self, alignment: Tensor) -> Tensor:
        """The factor over the mean of the first positive losses; until these are known, of those there are."""
        known = int(self.first_losses.isfinite().sum())
        if known < FIRST_LOSSES and bool(alignment > 0):
            self.first_losses[known] = alignment
        mean = self.first_losses.nanmean()
        return torch.where(mean > 0, self.settings.factor / mean, torch.zeros_like(mean))

    def _cluster(self, progress: Progress, run: Run) -> None:
        started = time.monotonic()
        self._check_room(run)
        seed = run.seed_for("clusters")
        source, target = (self._features(side, rows, run) for side, rows in self._sides().items())
        positions = None
        if self.settings.slice_position:
            positions = np.concatenate(
                [relative_positions(rows.cohort.patients) for rows in self._sides().values()]
            )
        points = lay_out(
            [source, target], components=self.settings.components, positions=positions, seed=seed
        )
        found = cluster_sites(
            points[: len(source)],
            points[len(source) :],
            self.settings.clusters,
            seed_target_centres=self.settings.seed_target_centres,
            seed=seed,
        )
        clustering = Clustering.of(found, points, source)
        if run.fabric.world_size > 1:  # rounding differs between devices, and a point may change its cluster
            clustering = run.fabric.broadcast(clustering, src=0)
        self.now = clustering
        self.first = self.first or clustering
        seconds = round(time.monotonic() - started, 3)
        self.periods.append({"epoch": progress.epoch, "seconds": seconds, "distance": found.distance})

    def _sides(self) -> dict[str, Loader]:
        return {"source": self.source, "target": self.target}

    def _features(self, side: str, rows: Loader, run: Run) -> np.ndarray:
        features = extract_features(
            self.model,
            rows.cohort,
            at=self.settings.at,
            batch_size=self.batch_size,
            device=run.fabric.device,
            loader=rows,
        ).numpy()
        bad = sum(not np.isfinite(row).all() for row in features)
        if bad:
            raise DataError(
                "AIVA", "finite features",
                f"those of {bad} of the {len(features)} images of the {side} are not",
                "Check these images, lower the learning rate or set schedule.clip_norm=1.0.",
            )  # fmt: skip
        return features

    def _check_room(self, run: Run) -> None:
        """Refuse sites whose features differ in length, or do not fit into memory, before any is computed."""
        sizes, lengths = [], []
        with evaluation_mode(self.model), torch.no_grad():
            for rows in self._sides().values():
                images = rows([0]).images
                sizes.append(tuple(images.shape[1:]))
                images = run.fabric.to_device(images)
                lengths.append(feature_vectors(self.model, images, self.settings.at).shape[1])
        refuse_other_sizes("AIVA", *sizes)
        images_in_all = len(self.source) + len(self.target)
        needed = images_in_all * lengths[0] * 4
        if needed > self.settings.memory:
            raise DataError(
                "AIVA", f"features of all images within {self.settings.memory / 2**30:.3g} GiB of memory",
                f"{images_in_all} images of {lengths[0]} numbers take {needed / 2**30:.3g}",
                "Raise 'memory', set a smaller 'size', name a smaller layer with 'at', or give fewer images.",
            )  # fmt: skip

    def table_of_clusters(self) -> pd.DataFrame:
        """The first clustering and the last one, as `Clustering.table` gives them."""
        assert self.first is not None and self.now is not None
        told = (("first", self.periods[0], self.first), ("last", self.periods[-1], self.now))
        return pd.concat(
            [clustering.table(when, period["epoch"]) for when, period, clustering in told], ignore_index=True
        )

    def picture_of_examples(self) -> np.ndarray:
        """Of each pair of matched clusters at last, the images nearest to the centres: the source's above."""
        assert self.now is not None
        return draw_pairs(
            [
                (self.source([one]).images[0, 0].numpy(), self.target([other]).images[0, 0].numpy())
                for one, other in self.now.central_pairs()
            ]
        )

    def table_of_periods(self, rows: list[JSON]) -> pd.DataFrame:
        """Epoch, losses, weight of alignment, seconds in all, seconds of clustering, distance of matched centres."""
        clustered = {period["epoch"]: period for period in self.periods}
        table = []
        for row in rows:
            period = clustered.get(row["epoch"], {})
            table.append(
                {
                    name: row.get(name)
                    for name in ("epoch", "supervised", "alignment", "alignment_weight", "seconds")
                }
                | {
                    "clustering_seconds": period.get("seconds", 0.0),
                    "matching_distance": period.get("distance", np.nan),
                }
            )
        return pd.DataFrame(table)

    def state(self) -> Saved:
        """The present clusters, which later epochs of a period go on with, and the first ones, for evidence."""
        tensors: dict[str, Tensor] = {}
        for when, clustering in (("first", self.first), ("now", self.now)):
            if clustering is not None:
                tensors |= {f"{when}/{name}": part for name, part in clustering._asdict().items()}
        return Saved(tensors, {"periods": self.periods})

    def load_state(self, saved: Saved) -> None:
        """Put them back."""
        if saved.tensors:
            self.first, self.now = (
                Clustering(*(saved.tensors[f"{when}/{name}"] for name in Clustering._fields))
                for when in ("first", "now")
            )
        self.periods = list(saved.facts["periods"])


def mixed_order(source: int, target: int) -> Tensor:
    """An order of source rows, then target rows, in which every stretch holds both in proportion.

    Processes share out the rows of a batch in stretches; each needs images of both sites.

    >>> mixed_order(2, 4).tolist()
    [2, 0, 3, 4, 1, 5]
    """
    places = torch.cat([(torch.arange(count) + 0.5) / count for count in (source, target)])
    return places.argsort(stable=True)


def relative_positions(patients: np.ndarray) -> np.ndarray:
    """Where each image stands among those of its patient, in the order of the rows: number / count.

    Args:
        patients: (N,) whose image it is.

    Returns: (N,) float64 in [0, 1).

    >>> relative_positions(np.array(["a", "a", "b", "a", "b"])).round(2).tolist()
    [0.0, 0.33, 0.0, 0.67, 0.5]
    """
    positions = np.empty(len(patients))
    for patient in np.unique(patients):
        mine = np.flatnonzero(patients == patient)
        positions[mine] = np.arange(len(mine)) / len(mine)
    return positions
