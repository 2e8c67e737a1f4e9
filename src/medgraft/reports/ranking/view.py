"""Rankings of sources, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart
from medgraft.reports.grids.charts import Key
from medgraft.reports.panels import Panel
from medgraft.reports.ranking.charts import score_scatters, source_keys
from medgraft.reports.ranking.comparison import (
    Agreement,
    RankStrips,
    ScoreTable,
    Times,
    Undefined,
    agreement_matrix,
    rank_strips,
    score_columns,
    times,
    undefined_scores,
)
from medgraft.reports.ranking.headline import first_sentence, named, other_scores
from medgraft.reports.ranking.leaders import Realised, realised, realised_sentences
from medgraft.reports.ranking.projections import Projections, make_projections
from medgraft.reports.ranking.published_regret import Outlook, outlook, read_regret, regret_sentence
from medgraft.reports.ranking.source_ranking import SourceRanking, read_rankings
from medgraft.reports.ranking.titles import TITLES, score_title
from medgraft.reports.wording import Score, counted, describe_score, number


class Outcome(NamedTuple):
    """What fine-tuning the leaders showed: (score, what it chose, what that gives away), and scatters.

    reliability: how far that tells the leaders apart, in a sentence.
    lines: some chart has a line.
    """

    tuned: int
    seeds: int
    reliability: str
    label: str
    choices: list[tuple[str, str, str]]
    charts: list[Chart]
    legend: list[Key]
    lines: bool


class RankingView(NamedTuple):
    """What a report says about one ranking; `worth` is what else a reader should know of the answer."""

    anchor: str
    title: str
    cohort: str
    summary: str
    headline: list[str]
    worth: list[str]
    unit: str
    table: ScoreTable
    undefined: list[Undefined]
    strips: RankStrips | None
    other_strips: list[RankStrips]
    agreement: Agreement | None
    times: Times
    outcome: Outcome | None
    projections: Projections | None


class RankingsView(NamedTuple):
    """All rankings of the evidence, and what published scores cost."""

    rankings: list[RankingView]
    outlook: Outlook | None
    glossary: list[Score]


def make_rankings_view(evidence: Evidence, panels: Sequence[Panel]) -> RankingsView:
    """Every ranking by itself; `panels` hold the test scores of sources that were fine-tuned."""
    rankings = read_rankings(evidence)
    regret = read_regret(evidence)
    cohorts = [ranking.cohort for ranking in rankings]
    views = []
    for number_of, ranking in enumerate(rankings, 1):
        seed = f", seed {ranking.seed}" if cohorts.count(ranking.cohort) > 1 else ""
        found = realised(ranking, panels)
        told = realised_sentences(ranking, found) if found is not None else []
        others = [rank_strips(ranking, name) for name in ranking.names if name != ranking.decides]
        views.append(
            RankingView(
                anchor=f"ranking-{number_of}",
                title=f"Which source for {ranking.cohort}{seed}",
                cohort=f"{ranking.cohort}{seed}",
                summary=_summary(ranking),
                headline=[first_sentence(ranking), *told],
                worth=[
                    told for told in (other_scores(ranking), regret_sentence(regret, ranking.decides)) if told
                ],
                unit=ranking.unit or "images",
                table=score_columns(ranking),
                undefined=undefined_scores(ranking),
                strips=rank_strips(ranking, ranking.decides),
                other_strips=[strips for strips in others if strips is not None],
                agreement=agreement_matrix(ranking),
                times=times(ranking),
                outcome=_outcome(ranking, found, f"ranking {number_of}") if found is not None else None,
                projections=make_projections(evidence, ranking, f"ranking {number_of}"),
            )
        )
    shown = {name for ranking in rankings for name in ranking.names} | set(regret["score"].astype(str))
    glossary = [title for name, title in TITLES.items() if name in shown]
    return RankingsView(views, outlook(regret, {ranking.decides for ranking in rankings}), glossary)


def _summary(ranking: SourceRanking) -> str:
    parts = [counted(len(ranking.sources), "source"), counted(len(ranking.names), "score")]
    parts += [counted(ranking.images, "labelled image") if ranking.images else ""]
    return " · ".join(part for part in (*parts, f"seed {ranking.seed}") if part)


def _outcome(ranking: SourceRanking, found: Realised, salt: str) -> Outcome:
    keys = source_keys(ranking, found)
    digits = found.leaders[0].cell.digits
    seeds = max(len(leader.cell.seeds) for leader in found.leaders)
    unknown = "How far fine-tuning itself tells these sources apart was not measured."
    return Outcome(
        tuned=len(found.leaders),
        seeds=seeds,
        reliability=str(ranking.reliability.get("sentence", unknown)),
        label=describe_score(found.metric).label,
        choices=[
            (score_title(choice.score), named(choice.chosen), number(choice.regret, digits))
            for choice in found.choices
        ],
        charts=score_scatters(found, keys, salt),
        legend=list(keys.values()),
        lines=any(fit.line is not None for fit in found.fits),
    )
