from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.reports.grid_evidence import PATIENTS, grid_evidence
from tests.reports.grids.test_ranking import at
from tests.reports.test_report import HOSTILE, Page

from medgraft.evidence import Evidence, fact
from medgraft.reports.grids.ranking import ranking
from medgraft.reports.grids.violins import SHOWN, make_violin, violins
from medgraft.reports.panels import Panel, make_panels
from medgraft.reports.report import make_page


def measured(by_subject: dict[str, list[float]], metric: str = "dice") -> Panel:
    rows = [
        fact(subject=name, cohort="Porto", metric=metric, value=float(np.nanmean(values)))
        for name, values in by_subject.items()
    ]
    tables = {
        f"scores/{name}/0": pd.DataFrame({"unit": range(len(values)), "part": "brain", metric: values})
        for name, values in by_subject.items()
    }
    (panel,) = make_panels(Evidence(pd.DataFrame(rows), tables=tables))
    return panel


def dots_of(svg: str) -> int:
    """Lines without length: each begins and ends at one place."""
    return len(re.findall(r"M (\S+ \S+)\s+L \1\s", svg.replace('"', " ")))


def test_subjects_stand_in_the_order_of_the_ranking() -> None:
    evidence = grid_evidence()
    grid, panel = at(evidence, "Lyon")
    order = [row.subject for row in ranking(evidence, grid, panel)]
    found = violins(panel, order, "a")
    assert found is not None and found.left_out == 0 and found.score == "Dice"
    assert [one.subject for one in found.violins] == order
    turned = violins(panel, order[::-1], "a")
    assert turned is not None and [one.subject for one in turned.violins] == order[::-1]
    places = [found.chart.svg.index(f">{name}</text>") for name in order]
    assert places == sorted(places)


def test_quartiles_are_those_of_means_over_classes_and_seeds() -> None:
    evidence = grid_evidence()
    table = evidence.tables["scores/first_blocks, 4 patients/0"]
    other_class = table.assign(part="stem", dice=table["dice"] / 2)
    tables = evidence.tables | {"scores/first_blocks, 4 patients/0": pd.concat([table, other_class])}
    _, panel = at(replace(evidence, tables=tables), "Porto")
    found = violins(panel, ["first_blocks, 4 patients"], "a")
    assert found is not None
    by_patient: list[list[float]] = [[] for _ in range(PATIENTS)]
    for name in (f"scores/first_blocks, 4 patients/{seed}" for seed in range(3)):
        for row in tables[name].query("cohort == 'Porto'").to_dict("records"):
            by_patient[row["unit"]].append(row["dice"])
    means = [sum(values) / len(values) for values in by_patient]
    assert {len(values) for values in by_patient} == {4}
    (one,) = found.violins
    assert one.scores == pytest.approx(np.sort(means))
    assert one.quartiles == pytest.approx(np.percentile(means, [25, 50, 75]))
    low, median, high = (f"{value:.3f}" for value in np.percentile(means, [25, 50, 75]))
    assert f">{median}</text>" in found.chart.svg and f">{low} to {high}</text>" in found.chart.svg
    assert f"median {median}, quartiles {low} and {high}, {PATIENTS} scores" in found.chart.description


def test_the_shape_is_a_gaussian_kernel_density_within_the_range_of_the_scores() -> None:
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(3).beta(5, 2, size=40)
    one = make_violin("a", scores)
    assert (one.places[0], one.places[-1]) == (scores.min(), scores.max())
    expected = stats.gaussian_kde(scores)(one.places)
    assert one.density == pytest.approx(expected / expected.max(), rel=1e-9)


