"""NCTI: how close this source's features are to neural collapse, the state in which training ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError
from medgraft.ranking.inputs import Inputs, UndefinedError, check_inputs, check_variant
from medgraft.ranking.scores.principal_components import Components, principal_components

DIMENSIONS = 64
SMALLEST_SHRINKAGE = 1e-10


class NctiTerms(NamedTuple):
    """What one source contributes; only comparable between sources on the same images.

    seli: > 0, how far the classes spread after a discriminant projection; larger is better. ncc: (0, 1], mean
    probability of the true class by the nearest centre; larger is better. log_vc: of the class probabilities within
    each class; meant as variation within classes, but it grows with how sure the probabilities are, see `ncti`.
    """

    seli: float
    ncc: float
    log_vc: float


def ncti_terms(
    features: ArrayLike, labels: ArrayLike, *, variant: Literal["scale_free", "as_published"] = "scale_free"
) -> NctiTerms:
    """Measure the three signs of neural collapse in one source's features.

    Args:
        features: (n, D) real numbers, both n and D at least 64.
        labels: (n,) whole numbers 0..C-1.
        variant: "as_published" shrinks the discriminant by the variance in the units of the features, so that features
            times 0.1 give other terms. "scale_free" measures the variance against that of all features together.

    Returns: the terms, for `ncti`.

    Raises:
        ShapeError, DataError: features and labels do not fit together.
        UndefinedError: one class; n or D too small; features that are all the same.

    Source: Wang et al. 2023 and the authors' code: 64 principal components; linear discriminant analysis with
        shrinkage exp(- the first 32 variances). Differs: exact principal components.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(120) % 3
    >>> terms = ncti_terms(np.eye(3, 64)[labels] * 5 + rng.normal(size=(120, 64)), labels)
    >>> terms.ncc > ncti_terms(rng.normal(size=(120, 64)), labels).ncc
    True
    """
    check_variant("NCTI", variant, ("scale_free", "as_published"))
    inputs = check_inputs("NCTI", features, labels)
    if min(inputs.features.shape) < DIMENSIONS:
        raise UndefinedError(
            "NCTI", f"{DIMENSIONS} images and {DIMENSIONS} features or more",
            f"there are {len(inputs.labels)} images and {inputs.features.shape[1]} features",
            "Label more images, or use a score that allows fewer, for example LogME.",
        )  # fmt: skip
    reduced = principal_components("NCTI", inputs.features, most=DIMENSIONS)
    unit = 1.0 if variant == "as_published" else reduced.total
    shrinkage = max(float(np.exp(-reduced.variances[:32].sum() / unit)), SMALLEST_SHRINKAGE)
    return _terms(reduced, inputs, shrinkage)


def ncti(terms: Sequence[NctiTerms], *, vc_sign: Literal[-1, 1] = 1) -> NDArray[np.float64]:
    """Combine the terms of all candidate sources of one target: each is scaled to [0, 1] over them, then added.

    Args:
        terms: of two sources or more, without one that was trained on the target itself.
        vc_sign: +1 adds `log_vc`, as in the thesis' tables. -1 subtracts it, as the paper reasons about variation
            within classes; but this term is lowest where all probabilities are equal, which a source that knows nothing
            gives, and on planted features of rising quality it mostly rises with them.

    Returns: (sources,) float64, in [0, 3] or, with -1, [-1, 2]. Higher is better, among these sources only.

    Raises:
        DataError: a term is not finite.
        UndefinedError: fewer than two sources; a term that is the same for all of them.

    Source: Wang et al. 2023; Juodelyte, thesis chapter 6.

    >>> ncti([NctiTerms(10.0, 0.5, 2.0), NctiTerms(20.0, 0.75, 3.0), NctiTerms(30.0, 1.0, 4.0)])
    array([0. , 1.5, 3. ])
    """
    table = np.array(terms, dtype=np.float64).reshape(-1, len(NctiTerms._fields))
    if len(table) < 2:
        raise UndefinedError(
            "NCTI", "two sources or more, because it compares them", f"got {len(table)}", "Add sources."
        )
    if not np.isfinite(table).all():
        raise DataError(
            "NCTI", "finite terms", f"those of source {int(np.argmin(np.isfinite(table).all(axis=1)))} are not",
            "Leave out this source.",
        )  # fmt: skip
    low, high = table.min(axis=0), table.max(axis=0)
    for name, least, most in zip(NctiTerms._fields, low, high):
        if most - least <= 1e-12 * max(abs(least), abs(most)):  # equal up to rounding
            raise UndefinedError(
                "NCTI", "terms that differ between sources", f"{name} is {most:.6g} for all",
                "Add a source of another kind, or rank by another score.",
            )  # fmt: skip
    scaled = (table - low) / (high - low)
    return np.asarray(scaled @ np.array([1.0, 1.0, vc_sign]))


def _terms(reduced: Components, inputs: Inputs, shrinkage: float) -> NctiTerms:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    if shrinkage > SMALLEST_SHRINKAGE:
        analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    else:
        analysis = LinearDiscriminantAnalysis()
    projected = analysis.fit(reduced.scores, inputs.labels).transform(reduced.scores)
    centred = projected - projected.mean(axis=0)
    chances = analysis.predict_proba(reduced.scores)
    blocks = [chances[inputs.labels == label] for label in range(inputs.classes)]
    return NctiTerms(
        float(np.linalg.norm(centred, "nuc")),
        float(chances[np.arange(len(chances)), inputs.labels].mean()),
        float(np.log(sum(np.linalg.norm(block, "nuc") for block in blocks))),
    )
