"""What one clustering of two sites says: clusters, matches, places and centres."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgraft.methods.unlabelled.cluster_examples import central_rows
from medgraft.methods.unlabelled.site_clusters import SiteClusters


class Clustering(NamedTuple):
    """source: (n,), target: (m,) int64, the cluster of each image. matches: (K,) int64, see `SiteClusters`.

    points: (n + m, 2) float64, where they lie. centres: (L, D) float32, mean features of the source's clusters.
    """

    source: Tensor
    target: Tensor
    matches: Tensor
    points: Tensor
    centres: Tensor

    @classmethod
    def of(
        cls, found: SiteClusters, points: NDArray[np.float64], features: NDArray[np.float32]
    ) -> Clustering:
        """From clusters in the plane, and the source's features (n, D), whose means are the centres.

        >>> found = SiteClusters(np.array([1, 0, 1]), np.array([0, 1]), np.array([1, 0]), 0.0)
        >>> features = np.array([[1.0], [9.0], [3.0]], np.float32)
        >>> Clustering.of(found, np.zeros((5, 2)), features).centres.tolist()
        [[9.0], [2.0]]
        """
        means = [
            features[found.source == cluster].mean(axis=0, dtype=np.float64)
            for cluster in range(found.source.max() + 1)
        ]
        parts = (found.source, found.target, found.matches, points, np.stack(means).astype(np.float32))
        return cls(*(torch.from_numpy(part) for part in parts))

    def central_pairs(self) -> list[tuple[int, int]]:
        """For each pair of matched clusters, the rows of source and target that lie nearest to their centres.

        In the order of the source's clusters, by whose numbers pairs are called.
        """
        points, count = self.points.numpy(), len(self.source)
        source = central_rows(points[:count], self.source.numpy())
        target = central_rows(points[count:], self.target.numpy())
        return [
            (source[match], target[cluster])
            for match, cluster in sorted(
                (match, cluster) for cluster, match in enumerate(self.matches.tolist())
            )
            if match >= 0
        ]

    def table(self, when: str, epoch: int) -> pd.DataFrame:
        """One line per image: when, epoch, side, row, x, y, cluster, matched.

        `matched` is the source cluster that the image's cluster belongs to, -1 where it has no match; images of both
        sites with the same number lie in matched clusters.
        """
        count = len(self.source)
        sides = (
            ("source", self.points[:count], self.source, self.source),
            ("target", self.points[count:], self.target, self.matches[self.target]),
        )
        return pd.concat(
            [
                pd.DataFrame(
                    {
                        "when": when,
                        "epoch": epoch,
                        "side": side,
                        "row": np.arange(len(points)),
                        "x": points[:, 0].numpy(),
                        "y": points[:, 1].numpy(),
                        "cluster": clusters.numpy(),
                        "matched": matched.numpy(),
                    }
                )
                for side, points, clusters, matched in sides
            ],
            ignore_index=True,
        )
