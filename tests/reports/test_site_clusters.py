"""What the page says of clusters of two sites, against tables made by hand."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from tests.reports.test_report import Page

from medgraft.evidence import Evidence
from medgraft.reports.report import make_page
from medgraft.reports.site_clusters import alignments, site_clusters


def clusters(when: str = "first", epoch: int = 0) -> pd.DataFrame:
    """Two pairs of clusters, the target's three units above the source's, and a target cluster without a match."""
    rows = [
        ("source", 0.0, 0.0, 0), ("source", 2.0, 0.0, 0), ("target", 1.0, 3.0, 0), ("source", 9.0, 0.0, 1),
        ("target", 9.0, 3.0, 1), ("target", 20.0, 20.0, -1),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["side", "x", "y", "matched"])
    return table.assign(when=when, epoch=epoch, row=range(len(table)), cluster=0)


def losses(*alignment: float, clustering: float = 0.5) -> pd.DataFrame:
    count = len(alignment)
    return pd.DataFrame(
        {
            "epoch": range(count), "supervised": np.linspace(0.5, 0.25, count), "alignment": alignment,
            "alignment_weight": 2.0, "seconds": 10.0, "clustering_seconds": clustering,
            "matching_distance": np.nan,
        }
    )  # fmt: skip


def both(subject: str = "AIVA", seed: int = 0) -> Evidence:
    tables = {
        f"clusters/{subject}/{seed}": pd.concat([clusters(), clusters("last", 2)]),
        f"alignment/{subject}/{seed}": losses(0.8, 0.4, 0.2),
    }
    picture = np.full((20, 40, 3), 128, np.uint8)
    return Evidence(tables=tables, images={f"examples_of_matched_clusters/{subject}/{seed}": picture})


def test_a_training_shows_its_planes_its_losses_and_examples() -> None:
    (one,) = site_clusters(both())
    assert [chart.caption for chart in one.charts] == [
        "First clustering, before training", "Last clustering, after 2 epochs", "Losses",
    ]  # fmt: skip
    assert one.charts[0].description.endswith("6 images of two sites, coloured by cluster.")
    assert len(one.examples) == 1
    assert not site_clusters(both(), images=False)[0].examples


def test_a_line_joins_the_centres_of_each_pair_and_bears_its_number() -> None:
    plane = site_clusters(both())[0].charts[0].svg
    assert re.findall(r"<text[^>]*>(\d+)</text>", plane) == ["1", "2"]  # none for what has no match
    lines = re.findall(
        r'<path d="M ([\d.]+) ([\d.]+)\s+L ([\d.]+) ([\d.]+)\s*"[^>]*stroke: var\(--ink\)', plane
    )
    (first, second) = [[float(end) for end in line] for line in lines]
    assert first[0] == pytest.approx(first[2]) and second[0] == pytest.approx(second[2])  # straight up
    assert first[1] - first[3] == pytest.approx(second[1] - second[3], rel=1e-3)
    assert second[0] - first[0] == pytest.approx((first[1] - first[3]) * 8 / 3, rel=1e-3)


def test_sentences_tell_how_far_the_loss_fell_and_what_clustering_cost() -> None:
    (one,) = site_clusters(both())
    assert one.sentences == [
        "The alignment loss fell by 75\N{NO-BREAK SPACE}% from the first epoch to the last.",
        "Clustering took 5\N{NO-BREAK SPACE}% of the time.",
    ]
    tables = {"alignment/a/0": losses(0.2, 0.3, clustering=0.05), "alignment/b/0": losses(0.2)}
    rising, single = site_clusters(Evidence(tables=tables))
    assert rising.sentences == [
        "The alignment loss rose by 50\N{NO-BREAK SPACE}% from the first epoch to the last.",
        "Clustering took under 1 % of the time.",
    ]
    assert single.sentences == ["Clustering took 5\N{NO-BREAK SPACE}% of the time."]


def test_seeds_and_targets_are_named_where_there_are_several() -> None:
    assert [one.title for one in site_clusters(both("AIVA", 0) + both("AIVA", 1))] == [
        "AIVA · seed 0", "AIVA · seed 1",
    ]  # fmt: skip
    of_a_grid = pd.concat([losses(0.4, 0.1).assign(cohort="Porto"), losses(0.4, 0.3).assign(cohort="Lyon")])
    found = alignments(Evidence(tables={"alignment/AIVA/3": of_a_grid}))
    assert [(one.cohort, one.seed, one.epochs["alignment"].tolist()) for one in found] == [
        ("Porto", 3, [0.4, 0.1]), ("Lyon", 3, [0.4, 0.3]),
    ]  # fmt: skip
    titles = [one.title for one in site_clusters(Evidence(tables={"alignment/AIVA/3": of_a_grid}))]
    assert titles == ["AIVA · Porto", "AIVA · Lyon"]


def test_the_page_shows_them_once() -> None:
    page = Page(make_page(both(), images=True, title="x"))
    assert "Clusters of the two sites" in page.text and "examples_of_matched_clusters" not in page.text
    assert len(page.ids) == len(set(page.ids))
    odd = Evidence(tables={"alignment/odd/0": losses(0.1)[["epoch"]], "clusters/AIVA/0": clusters()[["x"]]})
    assert not site_clusters(odd)
    assert len(site_clusters(both() + Evidence(tables={"alignment/other/1": losses(0.3)}))[1].charts) == 1
    assert "Clusters of the two sites" not in Page(make_page(Evidence(), images=True, title="x")).text
