"""Does a classifier do worse for some patients, and did it learn a shortcut from its training data?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from medgraft.engine.features import extract_features
from medgraft.errors import DataError, ModelError, SettingsError
from medgraft.evaluation.classification import truth_of
from medgraft.evaluation.outcome import MEASURES, Outcome, anonymous, from_table, metric_of
from medgraft.evaluation.subgroups import NOT_TOLD, groups_of_all, in_order
from medgraft.metrics.fairness import (
    ALIGNED,
    CONFLICTING,
    UNKNOWN,
    bias_sides,
    count_pairs,
    cramers_v,
    gap,
    worst_group,
)
from medgraft.metrics.probes import linear_probe, neighbours_probe
from medgraft.statistics.bootstrap import Interval, WeightedMetric, bootstrap_interval

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model
    from medgraft.types import JSON

METRICS = ("auroc", "balanced_accuracy")
FEWEST = 5
"""Patients of every class that a group needs to be compared: with fewer its score is mostly chance."""

Across = Callable[[np.ndarray], np.ndarray]
"""Scores of groups (G, R) to one number for each of R resamples."""


@dataclass(frozen=True)
class BiasAudit:
    """What an evaluation asks about attributes such as tone of skin, camera or ruler marks.

    Args:
        attributes: columns of the manifest; numbers with more than ten values are grouped by quarters.
        reference: the rows that the model was trained on. They tell which cases are bias-conflicting: of a class and a
            value that rarely go together there. None leaves these out.
        beside: other models by name, one of them trained without the bias, whose features are probed as well.

    Raises:
        SettingsError: no attribute is named.

    >>> BiasAudit(["camera"]).attributes
    ('camera',)
    """

    attributes: Sequence[str]
    reference: Cohort | None = None
    beside: Mapping[str, Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.attributes, str) or not self.attributes:
            raise SettingsError(
                "BiasAudit", "a list of columns", f"it got {self.attributes!r}",
                'Write for instance ["fitzpatrick"].',
            )  # fmt: skip
        object.__setattr__(self, "attributes", tuple(dict.fromkeys(self.attributes)))

    def told(self) -> JSON:
        """What provenance says of it."""
        known = self.reference and {
            "name": self.reference.name,
            "rows": len(self.reference),
            "fingerprint": self.reference.fingerprint(),
        }
        return {"attributes": list(self.attributes), "reference": known, "beside": list(self.beside)}


class Rows(NamedTuple):
    """Rows that are scored by themselves: what was predicted of them, and the units that are resampled."""

    outcome: Outcome
    units: np.ndarray


def check_audit(audit: BiasAudit, subject: str, model: Model, cohort: Cohort) -> None:
    """Refuse what cannot be audited, before anything is predicted.

    Raises:
        SettingsError: a model that stands beside this one has its name.
        ModelError: a model that gives images no classes.
        DataError: an attribute is missing, groups nothing, or has one value only; a class of the reference that the
            model does not know.
    """
    spec, reference = model.spec, audit.reference
    if spec.kind not in ("classify", "multilabel"):
        raise ModelError(
            "A bias audit", "a model that gives images classes or labels", f"this one's kind is '{spec.kind}'",
            "Score groups of patients with `by` instead.",
        )  # fmt: skip
    if subject in audit.beside:
        raise SettingsError(
            "A bias audit", "different names for all models", f"two are called '{subject}'", "Rename one."
        )
    for attribute in audit.attributes:
        groups = _groups(audit, cohort, attribute)[0]
        told = sorted(set(groups.tolist()) - {NOT_TOLD})
        if len(told) < 2:
            raise DataError(
                "A bias audit", f"two values of '{attribute}' at least",
                f"the rows of {cohort.name} have {', '.join(told) or 'none'}",
                "Add images of others, or leave this attribute out: one group cannot be compared.",
            )  # fmt: skip
    if reference is None:
        return
    unknown = [name for name in reference.classes if name not in spec.classes]
    if "truth" not in reference.fields or reference.kind != spec.kind or unknown:
        raise DataError(
            "A bias audit", f"training rows of kind '{spec.kind}' with the classes {', '.join(spec.classes)}",
            f"{reference.name} is of kind '{reference.kind}' and has {', '.join(reference.classes) or 'no classes'}",
            "Name the rows that the model was trained on.",
        )  # fmt: skip


def audit_tables(
    audit: BiasAudit,
    predictions: pd.DataFrame,
    models: Mapping[str, Model],
    cohort: Cohort,
    repeats: int,
    device: str,
) -> dict[str, pd.DataFrame]:
    """Measure what an audit asks for.

    Args:
        audit: as `check_audit` let it pass.
        predictions: of the first model, as `evaluation.outcome.to_table`.
        models: by name: the one that is audited, then the audit's.
        cohort: N rows, in the order of the predictions.
        repeats: bootstrap resamples of whole units, the same for all groups of a gap.
        device: for features.

    Returns: three tables. "bias": subject, attribute, part (all, conflicting, aligned, group, worst, gap,
        association), group, metric, value, low, high, n (units), images, reason (why a group is not scored or not
        compared). Of "worst" the group is the worst one's name and the interval that of the lowest score, whichever
        group has it in a resample; "association" is Cramér's V of class and attribute in the reference.
        "bias_groups": row, attribute, group. "bias_probes": subject, beside (True for the audit's models), attribute,
        probe (linear, neighbours), metric, value, low, high, n, values (how many were to be told), reason.
    """
    subject, classes = next((name, model.spec.classes) for name, model in models.items())
    rows = Rows(from_table(predictions), anonymous(cohort.units))
    lines: list[dict[str, object]] = []
    members, probes = [], []
    for attribute in audit.attributes:
        groups, of_reference = _groups(audit, cohort, attribute)
        members.append(
            pd.DataFrame({"row": cohort.table.index, "attribute": attribute, "group": groups.astype(str)})
        )
        found = list(_parts(rows, groups, classes, cohort.unit_name, repeats))
        if audit.reference is not None and of_reference is not None:
            truths = rows.outcome.truth, truth_of(audit.reference, classes)
            found += _sides(rows, truths, (groups, of_reference), classes, repeats)
        lines += [{"subject": subject, "attribute": attribute} | line for line in found]
    for name, model in models.items():
        features = _features(model, cohort, device)
        for attribute in audit.attributes:
            told = {"subject": name, "beside": name != subject, "attribute": attribute}
            groups, _ = _groups(audit, cohort, attribute)
            probes += [told | line for line in _probe(features, groups, rows.units, repeats)]
    return {
        "bias": pd.DataFrame(lines),
        "bias_groups": pd.concat(members, ignore_index=True),
        "bias_probes": pd.DataFrame(probes),
    }


def _groups(audit: BiasAudit, cohort: Cohort, attribute: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The group of each row of the cohort and of the reference."""
    if audit.reference is None:
        return groups_of_all([cohort], attribute)[0], None
    own, others = groups_of_all([cohort, audit.reference], attribute)
    return own, others


def _parts(
    rows: Rows, groups: np.ndarray, classes: Sequence[str], unit_name: str, repeats: int
) -> Iterator[dict[str, object]]:
    """Everyone, every group, the worst one and the gap."""
    yield from _scored(rows, repeats, part="all")
    compared: dict[str, np.ndarray] = {}
    for group in in_order(groups):
        positions = np.flatnonzero(groups == group)
        own = _taken(rows, positions)
        reason = _not_compared(rows, own, classes, unit_name)
        if not reason and group != NOT_TOLD:
            compared[group] = positions
        yield from _scored(own, repeats, part="group", group=group, reason=reason)
    for name in METRICS:
        yield from _across(rows, compared, name, repeats)


def _across(
    rows: Rows, compared: Mapping[str, np.ndarray], name: str, repeats: int
) -> Iterator[dict[str, object]]:
    """The worst group and the gap, all groups of a resample scored on the same drawn patients."""
    told: dict[str, object] = {"metric": name, "group": ""}
    if len(compared) < 2:
        reason = f"{len(compared)} group{'s' * (len(compared) != 1)} with enough patients of every class"
        none = {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0, "images": 0, "reason": reason}
        yield from ({"part": part} | told | none for part in ("worst", "gap"))
        return
    everyone = np.concatenate(list(compared.values()))
    inside = np.split(np.arange(len(everyone)), np.cumsum([len(one) for one in compared.values()])[:-1])
    own, measure = _taken(rows, everyone), MEASURES[name]

    def by_group(weights: np.ndarray) -> np.ndarray:
        return np.stack([measure(_taken(own, of_group).outcome, weights[:, of_group]) for of_group in inside])

    values = by_group(np.ones((1, len(everyone))))[:, 0]
    worst = list(compared)[worst_group(values)]
    ways: dict[str, tuple[str, Across]] = {
        "worst": (worst, lambda scores: scores.min(axis=0)), "gap": ("", gap)
    }  # fmt: skip
    for part, (group, across) in ways.items():

        def scored(weights: np.ndarray, across: Across = across) -> np.ndarray:
            return across(by_group(weights))

        interval = bootstrap_interval(WeightedMetric(scored, len(everyone)), own.units, repeats)
        yield {"part": part} | told | {"group": group} | _numbers(interval, len(everyone))


def _sides(
    rows: Rows,
    truths: tuple[np.ndarray, np.ndarray],
    groups: tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    repeats: int,
) -> Iterator[dict[str, object]]:
    """Cases that go against, and with, what class and attribute have to do with each other in the reference."""
    told = sorted({*groups[0].tolist(), *groups[1].tolist()} - {NOT_TOLD})
    numbers = {value: number for number, value in enumerate(told)}
    own, others = (np.array([numbers.get(group, UNKNOWN) for group in each]) for each in groups)
    labels = [(each, 2) for each in classes] if rows.outcome.multilabel else [("", len(classes))]
    sides = []
    for column, (name, count) in enumerate(labels):
        known, trained = (_codes(truth, column) for truth in truths)
        counts = count_pairs(trained, others, (count, len(numbers)))
        sides.append(bias_sides(known, own, counts))
        association = Interval(cramers_v(counts), np.nan, np.nan, 0, 0)
        line: dict[str, object] = {"part": "association", "group": name, "metric": "cramers_v"}
        yield line | _numbers(association, int(counts.sum()))
    table = np.stack(sides, axis=1)
    for part, side in (("conflicting", CONFLICTING), ("aligned", ALIGNED)):
        yield from _scored(_masked(rows, table == side), repeats, part=part)


def _codes(truth: np.ndarray, column: int) -> np.ndarray:
    """Classes, or whether a label is there, as numbers; -1 where unknown."""
    if truth.ndim == 1:
        return truth
    return np.where(np.isin(truth[:, column], (0, 1)), truth[:, column], UNKNOWN).astype(np.int64)


def _masked(rows: Rows, kept: np.ndarray) -> Rows:
    """Only some rows; of several labels only some cells."""
    positions = np.flatnonzero(kept.any(axis=1))
    own = _taken(rows, positions)
    if not rows.outcome.multilabel:
        return own
    return own._replace(
        outcome=own.outcome._replace(truth=np.where(kept[positions], own.outcome.truth, np.nan))
    )


def _taken(rows: Rows, positions: np.ndarray) -> Rows:
    truth, predicted, probabilities = (each[positions] for each in rows.outcome)
    return Rows(Outcome(truth, predicted, probabilities), rows.units[positions])


def _scored(
    rows: Rows, repeats: int, *, part: str, group: str = "", reason: str = ""
) -> Iterator[dict[str, object]]:
    for name in METRICS:
        measure = MEASURES[name] if _is_mixed(rows.outcome) else _undefined
        interval = bootstrap_interval(metric_of(rows.outcome, measure), rows.units, repeats)
        why = reason or (
            "" if np.isfinite(interval.value) else "one class only" if len(rows.units) else "no image"
        )
        line: dict[str, object] = {"part": part, "group": group, "metric": name}
        yield line | _numbers(interval, len(rows.units), why)


def _undefined(outcome: Outcome, weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan)


def _is_mixed(outcome: Outcome) -> bool:
    """Whether there is something to be told apart; without it, balanced accuracy would be a recall."""
    truth = outcome.truth
    if not outcome.multilabel:
        return len(np.unique(truth)) > 1
    return bool(((truth == 0).any(axis=0) & (truth == 1).any(axis=0)).any())


def _not_compared(everyone: Rows, own: Rows, classes: Sequence[str], unit_name: str) -> str:
    """Why a group cannot be the worst: it lacks patients of a class that others have; empty where it can."""
    if not _is_mixed(own.outcome):
        return "one class only"
    for name, all_cases, cases in _cases(everyone.outcome, own.outcome, classes):
        count = len(np.unique(own.units[cases]))
        if all_cases.any() and count < FEWEST:
            return f"{count} {unit_name} {name}, fewer than {FEWEST}"
    return ""


def _cases(
    everyone: Outcome, own: Outcome, classes: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for index, name in enumerate(classes):
        if not own.multilabel:
            yield f"with {name}", everyone.truth == index, own.truth == index
            continue
        for word, value in (("with", 1), ("without", 0)):
            yield f"{word} {name}", everyone.truth[:, index] == value, own.truth[:, index] == value


def _features(model: Model, cohort: Cohort, device: str) -> np.ndarray | None:
    """(N, D), or None where a model has none, as some wrappers do."""
    try:
        return extract_features(model, cohort, device=device).numpy()
    except ModelError:
        return None


def _probe(
    features: np.ndarray | None, groups: np.ndarray, units: np.ndarray, repeats: int
) -> Iterator[dict[str, object]]:
    told = [
        value
        for value in in_order(groups)
        if value != NOT_TOLD and len(np.unique(units[groups == value])) >= FEWEST
    ]
    kept = np.isin(groups, told)
    codes, own = np.array([told.index(group) for group in groups[kept]], dtype=np.int64), units[kept]
    for name, probe in (("linear", linear_probe), ("neighbours", neighbours_probe)):
        line: dict[str, object] = {"probe": name, "values": len(told)}
        if features is None or len(told) < 2:
            nothing = Interval(np.nan, np.nan, np.nan, 0, 0)
            few = f"fewer than two values with {FEWEST} units each"
            reason = few if features is not None else "the model gives no features"
            yield from (line | {"metric": metric} | _numbers(nothing, 0, reason) for metric in METRICS)
            continue
        said = Outcome(*probe(features[kept], codes, own))
        for metric in METRICS:
            interval = bootstrap_interval(metric_of(said, MEASURES[metric]), own, repeats)
            yield line | {"metric": metric} | _numbers(interval, len(own))


def _numbers(interval: Interval, images: int, reason: str = "") -> dict[str, object]:
    return {
        "value": interval.value, "low": interval.low, "high": interval.high,
        "n": interval.units, "images": images, "reason": reason,
    }  # fmt: skip
