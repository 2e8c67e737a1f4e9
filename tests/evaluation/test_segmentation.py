"""Surface scores of an evaluation equal naive pooling; what is undefined is counted; a volume shows its worst slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError, SettingsError
from medgraft.evaluation.compare import compare
from medgraft.evaluation.evaluate import evaluate
from medgraft.evaluation.overlays import keep_worst_slice
from medgraft.metrics.surface import surface_scores
from medgraft.statistics.bootstrap import bootstrap_interval

CLASSES = ("background", "liver", "tumour")
PATIENTS = ["a", "b", "a", "c"]
ASD = ("asd_truth_to_predicted_mm", "asd_predicted_to_truth_mm")


def square(top: int, left: int, height: int, width: int, label: int = 1) -> np.ndarray:
    mask = np.zeros((16, 16), int)
    mask[top : top + height, left : left + width] = label
    return mask


def spacings(*cells: object) -> dict[str, pd.DataFrame]:
    return {"attributes": pd.DataFrame({"spacing_mm": cells})}


def value_of(evidence, metric, part=""):
    facts = evidence.facts
    (row,) = facts[(facts["metric"] == metric) & (facts["part"] == part)].to_dict("records")
    return row


@pytest.fixture
def scans(written):
    """Four slices of three patients: shifted, perfect, shifted in another direction, and one mask missed."""
    truth = np.stack([square(3, 3, 8, 8), square(2, 2, 5, 9), square(4, 4, 6, 6), square(5, 5, 4, 4)])
    guess = np.stack([square(5, 3, 8, 8), square(2, 2, 5, 9), square(4, 5, 6, 6), np.zeros((16, 16), int)])
    more = spacings("2.0", "1 1", "0.5 1.5", "2") | {"patients": PATIENTS, "name": "scans"}
    return *written.masks(guess, truth, ("background", "liver"), **more), truth, guess


def test_scores_of_surfaces_are_those_of_the_metrics_patient_by_patient(scans):
    model, cohort, truth, guess = scans
    evidence = evaluate(model, cohort, repeats=40, tolerance_mm=1.5)
    table = evidence.tables["scores/model/0"]
    b = surface_scores(truth[1], guess[1], 1.5, (1, 1))
    assert table.loc[1, ["surface_dice_1.5mm", "hd95_mm", *ASD]].tolist() == [b.dice, b.hausdorff, *b[1:3]]
    assert b.dice == 1.0
    first, third = (surface_scores(truth[i], guess[i], 1.5, s) for i, s in ((0, (2, 2)), (2, (0.5, 1.5))))
    assert table.loc[0, "hd95_mm"] == max(first.hausdorff, third.hausdorff) == 4.0
    lower, upper = sorted((first.dice, third.dice))
    assert lower < table.loc[0, "surface_dice_1.5mm"] < upper
    assert table[["images", "undefined"]].to_numpy().tolist() == [[2, 0], [1, 0], [1, 1]]
    assert table.loc[2, "surface_dice_1.5mm"] == 0.0 and np.isnan(table.loc[2, "hd95_mm"])
    shares = table["surface_dice_1.5mm"].to_numpy()
    interval = bootstrap_interval(lambda rows: shares[rows].mean(), [0, 1, 2], repeats=40)
    for part in ("", "liver"):
        row = value_of(evidence, "surface_dice_1.5mm", part)
        assert (row["value"], row["low"], row["high"]) == pytest.approx(interval[:3])
        assert row["unit"] == "patients" and row["n"] == 3


def test_undefined_distances_are_left_out_of_the_mean_and_counted(scans):
    model, cohort, *_ = scans
    evidence = evaluate(model, cohort, repeats=200)
    table = evidence.tables["scores/model/0"]
    row = value_of(evidence, "hd95_mm")
    assert row["value"] == pytest.approx(table["hd95_mm"].iloc[:2].mean()) and np.isfinite(row["high"])
    assert table["undefined"].sum() == 1 and table["images"].sum() == 4


def test_nothing_but_undefined_distances_is_undefined(written):
    model, cohort = written.masks(
        [square(0, 0, 0, 0)] * 2, [square(2, 2, 4, 4)] * 2, CLASSES[:2], **spacings(1, 1)
    )
    evidence = evaluate(model, cohort, repeats=5)
    assert np.isnan(value_of(evidence, "hd95_mm")["value"])
    assert value_of(evidence, "surface_dice_2mm")["value"] == 0.0


def test_the_foreground_is_the_mean_over_its_classes(written):
    truth = square(2, 2, 6, 6) + square(10, 10, 4, 4, label=2)
    guess = square(2, 4, 6, 6) + square(10, 10, 4, 4, label=2)
    model, cohort = written.masks([guess], [truth], CLASSES, **spacings(1))
    evidence = evaluate(model, cohort, repeats=5, tolerance_mm=1)
    for metric in ("surface_dice_1mm", "hd95_mm", *ASD):
        parts = [value_of(evidence, metric, part)["value"] for part in CLASSES[1:]]
        assert value_of(evidence, metric)["value"] == pytest.approx(np.mean(parts)), metric
    assert value_of(evidence, "surface_dice_1mm", "tumour")["value"] == 1.0
    assert value_of(evidence, "hd95_mm", "liver")["value"] == 2.0


def test_without_a_spacing_surfaces_are_left_out_with_one_warning(written):
    masks = [square(2, 2, 4, 4)] * 3
    for more, missing in (({}, 3), (spacings("1", "", np.nan), 2)):
        model, cohort = written.masks(masks, masks, CLASSES[:2], name="skin", **more)
        evidence = evaluate(model, cohort, repeats=5)
        told = [warning for warning in evidence.warnings if "surface" in warning]
        assert (
            len(told) == 1
            and f"skin: surface Dice and distances are left out, because {missing} of 3" in told[0]
        )
        assert set(evidence.facts["metric"]) == {"dice", "iou"}
        assert "undefined" not in evidence.tables["scores/model/0"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("wide", "it holds 'wide' (row 2, image in memory)"),
        ("-1", "it holds '-1'"),
        ("1 inf", "it holds '1 inf'"),
        ("3 1 1", "it holds 3 for 2 axes (row 2"),
    ],
)
def test_a_spacing_that_is_none_is_refused_with_its_row(written, cell, words):
    masks = [square(2, 2, 4, 4)] * 2
    model, cohort = written.masks(masks, masks, CLASSES[:2], **spacings("1", cell))
    with pytest.raises(DataError) as refused:
        evaluate(model, cohort, repeats=5)
    assert words in str(refused.value)


def test_a_negative_tolerance_is_refused(scans):
    model, cohort, *_ = scans
    with pytest.raises(SettingsError, match="tolerance of 0 mm or more"):
        evaluate(model, cohort, tolerance_mm=-1)


@pytest.fixture
def volumes(written):
    """Two volumes; in the first, the third of four slices is the worst."""
    truth = np.stack([np.stack([square(4, 4, 8, 8)] * 4)] * 2)
    guess = truth.copy()
    guess[0, 1, 4, 4:12] = 0
    guess[0, 2] = square(8, 8, 8, 8)
    return *written.masks(guess, truth, CLASSES[:2], **spacings("3 1 1", "3 1 1")), truth, guess


def test_volumes_are_scored_as_surfaces_in_space(volumes):
    model, cohort, truth, guess = volumes
    table = evaluate(model, cohort, repeats=5, tolerance_mm=1).tables["scores/model/0"]
    for unit in range(2):
        expected = surface_scores(truth[unit], guess[unit], 1, (3, 1, 1))
        found = table.loc[unit, ["surface_dice_1mm", *ASD, "hd95_mm"]].tolist()
        assert found == pytest.approx(list(expected))
    slices = [surface_scores(*pair, 1, (1, 1)).hausdorff for pair in zip(truth[0], guess[0])]
    assert table.loc[0, "hd95_mm"] != max(slices)


def test_a_volume_shows_its_worst_slice_and_says_which(volumes):
    model, cohort, *_ = volumes
    evidence = evaluate(model, cohort, repeats=5, examples=2)
    shown = evidence.tables["examples"]
    assert shown["row"].tolist() == [1, 2]
    assert shown["slice"].tolist() == ["3 of 4", "1 of 4"]
    assert shown["scores"].iloc[1] == "Dice 1.00, surface Dice 1.00"
    assert evidence.images[shown["image"].iloc[0]].shape == (320, 320, 3)


def test_a_kept_slice_is_that_of_the_most_wrong_voxels_unchanged():
    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 300, (5, 9, 7)), random.integers(0, 300, (5, 9, 7))
    truth[3] = guess[3]
    kept = keep_worst_slice(truth, guess)
    wrong = [(truth[place] != guess[place]).sum() for place in range(5)]
    assert (kept.place, kept.slices) == (int(np.argmax(wrong)), 5)
    for found, expected in zip(kept.masks(), (truth, guess)):
        np.testing.assert_array_equal(found, expected[kept.place])
    flat = keep_worst_slice(truth[0], guess[0])
    assert flat.slices == 0 and np.array_equal(flat.masks()[0], truth[0])


def test_surface_dice_is_compared_in_pairs_and_distances_are_not(scans):
    model, cohort, *_ = scans
    both = sum(
        (evaluate(model, cohort, subject=name, repeats=5, examples=0) for name in ("old", "new")),
        start=evaluate(model, cohort, repeats=5, examples=0),
    )
    (line,) = compare(both, "new", "old", "surface_dice_2mm").tables["comparisons"].to_dict("records")
    assert (line["difference"], line["n"]) == (0.0, 3)
    with pytest.raises(SettingsError, match="surface_dice_2mm, but got 'hd95_mm'"):
        compare(both, "new", "old", "hd95_mm")
    with pytest.raises(DataError, match="surface_dice_1mm of 'new'"):
        compare(both, "new", "old", "surface_dice_1mm")


def test_the_tolerance_stands_in_the_provenance(scans):
    model, cohort, *_ = scans
    (entry,) = evaluate(model, cohort, repeats=5, tolerance_mm=1.5).provenance
    assert entry["tolerance_mm"] == 1.5
