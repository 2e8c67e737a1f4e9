"""Scores of a demo as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft.evidence import Evidence


def print_tables(evidence: Evidence, shown: Mapping[str, str], trained_on: str) -> None:
    """One table per cohort: mean over seeds, lowest and highest seed.

    Args:
        evidence: facts of one or more cohorts.
        shown: metrics and their headings.
        trained_on: how many labels methods had.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    facts = evidence.facts[(evidence.facts["part"] == "") & evidence.facts["metric"].isin(list(shown))]
    for cohort, rows in facts.groupby("cohort", sort=False):
        count, unit = int(rows["n"].iloc[0]), rows["unit"].iloc[0]
        table = Table(title=f"{cohort}: {trained_on}, tested on {count} {unit}")
        table.add_column("method")
        for name in shown.values():
            table.add_column(name, justify="right")
        for subject, own in rows.groupby("subject", sort=False):
            cells = []
            for metric in shown:
                values = own.loc[own["metric"] == metric, "value"]
                spread = f" ({values.min():.2f} to {values.max():.2f})" if len(values) > 1 else ""
                cells.append(f"{values.mean():.3f}{spread}")
            table.add_row(str(subject), *cells)
        console.print(table)