@pytest.mark.parametrize(
    "scores",
    [[0.2, 0.5, 0.6, 0.9], [0.7] * 12, [0.7 + step * 2e-16 for step in range(9)], [0.0, 1.0] * 6],
    ids=["four patients", "all alike", "alike but for rounding", "only two scores"],
)
def test_where_a_shape_would_be_invented_there_are_dots_only(scores: list[float]) -> None:
    many = [0.1, 0.2, 0.4, 0.7, 0.8]
    found = violins(measured({"few": scores, "many": many}), ["few", "many"], "a")
    assert found is not None
    few, full = found.violins
    assert len(few.places) == len(few.density) == 0 and len(full.density) > 0
    assert few.quartiles[1] == np.median(scores)
    assert dots_of(found.chart.svg) == len(scores) + len(many)
    alone = violins(measured({"few": scores}), ["few"], "a")
    assert alone is not None and dots_of(alone.chart.svg) == len(scores)
    assert " to " not in alone.chart.svg and "PolyCollection_1" not in alone.chart.svg
    assert "PolyCollection_1" in found.chart.svg and "PolyCollection_2" not in found.chart.svg


def test_dots_of_equal_scores_lie_beside_one_another() -> None:
    found = violins(measured({"a": [0.7] * 12}), ["a"], "a")
    assert found is not None
    places = re.findall(r"M (\S+ \S+)\s+L \1\s", found.chart.svg.replace('"', " "))
    assert len(places) == len(set(places)) == 12 and len({place.split()[0] for place in places}) == 1


def test_undefined_scores_are_left_out_and_counted() -> None:
    gaps = [3.0, np.nan, 5.5, 4.0, 9.25, 7.0, np.nan]
    panel = measured({"whole": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], "gaps": gaps}, "hd95_mm")
    found = violins(panel, ["whole", "gaps"], "a")
    assert found is not None and found.violins[1].scores.tolist() == [3.0, 4.0, 5.5, 7.0, 9.25]
    assert ">gaps (5 of 7)</text>" in found.chart.svg and ">whole</text>" in found.chart.svg
    assert ">5.50</text>" in found.chart.svg  # distances: two digits


def test_subjects_beyond_the_room_are_counted_and_the_page_says_so() -> None:
    random = np.random.default_rng(0)
    names = [f"method {index}" for index in range(SHOWN + 3)]
    found = violins(measured({name: list(random.random(6)) for name in names}), names, "a")
    assert found is not None and found.left_out == 3
    assert [one.subject for one in found.violins] == names[:SHOWN]
    evidence = grid_evidence(sources=(("unet", "Basel"), ("vit", "Genoa")))
    subjects = evidence.tables["grid"].query("cohort == 'Porto'")["subject"].nunique()
    text = Page(make_page(evidence, images=True, title="A grid")).text
    assert f"its last {subjects - SHOWN} are left out" in text


def test_of_classifications_the_share_that_was_right_is_shown() -> None:
    right = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    table = pd.DataFrame(
        {"unit": np.repeat(range(5), 4), "row": range(20), "truth": 1, "predicted": np.ravel(right)}
    )
    facts = pd.DataFrame([fact(subject="a", cohort="Porto", metric="auroc", value=0.5)])
    (panel,) = make_panels(Evidence(facts, tables={"predictions/a/0": table}))
    found = violins(panel, ["a"], "a")
    assert found is not None and found.score == "share of images that were right"
    assert found.violins[0].scores.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_nothing_is_shown_of_one_patient_or_none() -> None:
    assert violins(measured({"a": [0.5], "b": [0.6]}), ["a", "b"], "a") is None
    assert violins(measured({"a": [0.5, 0.7]}), ["b"], "a") is None


def test_names_are_text_however_long_or_hostile() -> None:
    long = "from " + "a source whose name is much too long for one line " * 3 + HOSTILE
    found = violins(measured({long: [0.1, 0.2, 0.5], "b": [0.1, 0.4, 0.5]}), [long, "b"], "a")
    assert found is not None and "<script" not in found.chart.svg
    assert " ".join(long.split()) in " ".join(Page(found.chart.svg).text.split())


def test_the_page_has_them_before_the_hard_patients() -> None:
    evidence = grid_evidence()
    text = Page(make_page(evidence, images=True, title="A grid")).text
    assert text.count("How patients differ") == 2
    assert text.index("How patients differ") < text.index("Hard for every method")
    assert "median and quartiles. Subjects as in the ranking." in text
    tables = {name: table for name, table in evidence.tables.items() if not name.startswith("scores/")}
    assert "How patients differ" not in make_page(
        replace(evidence, tables=tables), images=True, title="A grid"
    )
