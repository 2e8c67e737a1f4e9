"""The panels of the nuclei demo; the demo itself is run from the built wheel."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.cli.demos.nuclei import (
    LABELLED_PER_CLASS,
    PIXELS,
    SCRATCH,
    comparisons,
    make_panels,
    standardised_grey,
)


def test_grey_crops_share_mean_and_contrast():
    picture = np.random.default_rng(0).integers(90, 160, size=(48, 48, 3)).astype(np.uint8)
    grey = standardised_grey(picture)
    assert grey.shape == (48, 48, 1) and grey.dtype == np.uint8
    assert grey.mean() == pytest.approx(128, abs=0.5) and grey.std() == pytest.approx(40, abs=1)
    assert (standardised_grey(np.full((4, 4, 3), 7, np.uint8)) == 128).all()


@pytest.mark.parametrize("quick", [False, True])
def test_every_panel_shows_the_baselines_and_compares_with_them(quick: bool):
    colour, grey = make_panels(quick)
    for panel in (colour, grey):
        methods = [name.partition(" (")[0] for name in panel.methods]
        assert {"majority class", "colour statistics", PIXELS, "linear probe"} <= set(methods)
        (pixels,) = {reference for _, reference in comparisons(panel)} - {SCRATCH}
        assert pixels.startswith(PIXELS)
        labelled = panel.cohort.few(LABELLED_PER_CLASS, seed=0).split("train")
        assert np.bincount(labelled.labels).tolist() == [LABELLED_PER_CLASS] * 3
    assert ("full fine-tuning", SCRATCH) in comparisons(colour)
    assert colour.cohort.picture(0).array.shape[-1] == 3 and grey.cohort.picture(0).array.shape[-1] == 1
