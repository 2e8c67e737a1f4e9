"""How well two groups are told apart, against hand-made cases and a naive loop."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import DataError, ShapeError
from medgraft.metrics.separation import _cut_together, separation


def blobs(distance: float, sizes=(200, 200), patients=(20, 20), seed=0):
    rng = np.random.default_rng(seed)
    points = [rng.normal(size=(n, 8)).astype(np.float32) + distance * k for k, n in enumerate(sizes)]
    return *points, *(np.arange(n) % count for n, count in zip(sizes, patients))


@pytest.mark.parametrize("sizes", [(200, 200), (30, 300)])
def test_groups_of_one_distribution_cannot_be_told_apart(sizes):
    values = [separation(*blobs(0.0, sizes, seed=seed)) for seed in range(5)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_groups_that_lie_apart_always_are_whatever_their_sizes():
    assert separation(*blobs(10.0)) == 1.0
    assert separation(*blobs(10.0, (8, 300), (2, 20))) == 1.0


def test_an_image_is_never_told_by_its_own_patients_others():
    """Every patient is a far cluster of its own: within patients all would be right, across patients it is chance."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 8)) * 100
    points = np.repeat(centres, 6, axis=0) + rng.normal(size=(240, 8))
    patients = np.repeat(np.arange(20), 6)
    assert separation(points[:120], points[120:], patients, patients) < 0.7


def test_it_equals_a_naive_loop_where_every_patient_is_its_own_part():
    first, second, _, _ = blobs(0.7, (4, 4), (4, 4))
    found = separation(first, second, range(4), range(4), neighbours=3, folds=4)
    # the parts pair one patient of each group, as drawn with this seed
    rng = np.random.default_rng(0)
    parts = np.concatenate([rng.permutation(4), rng.permutation(4)])
    points, group = np.concatenate([first, second]), np.repeat([0, 1], 4)
    right = []
    for row in range(8):
        others = [i for i in range(8) if parts[i] != parts[row]]
        others.sort(key=lambda i: float(np.linalg.norm(points[i] - points[row])))
        right.append(float((group[others[:3]].mean() > 0.5) == group[row]))
    assert found == pytest.approx(np.mean(right))
    assert 0 < found < 1


def test_the_larger_group_is_not_favoured():
    """A plain vote among five neighbours would always say the group of 300."""
    from sklearn.neighbors import KNeighborsClassifier

    first, second, *patients = blobs(0.7, (12, 300), (6, 20))
    plain = KNeighborsClassifier(5).fit(np.concatenate([first, second]), np.repeat([0, 1], [12, 300]))
    assert (plain.predict(first) == 0).mean() == 0  # though it has seen these rows
    assert separation(first, second, *patients) > 0.65


def test_too_few_patients_are_refused_and_so_is_what_does_not_fit():
    first, second, _, _ = blobs(0.0, (4, 4), (4, 4))
    with pytest.raises(DataError, match="2 patients in each, but there are 1 and 4"):
        separation(first, second, [0] * 4, range(4))
    with pytest.raises(ShapeError, match="one length"):
        separation(first, second[:, :3], range(4), range(4))
    with pytest.raises(ShapeError, match="one patient per image"):
        separation(first, second, range(3), range(4))
    with pytest.raises(DataError, match="finite"):
        separation(first * np.nan, second, range(4), range(4))


def test_identical_features_of_shared_patients_are_told_by_exact_chance():
    """A tile and its twin at the other site have the same neighbours, so one of the two is told wrongly."""
    points, _, patients, _ = blobs(0.0, (60, 60), (6, 6))
    assert separation(points, points, patients, patients, same_patients=True) == 0.5
    assert separation(points, points + 100, patients, patients, same_patients=True) == 1.0


def test_a_twin_of_the_same_patient_does_not_speak_for_the_other_site():
    """Far patients, each nearly the same at both sites: as two patients the twin is nearest, and told wrongly."""
    rng = np.random.default_rng(0)
    points, names = rng.normal(size=(40, 8)) * 100, np.arange(40)
    twins = points + 0.01 * rng.normal(size=points.shape)
    assert separation(points, twins, names, names, neighbours=1) < 0.3
    assert separation(points, twins, names, names, neighbours=1, same_patients=True) == pytest.approx(
        0.5, abs=0.15
    )


@pytest.mark.parametrize(("first", "second"), [("pqrs", "pq"), ("pr", "pt"), ("pq", "rs"), ("pqr", "st")])
def test_both_groups_stay_known_whichever_part_is_held_out(first, second):
    for seed in range(20):
        groups = [np.array(list(names)) for names in (first, second)]
        parts = _cut_together(groups[0], groups[1], 2, np.random.default_rng(seed))
        assert all(set(own.tolist()) == {0, 1} for own in parts)
        of_name = [dict(zip(names, own.tolist())) for names, own in zip((first, second), parts)]
        assert all(of_name[0][name] == of_name[1][name] for name in set(first) & set(second))
