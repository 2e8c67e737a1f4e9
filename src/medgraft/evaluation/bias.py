"""Does a classifier do worse for some patients, and did it learn a shortcut from its training data?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medgraft.engine.features import extract_features
from medgraft.errors import DataError, ModelError, SettingsError
from medgraft.evaluation.bias_parts import (
    ACROSS,
    FEWEST,
    METRICS,
    SIDES,
    Compared,
    Rows,
    by_group,
    compared_groups,
    gap_by_chance,
    metric_across,
    numbers,
    rows_at,
    rows_kept,
    scored,
)
from medgraft.evaluation.classification import truth_of
from medgraft.evaluation.outcome import MEASURES, Outcome, anonymous, from_table, metric_of
from medgraft.evaluation.subgroups import NOT_TOLD, groups_of_all, in_order
from medgraft.metrics.fairness import (
    UNKNOWN,
    bias_sides,
    count_pairs,
    cramers_v,
    worst_group,
)
from medgraft.metrics.probes import linear_probe, neighbours_probe
from medgraft.statistics.bootstrap import Interval, bootstrap_interval

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model
    from medgraft.types import JSON

BY_CHANCE = "gap_by_chance"


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
        gap_by_chance, association), group, metric, value, low, high, n (units), images, reason (why a group is not
        scored or not compared). Of "worst" the group is the worst one's name and the interval that of the lowest score,
        whichever group has it in a resample; of "gap_by_chance" it is the middle 95 % of gaps; "association" is
        Cramér's V of class and attribute in the reference. "bias_groups": subject, row, attribute, group and, where
        there is a reference, side_0 (of several labels also side_1, ...): -1 conflicting, 1 aligned. "bias_probes":
        subject, beside (True for the audit's models), attribute, probe (linear, neighbours), metric, value, low, high,
        n, values (how many were to be told), reason.
    """
    subject, classes = next((name, model.spec.classes) for name, model in models.items())
    rows = Rows(from_table(predictions), anonymous(cohort.units))
    lines: list[dict[str, object]] = []
    members, probes = [], []
    for attribute in audit.attributes:
        groups, of_reference = _groups(audit, cohort, attribute)
        member = {
            "subject": subject,
            "row": cohort.table.index,
            "attribute": attribute,
            "group": groups.astype(str),
        }
        found = list(_parts(rows, groups, classes, cohort.unit_name, repeats))
        if audit.reference is not None and of_reference is not None:
            truths = rows.outcome.truth, truth_of(audit.reference, classes)
            sides, associations = _sides(truths, (groups, of_reference), classes)
            found += associations
            for part, side in SIDES.items():
                found += scored(rows_kept(rows, sides == side), repeats, part=part)
            member |= {f"side_{column}": side for column, side in enumerate(sides.T)}
        members.append(pd.DataFrame(member))
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
    """Everyone, every group, the worst one, the gap, and the gap by chance."""
    yield from scored(rows, repeats, part="all")
    compared, reasons = compared_groups(rows, groups, classes, unit_name)
    for group, reason in reasons.items():
        own = rows_at(rows, np.flatnonzero(groups == group))
        yield from scored(own, repeats, part="group", group=group, reason=reason)
    for name in METRICS:
        yield from _across(compared, name, repeats)


def _across(compared: Compared, name: str, repeats: int) -> Iterator[dict[str, object]]:
    """The worst group and the gap, all groups of a resample scored on the same drawn patients."""
    told: dict[str, object] = {"metric": name, "group": ""}
    images = len(compared.rows.units)
    if compared.reason:
        none = numbers(Interval(np.nan, np.nan, np.nan, 0, 0), 0, compared.reason)
        yield from ({"part": part} | told | none for part in (*ACROSS, BY_CHANCE))
        return
    worst = worst_group(by_group(compared, name, np.ones((1, images)))[:, 0])
    named = {"worst": {"group": list(compared.inside)[worst]}}
    for part in ACROSS:
        interval = bootstrap_interval(metric_across(compared, name, part), compared.rows.units, repeats)
        yield {"part": part} | told | named.get(part, {}) | numbers(interval, images)
    yield {"part": BY_CHANCE} | told | numbers(gap_by_chance(compared, name, repeats), images)


def _sides(
    truths: tuple[np.ndarray, np.ndarray], groups: tuple[np.ndarray, np.ndarray], classes: Sequence[str]
) -> tuple[np.ndarray, list[dict[str, object]]]:
    """(N, 1) or (N, K), which cases go against, and which with, what class and attribute have to do with each other in
    the reference; and how much that is."""
    told = sorted({*groups[0].tolist(), *groups[1].tolist()} - {NOT_TOLD})
    numbered = {value: number for number, value in enumerate(told)}
    own, others = (np.array([numbered.get(group, UNKNOWN) for group in each]) for each in groups)
    multilabel = truths[0].ndim == 2
    labels = [(each, 2) for each in classes] if multilabel else [("", len(classes))]
    sides, lines = [], []
    for column, (name, count) in enumerate(labels):
        known, trained = (_codes(truth, column) for truth in truths)
        counts = count_pairs(trained, others, (count, len(numbered)))
        sides.append(bias_sides(known, own, counts))
        association = Interval(cramers_v(counts), np.nan, np.nan, 0, 0)
        line: dict[str, object] = {"part": "association", "group": name, "metric": "cramers_v"}
        lines.append(line | numbers(association, int(counts.sum())))
    return np.stack(sides, axis=1), lines


def _codes(truth: np.ndarray, column: int) -> np.ndarray:
    """Classes, or whether a label is there, as numbers; -1 where unknown."""
    if truth.ndim == 1:
        return truth
    return np.where(np.isin(truth[:, column], (0, 1)), truth[:, column], UNKNOWN).astype(np.int64)


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
            yield from (line | {"metric": metric} | numbers(nothing, 0, reason) for metric in METRICS)
            continue
        said = Outcome(*probe(features[kept], codes, own))
        for metric in METRICS:
            interval = bootstrap_interval(metric_of(said, MEASURES[metric]), own, repeats)
            yield line | {"metric": metric} | numbers(interval, len(own))
