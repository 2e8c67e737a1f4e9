"""What a grid that ranks sources says: performance and scores of every source, and what the scores are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from medgraft.api.ranking import installed_scorers
from medgraft.benchmarks.plan import Plan, Scored
from medgraft.benchmarks.rows import TARGET
from medgraft.benchmarks.store import Result, Store
from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.ranking.judgement import judge
from medgraft.ranking.rank import combine_terms
from medgraft.ranking.scorers import Scorer, Terms


def judge_scores(plan: Plan, store: Store, results: Mapping[str, Result], facts: pd.DataFrame) -> Evidence:
    """Judge transferability scores of a grid that ranks sources.

    Args:
        plan: of the grid.
        store: holds what scores found.
        results: how cells ended, by key.
        facts: of fine-tuning, under the grid's names.

    Returns: tables "selection_performance" and "selection_scores" of the cells that ended; once all have,
        "selection_reliability" (whether fine-tuning tells the sources of a target apart), "selection_taus",
        "selection_regret", "selection_choices" and "selection_own", or a warning that says why not. Empty for other
        grids.
    """
    if not plan.scored:
        return Evidence.empty()
    performance = _performance(plan, facts)
    scores, own_ranks = _scores(plan, store, results)
    warnings = _failures(plan, results)
    tables = {"selection_performance": performance, "selection_scores": scores}
    assert plan.grid.ranking is not None
    if not all(key in results for key in plan.cells):
        return Evidence(tables=tables, warnings=tuple(warnings))
    parts: dict[str, list[pd.DataFrame]] = {}
    for budget in dict.fromkeys(scored.budget for scored in plan.scored):
        of_budget = [table[table["budget"] == budget] for table in (performance, scores, own_ranks)]
        try:
            judged = judge(*of_budget, baseline=plan.grid.ranking.baseline)
        except DataError as error:
            warnings.append(f"The scores were not judged: {error}")
            continue
        for name, table in judged.items():
            parts.setdefault(f"selection_{name}", []).append(table.assign(budget=budget))
    tables |= {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    return Evidence(tables=tables, warnings=tuple(warnings))


def _failures(plan: Plan, results: Mapping[str, Result]) -> list[str]:
    """A sentence for every source that could not be scored."""
    return [
        f"{scored.source} could not be scored on {scored.cohort}, seed {scored.seed}: "
        + results[scored.key].error.replace(TARGET, scored.cohort)
        for scored in plan.scored
        if scored.key in results and results[scored.key].state == "failed"
    ]


def _performance(plan: Plan, facts: pd.DataFrame) -> pd.DataFrame:
    chosen = facts[(facts["split"] == "test") & (facts["part"] == "") & (facts["selection"] != "oracle")]
    measured = chosen.set_index(["cohort", "subject", "seed", "metric"])["value"].to_dict()
    about = {(scored.cohort, scored.source): scored for scored in plan.scored}
    lines = []
    for row in plan.rows:
        if row.oracle:
            continue
        scored = about[row.cohort, row.source]
        value = measured.get((row.cohort, row.subject, row.seed, row.metric), math.nan)
        lines.append(
            {"cohort": row.cohort, "budget": row.budget, "source": row.source}
            | {"size": math.nan if scored.images is None else float(scored.images), "own": scored.own}
            | {"seed": row.seed, "metric": row.metric, "value": value}
        )
    return pd.DataFrame(lines)


def _scores(plan: Plan, store: Store, results: Mapping[str, Result]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values of all sources; and where each score puts a target's own source among the candidates."""
    lines: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    for place, members in _by_place(plan).items():
        found = {scored: _told(scored, store, results) for scored in members}
        about = dict(zip(("cohort", "budget", "seed"), place))
        for name in members[0].names:
            for value in _values(installed_scorers()[name], found):
                source = value.scored.source
                lines.append(
                    {**about, "source": source, "own": value.scored.own, "score": name, "value": value.value}
                    | {"reason": value.reason, "seconds": value.seconds}
                )
                if value.scored.own:
                    ranks.append({**about, "source": source, "score": name, "rank": value.rank})
    columns = ["cohort", "budget", "seed", "source", "score", "rank"]
    return pd.DataFrame(lines), pd.DataFrame(ranks, columns=columns)


def _by_place(plan: Plan) -> dict[tuple[str, int, int], list[Scored]]:
    places: dict[tuple[str, int, int], list[Scored]] = {}
    for scored in plan.scored:
        places.setdefault((scored.cohort, scored.budget, scored.seed), []).append(scored)
    return places


class _Told(NamedTuple):
    """What one score found in one source: no terms where it is undefined, and why."""

    terms: Terms | None
    reason: str
    seconds: float


class _Value(NamedTuple):
    """A source's value by one score; `rank`, among candidates and itself, of own sources only."""

    scored: Scored
    value: float
    rank: float
    reason: str
    seconds: float


FAILED = _Told(None, "It could not be scored; the warnings tell why.", math.nan)


def _told(scored: Scored, store: Store, results: Mapping[str, Result]) -> dict[str, _Told]:
    """By score; nothing where the cell has not finished."""
    result = results.get(scored.key)
    if result is None or result.state != "finished":
        return {}
    columns = store.evidence(scored.key).tables["terms"][["score", "terms", "reason", "seconds"]]
    return {
        str(score): _Told(tuple(json.loads(terms)) if terms else None, str(reason), float(seconds))
        for score, terms, reason, seconds in columns.itertuples(index=False)
    }


def _values(scorer: Scorer, found: Mapping[Scored, Mapping[str, _Told]]) -> Iterator[_Value]:
    """Candidates are compared among themselves; each own source with the candidates."""
    told = {scored: by_score.get(scorer.name, FAILED) for scored, by_score in found.items()}
    terms = {scored: one.terms for scored, one in told.items() if one.terms is not None}
    candidates = {scored.key: one for scored, one in terms.items() if not scored.own}
    among, why = combine_terms(scorer, candidates)
    for scored, one in told.items():
        rank = math.nan
        if not scored.own:
            value = among.get(scored.key, math.nan)
        else:
            pool = {**candidates, scored.key: terms[scored]} if scored in terms else {}
            values, why = combine_terms(scorer, pool)
            value = values.get(scored.key, math.nan)
            rank = _rank(value, values.values())
        yield _Value(scored, value, rank, one.reason or (why if math.isnan(value) else ""), one.seconds)


def _rank(own: float, values: Collection[float]) -> float:
    """1 is the highest; equal values share their mean rank."""
    if math.isnan(own):
        return math.nan
    return sum(value > own for value in values) + (sum(value == own for value in values) + 1) / 2
