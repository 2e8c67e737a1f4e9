"""The measurement of how well types of skin are told: its scores, its borders, and what they do to the labellers."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from medgraft.images.skin_tone import SkinTone

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "skin_tone_agreement.py"
spec = importlib.util.spec_from_file_location("skin_tone_agreement", SCRIPT)
assert spec is not None and spec.loader is not None
script = importlib.util.module_from_spec(spec)
sys.modules["skin_tone_agreement"] = script
spec.loader.exec_module(script)

SKIN = np.full((64, 64, 3), (222, 178, 140), np.uint8)
"""Of type 2."""


def test_scores_are_worked_by_hand():
    said = {0: 1, 1: 3, 2: 6, 3: None, 4: 4}

    def labeller(picture):
        return SkinTone(said[int(picture[0, 0, 0])], math.nan)

    pictures = [np.full((1, 1, 3), number, np.uint8) for number in range(5)]
    found = script.score(pictures, [1, 2, 3, 4, 5], labeller)
    assert found == pytest.approx((1 / 5, 3 / 5, 1 / 5, (0 + 1 + 3 - 1) / 4))
    assert math.isnan(script.score(pictures[3:4], [4], labeller).step)


def test_borders_cover_what_they_are_named_after():
    found = dict(script.borders(SKIN))
    changed = {name: (picture != SKIN).any(axis=-1) for name, picture in found.items()}
    assert changed["blue strip"][:, :12].all() and not changed["blue strip"][:, 13:].any()
    for name, colour in (("blue frame 0.12", script.BLUE), ("grey frame 0.12", script.GREY)):
        assert (found[name][0] == colour).all() and not changed[name][8:-8, 8:-8].any()
        assert changed[name].sum() == 64**2 - 48**2
    assert (found["black vignette"][0, 0] == script.BLACK).all()
    assert not changed["black vignette"][32, 1:-1].any(), "light falls off in the corners only"


def test_a_grey_strip_makes_the_published_labeller_call_all_skin_the_lightest():
    strip = dict(script.borders(SKIN))["grey strip"]
    told = {name: labeller(strip).fitzpatrick for name, labeller in script.LABELLERS.items()}
    assert told == {"published": 1, "ours": 2, "whole skin": 2}


def test_photographs_of_all_types_are_taken_of_the_same_people_under_every_condition():
    conditions, types = script.make_conditions(each=1, side=64)
    assert types == [1, 2, 3, 4, 5, 6] and {len(each) for each in conditions.values()} == {6}
    plain, hairy = conditions["plain"], conditions["hair (30)"]
    same = [(one == other).all(axis=-1).mean() for one, other in zip(plain, hairy, strict=True)]
    assert all(share < 1 for share in same)
    # hair aside it is the same skin: most pixels differ by light and noise only
    near = [np.median(np.abs(one.astype(int) - other)) for one, other in zip(plain, hairy, strict=True)]
    assert max(near) <= 8
    found = script.score(plain, types, script.LABELLERS["ours"])
    assert found.within_one == 1.0 and found.unknown == 0.0
