"""Label budgets: nested, paid for in training and validation alike, never in test rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from tests.data.layouts.test_chexpert import chexpert

from medgraft.benchmarks.grid import Data
from medgraft.benchmarks.rows import open_data, within_budget
from medgraft.data.samples import load_samples
from medgraft.errors import DataError, SettingsError
from medgraft.testing import make_cohort


def rows(cohort, split):
    return set(cohort.split(split).table.index)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_larger_budgets_contain_smaller_ones_in_training_and_validation(kind, seed):
    target = make_cohort(kind, patients=30)
    views = [within_budget(target, budget, "patient", seed) for budget in (1, 3, 9, 20)]
    for small, large in itertools.pairwise(views):
        assert rows(small, "train") < rows(large, "train")
        assert rows(small, "validation") <= rows(large, "validation")
    assert all(rows(view, "test") == rows(target, "test") for view in views)


def test_validation_is_budgeted_in_proportion():
    target = make_cohort("segment", patients=30)  # 20 train, 5 validation, 5 test
    held = [
        len(set(within_budget(target, n, "patient", 0).split("validation").patients)) for n in (1, 4, 8, 20)
    ]
    assert held == [1, 1, 2, 5]


def test_a_score_of_classes_has_more_than_one_of_them():
    target = make_cohort("classify", patients=30)
    for seed in range(5):
        few = within_budget(target, 2, "patient", seed)
        assert set(few.split("validation").labels) == set(few.split("train").labels) == {0, 1}


def test_seeds_hold_other_rows():
    target = make_cohort("segment", patients=30)
    assert len({frozenset(rows(within_budget(target, 3, "patient", seed), "train")) for seed in range(5)}) > 1


def test_all_is_everything():
    target = make_cohort("classify")
    assert within_budget(target, None, "patient", 0) is target


def test_by_image_every_class_has_its_images():
    few = within_budget(load_samples("nuclei").at("nest"), 3, "image", 0)
    train, validation = few.split("train"), few.split("validation")
    assert [train.labels.tolist().count(label) for label in range(3)] == [3, 3, 3]
    # 32 of the rarest class in validation, 83 in training: 3 * 32 / 83 is two, rounded up
    assert [validation.labels.tolist().count(label) for label in range(3)] == [2, 2, 2]


def test_more_than_there_are_is_refused():
    with pytest.raises(DataError, match="21 patients"):
        within_budget(make_cohort("segment", patients=30), 21, "patient", 0)


def test_splits_count_as_what_the_grid_says(tmp_path):
    folder = str(chexpert(tmp_path / "CheXpert"))
    as_published = open_data(Data(data=folder))
    renamed = open_data(Data(data=folder, splits={"validation": "test"}))
    assert as_published.table["split"].tolist() == ["train"] * 4 + ["validation"]
    assert renamed.table["split"].tolist() == ["train"] * 4 + ["test"]


def test_data_without_splits_are_divided_as_the_grid_says(tmp_path):
    lines = ["image,label,patient"]
    for number in range(40):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number // 20]},P{number // 2}")
    table = tmp_path / "films.csv"
    table.write_text("\n".join(lines) + "\n")
    divided = open_data(Data(data=str(table), shares={"train": 0.8, "test": 0.2}))
    assert divided.table["split"].value_counts().to_dict() == {"train": 32, "test": 8}
    assert not set(divided.split("train").patients) & set(divided.split("test").patients)
    assert sorted(divided.split("test").labels) == [0] * 4 + [1] * 4
    assert set(open_data(Data(data=str(table))).table["split"]) == {"train", "validation", "test"}
    with pytest.raises(SettingsError, match="shares of train, validation and test that add up to 1"):
        open_data(Data(data=str(table), shares={"train": 0.8, "test": 0.3}))
    # what has splits keeps them
    table.write_text("\n".join([lines[0] + ",split", *(f"{line},train" for line in lines[1:])]) + "\n")
    kept = open_data(Data(data=str(table), classes=("a", "b"), shares={"train": 0.8, "test": 0.2}))
    assert set(kept.table["split"]) == {"train"}
