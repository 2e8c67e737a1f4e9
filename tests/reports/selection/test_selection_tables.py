from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.reports.selection_evidence import SOURCES, selection_evidence

from medgraft.ranking.regret import measure_regret
from medgraft.reports.selection.costs import score_costs, silences
from medgraft.reports.selection.performance import (
    best_candidates,
    performance_table,
    performances,
    sources_by_size,
)
from medgraft.reports.selection.regret import choices, lost_where_readable, regrets
from medgraft.reports.selection.reliability import reliabilities
from medgraft.reports.selection.source_selection import Selection, read_selections
from medgraft.reports.selection.taus import ablation, ablation_sentence, tau_table


@pytest.fixture(scope="module")
def selection() -> Selection:
    (found,) = read_selections(selection_evidence())
    return found


def means_of(selection: Selection) -> pd.DataFrame:
    """(sources, targets) of candidates, by pandas."""
    rows = selection.performance[~selection.performance["own"]]
    return rows.pivot_table(index="source", columns="cohort", values="value")


def test_sources_go_by_size_and_unknown_sizes_come_last(selection: Selection) -> None:
    ordered = sources_by_size(selection.performance)
    assert ordered[0] == "random" and ordered[-1] == "a model from the hub"
    sizes = [SOURCES[name][1] for name in ordered if name in SOURCES]
    assert sizes[:-1] == sorted(sizes[:-1]) and np.isnan(sizes[-1])
    notes = {row.name: row.note for row in performance_table(selection).rows}
    assert notes["random"] == "no images" and notes["imagenet"] == "1,281,167 images"
    assert notes["a model from the hub"] == "size unknown"


def test_a_size_that_differs_between_targets_is_shown_as_a_range(selection: Selection) -> None:
    table = selection.performance.copy()
    pooled = table["source"] == "brain slices"
    table.loc[pooled, "size"] = np.where(table.loc[pooled, "cohort"] == "nuclei", 500.0, 700.0)
    rows = performance_table(replace(selection, performance=table)).rows
    assert next(row.note for row in rows if row.name == "brain slices") == "500 to 700 images"


def test_own_sources_are_hollow_and_never_the_best(selection: Selection) -> None:
    table = selection.performance.copy()
    table.loc[table["own"], "value"] += 0.2
    better = replace(selection, performance=table)
    assert best_candidates(better) == pytest.approx(means_of(selection).max().to_dict())
    for row in performance_table(better).rows:
        for dot in row.dots:
            assert dot is None or dot.hollow == row.name.endswith("itself")
            assert dot is None or not (dot.hollow and dot.stands_out)


def test_dots_lie_at_means_lines_at_extreme_seeds_and_the_dashed_line_at_the_best(
    selection: Selection,
) -> None:
    table = performance_table(selection)
    means = means_of(selection)
    places = {row.name: row.dots for row in table.rows}
    for number_of, column in enumerate(table.columns):
        dots = {name: dots[number_of] for name, dots in places.items() if name in means.index}
        assert all(dot is not None and dot.low <= dot.place <= dot.high for dot in dots.values())
        assert column.reference == dots[means[column.name].idxmax()].place
        ordered = sorted(dots, key=lambda name: dots[name].place)
        assert means.loc[ordered, column.name].is_monotonic_increasing
    lesions = places["imagenet"][list(selection.targets).index("lesions")]
    assert lesions is not None and lesions.range.endswith("4 of 5 seeds")
    values = next(
        one for one in performances(selection) if (one.source, one.target) == ("random", "nuclei")
    ).values
    assert places["random"][0].range == f"{min(values):.3f} to {max(values):.3f}"


def test_of_distances_the_lowest_is_the_best(selection: Selection) -> None:
    distances = replace(selection, metric="hd95_mm")
    assert best_candidates(distances) == pytest.approx(means_of(selection).min().to_dict())


def test_bold_is_the_highest_tau_of_a_column_where_its_interval_lies_above_0(selection: Selection) -> None:
    table = tau_table(selection)
    assert table.columns[-2:] == [("lesions", False), ("mean", True)]
    taus = selection.taus.set_index(["cohort", "score"])
    for place, (target, readable) in enumerate(table.columns[:-1]):
        bold = [title for title, cells in table.rows if cells[place].stands_out]
        own = taus.loc[target].dropna(subset="tau").sort_values("tau")
        expected = readable and own["low"].iloc[-1] > 0
        assert len(bold) == expected
        if expected:
            shown = dict(table.rows)[bold[0]][place].shown
            assert shown == f"{own['tau'].iloc[-1]:.2f}"
    weak = replace(selection, taus=selection.taus.assign(low=-0.01))
    assert not any(cell.stands_out for _, cells in tau_table(weak).rows for cell in cells[:-1])


