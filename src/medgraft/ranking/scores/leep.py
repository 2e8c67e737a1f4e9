"""LEEP: how well a source's own classes foretell the target's labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medgraft.metrics.expected_prediction import expected_predictions, labels_given_source
from medgraft.ranking.inputs import check_probabilities
from medgraft.ranking.scores.class_sums import class_sums
from medgraft.ranking.scores.gram import double_blocks


def leep(probabilities: ArrayLike, labels: ArrayLike, *, log: bool = True) -> float:
    """Tell how well the labels follow from the classes that the source sees in the target's images.

    Also the last step of N-LEEP, where the probabilities are those of clusters instead of source classes.

    Args:
        probabilities: (n, Z), rows sum to 1: what the source's own head, after softmax, says of each image.
        labels: (n,) whole numbers 0..C-1.
        log: average the logarithm of the expected prediction, as published; without it the prediction itself.

    Returns: with `log` at most 0 and, up to rounding, at least minus the entropy of the labels, which a source whose
        classes have nothing to do with them gets; without it in [0, 1]. Higher is better.

    Raises:
        ShapeError, DataError: rows are no probabilities, or labels are not 0..C-1.
        UndefinedError: all images belong to one class.

    Source: Nguyen et al. 2020, equations 1 and 2. A source class that no image has any probability of adds nothing.

    >>> leep([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1, 1, 0])  # source class 0 is class 1 here
    0.0
    >>> round(leep([[0.5, 0.5], [0.5, 0.5]], [0, 1]), 4)  # says nothing: minus ln 2
    -0.6931
    """
    inputs = check_probabilities("LEEP", probabilities, labels)
    joint = class_sums(inputs.features, inputs.labels, inputs.classes)
    given = labels_given_source(joint)
    expected = np.empty(len(inputs.labels))  # positive: each image adds to the classes it has itself
    for rows, block in double_blocks(inputs.features):
        expected[rows] = expected_predictions(block, inputs.labels[rows], given)
    return float(np.log(expected).mean() if log else expected.mean())
