"""The gap by chance is that of all ways in which patients may belong to groups."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medgraft.evaluation.bias_parts import Compared, Rows, compared_groups, gap_by_chance
from medgraft.evaluation.outcome import Outcome


def two_groups(truth, said, groups, units=None) -> Compared:
    """Everyone of group 0, then everyone of group 1."""
    order = np.argsort(groups, kind="stable")
    truth, said = np.asarray(truth)[order], np.asarray(said)[order]
    outcome = Outcome(truth, (said > 0.5).astype(int), np.stack([1 - said, said], axis=1))
    ends = np.cumsum([0, *np.bincount(groups)])
    inside = {str(group): np.arange(*ends[group : group + 2]) for group in range(len(ends) - 1)}
    return Compared(
        Rows(outcome, np.arange(len(truth)) if units is None else np.asarray(units)[order]), inside
    )


def test_it_is_the_mean_over_all_exchanges_of_patients_of_one_class():
    truth, groups = np.repeat([0, 1], 5), np.array([0, 0, 1, 1, 1, 0, 0, 1, 1, 1])
    said = np.array([0.1, 0.35, 0.4, 0.6, 0.8, 0.3, 0.5, 0.7, 0.75, 0.9])
    gaps = []
    for benign, malignant in product(combinations(range(5), 2), combinations(range(5, 10), 2)):
        first = np.isin(np.arange(10), [*benign, *malignant])
        scores = [roc_auc_score(truth[own], said[own]) for own in (first, ~first)]
        gaps.append(abs(scores[0] - scores[1]))
    found = gap_by_chance(two_groups(truth, said, groups), "auroc", repeats=20_000)
    assert found.value == pytest.approx(np.mean(gaps), abs=0.005)
    assert (found.low, found.high) == pytest.approx(np.quantile(gaps, (0.025, 0.975)), abs=0.02)
    assert found.units == 10 and found.dropped == 0


def test_a_gap_that_is_none_lies_within_it_and_a_true_one_beyond():
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    noise = rng.normal(size=400)

    def measured(blind: bool) -> tuple[float, float]:
        """The gap, and the greatest of those by chance."""
        logits = noise + 2.5 * truth * ((groups == 0) if blind else 1)
        said = 1 / (1 + np.exp(-logits))
        scores = [roc_auc_score(truth[groups == group], said[groups == group]) for group in (0, 1)]
        chance = gap_by_chance(two_groups(truth, said, groups), "auroc", repeats=500)
        return abs(scores[0] - scores[1]), chance.high

    assert np.less(*measured(blind=False)) and np.greater(*measured(blind=True))


def test_images_of_a_patient_stay_together():
    """Ten images of each patient are no more evidence than one: the gap by chance is as wide."""
    rng = np.random.default_rng(1)
    truth, groups, said = np.repeat([0, 1], 20), np.tile([0, 1], 20), rng.uniform(size=40)
    once = gap_by_chance(two_groups(truth, said, groups), "auroc", repeats=2000)
    ten = [np.repeat(each, 10) for each in (truth, said, groups, np.arange(40))]
    often = gap_by_chance(two_groups(*ten), "auroc", repeats=2000)
    assert often.value == pytest.approx(once.value, rel=0.1) and often.units == 40
    assert gap_by_chance(two_groups(*ten[:3]), "auroc", repeats=200).value < 0.6 * once.value


@pytest.mark.parametrize("labels", [1, 3])
def test_of_several_labels_with_missing_cells_it_is_defined(labels):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (120, labels)).astype(float)
    truth[rng.uniform(size=truth.shape) < 0.1] = np.nan
    rows = Rows(
        Outcome(truth, np.ones((120, labels), int), rng.uniform(size=truth.shape)), np.arange(120) // 2
    )
    compared, reasons = compared_groups(
        rows, TONES[np.arange(120) // 2 % 2], ["a", "b", "c"][:labels], "patients"
    )
    assert set(reasons.values()) == {""}
    found = gap_by_chance(compared, "auroc", repeats=200)
    assert 0 < found.low < found.value < found.high < 0.5


TONES = np.array(["light", "dark"])
