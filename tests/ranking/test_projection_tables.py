"""Tables of projections: every image at every stage, numbers of the whole space, reasons, and no order of images."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import ModelError
from medgraft.ranking.projection_tables import projection_tables
from medgraft.ranking.projections import project_by_lda, project_by_nca
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours

RNG = np.random.default_rng(4)
NAMES = ["tumour", "cyst", "benign"] * 10
LABELS = np.array([2, 1, 0] * 10)
BEFORE = (RNG.normal(size=(30, 12)) + 3 * RNG.normal(size=(3, 12))[LABELS]).astype(np.float32)
AFTER = (RNG.normal(size=(30, 8)) + 9 * RNG.normal(size=(3, 8))[LABELS]).astype(np.float32)


def test_numbers_are_of_all_dimensions_and_points_of_every_image():
    tables = projection_tables("mine", BEFORE, NAMES, lambda: AFTER, seed=2)
    scores = tables["ranking_projection_scores"].set_index("stage")
    whole = {"before": BEFORE, "after": AFTER, "nca": project_by_nca(BEFORE, LABELS)}
    whole["lda"] = project_by_lda(BEFORE, LABELS)
    assert list(scores.index) == list(whole) and (scores["reason"] == "").all()
    for stage, features in whole.items():
        assert scores.loc[stage, "neighbours"] == nearest_neighbours(features, LABELS)
        assert scores.loc[stage, "dimensions"] == features.shape[1]
    points = tables["ranking_projections"]
    assert list(points.columns) == ["source", "stage", "x", "y", "label"] and set(points["source"]) == {
        "mine"
    }
    assert points.groupby("stage", sort=False)["label"].value_counts().unique().tolist() == [10]
    lda = points[points["stage"] == "lda"]  # two dimensions, shown as they are: each point with its own label
    known = {tuple(point): name for point, name in zip(whole["lda"], NAMES)}
    assert {(x, y): label for x, y, label in lda[["x", "y", "label"]].itertuples(index=False)} == known


def test_rows_do_not_stand_in_the_order_of_images():
    labels = projection_tables("mine", BEFORE, NAMES)["ranking_projections"]["label"].tolist()[:30]
    assert sorted(labels) == sorted(NAMES) and labels != NAMES


def test_what_is_undefined_has_a_reason_and_no_points():
    def refuse() -> np.ndarray:
        raise ModelError("Pool", "a way to compute features", "it has none", "Use its inner model.")

    tables = projection_tables("mine", np.eye(3, dtype=np.float32)[LABELS], NAMES, refuse)
    scores = tables["ranking_projection_scores"].set_index("stage")
    assert "Pool needs a way" in scores.loc["after", "reason"]
    assert "LDA needs features that differ between images of one class" in scores.loc["lda", "reason"]
    assert np.isnan(scores.loc["lda", "neighbours"]) and scores.loc["lda", "dimensions"] == 0
    assert set(tables["ranking_projections"]["stage"]) == {"before", "nca"}


@pytest.mark.parametrize("n", [2, 5])
def test_too_few_images_leave_an_empty_table(n):
    tables = projection_tables("mine", BEFORE[:n], NAMES[:n])
    assert tables["ranking_projections"].empty and len(tables["ranking_projection_scores"]) == 3
    assert (tables["ranking_projection_scores"]["reason"] != "").all()
