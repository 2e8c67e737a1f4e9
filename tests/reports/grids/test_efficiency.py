from __future__ import annotations

from dataclasses import replace

import pytest
from tests.reports.grid_evidence import ERROR, grid_evidence
from tests.reports.grids.test_ranking import at

from medgraft.reports.grids.charts import Stretched, curve_keys
from medgraft.reports.grids.efficiency import cost_against_gain, label_efficiency


def mean(evidence, subject: str, cohort: str = "Porto") -> float:
    chosen = evidence.facts[
        (evidence.facts["subject"] == subject) & (evidence.facts["cohort"] == cohort)
        & (evidence.facts["selection"] != "oracle")
    ]  # fmt: skip
    return float(chosen["value"].mean())


def test_curves_hold_every_budget_and_lines_the_subjects_without() -> None:
    evidence = grid_evidence()
    (found,) = label_efficiency(*at(evidence, "Porto"))
    assert found.band == "interval"
    assert [curve.method for curve in found.curves] == [
        "full fine-tuning",
        "first_blocks",
        "head_then_all",
        "linear_probe",
    ]
    assert [point.labelled_images for point in found.curves[0].points] == [24, 96, 384]
    names = [level.subject for level in found.levels]
    assert names == ["no adaptation", "full fine-tuning, all patients"]
    point = found.curves[2].points[2]
    assert point.value == pytest.approx(mean(evidence, "head_then_all, 64 patients"))
    assert (point.low, point.high) == (pytest.approx(point.value - 0.03), pytest.approx(point.value + 0.025))


def test_without_intervals_bands_run_from_lowest_to_highest_seed() -> None:
    evidence = grid_evidence(intervals=False)
    (found,) = label_efficiency(*at(evidence, "Porto"))
    assert found.band == "seeds"
    seeds = evidence.facts.query(
        "subject == 'first_blocks, 4 patients' and cohort == 'Porto' and selection != 'oracle'"
    )["value"]
    first = found.curves[1].points[0]
    assert (first.low, first.high) == (seeds.min(), seeds.max())


def test_one_seed_without_intervals_has_no_band() -> None:
    (found,) = label_efficiency(*at(grid_evidence(seeds=1, intervals=False), "Porto"))
    assert found.band == "none"


def test_subjects_without_budgets_make_no_curves() -> None:
    evidence = grid_evidence()
    grid = evidence.tables["grid"]
    evidence = replace(evidence, tables=evidence.tables | {"grid": grid[grid["budget"] <= 0]})
    assert label_efficiency(*at(evidence, "Porto")) == []


def test_every_source_has_its_own_curves_by_the_same_names() -> None:
    evidence = grid_evidence(sources=(("unet", "Basel"), ("vit", "Genoa")))
    found = label_efficiency(*at(evidence, "Porto"))
    assert [one.source for one in found] == ["unet", "vit"]
    assert {point.subject for point in found[1].curves[0].points} == {
        f"full fine-tuning from vit, {budget} patients" for budget in (4, 16, 64)
    }


def test_no_two_methods_are_drawn_alike() -> None:
    keys = curve_keys({f"method {index}": index for index in range(36)})
    assert len({key[1:] for key in keys.values()}) == 36
    assert len({key.colour for key in list(keys.values())[:6]}) == 6


def test_gain_is_over_the_same_source_without_adaptation() -> None:
    evidence = grid_evidence()
    spent = {one.subject: one for one in cost_against_gain(*at(evidence, "Lyon"))}
    assert "no adaptation" not in spent
    one = spent["first_blocks, 64 patients"]
    gain = mean(evidence, "first_blocks, 64 patients", "Lyon") - mean(evidence, "no adaptation", "Lyon")
    assert one.gain == pytest.approx(gain)
    seconds = evidence.tables["grid"].query("subject == 'first_blocks, 64 patients' and cohort == 'Lyon'")[
        "seconds"
    ]
    assert one.seconds == pytest.approx(seconds.mean())


def test_a_distance_that_falls_is_a_gain() -> None:
    evidence = grid_evidence()
    facts = evidence.facts.assign(metric="hd95_mm", value=100 * (1 - evidence.facts["value"]))
    evidence = replace(evidence, facts=facts)
    spent = cost_against_gain(*at(evidence, "Porto"))
    assert min(one.gain for one in spent if one.subject == "first_blocks, 64 patients") > 5


def test_failed_cells_cost_and_gain_nothing() -> None:
    evidence = grid_evidence()
    grid = evidence.tables["grid"]
    failed = grid["subject"] == "first_blocks, 4 patients"
    grid = grid.assign(state=grid["state"].mask(failed, "failed"), error=grid["error"].mask(failed, ERROR))
    evidence = replace(evidence, tables=evidence.tables | {"grid": grid})
    assert "first_blocks, 4 patients" not in {
        one.subject for one in cost_against_gain(*at(evidence, "Porto"))
    }


def test_wide_ranges_are_stretched_and_zero_stands_left_of_all() -> None:
    scale = Stretched([0, 4, 16, 64])
    assert scale.logarithmic and scale.place(0) == 0 and scale.place(64) == 1
    assert scale.place(16) - scale.place(4) == pytest.approx(scale.place(64) - scale.place(16))
    narrow = Stretched([10, 20, 30])
    assert not narrow.logarithmic and narrow.place(20) == pytest.approx(0.5)
    assert Stretched([7.0]).round_times() == [7.0]
    assert Stretched([11.0, 124.0]).round_times() == [10, 20, 30, 60, 120]
