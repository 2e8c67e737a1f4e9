from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.reports.grid_evidence import grid_evidence

from medgraft.reports.grids.grid import read_grid
from medgraft.reports.grids.sites import forgetting, site_maps, target_panel
from medgraft.reports.panels import make_panels

SOURCES = (("unet", "Basel"), ("vit", "Genoa"))


def maps_of(evidence, **options: bool):
    grid = read_grid(evidence)
    assert grid is not None
    panels = [target_panel(grid, panel) for panel in make_panels(evidence) if panel.cohort in grid.targets]
    return site_maps(grid, panels, **options)


def test_every_method_has_a_map_of_sources_and_targets_with_its_largest_budget() -> None:
    evidence = grid_evidence(sources=SOURCES)
    maps = {site_map.method: site_map for site_map in maps_of(evidence)}
    assert set(maps) == {"no adaptation", "full fine-tuning", "first_blocks", "head_then_all", "linear_probe"}
    fine = maps["first_blocks"]
    assert fine.budget == "64 patients, 384 labelled images" and fine.targets == ["Porto", "Lyon"]
    assert [name for name, _ in fine.rows] == ["unet", "vit"]
    chosen = evidence.facts.query(
        "subject == 'first_blocks from vit, 64 patients' and cohort == 'Lyon' and selection != 'oracle'"
    )
    assert fine.rows[1][1][1].value == pytest.approx(chosen["value"].mean())
    assert maps["no adaptation"].budget == "no labels"
    assert maps["full fine-tuning"].budget == "all labels, 576 labelled images"


def test_shades_are_on_one_scale_from_worst_to_best() -> None:
    cells = [cell for site_map in maps_of(grid_evidence()) for _, row in site_map.rows for cell in row]
    by_value = sorted(cells, key=lambda cell: cell.value)
    assert by_value[0].share == 0 and by_value[-1].share == 1
    assert [cell.share for cell in by_value] == sorted(cell.share for cell in cells)


def test_all_budgets_are_there_when_asked_for() -> None:
    assert len(maps_of(grid_evidence(), every_budget=True)) == 1 + 4 + 3 * 3


def test_one_source_and_one_target_make_no_map() -> None:
    assert maps_of(grid_evidence(targets=("Porto",))) == []


def test_what_was_not_measured_is_a_gap() -> None:
    evidence = grid_evidence()
    grid = evidence.tables["grid"]
    kept = grid[~((grid["method"] == "first_blocks") & (grid["cohort"] == "Lyon"))]
    evidence = replace(evidence, tables=evidence.tables | {"grid": kept})
    fine = next(site_map for site_map in maps_of(evidence) if site_map.method == "first_blocks")
    gap = fine.rows[0][1][1]
    assert math.isnan(gap.value) and gap.shown == ""


def test_forgetting_compares_with_the_model_before_adaptation() -> None:
    evidence = grid_evidence()
    grid = read_grid(evidence)
    assert grid is not None
    found, other = forgetting(grid, make_panels(evidence))
    assert (found.cohort, found.split, other.split) == ("Basel", "test after Porto", "test after Lyon")
    changes = {row.subject: row.change for row in found.rows}
    # 0.91 before; after 64 patients 0.91 - 0.148, and 0.002 more per seed
    assert changes["first_blocks, 64 patients"] == "−0.146" and "no adaptation" not in changes
    assert all(row.worse for row in found.rows)
    assert found.strips.reference is not None


def test_targets_do_not_rank_what_was_only_measured_for_forgetting() -> None:
    sources = (("unet", "Lyon"),)
    evidence = grid_evidence(sources=sources, targets=("Porto",))
    grid = read_grid(evidence)
    assert grid is not None
    panels = {panel.cohort: panel for panel in make_panels(evidence)}
    assert target_panel(grid, panels["Lyon"]).subjects == ()
    assert len(target_panel(grid, panels["Porto"]).subjects) == 14
