from __future__ import annotations

import re
from itertools import pairwise

import pandas as pd
import pytest

from medgraft.evidence import Evidence
from medgraft.reports.policies import policy_maps
from medgraft.reports.report import make_page


def policy(*tuned: float) -> pd.DataFrame:
    """Of a U-Net with one halving: down, along the bottom, up."""
    layers = ["encoder1.first", "encoder1.second", "bottleneck.first", "decoder1.enlarge", "head"]
    return pd.DataFrame(
        {
            "layer": layers,
            "block": [layer.split(".")[0] for layer in layers],
            "level": [1, 1, 2, 1, 1],
            "tuned": tuned,
        }
    )


def squares(svg: str) -> list[tuple[float, float, float]]:
    """Left edge, upper edge and opacity of what is filled with the page's accent, from left to right."""
    found = []
    for path, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg):
        if "fill: var(--accent)" in style:
            numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]
            opacity = re.search(r"opacity: ([\d.]+)", style)
            found.append((min(numbers[::2]), min(numbers[1::2]), float(opacity[1]) if opacity else 1.0))
    return sorted(found)


def test_every_layer_is_coloured_by_how_often_it_is_tuned_and_lies_at_its_level() -> None:
    (chart,) = policy_maps(Evidence(tables={"policy/spottunet/0": policy(0.25, 0.0, 1.0, 0.5, 0.75)}))
    drawn = squares(chart.svg)
    assert [opacity for _, _, opacity in drawn] == pytest.approx([0.25, 1.0, 0.5, 0.75])  # one is all grey
    assert chart.svg.count("fill: var(--rule)") == 5
    heights = [top for _, top, _ in drawn]
    assert heights[0] == heights[2] == heights[3] < heights[1]  # the bottleneck is lowest on the page
    gaps = [right[0] - left[0] for left, right in pairwise(drawn)]
    assert gaps[0] == pytest.approx(2 * gaps[1], rel=1e-3)
    assert chart.description == (
        "Share of images tuned, spottunet, mean of each block: "
        "encoder1 12%, bottleneck 100%, decoder1 50%, head 75%."
    )


def test_seeds_are_averaged_and_subjects_and_parts_have_charts_of_their_own() -> None:
    tables = {
        "policy/sgd/0": policy(0, 0, 0, 0, 1.0), "policy/sgd/1": policy(0, 0, 0, 0.5, 0.5),
        "policy/avagrad/0": policy(1, 1, 1, 1, 1), "policy/sgd/0/part": policy(0, 0, 0, 0, 0),
        "policy/odd/0": policy(0, 0, 0, 0, 0)[["layer", "tuned"]], "policy/other": policy(0, 0, 0, 0, 0),
    }  # fmt: skip
    charts = policy_maps(Evidence(tables=tables))
    assert [chart.caption for chart in charts] == ["sgd", "avagrad", "sgd · part"]
    assert [opacity for _, _, opacity in squares(charts[0].svg)] == pytest.approx([0.25, 0.75])
    assert len(squares(charts[1].svg)) == 5 and not squares(charts[2].svg)


def test_the_page_shows_the_policy(evidence: Evidence) -> None:
    with_policy = evidence + Evidence(tables={"policy/spottunet/0": policy(0.25, 0.0, 1.0, 0.5, 0.75)})
    assert "Which layers were tuned" in make_page(with_policy, images=True, title="x")
    assert "Which layers were tuned" not in make_page(evidence, images=True, title="x")


def test_targets_of_a_grid_have_charts_of_their_own() -> None:
    first, second = policy(0, 0, 0, 0, 0.5), policy(1, 1, 1, 1, 1)
    both = pd.concat([first.assign(cohort="Porto"), second.assign(cohort="Lyon")], ignore_index=True)
    porto, lyon = policy_maps(Evidence(tables={"policy/spot/0": both}))
    assert (porto.caption, lyon.caption) == ("spot · Porto", "spot · Lyon")
    assert len(squares(porto.svg)) == 1 and len(squares(lyon.svg)) == 5
