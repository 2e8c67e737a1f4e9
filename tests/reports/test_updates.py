from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.reports.test_report import Page

from medgraft.evidence import Evidence, fact
from medgraft.reports.report import make_page
from medgraft.reports.updates import update_charts


def moved(scale: float) -> pd.DataFrame:
    """Two epochs of three layers in two groups."""
    sizes = np.array([1e-5, 2e-5, 8e-5, 3e-5, 2e-5, 8e-5]) * scale
    return pd.DataFrame(
        {
            "epoch": [0, 0, 0, 1, 1, 1], "group": ["context", "context", "segmentation"] * 2,
            "tensor": ["encoder1.first.weight", "bottleneck.first.weight", "head.weight"] * 2, "update": sizes,
        }
    )  # fmt: skip


@pytest.fixture
def evidence() -> Evidence:
    rows = [fact(subject=name, cohort="Porto", metric="dice", value=0.5) for name in ("sgd", "avagrad")]
    tables = {"updates/sgd/0": moved(1), "updates/sgd/1": moved(3), "updates/avagrad/0": moved(1)}
    return Evidence(pd.DataFrame(rows), tables=tables)


def test_one_chart_per_subject_tells_how_even_layers_are(evidence: Evidence) -> None:
    first, second = update_charts(evidence)
    # means over epochs and seeds: 4e-5, 4e-5, 16e-5; then 2e-5, 2e-5, 8e-5
    assert (
        first.caption == "sgd: the layer that moves most moves 4.0 times as far as the one that moves least."
    )
    assert second.caption.startswith("avagrad") and "context" in second.svg and "segmentation" in second.svg


def test_the_page_shows_them_once(evidence: Evidence) -> None:
    text = Page(make_page(evidence, images=True, title="x")).text
    assert "How far layers move in a step" in text and "encoder1.first.weight" not in text
    plain = Evidence(evidence.facts)
    assert "How far layers move" not in Page(make_page(plain, images=True, title="x")).text
    frozen = {name: table.assign(update=0.0) for name, table in evidence.tables.items()}
    assert update_charts(Evidence(evidence.facts, tables=frozen)) == []
