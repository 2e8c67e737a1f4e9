"""Who goes where: grouped, stratified and repeatable from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from medgraft.errors import DataError, SettingsError
from medgraft.types import SPLITS

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}


def split_by_patient(cohort: Cohort, shares: Mapping[str, float] | None = None, seed: int = 0) -> Cohort:
    """Divide a cohort so that patients (or split units) stay whole and classes keep their proportions.

    A cohort that already has splits is returned as it is: published splits are respected.

    Args:
        cohort: at least as many patients as splits.
        shares: share of the images per split, adding up to 1.
        seed: other seeds give other divisions.

    Returns: the cohort with the column `split`.

    Raises:
        SettingsError: unknown split names, or shares that do not add up to 1.
        DataError: fewer patients than splits.
    """
    if cohort.has_splits:
        return cohort
    shares = dict(shares or DEFAULT_SHARES)
    if set(shares) - set(SPLITS) or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) <= 0:
        raise SettingsError(
            "split_by_patient", "positive shares of train, validation and test that add up to 1",
            f"it got {shares}", "Correct the shares.",
        )  # fmt: skip
    units = cohort.units
    names = list(dict.fromkeys(units.tolist()))
    if len(names) < len(shares):
        raise DataError(
            "split_by_patient", f"at least {len(shares)} patients", f"{cohort.name} has {len(names)}",
            "Add patients, or name blocks in the column 'split_unit'.",
        )  # fmt: skip
    assigned = _assign(units, _class_counts(cohort), names, shares, seed)
    split = [assigned[unit] for unit in units]
    return cohort.with_splits(split, "split_by_patient", {"shares": shares, "seed": seed})


def _assign(
    units: np.ndarray, indicators: np.ndarray, names: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Greedy: largest units first, each to the split that it brings closest to what every class should have there."""
    place_of = {unit: place for place, unit in enumerate(names)}
    sums = np.zeros((len(names), indicators.shape[1]))
    np.add.at(sums, [place_of[unit] for unit in units.tolist()], indicators)
    counts = dict(zip(names, sums))
    total = sums.sum(axis=0)
    wanted = {split: share * total for split, share in shares.items()}
    held = {split: np.zeros(len(total)) for split in shares}
    order = sorted(names, key=lambda unit: (-counts[unit].sum(), _shuffle_key(unit, seed)))
    assigned: dict[str, str] = {}
    members = dict.fromkeys(shares, 0)
    for place, unit in enumerate(order):
        # once only as many units are left as there are empty splits, these come first
        empty = [split for split in shares if members[split] == 0]
        candidates = empty if len(order) - place <= len(empty) else list(shares)
        lack = {
            split: float(
                (((wanted[split] - held[split]) / np.maximum(wanted[split], 1)) * counts[unit]).sum()
            )
            for split in candidates
        }
        best = max(candidates, key=lambda split: lack[split])
        assigned[unit] = best
        held[best] += counts[unit]
        members[best] += 1
    return assigned


def _class_counts(cohort: Cohort) -> np.ndarray:
    """(N, K) what each image adds to each thing that is to be balanced: classes, single labels, or sites.

    Single labels, not their combinations: of these there are nearly as many as images. The last column counts images.
    """
    if cohort.kind == "multilabel" and "truth" in cohort.fields:
        columns = (cohort.labels == 1).astype(float)
    else:
        strata = _strata(cohort)
        columns = (strata[:, None] == np.unique(strata)[None, :]).astype(float)
    return np.column_stack([columns, np.ones(len(cohort))])


def choose_few(cohort: Cohort, n: int, by: str, seed: int) -> list[int]:
    """Positions for `Cohort.few`."""
    if n < 1 or by not in ("image", "patient"):
        raise SettingsError(
            "few", "n of at least 1, by 'image' or 'patient'", f"it got {n}, {by!r}", "Correct it."
        )
    training, rest = _training_and_rest(cohort)
    strata = _strata(cohort)
    if by == "patient":
        return _sorted(_few_patients(cohort, training, strata, n, seed), rest)
    groups = {"training images": training}
    if _has_one_class(cohort):
        by_class = _by_stratum(training, strata)
        groups = {
            f"training images of class '{name}'": by_class.get(str(index), [])
            for index, name in enumerate(cohort.classes)
        }
    chosen: list[int] = []
    for what, positions in groups.items():
        if len(positions) < n:
            raise DataError("few", f"{n} {what}", f"{cohort.name} has {len(positions)}", "Ask for fewer.")
        chosen += _shuffled(cohort, positions, seed)[:n]
    return _sorted(chosen, rest)


