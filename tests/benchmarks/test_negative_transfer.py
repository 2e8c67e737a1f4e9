"""From scratch minus transferred: differences worked out by hand, for all, by patient and by class."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import medgraft as mg
from medgraft.benchmarks.negative_transfer import negative_transfer
from medgraft.benchmarks.plan import Row
from medgraft.evidence import Evidence


def row(method: str, metric: str = "dice", budget: int = 4, seed: int = 0) -> Row:
    return Row(
        key=method, subject=f"{method}, {budget}", method=method, source="unet", source_cohort="A", cohort="B",
        budget=budget, budget_by="patient", seed=seed, role="method", oracle=False, source_split="test",
        metric=metric,
    )  # fmt: skip


def evidence_of(rows: list[Row], tables: dict[str, pd.DataFrame]) -> Evidence:
    cells = [{"subject": one.subject, "cohort": "B", "state": "finished"} for one in rows]
    return Evidence(tables=tables | {"grid": pd.DataFrame(cells)})


def dice(left: list[float], right: list[float]) -> pd.DataFrame:
    """Four patients, two structures."""
    return pd.DataFrame(
        {"cohort": "B", "split": "test", "unit": [0, 1, 2, 3] * 2, "part": ["left"] * 4 + ["right"] * 4,
         "dice": left + right}
    )  # fmt: skip


def test_masks_are_told_for_all_by_patient_and_by_class():
    rows = [row("from scratch"), row("MMTL"), row("MMTL", seed=1), row("MMTL", budget=8)]
    found = negative_transfer(
        evidence_of(
            rows,
            {
                "scores/from scratch, 4/0": dice([0.8] * 4, [0.4] * 4),
                "scores/MMTL, 4/0": dice([0.7, 0.7, 0.9, 0.9], [0.4] * 4),
                "scores/MMTL, 4/1": dice([0.5, 0.7, 0.9, 0.9], [0.4] * 4),
                "scores/MMTL, 8/0": dice([0.1] * 4, [0.1] * 4),  # nothing from scratch on so many
            },
        ),
        rows,
    ).set_index("part")
    assert list(found.index) == ["", "left", "right"] and set(found["subject"]) == {"MMTL, 4"}
    # mean over seeds on the left: .6 .7 .9 .9, against .8
    assert found.loc["left", "difference"] == pytest.approx(0.8 - 0.775)
    assert found.loc["right", "difference"] == pytest.approx(0.0)
    assert found.loc["", "difference"] == pytest.approx(0.0125)
    assert (found.loc["", "worse"], found.loc["", "n"]) == (2, 4)
    assert found.loc["", "worst"] == pytest.approx(0.1) and found.loc["left", "worst"] == pytest.approx(0.2)
    assert found.loc["left", "low"] < found.loc["left", "difference"] < found.loc["left", "high"]
    assert (found["seeds"] == 1).all() and (found["by_unit"] == "dice").all()


def test_classes_are_told_by_patient_by_what_the_truth_was_given():
    rows = [row("from scratch", "auroc"), row("MMTL", "auroc")]

    def predictions(given: list[float]) -> pd.DataFrame:
        p = np.array(given)
        truth = np.array([0, 1, 0, 1])
        return pd.DataFrame(
            {"cohort": "B", "split": "test", "row": range(4), "unit": range(4), "truth": truth,
             "predicted": p > 0.5, "p_0": 1 - p, "p_1": p}
        )  # fmt: skip

    found = negative_transfer(
        evidence_of(
            rows,
            {
                "predictions/from scratch, 4/0": predictions([0.2, 0.9, 0.3, 0.8]),
                "predictions/MMTL, 4/0": predictions([0.1, 0.4, 0.6, 0.9]),
            },
        ),
        rows,
    )
    (line,) = found.to_dict("records")
    assert line["difference"] == pytest.approx(1 - 3 / 4)  # three of the four pairs are in order
    assert (line["worse"], line["by_unit"]) == (2, "probability of the truth")
    assert line["worst"] == pytest.approx(0.5)


def test_labels_that_are_missing_do_not_count():
    rows = [row("from scratch", "auroc"), row("MMTL", "auroc")]

    def predictions(first: list[float]) -> pd.DataFrame:
        return pd.DataFrame(
            {"cohort": "B", "split": "test", "row": range(4), "unit": range(4),
             "truth_0": [1.0, 0.0, np.nan, 0.0], "truth_1": [1.0, 0.0, np.nan, np.nan],
             "predicted_0": 1.0, "predicted_1": 1.0, "p_0": first, "p_1": [0.7, 0.1, 0.2, 0.9]}
        )  # fmt: skip

    tables = {
        "predictions/from scratch, 4/0": predictions([0.9, 0.2, 0.8, 0.1]),
        "predictions/MMTL, 4/0": predictions([0.9, 0.2, 0.8, 0.6]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a row without any known label is no cause for one
        (line,) = negative_transfer(evidence_of(rows, tables), rows).to_dict("records")
    assert line["worse"] == 1  # the third row is unknown, the fourth counts by its known label alone:
    assert line["worst"] == pytest.approx(0.9 - 0.4)


def test_a_grid_tells_it_beside_every_method(grid, tmp_path):
    found = mg.benchmark(grid(True, seeds=[0]), tmp_path / "out").tables["negative_transfer"]
    assert found["subject"].str.startswith("pixels").any() and found["difference"].between(-1, 1).all()
    assert not found["subject"].str.startswith("from scratch").any()


def test_of_errors_too_harm_is_positive():
    rows = [row("from scratch", "brier"), row("MMTL", "brier")]

    def predictions(given: float) -> pd.DataFrame:
        p = np.full(4, given)
        return pd.DataFrame(
            {"cohort": "B", "split": "test", "row": range(4), "unit": range(4), "truth": 1, "predicted": 1,
             "p_0": 1 - p, "p_1": p}
        )  # fmt: skip

    tables = {"predictions/from scratch, 4/0": predictions(0.9), "predictions/MMTL, 4/0": predictions(0.6)}
    (line,) = negative_transfer(evidence_of(rows, tables), rows).to_dict("records")
    assert line["difference"] == pytest.approx(2 * 0.4**2 - 2 * 0.1**2)
    assert line["worse"] == 4
