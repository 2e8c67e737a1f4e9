from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.reports.test_report import Page

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.feature_drift import SIDES, make_feature_drift
from medgraft.reports.report import make_page

EPOCHS = (0, 15, 60)


def followed(subject: str, seed: int = 0, reason: str = "") -> Evidence:
    rng = np.random.default_rng(seed)
    points = pd.concat(
        pd.DataFrame({"epoch": epoch, "side": side, "x": rng.uniform(size=9), "y": rng.uniform(size=9)})
        for epoch in EPOCHS
        for side in SIDES
    )
    told = pd.DataFrame(
        [
            {
                "epoch": epoch,
                "pair": f"{first} and target test",
                "reason": reason if first == "source" else "",
            }
            | {"balanced_accuracy": np.nan if reason and first == "source" else 0.5 + epoch / 150}
            for epoch in EPOCHS
            for first in ("target train", "source")
        ]
    )
    about = {"subject": subject, "cohort": "Porto", "seed": seed}
    return Evidence(
        tables={
            "features_over_training": points.assign(**about).reset_index(drop=True),
            "feature_separation": told.assign(**about),
        }
    )


def test_a_row_per_subject_has_a_picture_per_moment_with_its_numbers() -> None:
    found = make_feature_drift(followed("fine_tune") + followed("mmtl"))
    assert found is not None
    assert [row.title for row in found.rows] == ["fine_tune", "mmtl"]
    assert [moment.title for moment in found.rows[1].moments] == ["Source model", "Epoch 15", "Epoch 60"]
    assert found.rows[0].moments[1].separations == ["train | test 0.60", "source | test 0.60"]
    assert "27 dots" in found.rows[0].moments[0].chart.description
    assert len({key.colour for key in found.legend}) == len({key.marker for key in found.legend}) == 3
    for key in found.legend:
        assert key.colour.lower() in found.rows[0].moments[0].chart.svg.lower()


def test_several_seeds_have_their_own_rows_and_reasons_are_told_once() -> None:
    found = make_feature_drift(
        followed("mmtl") + followed("mmtl", 1, "It needs two patients, but there is one.")
    )
    assert found is not None
    assert [row.title for row in found.rows] == ["mmtl · seed 0", "mmtl · seed 1"]
    assert found.rows[1].reasons == ["It needs two patients, but there is one."]
    assert found.rows[1].moments[0].separations[1] == "source | test –" and not found.rows[0].reasons


def test_the_page_shows_them_without_any_fact() -> None:
    evidence = followed("fine_tune") + followed("mmtl")
    text = make_page(evidence, images=True, title="x")
    page = Page(text)
    assert "Where features went during training" in page.text and "train | test 0.90" in page.text
    assert "Recorded on the way" not in page.text and len(page.ids) == len(set(page.ids))
    assert text == make_page(evidence, images=False, title="x")
    assert make_feature_drift(Evidence()) is None


def test_a_table_of_another_form_is_refused() -> None:
    evidence = followed("mmtl")
    tables = {name: table.drop(columns="seed") for name, table in evidence.tables.items()}
    with pytest.raises(DataError, match="'features_over_training' needs the column 'seed'"):
        make_feature_drift(Evidence(tables=tables))


@pytest.mark.slow
def test_code_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documentation = (Path(__file__).parents[2] / "docs" / "reports.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", documentation, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    page = (tmp_path / "features.html").read_text("utf-8")
    assert "Epoch 2" in page and "images are simulated" in page
