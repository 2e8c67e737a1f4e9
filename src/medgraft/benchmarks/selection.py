"""What a grid that ranks sources says: performance and scores of every source, and what the scores are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from medgraft.api.ranking import installed_scorers
from medgraft.benchmarks.plan import Plan, Scored
from medgraft.benchmarks.store import Result, Store
from medgraft.ranking.judgement import judge
from medgraft.ranking.rank import combine_terms


def judge_scores(
    plan: Plan, store: Store, results: Mapping[str, Result], facts: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Judge transferability scores of a grid that ranks sources.

    Args:
        plan: of the grid.
        store: holds what scores found.
        results: how cells ended, by key.
        facts: of fine-tuning, under the grid's names.

    Returns: tables "selection_performance" and "selection_scores" of the cells that ended; once all have,
        "selection_reliability" (whether fine-tuning tells the sources of a target apart), "selection_taus",
        "selection_regret", "selection_choices" and "selection_own". Empty for other grids.
    """
    if not plan.scored:
        return {}
    performance = _performance(plan, facts)
    scores, own_ranks = _scores(plan, store, results)
    budgets: dict[str, list[pd.DataFrame]] = {}
    tables = {"selection_performance": performance, "selection_scores": scores}
    assert plan.grid.ranking is not None
    if not all(key in results for key in plan.cells):
        return tables
    for budget in dict.fromkeys(scored.budget for scored in plan.scored):
        of_budget = [table[table["budget"] == budget] for table in (performance, scores, own_ranks)]
        for name, table in judge(*of_budget, baseline=plan.grid.ranking.baseline).items():
            budgets.setdefault(f"selection_{name}", []).append(table.assign(budget=budget))
    return tables | {name: pd.concat(parts, ignore_index=True) for name, parts in budgets.items()}


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


def _scores(
    plan: Plan, store: Store, results: Mapping[str, Result]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values of all sources; and where each score puts a target's own source among the candidates."""
    lines: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    for place, members in _by_place(plan).items():
        found = {scored: _terms(scored, store, results) for scored in members}
        about = dict(zip(("cohort", "budget", "seed"), place))
        for name in members[0].names:
            for scored, value, rank in _values(name, found):
                told = found[scored].get(name, {"reason": "Its cell failed.", "seconds": math.nan})
                lines.append(
                    {**about, "source": scored.source, "own": scored.own, "score": name, "value": value}
                    | {"reason": told["reason"], "seconds": told["seconds"]}
                )
                if scored.own:
                    ranks.append({**about, "source": scored.source, "score": name, "rank": rank})
    return pd.DataFrame(lines), pd.DataFrame(ranks, columns=["cohort", "budget", "seed", "source", "score", "rank"])


def _by_place(plan: Plan) -> dict[tuple[str, int, int], list[Scored]]:
    places: dict[tuple[str, int, int], list[Scored]] = {}
    for scored in plan.scored:
        places.setdefault((scored.cohort, scored.budget, scored.seed), []).append(scored)
    return places


def _terms(scored: Scored, store: Store, results: Mapping[str, Result]) -> dict[str, dict[str, Any]]:
    """By score: terms (None where undefined), reason, seconds; empty where the cell has not finished."""
    result = results.get(scored.key)
    if result is None or result.state != "finished":
        return {}
    table = store.evidence(scored.key).tables["terms"]
    return {
        str(line["score"]): {**line, "terms": tuple(json.loads(line["terms"])) if line["terms"] else None}
        for line in table.to_dict("records")
    }


def _values(
    name: str, found: Mapping[Scored, Mapping[str, Mapping[str, Any]]]
) -> Iterator[tuple[Scored, float, float]]:
    """Each source's value, and its rank if it is an own source: candidates among themselves, own ones beside them."""
    scorer = installed_scorers()[name]
    terms = {
        scored: told[name]["terms"] for scored, told in found.items() if name in told and told[name]["terms"]
    }
    candidates = {scored: one for scored, one in terms.items() if not scored.own}
    among, _ = combine_terms(scorer, {scored.key: one for scored, one in candidates.items()})
    for scored in found:
        if not scored.own:
            yield scored, among.get(scored.key, math.nan), math.nan
            continue
        pool = {**candidates, scored: terms[scored]} if scored in terms else {}
        values, _ = combine_terms(scorer, {one.key: own for one, own in pool.items()}) if pool else ({}, "")
        own = values.get(scored.key, math.nan)
        higher = sum(value > own for value in values.values())
        equal = sum(value == own for value in values.values())
        yield scored, own, math.nan if math.isnan(own) else higher + (equal + 1) / 2
