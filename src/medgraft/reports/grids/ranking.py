"""Who is better than whom at one target: scores, mean ranks, letters, tests, and the critical difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.comparison import Cell, make_cell
from medgraft.reports.grids.grid import Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import counted, describe_score, number

ORACLE = "oracle"


class Row(NamedTuple):
    """One subject of a ranking.

    seeds: as text, where not every seed has a score.
    oracle: the score with the epoch (and settings) that labels would have chosen which the method was not given; NaN
        without one.
    """

    subject: str
    role: str
    cell: Cell | None
    mean_rank: float
    letters: str
    selection: str
    tried: int
    seeds: str
    oracle: float

    @property
    def rank_shown(self) -> str:
        """The mean rank as text; empty without one."""
        return number(self.mean_rank, 2) if math.isfinite(self.mean_rank) else ""

    @property
    def oracle_shown(self) -> str:
        """The oracle's score as text; empty without one."""
        return number(self.oracle, 3) if math.isfinite(self.oracle) else ""


class Place(NamedTuple):
    """A subject in the diagram: its mean rank, where that lies in percent, and for each group: is it in it?"""

    subject: str
    mean_rank: str
    place: float
    groups: list[bool]


class RankDiagram(NamedTuple):
    """Mean ranks on one scale; groups of subjects that are not told apart; `bar` is the critical difference.

    bar: its two ends in percent of the width.
    """

    places: list[Place]
    ticks: list[tuple[float, str]]
    groups: list[str]
    bar: tuple[float, float] | None
    sentence: str


class PairedTest(NamedTuple):
    """Paired tests of a subject against a reference, as text; "" where one is not there."""

    subject: str
    reference: str
    wilcoxon: str
    permutation: str
    holm: str
    detectable: str


def ranking(evidence: Evidence, grid: Grid, panel: Panel) -> list[Row]:
    """Every subject of a target, by mean rank where there is one, otherwise by score."""
    cells = grid.at(panel.cohort)
    ranks = (
        rows_about(evidence, "ranks", panel.cohort, panel.main)
        .drop_duplicates("subject")
        .set_index("subject")
    )
    rows = []
    for subject in dict.fromkeys(cells["subject"]):
        own = cells[cells["subject"] == subject]
        cell = make_cell(panel, subject, panel.main)
        known = subject in ranks.index
        rows.append(
            Row(
                subject=subject,
                role=str(own["role"].iloc[0]),
                cell=cell,
                mean_rank=float(ranks.loc[subject, "mean_rank"]) if known else math.nan,
                letters=str(ranks.loc[subject, "letters"]) if known and "letters" in ranks else "",
                selection=", ".join(dict.fromkeys(rule for rule in own["selection"] if rule)),
                tried=int(own["tried"].max()),
                seeds=_seeds(own, cell),
                oracle=oracle_score(evidence, panel, subject),
            )
        )
    places = {subject: place for place, subject in enumerate(panel.subjects)}

    def place(row: Row) -> tuple[float, float]:
        ranked = row.mean_rank if math.isfinite(row.mean_rank) else math.inf
        return ranked, places.get(row.subject, math.inf)

    return sorted(rows, key=place)


def oracle_score(evidence: Evidence, panel: Panel, subject: str) -> float:
    """The mean over seeds of what the rule 'oracle' would have scored; NaN where nobody asked it."""
    facts = evidence.facts
    chosen = facts[
        (facts["selection"] == ORACLE) & (facts["subject"] == subject) & (facts["cohort"] == panel.cohort)
        & (facts["split"] == panel.split) & (facts["metric"] == panel.main) & (facts["part"] == "")
    ]  # fmt: skip
    values = chosen["value"].dropna()
    return float(values.mean()) if len(values) else math.nan


def _seeds(cells: pd.DataFrame, cell: Cell | None) -> str:
    """Says where seeds are missing: failed, or without a defined score."""
    planned = int(cells["seed"].nunique())
    scored = len(cell.seeds) if cell is not None else 0
    return f"{scored} of {counted(planned, 'seed')}" if scored < planned else ""


def rank_diagram(evidence: Evidence, cohort: str, metric: str) -> RankDiagram | None:
    """Mean ranks with the groups that the test cannot tell apart; None without ranks of at least two subjects."""
    ranks = (
        rows_about(evidence, "ranks", cohort, metric).drop_duplicates("subject").dropna(subset=["mean_rank"])
    )
    if len(ranks) < 2:
        return None
    ranks = ranks.sort_values("mean_rank", kind="stable")
    values = ranks["mean_rank"].to_numpy(dtype=np.float64)
    scale = RankScale(len(ranks))
    letters = [str(text) for text in ranks["letters"]] if "letters" in ranks else [""] * len(ranks)
    # a letter of one subject alone joins nobody
    groups = [name for name in sorted(set("".join(letters))) if sum(name in text for text in letters) > 1]
    places = [
        Place(str(subject), number(value, 2), scale.place(value), [name in text for name in groups])
        for subject, value, text in zip(ranks["subject"], values, letters, strict=True)
    ]
    test = critical_difference(evidence, cohort, metric)
    bar = (scale.place(1.0), scale.place(1.0 + test["value"])) if test is not None else None
    if bar is not None and bar[1] > 100:
        bar = None  # longer than the axis: no two subjects can be told apart
    return RankDiagram(places, scale.ticks, groups, bar, _sentence(test, len(ranks), groups))


