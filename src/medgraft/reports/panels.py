"""Evidence sorted into panels: everything measured on the same rows of one cohort."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.evidence import Evidence
from medgraft.reports.wording import counted, describe_score, in_order

SEEDED = re.compile(r"(?P<kind>[^/]+)/(?P<subject>.+?)/(?P<seed>\d+)(?:/(?P<part>.+))?")


@dataclass(frozen=True)
class Panel:
    """What a report says about one cohort and split.

    facts: rows of the table of facts.
    main: the score that headlines, charts and the order of subjects go by.
    subjects: best first by the main score, undefined ones last.
    predictions, scores: tables by subject and seed.
    classes: their names, empty where unknown.
    """

    cohort: str
    split: str
    facts: pd.DataFrame
    main: str
    subjects: tuple[str, ...]
    predictions: dict[str, dict[int, pd.DataFrame]]
    scores: dict[str, dict[int, pd.DataFrame]]
    classes: tuple[str, ...]
    comparisons: pd.DataFrame

    @property
    def level(self) -> float:
        """Coverage of the intervals."""
        return float(self.facts["level"].iloc[0])

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return int(self.facts["seed"].nunique())

    @property
    def units(self) -> str:
        """What intervals resample, e.g. "27 blocks of one slide"; empty where it is not told."""
        told = self.facts[(self.facts["n"] > 0) & (self.facts["unit"] != "")]
        if told.empty:
            return ""
        counts = sorted(set(told["n"].tolist()))
        many = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        return f"{many} {told['unit'].iloc[0]}"

    @property
    def images(self) -> int:
        """Number of rows with predictions; 0 where there are none."""
        tables = [table for seeds in self.predictions.values() for table in seeds.values()]
        return max((table["row"].nunique() if "row" in table else len(table) for table in tables), default=0)

    @property
    def selections(self) -> str:
        """Rules that chose the epochs, e.g. "last, target_validation"; empty where nothing was chosen."""
        return ", ".join(sorted(set(self.facts["selection"]) - {"none", ""}))

    @property
    def summary(self) -> str:
        """How much was compared on how much, in a line."""
        parts = [counted(len(self.subjects), "subject"), counted(self.seeds, "seed")]
        parts += [counted(self.images, "image")] if self.images else []
        return " · ".join([*parts, self.units] if self.units else parts)

    def values(self, subject: str, metric: str, part: str = "") -> NDArray[np.float64]:
        """(S, 3) value, low and high of a subject, one row per seed in order; no rows where nothing was measured."""
        return self._by_score.get((subject, metric, part), np.empty((0, 3)))

    @cached_property
    def _by_score(self) -> dict[tuple[str, str, str], NDArray[np.float64]]:
        """Values by subject, metric and part: a grid asks for thousands, and searching all for each takes minutes."""
        facts = self.facts.sort_values("seed", kind="stable")
        numbers = facts[["value", "low", "high"]].to_numpy(dtype=np.float64)
        keys = zip(facts["subject"], facts["metric"], facts["part"], strict=True)
        places: dict[tuple[str, str, str], list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        return {key: numbers[of_key] for key, of_key in places.items()}


def make_panels(evidence: Evidence) -> list[Panel]:
    """One panel per cohort and split, in the order in which they were measured."""
    facts = _judged(evidence)
    pairs = list(dict.fromkeys(zip(facts["cohort"], facts["split"], strict=True)))
    return [_make_panel(evidence, cohort, split, alone=len(pairs) == 1) for cohort, split in pairs]


def _make_panel(evidence: Evidence, cohort: str, split: str, alone: bool) -> Panel:
    facts = _judged(evidence)
    facts = facts[(facts["cohort"] == cohort) & (facts["split"] == split)]
    comparisons, ranks = (
        _rows_of(evidence.tables.get(name, pd.DataFrame()), cohort, split, alone)
        for name in ("comparisons", "ranks")
    )
    tuned = evidence.tables.get("selection_performance", pd.DataFrame({"cohort": []}))
    main = _main_score(facts, comparisons, ranks, tuned[tuned["cohort"] == cohort])
    classes = evidence.tables.get(f"classes/{cohort}", pd.DataFrame({"index": [], "name": []}))
    return Panel(
        cohort=cohort,
        split=split,
        facts=facts,
        main=main,
        subjects=_best_first(facts, main),
        predictions=_seeded_tables(evidence, "predictions", cohort, split, alone),
        scores=_seeded_tables(evidence, "scores", cohort, split, alone),
        classes=tuple(classes.sort_values("index")["name"].astype(str)),
        comparisons=comparisons,
    )


def _judged(evidence: Evidence) -> pd.DataFrame:
    """Facts without those that the rule 'oracle' chose, where the same subject has others, or is of a grid."""
    facts = evidence.facts
    oracle = facts["selection"] == "oracle"
    twins = set(facts.loc[~oracle, "subject"])
    twins |= (
        set(evidence.tables["grid"]["subject"]) if "subject" in evidence.tables.get("grid", ()) else set()
    )
    return facts[~(oracle & facts["subject"].isin(twins))]


def _main_score(facts: pd.DataFrame, *tables: pd.DataFrame) -> str:
    """The score that comparisons were made by, or ranks, or sources judged; otherwise the first that is known."""
    names = set(facts["metric"])
    for table in tables:
        if "metric" in table and len(table) and table["metric"].iloc[0] in names:
            return str(table["metric"].iloc[0])
    whole = set(facts.loc[facts["part"] == "", "metric"])
    return in_order(whole or names)[0]


def _best_first(facts: pd.DataFrame, main: str) -> tuple[str, ...]:
    subjects = list(dict.fromkeys(facts["subject"]))
    chosen = facts[(facts["metric"] == main) & (facts["part"] == "")]
    means = chosen.groupby("subject")["value"].mean()
    lower_is_better = describe_score(main).higher_is_better is False

    def rank(subject: str) -> float:
        value = float(means.get(subject, np.nan))
        return np.inf if np.isnan(value) else value if lower_is_better else -value

    return tuple(sorted(subjects, key=rank))


def _seeded_tables(
    evidence: Evidence, kind: str, cohort: str, split: str, alone: bool
) -> dict[str, dict[int, pd.DataFrame]]:
    found: dict[str, dict[int, pd.DataFrame]] = {}
    for name, table in evidence.tables.items():
        match = SEEDED.fullmatch(name)
        if match is None or match["kind"] != kind:
            continue
        rows = _rows_of(table, cohort, split, alone)
        if len(rows):
            # columns of other cohorts' classes are empty here
            found.setdefault(match["subject"], {})[int(match["seed"])] = rows.dropna(axis=1, how="all")
    return found


def _rows_of(table: pd.DataFrame, cohort: str, split: str, alone: bool) -> pd.DataFrame:
    """Rows about this cohort and split; a table that does not tell belongs to the only one there is."""
    if "cohort" not in table:
        return table if alone else table.head(0)
    rows = table[table["cohort"] == cohort]
    return rows[rows["split"] == split] if "split" in rows else rows