def test_a_score_that_says_nothing_has_no_tau_and_comes_last(selection: Selection) -> None:
    rows = tau_table(selection).rows
    assert {title for title, cells in rows if not any(cell.shown for cell in cells)} == {"LEEP", "SFDA"}
    assert {rows[-1][0], rows[-2][0]} == {"LEEP", "SFDA"}
    means = [float(cells[-1].shown) for _, cells in rows[:-2]]
    assert means == sorted(means, reverse=True)


def test_the_ablation_needs_both_terms_and_a_product(selection: Selection) -> None:
    table = ablation(selection)
    assert table is not None
    assert [row.name for row in table.rows] == ["label predictability", "feature update", "adaptability"]
    assert (
        table.columns[0].reference == 50.0 and [column.readable for column in table.columns].count(False) == 1
    )
    for name in ("label_predictability", "feature_update", "adaptability"):
        others = selection.taus[selection.taus["score"] != name]
        assert ablation(replace(selection, taus=others)) is None
    reverse = selection.taus["score"].replace("adaptability", "adaptability_of_architectures")
    architectures = ablation(replace(selection, taus=selection.taus.assign(score=reverse)))
    assert architectures is not None and architectures.rows[-1].name == "adaptability (architectures)"


def test_the_product_is_counted_as_better_only_above_both_terms_where_that_can_be_read(
    selection: Selection,
) -> None:
    high = {"adaptability": 0.9, "label_predictability": 0.8, "feature_update": 0.1}
    taus = selection.taus.assign(tau=selection.taus["score"].map(high))
    told = ablation_sentence(replace(selection, taus=taus))
    assert (
        told
        == "The tau of the product is higher than those of both terms on 3 of 3 targets that can be read."
    )
    low = taus.assign(
        tau=taus["tau"].mask((taus["score"] == "feature_update") & (taus["cohort"] == "zones"), 0.95)
    )
    assert "on 2 of 3 targets" in ablation_sentence(replace(selection, taus=low))


def test_losses_where_sources_are_told_apart_are_those_of_the_library(selection: Selection) -> None:
    scores = selection.scores[~selection.scores["own"]]
    truth = means_of(selection)[selection.readable]
    for name in ("log_me", "linear_probe", "sfda"):
        table = scores[scores["score"] == name].pivot_table(
            index="source", columns="cohort", values="value", dropna=False
        )
        expected = measure_regret(table[selection.readable], truth, baseline="imagenet")
        assert lost_where_readable(selection, name) == pytest.approx(expected["against_best"].mean())
    assert lost_where_readable(selection, "any source") == pytest.approx(expected["any_source"].mean())
    always = (expected["best"] - truth.loc["imagenet"]).mean()
    assert lost_where_readable(selection, "always imagenet") == pytest.approx(always)


def test_scores_and_rules_stand_in_one_order_the_least_loss_first(selection: Selection) -> None:
    rows = regrets(selection)
    lost = [float(row.best[0]) for row in rows]
    assert lost == sorted(lost) and len(rows) == 10
    assert [row.title for row in rows if row.is_rule] == ["always taking imagenet", "a source drawn blindly"]
    assert next(row for row in rows if row.title.startswith("always")).baseline == ("", "")


def test_choices_tell_what_each_score_gives_away(selection: Selection) -> None:
    table = choices(selection)
    assert [column[0] for column in table.columns] == selection.targets
    known = selection.choices.set_index(["score", "cohort"])
    row = dict(table.rows)["LogME"]
    for (target, _, _, readable), cell in zip(table.columns, row, strict=True):
        expected = known.loc[("log_me", target)]
        assert cell.chosen == expected["chosen"] and cell.readable == readable == (target != "lesions")
        lost = expected["against_best"]
        assert cell.loses == ("the best" if lost == 0 else f"−{lost:.3f}")


def test_costs_are_medians_and_reasons_are_told_once(selection: Selection) -> None:
    rows = score_costs(selection)
    assert rows[0].title == "LogME" and rows[0].median.endswith(" ms")
    seconds = selection.scores.groupby("score")["seconds"].median()
    assert rows[0].median == f"{1000 * seconds.min():.0f} ms"
    assert next(row for row in rows if row.title == "SFDA")[-2:] == (0, 180)
    found = {one.title: one for one in silences(selection)}
    assert set(found) == {"LEEP", "SFDA"} and found["LEEP"].times == 4 * 5
    assert found["LEEP"].where == "nuclei, tissue, zones and lesions"


def test_reliability_is_shown_as_it_was_measured(selection: Selection) -> None:
    rows = {row.target: row for row in reliabilities(selection)}
    measured = selection.reliability.set_index("cohort").loc["nuclei"]
    assert rows["nuclei"].f == f"F(7, 32) = {measured['f']:.1f}" and rows["nuclei"].p == "< 0.001"
    assert rows["nuclei"].seed_sd == f"{measured['seed_sd']:.4f}" and rows["nuclei"].tells_apart
    assert not rows["lesions"].tells_apart and rows["lesions"].seeds == "4"
    (unknown, *_) = reliabilities(replace(selection, reliability=selection.reliability.head(0)))
    assert not unknown.tells_apart and unknown.f == "" and unknown.p == ""
