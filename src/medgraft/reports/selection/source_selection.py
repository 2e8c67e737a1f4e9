"""The tables of evidence in which every source was fine-tuned on every target: one selection for each budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.ranking.source_ranking import refuse_gaps
from medgraft.reports.wording import describe_score

PERFORMANCE, SCORES, RELIABILITY = "selection_performance", "selection_scores", "selection_reliability"
TAUS, REGRET, CHOICES, OWN = "selection_taus", "selection_regret", "selection_choices", "selection_own"
FORMS = {
    PERFORMANCE: ("cohort", "budget", "source", "size", "own", "seed", "metric", "value"),
    SCORES: ("cohort", "budget", "seed", "source", "own", "score", "value", "reason", "seconds"),
    RELIABILITY: (
        *("cohort", "budget", "sources", "seeds", "seed_tau", "between_sd", "seed_sd", "f", "df_between"),
        *("df_residual", "critical", "p", "mean_reliability", "tells_apart"),
    ),
    TAUS: ("cohort", "budget", "score", "tau", "low", "high"),
    REGRET: (
        *("budget", "score", "tau", "tau_low", "tau_high", "against_best", "low", "high"),
        *("against_baseline", "baseline_low", "baseline_high", "expected"),
    ),
    CHOICES: ("cohort", "budget", "score", "chosen", "reached", "best_source", "best", "against_best"),
    OWN: ("cohort", "budget", "source", "true_rank", "of", "score", "rank", "mean_rank_by_chance"),
}
TABLES = tuple(FORMS)
KEYS = {
    PERFORMANCE: ["cohort", "budget", "source", "seed"],
    SCORES: ["cohort", "budget", "source", "seed", "score"],
    RELIABILITY: ["cohort", "budget"],
    TAUS: ["cohort", "budget", "score"],
    REGRET: ["budget", "score"],
    CHOICES: ["cohort", "budget", "score"],
    OWN: ["cohort", "budget", "source", "score"],
}
WORDS = {"cohort", "source", "own", "score", "metric", "reason", "tells_apart", "chosen", "best_source"}
ANY, ALWAYS = "any source", "always "
ALL = -1


@dataclass(frozen=True)
class Selection:
    """Sources and scores at one label budget.

    budget: labelled images or patients at the target; -1 all.
    metric: what fine-tuning was tested by.
    performance, scores, reliability, taus, regret, choices, own: the rows of the tables about this budget.
    """

    budget: int
    metric: str
    performance: pd.DataFrame
    scores: pd.DataFrame
    reliability: pd.DataFrame
    taus: pd.DataFrame
    regret: pd.DataFrame
    choices: pd.DataFrame
    own: pd.DataFrame

    @cached_property
    def targets(self) -> list[str]:
        """Names of the target cohorts, in the order of the evidence."""
        return list(dict.fromkeys(self.performance["cohort"]))

    @cached_property
    def readable(self) -> list[str]:
        """Targets on which fine-tuning tells sources apart; what is said about an order elsewhere is chance."""
        apart = set(self.reliability.loc[self.reliability["tells_apart"], "cohort"])
        return [target for target in self.targets if target in apart]

    @property
    def unreadable(self) -> list[str]:
        """The other targets."""
        return [target for target in self.targets if target not in self.readable]

    @cached_property
    def names(self) -> list[str]:
        """Of scores, those first that agree most with fine-tuning on average."""
        tables = (self.taus, self.choices, self.scores, self.judged, self.own)
        found = list(dict.fromkeys(name for table in tables for name in table["score"]))
        means = dict(zip(self.regret["score"], self.regret["tau"], strict=True))
        taus = {name: float(means.get(name, math.nan)) for name in found}
        return sorted(found, key=lambda name: -taus[name] if math.isfinite(taus[name]) else math.inf)

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Regret of scores, without the rules that need none."""
        rules = (self.regret["score"] == ANY) | self.regret["score"].str.startswith(ALWAYS)
        return self.regret[~rules]

    @property
    def baseline(self) -> str:
        """The source that would always be taken without scores; empty where there is none."""
        rules = [name for name in self.regret["score"] if name.startswith(ALWAYS)]
        return rules[0].removeprefix(ALWAYS) if rules else ""

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return int(self.performance["seed"].nunique())

    @property
    def sign(self) -> float:
        """1 where a higher score of the test is better, otherwise -1."""
        return -1.0 if describe_score(self.metric).higher_is_better is False else 1.0

    @property
    def digits(self) -> int:
        """Decimals of the score of the test."""
        return 2 if describe_score(self.metric).is_distance else 3


def read_selections(evidence: Evidence) -> list[Selection]:
    """What evidence tells about choosing sources, the smallest budget first; nothing where it is of something else.

    Raises:
        DataError: a table lacks a column, or tells the same thing twice.
    """
    if evidence.tables.get(PERFORMANCE, pd.DataFrame()).empty:
        return []
    tables = {name: _read(name, evidence.tables) for name in TABLES}
    budgets = sorted(
        set(tables[PERFORMANCE]["budget"]), key=lambda budget: math.inf if budget == ALL else budget
    )
    return [_select(tables, int(budget)) for budget in budgets]


def _select(tables: Mapping[str, pd.DataFrame], budget: int) -> Selection:
    of_budget = [table[table["budget"] == budget].reset_index(drop=True) for table in tables.values()]
    return Selection(budget, str(of_budget[0]["metric"].iloc[0]), *of_budget)


def _read(name: str, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    columns = FORMS[name]
    table = tables.get(name, pd.DataFrame(columns=list(columns)))
    refuse_gaps(name, table, columns, verb="benchmark")
    if table.duplicated(KEYS[name]).any():
        raise DataError(
            "A report", "one grid that chooses sources", f"the table '{name}' tells the same thing twice",
            "Report the two grids one by one.",
        )  # fmt: skip
    numbers = {
        column: pd.to_numeric(table[column], errors="coerce").astype("float64")
        for column in columns
        if column not in WORDS
    }
    words = {
        column: table[column].fillna("").astype(str)
        for column in columns
        if column in WORDS - {"own", "tells_apart"}
    }
    truths = {
        column: table[column].fillna(False).astype(bool)
        for column in columns
        if column in ("own", "tells_apart")
    }
    return table.assign(**numbers, **words, **truths)[list(columns)].reset_index(drop=True)