def choose_fraction(cohort: Cohort, share: float, seed: int) -> list[int]:
    """Positions for `Cohort.fraction`."""
    if not 0 < share <= 1:
        raise SettingsError("fraction", "a share in (0, 1]", f"it got {share}", "Correct the share.")
    training, rest = _training_and_rest(cohort)
    if not training:
        return rest
    # groups one after the other on one line, which is then thinned evenly: small groups get their share over seeds
    # and are not all kept, and a larger share keeps what a smaller one has
    fewest = 1 if _has_one_class(cohort) else 0
    chosen: list[int] = []
    for stratum, positions in _by_stratum(training, _strata(cohort)).items():
        start = int(_shuffle_key(f"stratum {stratum}", seed)[:8], 16) / 16**8
        count = len([place for place in range(len(positions)) if place + start < share * len(positions)])
        chosen += _shuffled(cohort, positions, seed)[: max(fewest, count)]
    return _sorted(chosen or _shuffled(cohort, training, seed)[:1], rest)


def _has_one_class(cohort: Cohort) -> bool:
    return cohort.kind == "classify" and "truth" in cohort.fields


def _few_patients(cohort: Cohort, training: list[int], strata: np.ndarray, n: int, seed: int) -> list[int]:
    """Patients in shuffled order, classes taking turns by each patient's commonest one."""
    patients = cohort.patients
    rows: dict[str, list[int]] = {}
    for position in training:
        rows.setdefault(str(patients[position]), []).append(position)
    if len(rows) < n:
        raise DataError(
            "few", f"{n} patients with training images", f"{cohort.name} has {len(rows)}", "Ask for fewer."
        )
    queues: dict[str, list[str]] = {}
    for patient in sorted(rows, key=lambda patient: _shuffle_key(patient, seed)):
        kinds, counts = np.unique(strata[rows[patient]], return_counts=True)
        queues.setdefault(str(kinds[counts.argmax()]), []).append(patient)
    order: list[str] = []
    while any(queues.values()):
        for queue in queues.values():
            if queue:
                order.append(queue.pop(0))
    return [position for patient in order[:n] for position in rows[patient]]


def _training_and_rest(cohort: Cohort) -> tuple[list[int], list[int]]:
    if not cohort.has_splits:
        return list(range(len(cohort))), []
    is_training = (cohort.table["split"] == "train").to_numpy()
    return np.flatnonzero(is_training).tolist(), np.flatnonzero(~is_training).tolist()


def _strata(cohort: Cohort) -> np.ndarray:
    """(N,) text: the class, the set of positive labels, or the site."""
    if cohort.kind == "classify" and "truth" in cohort.fields:
        return cohort.labels.astype(str)
    if cohort.kind == "multilabel" and "truth" in cohort.fields:
        return np.asarray(["".join(str(int(value == 1)) for value in row) for row in cohort.labels])
    return cohort.sites.astype(str)


def _by_stratum(positions: list[int], strata: np.ndarray) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position in positions:
        groups.setdefault(str(strata[position]), []).append(position)
    return dict(sorted(groups.items()))


def _shuffled(cohort: Cohort, positions: list[int], seed: int) -> list[int]:
    rows = cohort.table.index
    return sorted(positions, key=lambda position: _shuffle_key(f"row {rows[position]}", seed))


def _shuffle_key(name: str, seed: int) -> str:
    """A random order that depends on the name and the seed alone, so that adding rows moves no one else."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _sorted(chosen: list[int], rest: list[int]) -> list[int]:
    return sorted([*chosen, *rest])
