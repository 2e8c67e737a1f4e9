"""Where a source misleads: the transfer risk of each class, as trainings with a risk map record it."""

from __future__ import annotations

import pandas as pd

from medgraft.evidence import Evidence

KIND = "risk/"
COLUMNS = ("of", "share_of_pixels", "mean_risk", "leep")


def transfer_risks(evidence: Evidence) -> list[tuple[str, pd.DataFrame]]:
    """The table of every subject, as recorded; the page shows it among the tables that a run recorded.

    >>> row = {"of": "brain", "share_of_pixels": 0.25, "mean_risk": 1.5, "leep": -1.5}
    >>> [name for name, _ in transfer_risks(Evidence(tables={"risk/fine_tune": pd.DataFrame([row])}))]
    ['fine_tune']
    """
    return [
        (name.removeprefix(KIND), table[list(COLUMNS)])
        for name, table in evidence.tables.items()
        if name.startswith(KIND) and set(table.columns) >= set(COLUMNS)
    ]
