"""Methods that differ in one number: which these are, and the curve against numbers worked by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from tests.reports.test_report import Page

from medgraft.evidence import Evidence, fact
from medgraft.reports.charts import Chart
from medgraft.reports.grids.grid import read_grid
from medgraft.reports.grids.sweeps import find_sweeps, sweep_charts
from medgraft.reports.panels import make_panels
from medgraft.reports.report import make_page


def aiva(clusters: int, **more: Any) -> dict[str, Any]:
    return {"method": "aiva", "settings": {"clusters": clusters, "schedule": {"lr": 3e-4}} | more}


METHODS = {
    "AIVA 12": aiva(12), "AIVA 3": aiva(3), "AIVA 9": aiva(9), "AIVA 9, seeded": aiva(9, seed_target_centres=True),
    "AdaBN": {"method": "ada_bn", "settings": {}},
}  # fmt: skip
SCORES = {"Porto": {3: 0.60, 9: 0.70, 12: 0.72}, "Lyon": {3: 0.58, 9: 0.60, 12: 0.58}}


def evidence(methods: dict[str, Any] = METHODS, lacking: tuple[str, str] = ("", "")) -> Evidence:
    facts, cells = [], []
    for cohort, scores in SCORES.items():
        found = {"no adaptation": 0.5} | {f"AIVA {clusters}": score for clusters, score in scores.items()}
        for subject, score in found.items():
            if (subject, cohort) == lacking:
                continue
            facts.append(fact(subject=subject, cohort=cohort, metric="dice", seed=0, value=score, n=5))
            cells.append(
                {
                    "subject": subject, "method": subject, "source": "unet", "source_cohort": "Basel",
                    "cohort": cohort, "budget": 0, "budget_by": "patient", "labelled_images": 0, "seed": 0,
                    "role": "baseline" if subject == "no adaptation" else "method", "selection": "last",
                    "state": "finished", "error": "", "tried": 1, "settings": "{}", "seconds": 1.0,
                    "peak_mib": 1.0, "gpu_seconds": float("nan"),
                }
            )  # fmt: skip
    about = {"what": "benchmark", "grid": {"methods": methods}}
    return Evidence(pd.DataFrame(facts), (about,), {"grid": pd.DataFrame(cells)})


def charts(made: Evidence) -> list[Chart]:
    grid = read_grid(made)
    assert grid is not None
    return sweep_charts(made, grid, make_panels(made))


def test_a_sweep_is_the_same_method_with_three_values_of_one_number() -> None:
    (found,) = find_sweeps(METHODS)
    assert (found.method, found.setting) == ("aiva", "clusters")
    assert found.methods == [("AIVA 3", 3.0), ("AIVA 9", 9.0), ("AIVA 12", 12.0)]
    nested = {f"{lr}": aiva(5, schedule={"lr": lr, "epochs": 4}) for lr in (1e-3, 1e-4, 1e-5)}
    assert [one.setting for one in find_sweeps(nested)] == ["schedule.lr"]


def test_sources_that_differ_in_one_number_make_a_sweep_too() -> None:
    methods = {
        name: {"method": "fine_tune", "settings": {}, "source": name} for name in ("few", "more", "all")
    }
    trained = {"few": 100, "more": 200, "all": None}
    sources = {
        name: {"model": "random/vit", "train": {"method": "simmim", "settings": {}, "patients": patients}}
        for name, patients in (trained | {"most": 400}).items()
    }  # fmt: skip
    assert find_sweeps(methods, sources) == []  # all patients are no number
    methods["most"] = {"method": "fine_tune", "settings": {}, "source": "most"}
    (found,) = find_sweeps(methods, sources)
    assert found.setting == "source.train.patients"
    assert found.methods == [("few", 100.0), ("more", 200.0), ("most", 400.0)]
    sources["more"]["model"] = "random/resnet"
    assert find_sweeps(methods, sources) == []


@pytest.mark.parametrize(
    "others",
    [
        {"AIVA 3": aiva(3, period=2)},  # differs in two settings
        {"AIVA 3": aiva(9)},  # no third value
        {"AIVA 3": {**aiva(3), "source": "another"}},
        {"AIVA 3": {**aiva(3), "method": "other"}},
        {"AIVA 3": aiva(True)},
    ],
)
def test_other_methods_are_none(others: dict[str, Any]) -> None:
    assert find_sweeps(METHODS | others) == []


def test_the_curve_is_the_mean_gain_over_pairs() -> None:
    (chart,) = charts(evidence())
    # Porto .10 .20 .22, Lyon .08 .10 .08
    assert chart.description == (
        "Gain of aiva by clusters, no labels, mean over pairs of source and target: "
        "3: +0.090, 9: +0.150, 12: +0.150."
    )
    assert chart.caption == "aiva by clusters, no labels: means differ by at most 0.060"


def test_a_value_that_lacks_a_pair_is_left_out() -> None:
    assert charts(evidence(lacking=("AIVA 9", "Lyon"))) == []  # two values make no curve
    assert charts(evidence({"AdaBN": METHODS["AdaBN"]})) == []


def test_the_page_shows_it() -> None:
    page = Page(make_page(evidence(), images=True, title="x"))
    assert "One setting with several values" in page.text and "means differ by at most 0.060" in page.text
