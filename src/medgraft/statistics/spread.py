"""How much of the spread comes from training again, and how much from the patients?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medgraft.errors import SettingsError, ShapeError
from medgraft.statistics.scores import check_scores


class Spread(NamedTuple):
    """Standard deviations of scores by where they come from; a score is mean + seed + patient + residual."""

    mean: float
    """Over all seeds and patients."""
    seed_sd: float
    """Between trainings with other seeds, were there infinitely many patients."""
    patient_sd: float
    """Between patients, were there infinitely many seeds."""
    residual_sd: float
    """What is left: a training that happens to suit a patient, and noise of measuring."""
    seeds: int
    patients: int

    def standard_error(self, seeds: int | None = None, patients: int | None = None) -> float:
        """Tell how far the mean score of so many seeds and patients lies from the truth, typically.

        Args:
            seeds, patients: as many as a study would have; None takes those that were measured.

        Returns: standard error for other seeds and other patients of the same kind, in the unit of the scores.

        Raises:
            SettingsError: fewer than one.

        >>> Spread(0.8, 0.02, 0.1, 0.04, seeds=4, patients=25).standard_error()  # sqrt(.0001 + .0004 + .000016)
        0.022715...
        """
        s, p = (self.seeds if seeds is None else seeds), (self.patients if patients is None else patients)
        if s < 1 or p < 1:
            raise SettingsError(
                "A standard error",
                "at least one seed and one patient",
                f"got {s} and {p}",
                "Use larger numbers.",
            )
        variance = self.seed_sd**2 / s + self.patient_sd**2 / p + self.residual_sd**2 / (s * p)
        return float(np.sqrt(variance))


def split_spread(scores: ArrayLike) -> Spread:
    """Separate the spread between seeds from the spread between patients.

    Seeds and patients are taken as random samples, crossed: every seed's model scored every patient, once. More seeds
    do not make up for few patients, nor the reverse: `Spread.standard_error` tells which of the two a study lacks.

    Args:
        scores: (S, P) float, one row per seed and one column per patient.

    Returns: a Spread. A component whose estimate is negative, as chance makes it where it is small, is 0.

    Raises:
        ShapeError: fewer than two seeds or two patients: then the two cannot be separated.
        DataError: a score is missing.

    Source: two-way random effects without replication, by the mean squares: Searle, Casella & McCulloch 1992,
        section 4.3.

    >>> spread = split_spread([[1.0, 3.0], [2.0, 6.0]])  # mean squares: seeds 4, patients 9, residual 1
    >>> [round(value**2, 6) for value in (spread.seed_sd, spread.patient_sd, spread.residual_sd)]
    [1.5, 4.0, 1.0]
    """
    who = "Separating seeds from patients"
    table = check_scores(who, scores, dimensions=2)
    seeds, patients = table.shape
    if seeds < 2 or patients < 2:
        raise ShapeError(
            who,
            "two or more seeds and two or more patients",
            f"got {seeds} and {patients}",
            "Train with another seed or score more patients.",
        )
    mean = table.mean()
    by_seed, by_patient = table.mean(axis=1), table.mean(axis=0)
    seed_square = patients * by_seed.var(ddof=1)
    patient_square = seeds * by_patient.var(ddof=1)
    residual = table - by_seed[:, None] - by_patient + mean
    residual_square = (residual**2).sum() / ((seeds - 1) * (patients - 1))
    return Spread(
        mean=float(mean),
        seed_sd=float(np.sqrt(max(0.0, seed_square - residual_square) / patients)),
        patient_sd=float(np.sqrt(max(0.0, patient_square - residual_square) / seeds)),
        residual_sd=float(np.sqrt(residual_square)),
        seeds=seeds,
        patients=patients,
    )
