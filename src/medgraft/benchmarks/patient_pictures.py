"""Patients to look at: the worst without adaptation, and those that adaptation without labels harmed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medgraft.benchmarks.candidates import AS_IT_IS
from medgraft.benchmarks.compare import score_of_units
from medgraft.benchmarks.plan import Row
from medgraft.benchmarks.store import Result, Store
from medgraft.evidence import Evidence

WORST = 3
"""Patients of each pair of source and target that are shown because they were worst without adaptation."""
TABLE = "patient_pictures"


def patient_pictures(
    evidence: Evidence, rows: Sequence[Row], store: Store, results: Mapping[str, Result]
) -> Evidence:
    """Pictures before and after adaptation without labels, of the first seed; nothing where no method did without.

    Args:
        evidence: of the cells of a grid, with their scores of patients.
        rows: what cells are called.
        store: holds their pictures.
        results: how they ended, by key.

    Returns: the table "patient_pictures" with a row per patient and subject (cohort, source, subject, unit, row, slice,
        scores, image, why) and the pictures; of masks that are scored by a share.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        result = results.get(row.key)
        unlabelled = result is not None and result.state == "finished" and result.labelled_images == 0
        if unlabelled and not row.oracle and (row.role == "method" or row.method == AS_IT_IS):
            groups.setdefault((row.cohort, row.source, row.source_cohort), []).append(row)
    lines: list[dict[str, Any]] = []
    images = {}
    for (cohort, source, _), own in groups.items():
        first = min(row.seed for row in own)
        shown = {row.subject: row for row in own if row.seed == first}
        before = next((row.subject for row in shown.values() if row.method == AS_IT_IS), None)
        if before is None or len(shown) < 2:
            continue
        chosen = choose_patients(_scores(evidence, list(shown.values())), before)
        for subject, row in shown.items() if chosen else ():
            held = store.evidence(row.key)
            told = held.tables.get(TABLE, pd.DataFrame(columns=["unit"]))
            for line in told[told["unit"].isin(list(chosen))].to_dict("records"):
                name = f"patients/{cohort}/{source}/{subject}/{line['unit']}"
                images[name] = held.images[str(line["image"])]
                about = {"cohort": cohort, "source": source, "subject": subject, "why": chosen[line["unit"]]}
                kept = {key: line[key] for key in ("unit", "row", "slice", "scores")}
                lines.append({**about, **kept, "image": name})
    return Evidence(tables={TABLE: pd.DataFrame(lines)} if lines else {}, images=images)


def _scores(evidence: Evidence, rows: Sequence[Row]) -> pd.DataFrame:
    found = {
        row.subject: score_of_units(evidence, row.subject, row.seed, row.cohort, row.metric) for row in rows
    }
    return pd.DataFrame({name: scores for name, scores in found.items() if scores is not None}).dropna()


def choose_patients(scores: pd.DataFrame, before: str) -> dict[int, str]:
    """The worst patients of one subject, then of every other subject the patient that lost most.

    Args:
        scores: a row per unit, a column per subject; more is better.
        before: the subject without adaptation.

    Returns: why, by unit, in this order; nothing where the subject has no scores.

    >>> table = pd.DataFrame({"none": [0.9, 0.2, 0.4, 0.5, 0.8], "ada_bn": [0.3, 0.9, 0.9, 0.9, 0.7]})
    >>> chosen = choose_patients(table, "none")
    >>> list(chosen), chosen[2], chosen[0]
    ([1, 2, 3, 0], 'worst without adaptation', 'lost most by ada_bn')
    """
    if before not in scores:
        return {}
    worst = scores[before].sort_values(kind="stable").index[:WORST]
    chosen = {int(unit): "worst without adaptation" for unit in worst}
    for subject in scores.columns.drop(before):
        change = scores[subject] - scores[before]
        if len(change) and change.min() < 0:
            chosen.setdefault(int(change.index[int(change.argmin())]), f"lost most by {subject}")
    return chosen
