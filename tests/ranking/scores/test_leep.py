"""LEEP is what the paper's two equations say, and the number of the authors' code.

tests/golden/transferability_binary.npz: keys X, y, source_logits and the scores that src/metrics.py of
DovileDo/transferability-in-medical-imaging 7e308c4 gives for them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from medgraft.errors import DataError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.leep import leep

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
RNG = np.random.default_rng(3)
LABELS = np.arange(30) % 3


def looped(probabilities, labels, log):
    n, source_classes = probabilities.shape
    joint = {
        (y, z): sum(probabilities[i, z] for i in range(n) if labels[i] == y) / n
        for y in set(labels.tolist())
        for z in range(source_classes)
    }
    total = 0.0
    for i in range(n):
        expected = 0.0
        for z in range(source_classes):
            mass = sum(joint[y, z] for y in set(labels.tolist()))
            expected += joint[labels[i], z] / mass * probabilities[i, z] if mass else 0.0
        total += np.log(expected) if log else expected
    return total / n


def test_the_authors_number_is_met():
    probabilities = softmax(GOLDEN["source_logits"].astype(np.float64), axis=1)
    assert leep(probabilities, GOLDEN["y"]) == pytest.approx(float(GOLDEN["leep"]), rel=1e-6)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("empty", [0, 2])
def test_it_equals_the_equations_written_as_loops(log, empty):
    probabilities = softmax(RNG.normal(size=(30, 5)) * 2, axis=1)
    probabilities = np.hstack([probabilities, np.zeros((30, empty))])
    assert leep(probabilities, LABELS, log=log) == pytest.approx(
        looped(probabilities, LABELS, log), abs=1e-12
    )


def test_a_perfect_source_gets_nought_and_one():
    perfect = np.eye(4)[[2, 0, 3]][LABELS]  # other numbers, one source class more
    assert leep(perfect, LABELS) == 0.0
    assert leep(perfect, LABELS, log=False) == 1.0


def test_a_source_that_says_nothing_gets_minus_the_entropy_of_the_labels():
    labels = np.array([0, 0, 0, 1])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert leep(np.full((4, 7), 1 / 7), labels) == pytest.approx(-entropy, abs=1e-12)


def test_single_precision_is_added_up_in_double():
    probabilities = softmax(RNG.normal(size=(20_000, 5)), axis=1).astype(np.float32)
    labels = np.arange(20_000) % 2
    assert leep(probabilities, labels) == pytest.approx(leep(probabilities.astype(float), labels), abs=1e-9)


@pytest.mark.parametrize(
    ("probabilities", "labels", "error"),
    [
        (RNG.normal(size=(30, 5)), LABELS, DataError),
        (np.full((30, 2), 0.5), LABELS * 0, UndefinedError),
        (np.full((30, 2), 0.5), LABELS + 1, DataError),
        (np.full((30, 2), 0.5), LABELS[:5], ShapeError),
    ],
)
def test_what_it_cannot_score_is_refused(probabilities, labels, error):
    with pytest.raises(error, match="LEEP needs"):
        leep(probabilities, labels)
