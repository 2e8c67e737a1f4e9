"""What a source's own classes say about other labels: the arithmetic of LEEP, for NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "NDArray[Any]", "Tensor")


def labels_given_source(joint: Array) -> Array:
    """Turn joint sums into the probability of each label where the source says one of its classes, P(y|z).

    Args:
        joint: (C, Z) float, at least 0, of any scale: source probabilities added up over the examples of each label.

    Returns: (C, Z) in [0, 1]; columns sum to 1. A source class without any probability gets 0 everywhere.

    Source: Nguyen et al. 2020, equation 1.

    >>> import numpy as np
    >>> labels_given_source(np.array([[3.0, 0.0, 1.0], [1.0, 0.0, 1.0]])).tolist()
    [[0.75, 0.0, 0.5], [0.25, 0.0, 0.5]]
    """
    mass = joint.sum(0)
    given: Array = joint / (mass + (mass == 0))
    return given


def expected_predictions(probabilities: Array, labels: Array, given: Array) -> Array:
    """Tell with what probability the source foretells the label that each example has.

    Args:
        probabilities: (..., Z), over the source's classes.
        labels: (...) whole numbers in [0, C).
        given: (C, Z), from `labels_given_source`.

    Returns: (...) in [0, 1], above 0 for every example that was counted in the joint sums; higher is better.

    Source: Nguyen et al. 2020, equation 2 before the logarithm (expected empirical predictor).

    >>> import numpy as np
    >>> expected_predictions(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1]), np.array([[1.0, 0.4], [0.0, 0.6]]))
    array([1. , 0.3])
    """
    expected: Array = (probabilities * given[labels]).sum(-1)
    return expected
