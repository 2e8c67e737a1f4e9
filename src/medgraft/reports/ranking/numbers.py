"""Rankings of sources as plain data, for the report's JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medgraft.evidence import Evidence
from medgraft.reports.panels import Panel
from medgraft.reports.ranking.leaders import Realised, realised
from medgraft.reports.ranking.projections import projection_numbers
from medgraft.reports.ranking.published_regret import COLUMNS, read_regret
from medgraft.reports.ranking.source_ranking import NUMBERS, WHICH, SourceRanking, read_rankings

Plain = dict[str, Any]


def ranking_numbers(evidence: Evidence, panels: Sequence[Panel]) -> list[Plain]:
    """Every ranking with its scores, their agreement and what fine-tuning showed."""
    return [
        _ranking(ranking, realised(ranking, panels)) | {"projections": projection_numbers(evidence, ranking)}
        for ranking in read_rankings(evidence)
    ]


def regret_numbers(evidence: Evidence) -> list[Plain]:
    """What published scores are expected to cost, in AUC from 0 to 1."""
    return [{name: row[name] for name in COLUMNS} for row in read_regret(evidence).to_dict("records")]


def _ranking(ranking: SourceRanking, found: Realised | None) -> Plain:
    columns = {name: ranking.of(name).to_dict("index") for name in ranking.names}
    return {
        "cohort": ranking.cohort,
        "seed": ranking.seed,
        "decides": ranking.decides or None,
        "images": ranking.images or None,
        "unit": ranking.unit,
        "sources": [
            {
                "source": source,
                "pass_seconds": ranking.passes.get(source, math.nan),
                "scores": [
                    {"score": name, "reason": _text(column[source]["reason"])}
                    | {number: column[source][number] for number in NUMBERS}
                    for name, column in columns.items()
                ],
            }
            for source in ranking.sources
        ],
        "agreement": [
            {name: row[name] for name in ("score", "other", "tau", "sources")}
            for row in ranking.agreement.to_dict("records")
        ],
        "realised": None if found is None else _realised(ranking, found),
    }


def _realised(ranking: SourceRanking, found: Realised) -> Plain:
    measured = {name: value for name, value in ranking.reliability.items() if name not in (*WHICH, "metric")}
    return {
        "metric": found.metric,
        "reliability": measured or None,
        "leaders": [
            {
                "source": leader.source, "value": leader.cell.value, "low": leader.cell.low, "high": leader.cell.high,
                "seeds": list(leader.cell.seeds),
            }
            for leader in found.leaders
        ],
        "choices": [choice._asdict() for choice in found.choices],
        "lines": [
            {
                "score": fit.score, "sources": len(fit.leaders), "slope": fit.line.slope,
                "correlation": fit.line.correlation,
            }
            for fit in found.fits
            if fit.line is not None
        ],
    }  # fmt: skip


def _text(reason: object) -> str:
    return reason if isinstance(reason, str) else ""
