"""Single patients before and after adaptation without labels, by number and never by name."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.pictures import data_uri

TABLE = "patient_pictures"
COLUMNS = {"cohort", "source", "subject", "unit", "row", "slice", "scores", "why", "image"}


class Shown(NamedTuple):
    """One subject's picture of a patient and its scores, a line each."""

    subject: str
    picture: str
    scores: list[str]


class Patient(NamedTuple):
    """A patient of a pair of source and target, as every subject segments it; the source as it came first."""

    title: str
    why: str
    shown: list[Shown]


def patients_shown(evidence: Evidence, several_sources: bool) -> list[Patient]:
    """The patients that a grid chose to show, in its order; none where it keeps no pictures."""
    table = evidence.tables.get(TABLE)
    if table is None or not set(table.columns) >= COLUMNS:
        return []
    known = table[table["image"].isin(list(evidence.images))]
    found = []
    for (cohort, source, unit), own in known.groupby(["cohort", "source", "unit"], sort=False):
        place = f"{cohort} from {source}" if several_sources else str(cohort)
        first = own.iloc[0]
        where = f"row {first['row']}" + (f", slice {first['slice']}" if first["slice"] else "")
        shown = [
            Shown(
                str(line["subject"]),
                data_uri(evidence.images[line["image"]]),
                str(line["scores"]).split(", "),
            )
            for line in own.to_dict("records")
        ]
        found.append(Patient(f"Unit {unit} of {place}, {where}", str(first["why"]), shown))
    return found
