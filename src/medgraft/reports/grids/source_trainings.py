"""How the sources of a grid were trained: what their last epochs logged, ready for the template."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.evidence import Evidence

TABLE = "source_trainings"


class Logged(NamedTuple):
    """One number that the training of a source logged, at its last epoch.

    source: its name, with what it was trained on where that differs between sources of a grid. part: of a training in
    several parts, else "". mean, low, high: over seeds. epochs: the most that a seed trained.
    """

    source: str
    part: str
    name: str
    mean: float
    low: float
    high: float
    seeds: int
    epochs: int


def source_trainings(evidence: Evidence) -> list[Logged]:
    """What the sources logged last, in the order of the table; none where no source kept it.

    >>> source_trainings(Evidence())
    []
    """
    table = evidence.tables.get(TABLE)
    if table is None:
        return []
    several = table["source_cohort"].nunique() > 1
    groups = table.groupby(["source", "source_cohort", "part", "name"], sort=False)
    return [
        Logged(
            source=f"{source}, trained on {cohort}" if several else str(source),
            part=str(part),
            name=str(name),
            mean=float(own["value"].mean()),
            low=float(own["value"].min()),
            high=float(own["value"].max()),
            seeds=own["seed"].nunique(),
            epochs=int(own["epochs"].max()),
        )
        for (source, cohort, part, name), own in groups
    ]