class RankScale:
    """A horizontal axis of ranks 1 to K with half a rank of room at both ends; places are percent of its width."""

    def __init__(self, subjects: int) -> None:
        self.subjects = subjects
        step = next(step for step in (1, 2, 5, 10, 20, 50) if subjects / step <= 8)
        shown = dict.fromkeys((1, *range(step, subjects + 1, step)))
        self.ticks = [(self.place(rank), str(rank)) for rank in shown]

    def place(self, rank: float) -> float:
        """Where a rank lies, in percent from the left."""
        return round(100 * (rank - 0.5) / self.subjects, 2)


def critical_difference(evidence: Evidence, cohort: str, metric: str) -> dict[str, float] | None:
    """The critical difference, its level, the Friedman p and the number of blocks, as far as they are known."""
    found = rows_about(evidence, "critical_difference", cohort, metric)
    if found.empty or not math.isfinite(float(found["value"].iloc[0])):
        return None
    row = found.iloc[0]
    return {name: float(row[name]) for name in ("value", "alpha", "friedman_p", "blocks") if name in found}


def _sentence(test: dict[str, float] | None, subjects: int, groups: list[str]) -> str:
    told = "Left is better."
    if test is not None:
        blocks = test.get("blocks", math.nan)
        over = f" over {blocks:.0f} patients or blocks" if math.isfinite(blocks) else ""
        told += (
            f" Mean ranks of {subjects} subjects{over}; two that lie closer than the critical difference, "
            f"{number(test['value'], 2)}, are not told apart (Nemenyi, level {test.get('alpha', math.nan):g})."
        )
        if math.isfinite(test.get("friedman_p", math.nan)):
            told += f" Friedman test that all are alike: {p_value(test['friedman_p'])}."
    return told + (" A bar on the right joins subjects that share a letter." if groups else "")


def difference_tests(evidence: Evidence, panel: Panel) -> list[PairedTest]:
    """Paired tests at a target, in the order of the evidence."""
    score = describe_score(panel.main)
    tests = []
    for row in rows_about(evidence, "difference_tests", panel.cohort, panel.main).to_dict("records"):
        wilcoxon, permutation, corrected = (
            p_value(float(row.get(name, math.nan)), "") for name in ("p_wilcoxon", "p_permutation", "p_holm")
        )
        detectable = float(row.get("detectable", math.nan))
        shown = number(detectable, 2 if score.is_distance else 3) if math.isfinite(detectable) else ""
        if detectable > 1 and score.higher_is_better:
            shown = "nothing"  # no share differs by more than 1
        tests.append(
            PairedTest(str(row["subject"]), str(row["reference"]), wilcoxon, permutation, corrected, shown)
        )
    return tests


def p_value(p: float, before: str = "p ") -> str:
    """A p-value as journals print it; empty where undefined.

    >>> p_value(0.00202), p_value(0.00001), p_value(0.5, "")
    ('p = 0.002', 'p < 0.001', '0.500')
    """
    if not math.isfinite(p):
        return ""
    if p < 0.001:
        return f"{before}< 0.001"
    return f"{before}= {p:.3f}" if before else f"{p:.3f}"


def ranked_elsewhere(evidence: Evidence, targets: Sequence[str]) -> list[tuple[str, str]]:
    """(cohort, metric) of rankings that are of no single target, as over all of them."""
    table = evidence.tables.get("ranks", pd.DataFrame())
    if not {"cohort", "metric"} <= set(table.columns):
        return []
    pairs = dict.fromkeys(zip(table["cohort"].astype(str), table["metric"].astype(str), strict=True))
    return [(cohort, metric) for cohort, metric in pairs if cohort not in targets]


def rows_about(evidence: Evidence, name: str, cohort: str, metric: str) -> pd.DataFrame:
    """Rows of a table about one cohort and score."""
    table = evidence.tables.get(name, pd.DataFrame())
    if not {"cohort", "metric"} <= set(table.columns):
        return pd.DataFrame({column: [] for column in ("subject", "mean_rank", "letters", "value")})
    return table[(table["cohort"] == cohort) & (table["metric"] == metric)]
