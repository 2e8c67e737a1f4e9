"""Selections of sources, ready for the template."""

from __future__ import annotations

from typing import NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.grids.grid import Grid
from medgraft.reports.grids.sites import budget_text
from medgraft.reports.ranking.titles import TITLES
from medgraft.reports.selection.costs import ScoreCost, Silence, score_costs, silences
from medgraft.reports.selection.dots import DotTable
from medgraft.reports.selection.own_sources import OwnSources, own_sources
from medgraft.reports.selection.performance import performance_table
from medgraft.reports.selection.regret import ChoiceTable, Regret, choices, regrets, rule_title
from medgraft.reports.selection.reliability import Reliability, agreement_of_seeds, reliabilities
from medgraft.reports.selection.source_selection import ALL, ALWAYS, Selection, read_selections
from medgraft.reports.selection.summary import summary_sentences
from medgraft.reports.selection.taus import TauTable, ablation, ablation_sentence, tau_table
from medgraft.reports.wording import Score, counted, describe_score


class SelectionView(NamedTuple):
    """What a report says about choosing the source at one label budget.

    label: of the score of the test. always: the rule of the baseline, empty without one. unread: targets where the
    order of sources is chance.
    """

    anchor: str
    title: str
    summary: str
    sentences: list[str]
    label: str
    seeds: int
    targets: int
    always: str
    unread: list[str]
    reliability: list[Reliability]
    reliability_sentence: str
    performance: DotTable
    has_own: bool
    taus: TauTable
    silences: list[Silence]
    ablation: DotTable | None
    ablation_sentence: str
    regrets: list[Regret]
    choices: ChoiceTable
    own: OwnSources | None
    costs: list[ScoreCost]


class SelectionsView(NamedTuple):
    """One block for each budget."""

    blocks: list[SelectionView]
    glossary: list[Score]


def make_selections_view(evidence: Evidence, grid: Grid | None) -> SelectionsView:
    """Every selection that evidence holds; `grid` tells what its budgets are."""
    selections = read_selections(evidence)
    blocks = []
    for number_of, selection in enumerate(selections, 1):
        several = f" with {_budget(selection, grid)}" if len(selections) > 1 else ""
        blocks.append(_make_view(selection, grid, f"selection-{number_of}", f"Choosing the source{several}"))
    shown = {name for selection in selections for name in selection.names}
    return SelectionsView(blocks, [title for name, title in TITLES.items() if name in shown])


def _make_view(selection: Selection, grid: Grid | None, anchor: str, title: str) -> SelectionView:
    terms = ablation(selection)
    sources = selection.performance.groupby("source")["own"].all()
    parts = [counted(int((~sources).sum()), "source")]
    parts += [f"{int(sources.sum())} more trained on the target itself"] if sources.any() else []
    parts += [counted(len(selection.targets), "target"), counted(len(selection.names), "score")]
    parts += [counted(selection.seeds, "seed"), _budget(selection, grid)]
    return SelectionView(
        anchor=anchor,
        title=title,
        summary=" · ".join(parts),
        sentences=summary_sentences(selection),
        label=describe_score(selection.metric).label,
        seeds=selection.seeds,
        targets=len(selection.targets),
        always=rule_title(f"{ALWAYS}{selection.baseline}") if selection.baseline else "",
        unread=selection.unreadable,
        reliability=reliabilities(selection),
        reliability_sentence=agreement_of_seeds(selection),
        performance=performance_table(selection),
        has_own=bool(selection.performance["own"].any()),
        taus=tau_table(selection),
        silences=silences(selection),
        ablation=terms,
        ablation_sentence=ablation_sentence(selection) if terms is not None else "",
        regrets=regrets(selection),
        choices=choices(selection),
        own=own_sources(selection),
        costs=score_costs(selection),
    )


def _budget(selection: Selection, grid: Grid | None) -> str:
    """How much of the targets was labelled, in words."""
    if grid is not None:
        cells = grid.cells[grid.cells["budget"] == selection.budget]
        if len(cells):
            return budget_text(cells)
    return "all labels" if selection.budget == ALL else counted(selection.budget, "label")
