"""Which pictures are shown, and how they are made small."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.evaluation.examples import (
    AGREED_COLOUR,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    choose_examples,
    thumbnail,
)


@pytest.mark.parametrize(
    ("wrongness", "count", "expected"),
    [
        (
            [0.1, 0.9, 0.5, -0.2, -0.8, -0.5],
            3,
            [1, 2, 4],
        ),  # two thirds wrong, worst first; the surest right one
        ([0.1, 0.2], 6, [1, 0]),  # nothing went well
        ([-0.3, -0.9, -0.6], 2, [1, 0]),  # nothing went wrong: from the surest to the least sure
        ([], 4, []),
        ([0.5, -0.5], 0, []),
    ],
)
def test_examples_are_mostly_the_worst(wrongness, count, expected):
    assert choose_examples(np.asarray(wrongness, float), count) == expected


def test_no_position_is_shown_twice():
    rng = np.random.default_rng(0)
    for count in range(12):
        shown = choose_examples(rng.normal(size=9), count)
        assert len(shown) == len(set(shown)) == min(count, 9)


def test_outlines_have_their_colours():
    truth, guess = np.zeros((160, 160), int), np.zeros((160, 160), int)
    truth[20:60, 20:60] = 1
    guess[100:140, 100:140] = 1
    truth[100:140, 20:60] = guess[100:140, 20:60] = 2
    picture = thumbnail(np.zeros((160, 160, 1), np.uint8), truth, guess)
    assert picture.shape == (320, 320, 3)
    assert tuple(picture[40, 60]) == TRUTH_COLOUR and tuple(picture[119, 60]) == TRUTH_COLOUR
    assert tuple(picture[200, 220]) == PREDICTION_COLOUR
    assert tuple(picture[200, 60]) == AGREED_COLOUR
    assert tuple(picture[80, 80]) == (0, 0, 0)


def test_eight_bits_stay_as_they_are_and_the_rest_is_stretched():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    np.testing.assert_array_equal(thumbnail(grey)[..., 0], grey[..., 0])
    deep = thumbnail((np.arange(10000).reshape(100, 100, 1)).astype(np.uint16))
    assert deep.min() == 0 and deep.max() == 255
    assert np.isfinite(thumbnail(np.full((5, 5, 1), 7.0))).all()


def test_a_narrow_picture_keeps_a_pixel():
    assert thumbnail(np.zeros((1000, 2, 3), np.uint8)).shape == (192, 1, 3)
