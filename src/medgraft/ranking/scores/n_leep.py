"""N-LEEP: LEEP on clusters of the features, for sources without a usable head."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.leep import leep
from medgraft.ranking.scores.principal_components import principal_components

KEPT_VARIANCE = 0.8
CLUSTERS_PER_CLASS = 5


def n_leep(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    log: bool = True,
    seed: int = 0,
    initialisations: int = 5,
    clusters: int | None = None,
) -> float:
    """Tell how well the labels follow from the clusters in which the target's images lie for this source.

    The mean of `n_leep_runs`: one run depends on where the clusters started by as much as two sources differ.

    Args:
        features: (n, D) real numbers; their scale does not matter.
        labels: (n,) whole numbers 0..C-1.
        log: as in the paper; without it the number of the thesis' tables.
        seed: of the clusters' starting points.
        initialisations: how many runs are averaged, 1 or more.
        clusters: how many, fewer than images; 5 for each class if not given.

    Returns: with `log` at most 0, without it in [0, 1]. Higher is better.

    Raises:
        ShapeError, DataError: features and labels do not fit together.
        SettingsError: no initialisation, or fewer than two clusters.
        UndefinedError: one class; features that are all the same; not more images than clusters (each would be its
            own cluster, which foretells any labels).

    Source: Li et al. 2021, section 3.2: principal components with 80 % of the variance, a mixture of 5 C Gaussians with
        full covariances, LEEP on its posterior. To score a posterior of your own, hand it to `leep`. Differs: the
        covariances' regularisation (1e-6) is relative to the variance, so that scale does not matter.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 2
    >>> n_leep(labels[:, None] * 9 + rng.normal(size=(60, 3)), labels) > n_leep(rng.normal(size=(60, 3)), labels)
    True
    """
    return float(
        n_leep_runs(
            features, labels, log=log, seed=seed, initialisations=initialisations, clusters=clusters
        ).mean()
    )


def n_leep_runs(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    log: bool = True,
    seed: int = 0,
    initialisations: int = 5,
    clusters: int | None = None,
) -> NDArray[np.float64]:
    """Give one N-LEEP for each start of the clusters, to see how far chance moves it.

    Args, Raises, Source: see `n_leep`. The first runs of a seed stay the same when more are asked for.

    Returns: (initialisations,) float64.

    >>> features = np.random.default_rng(0).normal(size=(60, 3))
    >>> n_leep_runs(features, np.arange(60) % 2).shape
    (5,)
    """
    inputs = check_inputs("N-LEEP", features, labels)
    if initialisations < 1 or (clusters is not None and clusters < 2):
        raise SettingsError(
            "N-LEEP", "one initialisation and two clusters or more",
            f"initialisations is {initialisations} and clusters is {clusters}", "Ask for more.",
        )  # fmt: skip
    count = CLUSTERS_PER_CLASS * inputs.classes if clusters is None else clusters
    if len(inputs.labels) <= count:
        raise UndefinedError(
            "N-LEEP", f"more images than its {count} clusters", f"there are {len(inputs.labels)}",
            "Label more images, or set clusters to a smaller number.",
        )  # fmt: skip
    components = principal_components("N-LEEP", inputs.features, share=KEPT_VARIANCE)
    points = components.scores / np.sqrt(components.variances.mean())
    if len(np.unique(points.round(9), axis=0)) <= count:  # copies differ by rounding
        raise UndefinedError(
            "N-LEEP", f"more different images than its {count} clusters", "too many have the same features",
            "Set clusters to a smaller number, or leave this model out.",
        )  # fmt: skip
    seeds = np.random.SeedSequence(seed).generate_state(initialisations)
    return np.array([leep(_posterior(points, count, int(start)), inputs.labels, log=log) for start in seeds])


def _posterior(points: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.float64]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        # Stopped after 100 steps, as published; what is left to gain is less than another start changes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(clusters, random_state=seed % 2**32).fit(points)
    return np.asarray(mixture.predict_proba(points))
