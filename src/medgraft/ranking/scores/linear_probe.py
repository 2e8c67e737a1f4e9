"""Linear probe: logistic regression on the features, a baseline that every score must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.spread import check_spread


def linear_probe(features: ArrayLike, labels: ArrayLike, *, folds: int = 5, seed: int = 0) -> float:
    """Tell how well logistic regression on the features separates images it was not trained on.

    Args:
        features: (n, D) real numbers; each column is standardised on the training folds.
        labels: (n,) whole numbers 0..C-1, each at least twice.
        folds: parts for cross-validation, from 2, with equal class shares; fewer where a class has fewer images.
        seed: which images fall into which part.

    Returns: [0, 1], higher is better, 0.5 by chance: mean over folds of the area under the ROC curve, with more
        than two classes the mean over one class against the rest. 1.0 says that nothing is left to distinguish.

    Raises:
        ShapeError, DataError: as `medgraft.ranking.inputs.check_inputs`.
        SettingsError: `folds` is below 2.
        UndefinedError: one class only, a class of one image, or the same features for every image.

    Source: Alain & Bengio 2017; scikit-learn's logistic regression, L2 penalty with C = 1.

    >>> features = [[0.0, 1.0], [0.2, 0.9], [1.0, 0.1], [0.9, 0.0]]
    >>> linear_probe(features, [0, 0, 1, 1])
    1.0
    """
    who = "The linear probe"
    if folds < 2:
        raise SettingsError(who, "two folds or more", f"it has {folds}", "Take 5.")
    inputs = check_inputs(who, features, labels)
    check_spread(who, inputs.features)
    fewest = int(np.bincount(inputs.labels).min())
    if fewest < 2:
        raise UndefinedError(
            who, "two images or more of every class", "there is a class of one",
            "Add images of it, or leave the class out.",
        )  # fmt: skip
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_val_score(
        probe, inputs.features, inputs.labels, cv=parts, scoring="roc_auc_ovr", error_score="raise"
    )
    return float(np.mean(scores))
