"""Scaling over candidates and product, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.adaptability import adaptability

LP = [0.5, 0.6, 0.7, 0.9]
FU = [2.0, 1.0, 5.0, 4.0]


def test_both_terms_are_scaled_over_the_sources_and_multiplied() -> None:
    # LP: 0, .25, .5, 1; FU: .25, 0, 1, .75
    assert adaptability(LP, FU) == pytest.approx([0, 0, 0.5, 0.75])


def test_both_terms_are_reversed_for_architectures() -> None:
    # LP: 1, .75, .5, 0; FU: .75, 1, 0, .25
    assert adaptability(LP, FU, candidates="architectures") == pytest.approx([0.75, 0.75, 0, 0])


def test_unit_and_origin_of_a_term_do_not_matter() -> None:
    assert adaptability(np.multiply(LP, 100) - 3, FU) == pytest.approx(adaptability(LP, FU))


def test_a_source_trained_on_the_target_sets_the_scale_but_gets_no_score() -> None:
    own = [False, False, False, True]
    found = adaptability(LP, FU, own=own)
    assert np.isnan(found[3])
    assert found[:3] == pytest.approx(adaptability(LP, FU)[:3])  # as published: it stays in the range
    assert np.nanargmax(found) == 2


def test_a_source_with_an_undefined_term_stays_out_of_the_scale() -> None:
    found = adaptability([*LP, 99.0], [*FU, np.nan])
    assert found[:4] == pytest.approx(adaptability(LP, FU))
    assert np.isnan(found[4])


@pytest.mark.parametrize(
    ("lp", "fu", "own", "error", "said"),
    [
        ([0.5], [1.0], None, UndefinedError, "1 of 1 have them"),
        ([0.5, np.nan], [1.0, 2.0], None, UndefinedError, "1 of 2 have them"),
        ([0.5, 0.5], [1.0, 2.0], None, UndefinedError, "label predictability that differs"),
        (
            [0.5, 0.6],
            [2.0, 2.0],
            None,
            UndefinedError,
            "feature update that differs between candidates, but it is 2",
        ),
        (LP, FU[:3], None, ShapeError, "(4,) and (3,)"),
        (LP, FU, [True], ShapeError, "own is (1,)"),
    ],
)
def test_what_says_nothing_is_refused(lp, fu, own, error, said) -> None:
    with pytest.raises(error) as told:
        adaptability(lp, fu, own=own)
    assert said in str(told.value)
