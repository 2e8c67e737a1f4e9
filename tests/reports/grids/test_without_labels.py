"""The page of a site without labels, against numbers worked by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.reports.schema_check import problems
from tests.reports.test_report import Page

from medgraft.evidence import Evidence, fact
from medgraft.reports import report_numbers
from medgraft.reports.grids.gains import gains
from medgraft.reports.grids.grid import read_grid
from medgraft.reports.grids.without_labels import WithoutLabels, without_labels
from medgraft.reports.numbers import SCHEMA_FILE
from medgraft.reports.panels import make_panels
from medgraft.reports.report import make_page

SUBJECTS = {  # method, role, budget, labelled images, seconds
    "no adaptation": ("no adaptation", "baseline", 0, 0, 1.0),
    "AdaBN": ("AdaBN", "method", 0, 0, 30.0),
    "AIVA": ("AIVA", "method", 0, 0, 600.0),
    "full fine-tuning, 2 patients": ("full fine-tuning", "baseline", 2, 12, 60.0),
    "full fine-tuning, all patients": ("full fine-tuning", "upper bound", -1, 96, 90.0),
}
SCORES = {  # no adaptation, AdaBN, AIVA, 2 patients, all
    "Porto": (0.60, 0.70, 0.80, 0.82, 0.90),
    "Lyon": (0.85, 0.80, 0.86, 0.85, 0.91),
}
HOME = 0.90
INTERVALS = {("AdaBN", "Porto"): (0.05, 0.15), ("AdaBN", "Lyon"): (-0.08, -0.02),
             ("AIVA", "Porto"): (0.12, 0.28), ("AIVA", "Lyon"): (-0.01, 0.03)}  # fmt: skip


def evidence(
    metric: str = "dice",
    sign: int = 1,
    offset: float = 0.0,
    statistics: bool = True,
    scores_at: dict[str, tuple[float, ...]] = SCORES,
) -> Evidence:
    """One source, one seed; `sign` and `offset` make errors of the scores."""
    facts, cells = [], []
    for cohort, scores in scores_at.items():
        for (subject, (method, role, budget, images, seconds)), score in zip(
            SUBJECTS.items(), scores, strict=True
        ):
            value = offset + sign * score
            home = offset + sign * HOME
            told = {"subject": subject, "metric": metric, "seed": 0, "n": 9, "unit": "patients"}
            facts.append(fact(cohort=cohort, value=value, low=value - 0.02, high=value + 0.02, **told))
            facts.append(
                fact(cohort="Basel", split=f"test after {cohort}", value=home, low=home, high=home, **told)
            )
            cells.append(
                {
                    "subject": subject, "method": method, "source": "unet", "source_cohort": "Basel",
                    "cohort": cohort, "budget": budget, "budget_by": "patient", "labelled_images": images,
                    "seed": 0, "role": role, "selection": "none", "state": "finished", "error": "", "tried": 1,
                    "settings": "{}", "seconds": seconds, "peak_mib": 900.0, "gpu_seconds": np.nan,
                }
            )  # fmt: skip
    told = [
        {
            "subject": subject, "reference": "no adaptation", "cohort": cohort, "split": "test", "metric": metric,
            "difference": sign * sum(ends) / 2, "low": min(sign * end for end in ends),
            "high": max(sign * end for end in ends), "n": 9, "seeds": 1, "p": 0.01, "test": "permutation",
        }
        for (subject, cohort), ends in INTERVALS.items()
    ]  # fmt: skip
    tables = {"grid": pd.DataFrame(cells), "comparisons": pd.DataFrame(told)}
    if statistics:
        layers = [("a", 0.1, "Porto"), ("b", 0.3, "Porto"), ("a", 0.02, "Lyon"), ("b", 0.04, "Lyon")]
        tables["batch_statistics/AdaBN/0"] = pd.DataFrame(layers, columns=["layer", "divergence", "cohort"])
    return Evidence(pd.DataFrame(facts), tables=tables)


def view(made: Evidence) -> WithoutLabels | None:
    grid = read_grid(made)
    assert grid is not None
    return without_labels(made, grid, make_panels(made))


def told(made: Evidence) -> dict[tuple[str, str], Any]:
    grid = read_grid(made)
    assert grid is not None
    return {(one.subject, one.cohort): one for one in gains(made, grid, make_panels(made))}


def test_gains_are_over_the_same_source_and_drops_are_from_its_own_site() -> None:
    found = told(evidence())
    assert len(found) == 8  # no adaptation gains nothing over itself
    one = found["AdaBN", "Porto"]
    assert (one.before, one.after, one.gain) == pytest.approx((0.6, 0.7, 0.1))
    assert one.drop == pytest.approx(0.3) and one.distance == pytest.approx(0.2)
    assert found["AdaBN", "Lyon"].distance == pytest.approx(0.03)
    assert np.isnan(found["AIVA", "Porto"].distance)
    verdicts = {key: one.verdict for key, one in found.items() if one.method in ("AdaBN", "AIVA")}
    assert verdicts == {
        ("AdaBN", "Porto"): "better", ("AdaBN", "Lyon"): "worse",
        ("AIVA", "Porto"): "better", ("AIVA", "Lyon"): "",
    }  # fmt: skip


def test_where_less_is_better_everything_is_turned_round() -> None:
    scores, errors = told(evidence()), told(evidence("ece", -1, 1.0))
    for key, one in scores.items():
        other = errors[key]
        assert other.after == pytest.approx(1 - one.after)
        assert (other.gain, other.drop) == pytest.approx((one.gain, one.drop))
        assert other.verdict == one.verdict


def test_sentences_say_when_methods_helped_and_did_harm() -> None:
    found = view(evidence())
    assert found is not None
    assert found.sentences == [
        "AdaBN helped in 1 and did harm in 1 of 2 pairs of source and target; Dice changed by +0.025 on average. "
        "It did most harm (\N{MINUS SIGN}0.050) from Basel to Lyon.",
        "AIVA helped in 1 and was not told apart from no adaptation in 1 of 2 pairs of source and target; "
        "Dice changed by +0.105 on average.",
        "With all labels of the target, full fine-tuning changed it by +0.180.",
    ]


def test_without_intervals_nothing_is_said_to_be_shown() -> None:
    made = evidence()
    tables = {name: table for name, table in made.tables.items() if name != "comparisons"}
    found = view(Evidence(made.facts, tables=tables))
    assert found is not None
    assert found.sentences[0] == (
        "AdaBN changed Dice by +0.025 on average over 2 pairs of source and target; there are no intervals."
    )
    assert all(cell is not None and not cell.verdict for pair in found.pairs for cell in pair.cells)


def test_pairs_come_by_severity_with_the_time_of_methods() -> None:
    found = view(evidence())
    assert found is not None
    assert found.methods == [("AdaBN", "30 s"), ("AIVA", "10 min 0 s")]
    assert [(pair.home, pair.cohort, pair.drop) for pair in found.pairs] == [
        ("Basel", "Porto", "0.300"), ("Basel", "Lyon", "0.050"),
    ]  # fmt: skip
    porto, lyon = found.pairs
    assert (porto.before.shown, porto.before.share) == ("0.600", 0.0)  # the lowest of all
    assert porto.cells[1] is not None and porto.cells[1][:3] == ("0.800", "+0.200", "better")
    assert lyon.cells[1] is not None and lyon.cells[1].share == 1.0
    errors = view(evidence("ece", -1, 1.0))
    assert errors is not None
    assert errors.pairs[0].before.share == pytest.approx(0.0)  # darker is better there, too


def test_a_missing_cell_is_a_dash_and_its_method_has_no_mean_over_pairs() -> None:
    made = evidence()
    grid = made.tables["grid"]
    lacking = grid[~((grid["subject"] == "AIVA") & (grid["cohort"] == "Lyon"))]
    found = view(Evidence(made.facts, tables=made.tables | {"grid": lacking}))
    assert found is not None and found.pairs[1].cells[1] is None
    assert found.price is not None
    assert [strip.subject for strip in found.price.strips] == [
        "AdaBN, no labels", "full fine-tuning, 2 patients", "full fine-tuning, all labels",
    ]  # fmt: skip


def test_from_four_pairs_on_mild_and_severe_shifts_are_told_apart() -> None:
    four = {"A": (0.9, 0.8, 0.9, 0.9, 0.9), "B": (0.8, 0.8, 0.7, 0.9, 0.9), "C": (0.5, 0.7, 0.9, 0.9, 0.9),
            "D": (0.3, 0.5, 0.3, 0.9, 0.9)}  # fmt: skip
    found = view(evidence(scores_at=four))
    assert found is not None
    # falls of 0, 0.1, 0.4 and 0.6; gains of -0.1, 0, 0 and -0.1 below their middle, 0.2, 0.4, 0.2 and 0 above
    assert found.sentences[-2] == (
        "Where the source had fallen by at most 0.250, methods without labels changed it by \N{MINUS SIGN}0.050 on "
        "average, where it had fallen further by +0.200."
    )
    three = {name: four[name] for name in "ABC"}
    other = view(evidence(scores_at=three))
    assert other is not None and not any(line.startswith("Where") for line in other.sentences)


def test_the_price_of_no_labels_is_a_mean_over_pairs() -> None:
    found = view(evidence())
    assert found is not None and found.price is not None
    means = {strip.subject: strip.cell.value for strip in found.price.strips}
    assert means == pytest.approx(
        {
            "AdaBN, no labels": 0.025, "AIVA, no labels": 0.105,
            "full fine-tuning, 2 patients": 0.11, "full fine-tuning, all labels": 0.18,
        }
    )  # fmt: skip
    assert all(len(strip.dots) == 2 for strip in found.price.strips)


def test_charts_show_gain_by_severity_and_by_statistics_where_recorded() -> None:
    found = view(evidence())
    assert found is not None
    severity, statistics = found.charts
    assert severity.description == (
        "AdaBN 0.300: +0.100, 0.050: \N{MINUS SIGN}0.050; AIVA 0.300: +0.200, 0.050: +0.010."
    )
    assert statistics.description == "AdaBN 0.200: +0.100, 0.030: \N{MINUS SIGN}0.050."
    without = view(evidence(statistics=False))
    assert without is not None and len(without.charts) == 1


def pictures() -> Evidence:
    lines = [
        {
            "cohort": "Porto", "source": "unet", "subject": subject, "unit": 4, "row": 17, "slice": "3 of 9",
            "scores": "Dice 0.50, surface Dice 0.25", "why": "worst without adaptation",
            "image": f"patients/{subject}",
        }
        for subject in ("no adaptation", "AdaBN")
    ]  # fmt: skip
    images = {str(line["image"]): np.zeros((8, 8, 3), np.uint8) for line in lines}
    return Evidence(tables={"patient_pictures": pd.DataFrame(lines)}, images=images)


def test_the_page_has_a_section_with_patients_and_its_numbers_follow_the_schema() -> None:
    made = evidence() + pictures()
    page = Page(make_page(made, images=True, title="x"))
    for words in ("A new site without labels", "The price of having no labels", "Before and after"):
        assert words in page.text
    assert "Unit 4 of Porto, row 17, slice 3 of 9" in page.text and "Recorded on the way" not in page.text
    bare = Page(make_page(made, images=False, title="x"))
    assert "Before and after" not in bare.text and "2 pictures of the evidence are left out" in bare.text
    numbers = report_numbers(made)
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    assert problems(numbers, schema, schema) == []
    assert len(numbers["grid"]["gains"]) == 8 and numbers["grid"]["gains"][0]["drop"] == pytest.approx(0.3)


def test_a_grid_whose_methods_all_had_labels_has_no_such_section() -> None:
    made = evidence()
    grid = made.tables["grid"]
    labelled = made.tables | {"grid": grid[grid["role"] != "method"]}
    assert view(Evidence(made.facts, tables=labelled)) is None
