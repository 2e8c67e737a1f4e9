"""Where the source did harm: from scratch minus transferred, ready for the template."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.grids.ranking import rows_about
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, signed

COLUMNS = ("subject", "reference", "part", "difference", "low", "high", "n", "by_unit", "worse", "worst")


class Harm(NamedTuple):
    """One method beside the same network trained from scratch on the same labels.

    difference, interval: from scratch minus transferred. harmed: the interval lies above 0.
    parts: the difference for each class of masks, with True where its interval lies above 0.
    worse: for how many units, of how many, training from scratch did better. worst: by how much on one of them.
    """

    subject: str
    difference: str
    interval: str
    harmed: bool
    parts: list[tuple[str, str, bool]]
    worse: str
    worst: str


class NegativeTransfer(NamedTuple):
    """All methods of a target; `by_unit` names the score by which units are told."""

    rows: list[Harm]
    by_unit: str


def negative_transfer(evidence: Evidence, panel: Panel) -> NegativeTransfer | None:
    """What the evidence says of one target; None where nothing was trained from scratch there.

    Raises:
        DataError: the table "negative_transfer" lacks a column.
    """
    own = rows_about(evidence, "negative_transfer", panel.cohort, panel.main)
    own = own[own["subject"].isin(panel.subjects)]
    if own.empty:
        return None
    missing = [name for name in COLUMNS if name not in own.columns]
    if missing:
        raise DataError(
            "The table 'negative_transfer'", f"the columns {', '.join(COLUMNS)}",
            f"it lacks {', '.join(missing)}", "Write the evidence again with `medgraft benchmark`.",
        )  # fmt: skip
    rows = [_harm(str(subject), lines) for subject, lines in own.groupby("subject", sort=False)]
    return NegativeTransfer(rows, describe_score(str(own["by_unit"].iloc[0])).label)


def _harm(subject: str, lines: pd.DataFrame) -> Harm:
    whole = lines[lines["part"].fillna("") == ""].iloc[0]
    regions = lines[lines["part"].fillna("") != ""]
    return Harm(
        subject=subject,
        difference=signed(float(whole["difference"])),
        interval=f"{signed(float(whole['low']))} to {signed(float(whole['high']))}",
        harmed=bool(whole["low"] > 0),
        parts=[
            (str(row["part"]), signed(float(row["difference"])), bool(row["low"] > 0))
            for row in regions.to_dict("records")
        ]
        if len(regions) > 1
        else [],
        worse=f"{int(whole['worse'])} of {int(whole['n'])}",
        worst=signed(float(whole["worst"])),
    )
