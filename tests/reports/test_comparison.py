from __future__ import annotations

import statistics

import numpy as np
import pandas as pd
import pytest

from medgraft.evidence import Evidence, fact
from medgraft.reports.comparison import (
    Scale,
    interval_strips,
    make_cell,
    part_tables,
    score_table,
    unit_strips,
)
from medgraft.reports.panels import Panel, make_panels


def panel(
    scores: dict[str, list[float]],
    half: float = 0.05,
    metric: str = "auroc",
    tables: dict[str, pd.DataFrame] | None = None,
) -> Panel:
    rows = [
        fact(subject=s, cohort="Porto", metric=metric, seed=seed, value=v, low=v - half, high=v + half)
        for s, values in scores.items()
        for seed, v in enumerate(values)
    ]
    (made,) = make_panels(Evidence(pd.DataFrame(rows), tables=tables or {}))
    return made


def test_a_cell_is_the_mean_over_seeds_with_their_spread() -> None:
    values = [0.71, 0.78, 0.69]
    cell = make_cell(panel({"a": values}), "a", "auroc")
    assert cell is not None
    assert cell.value == pytest.approx(statistics.mean(values))
    assert cell.spread == pytest.approx(statistics.stdev(values))
    assert (cell.low, cell.high) == pytest.approx((cell.value - 0.05, cell.value + 0.05))


def test_undefined_seeds_are_left_out_and_one_seed_has_no_spread() -> None:
    cell = make_cell(panel({"a": [0.7, float("nan")]}), "a", "auroc")
    assert cell is not None and cell.value == 0.7 and np.isnan(cell.spread) and cell.spread_shown == ""
    assert make_cell(panel({"a": [0.7]}), "b", "auroc") is None


def test_subjects_come_best_first_and_undefined_ones_last() -> None:
    scores = {"low": [0.5], "undefined": [float("nan")], "high": [0.9]}
    assert panel(scores).subjects == ("high", "low", "undefined")
    assert panel(scores, metric="brier").subjects == ("low", "high", "undefined")


@pytest.mark.parametrize(
    ("metric", "half", "winner"),
    [("auroc", 0.05, "a"), ("auroc", 0.2, None), ("brier", 0.05, "b"), ("unheard_of", 0.01, None)],
)
def test_only_a_score_whose_interval_lies_apart_is_marked(
    metric: str, half: float, winner: str | None
) -> None:
    table = score_table(panel({"a": [0.9], "b": [0.6]}, half, metric))
    marked = [subject for subject, (cell,) in table.rows if cell is not None and cell.stands_out]
    assert marked == ([winner] if winner else [])


def test_nothing_is_marked_where_a_subject_has_no_interval() -> None:
    rows = [
        fact(subject="a", cohort="c", metric="auroc", value=0.9, low=0.85, high=0.95),
        fact(subject="b", cohort="c", metric="auroc", value=0.5),
        fact(subject="d", cohort="c", metric="auroc", value=0.4, low=0.3, high=0.5),
    ]
    (made,) = make_panels(Evidence(pd.DataFrame(rows)))
    assert not any(cell.stands_out for _, (cell,) in score_table(made).rows if cell)


def test_strips_stand_where_the_axis_says() -> None:
    strips = interval_strips(panel({"a": [0.8, 0.82], "b": [0.5, 0.5]}))
    assert strips is not None and strips.reference is None
    (left, first), (right, last) = strips.ticks[0], strips.ticks[-1]
    assert (left, right) == (0, 100)

    def value(place: float) -> float:
        return float(first) + place / 100 * (float(last) - float(first))

    for strip in strips.strips:
        assert value(strip.value) == pytest.approx(strip.cell.value, abs=1e-3)
        assert strip.low is not None and value(strip.low) == pytest.approx(strip.cell.low, abs=1e-3)
        assert [value(dot) for dot in strip.dots] == pytest.approx(list(strip.cell.seeds), abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 0.5), (0, 1), (-0.2, 0.31), (0.742, 0.748), (3, 4000), (0.1, 0.9)]
)
def test_a_scale_encloses_its_values_with_few_round_ticks(low: float, high: float) -> None:
    scale = Scale(low, high)
    assert 2 <= len(scale.ticks) <= 9
    assert 0 <= scale.place(low) <= scale.place(high) <= 100
    assert len({text for _, text in scale.ticks}) == len(scale.ticks)


def test_unit_strips_average_over_parts_and_seeds() -> None:
    first = pd.DataFrame({"unit": [0, 0, 1], "dice": [0.2, 0.4, 0.9]})
    second = pd.DataFrame({"unit": [0, 0, 1], "dice": [0.4, 0.6, np.nan]})
    made = panel({"a": [0.5, 0.6]}, metric="dice", tables={"scores/a/0": first, "scores/a/1": second})
    strips = unit_strips(made)
    assert strips is not None
    assert (strips.strips[0].cell.low, strips.strips[0].cell.high) == pytest.approx((0.4, 0.9))
    assert len(strips.strips[0].dots) == 2


def surface_panel(undefined: list[int], values: list[float], parts: tuple[str, ...] = ("liver",)) -> Panel:
    rows = [
        fact(
            subject=subject, cohort="Porto", metric=metric, part=part, seed=seed, value=value, low=0, high=30
        )
        for subject in ("a", "b")
        for metric in ("hd95_mm", "surface_dice_2mm")
        for part in ("", *parts)
        for seed, value in enumerate(values)
    ]
    table = pd.DataFrame(
        {"unit": [0, 1] * len(parts), "part": np.repeat(parts, 2), "images": 20, "undefined": 0}
    )
    tables = {
        f"scores/a/{seed}": table.assign(undefined=[count] + [0] * (len(table) - 1))
        for seed, count in enumerate(undefined)
    }
    (made,) = make_panels(Evidence(pd.DataFrame(rows), tables=tables))
    return made


def test_a_distance_tells_how_often_it_is_undefined_seeds_added() -> None:
    made = surface_panel([3, 1], [4.126, 5.0])
    cell = make_cell(made, "a", "hd95_mm")
    assert cell is not None and cell.undefined == "undefined for 4 of 80"
    assert cell.shown == "4.56" and cell.interval == "0.00 to 30.00"
    share = make_cell(made, "a", "surface_dice_2mm")
    assert share is not None and share.undefined == "" and share.shown == "4.563"
    none = make_cell(surface_panel([0], [4.0]), "a", "hd95_mm")
    assert none is not None and none.undefined == ""
    always = make_cell(surface_panel([40], [float("nan")]), "a", "hd95_mm")
    assert always is not None and (always.shown, always.undefined) == ("undefined", "undefined for 40 of 40")


def test_a_class_counts_its_own_undefined_distances() -> None:
    made = surface_panel([2], [4.0], parts=("liver", "tumour"))
    told = [make_cell(made, "a", "hd95_mm", part) for part in ("", "liver", "tumour")]
    assert [cell.undefined for cell in told if cell] == ["undefined for 2 of 80", "undefined for 2 of 40", ""]


def test_a_single_class_is_not_shown_twice() -> None:
    assert part_tables(surface_panel([0], [4.0])) == []
    two = part_tables(surface_panel([0], [4.0], parts=("liver", "tumour")))
    assert [name for name, _ in two] == ["surface Dice at 2 mm", "HD95 (mm)"]


def test_the_smaller_distance_comes_first_and_wins() -> None:
    made = panel({"far": [9.0], "near": [1.0]}, metric="hd95_mm")
    assert made.subjects == ("near", "far")
    marked = [subject for subject, (cell,) in score_table(made).rows if cell is not None and cell.stands_out]
    assert marked == ["near"]
