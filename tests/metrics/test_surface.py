"""Surface metrics against recorded values, MONAI, naive loops and numbers worked by hand.

tests/golden/surface.npz: masks with the values that google-deepmind/surface-distance 0.1 (Apache-2.0) and medpy 0.5.2
(keys "voxel_asd_*") give for them. For empty masks those libraries return NaN or infinity; our convention is tested.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import ENCODING_KERNEL, get_code_to_measure_table
from scipy.ndimage import gaussian_filter

from medgraft.errors import SettingsError, ShapeError
from medgraft.metrics.borders import Elements, extract_borders
from medgraft.metrics.surface import (
    average_surface_distances,
    hausdorff_distance,
    surface_dice,
    surface_scores,
)
from medgraft.metrics.surfels import surfel_sizes

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "surface.npz"))
CASES = {
    "aniso": ("gt", "pred", (3, 1, 0.7)),
    "iso": ("gt", "pred", (1, 1, 1)),
    "border": ("gt", "border", (3, 1, 0.7)),
    "self": ("gt", "gt", (3, 1, 0.7)),
    "d2_aniso": ("d2_gt", "d2_pred", (1, 0.7)),
}
KINDS: list[Elements] = ["area", "voxel"]


def blobs(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping ragged masks; with these seeds neither is empty and some touch the edge."""
    random = np.random.default_rng(seed)
    base, one, other = (gaussian_filter(random.normal(size=shape), 1.5) for _ in range(3))
    return base + one / 2 > 0.05, base + other / 2 > 0.05


@pytest.mark.parametrize("case", CASES)
def test_recorded_values_are_met(case: str) -> None:
    truth, predicted, spacing = GOLDEN[CASES[case][0]], GOLDEN[CASES[case][1]], CASES[case][2]
    np.testing.assert_allclose(
        average_surface_distances(truth, predicted, spacing), GOLDEN[f"{case}__asd"], rtol=1e-9
    )
    borders = extract_borders(truth, predicted, np.array(spacing, float), "area")
    sizes = borders.truth.size, borders.predicted.size
    recorded = GOLDEN.get(f"{case}__area", GOLDEN.get(f"{case}__len"))
    np.testing.assert_allclose(sizes, recorded, rtol=1e-9)
    tolerances = [key.rsplit("_", 1)[1] for key in GOLDEN if key.startswith(f"{case}__sdice_")]
    assert tolerances
    for text in tolerances:
        found = surface_dice(truth, predicted, float(text), spacing)
        assert found == pytest.approx(GOLDEN[f"{case}__sdice_{text}"], abs=1e-9)
        if f"{case}__overlap_{text}" in GOLDEN:
            shares = np.array(borders.sizes_within(float(text))) / sizes
            np.testing.assert_allclose(shares, GOLDEN[f"{case}__overlap_{text}"], atol=1e-9)
    for percentile in (95, 100):
        if f"{case}__hd{percentile}" in GOLDEN:
            found = hausdorff_distance(truth, predicted, spacing, percentile=percentile)
            assert found == pytest.approx(GOLDEN[f"{case}__hd{percentile}"], abs=1e-9)


def test_recorded_distances_of_border_voxels_are_met() -> None:
    there, back = average_surface_distances(GOLDEN["gt"], GOLDEN["pred"], 1, "voxel")
    assert there == pytest.approx(GOLDEN["voxel_asd_gt_to_pred_nospacing"], abs=1e-9)
    assert back == pytest.approx(GOLDEN["voxel_asd_pred_to_gt_nospacing"], abs=1e-9)
    there, back = average_surface_distances(GOLDEN["gt"], GOLDEN["pred"], (3, 1, 0.7), "voxel")
    assert back == pytest.approx(GOLDEN["voxel_asd_pred_to_gt_aniso"], abs=1e-9)
    assert (there + back) / 2 == pytest.approx(GOLDEN["voxel_assd_aniso"], abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((19, 23), (1.0, 0.7)), ((9, 12, 14), (3.0, 1.0, 0.7)), ((9, 12, 14), (1.0, 1.0, 1.0))],
)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_values_agree_with_monai(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> None:
    truth, predicted = blobs(shape, seed)
    one, other = (torch.from_numpy(mask)[None, None] for mask in (truth, predicted))
    for tolerance in (0.0, 0.7, 1.0, 2.1, 5.0):
        for by in KINDS:
            theirs = compute_surface_dice(
                other, one, [tolerance], include_background=True, spacing=spacing, use_subvoxels=by == "area"
            )
            assert surface_dice(truth, predicted, tolerance, spacing, by) == pytest.approx(
                float(theirs), abs=1e-5
            )
    there, back = average_surface_distances(truth, predicted, spacing, "voxel")
    for ours, ends in ((back, (other, one)), (there, (one, other))):
        theirs = compute_average_surface_distance(*ends, include_background=True, spacing=spacing)
        assert ours == pytest.approx(float(theirs), abs=1e-5)
    for percentile in (50.0, 95.0, 100.0):
        theirs = compute_hausdorff_distance(
            other, one, include_background=True, spacing=spacing, percentile=percentile
        )
        ours = hausdorff_distance(truth, predicted, spacing, "voxel", percentile)
        assert ours == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.7), (2.0, 0.7), (1.0, 1.0)])
def test_derived_areas_equal_the_published_table(spacing: tuple[float, ...]) -> None:
    table = np.asarray(get_code_to_measure_table(spacing)[0])
    theirs_of_corner = np.ravel(ENCODING_KERNEL[len(spacing)])
    for code, size in enumerate(surfel_sizes(spacing)):
        inside = [bool(code >> corner & 1) for corner in range(len(theirs_of_corner))]
        assert size == pytest.approx(float(table[theirs_of_corner[inside].sum()]), rel=1e-5)


def naive_border(mask: np.ndarray) -> list[tuple[int, ...]]:
    padded = np.pad(mask, 1)
    steps = [s * row for row in np.eye(mask.ndim, dtype=int) for s in (-1, 1)]
    return [tuple(at) for at in np.argwhere(padded) if not all(padded[tuple(at + step)] for step in steps)]


@pytest.mark.parametrize(("shape", "spacing"), [((11, 9), (0.1, 2.0)), ((6, 7, 5), (3.0, 1.0, 0.7))])
def test_voxel_values_agree_with_a_naive_loop(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    truth, predicted = blobs(shape, 4)
    one, other = (np.array(naive_border(mask)) * spacing for mask in (truth, predicted))
    there = np.array([min(np.linalg.norm(a - b) for b in other) for a in one])
    back = np.array([min(np.linalg.norm(a - b) for a in one) for b in other])
    both = np.concatenate([there, back])
    np.testing.assert_allclose(
        average_surface_distances(truth, predicted, spacing, "voxel"), (there.mean(), back.mean())
    )
    assert hausdorff_distance(truth, predicted, spacing, "voxel", 100) == pytest.approx(both.max())
    for tolerance in (0, 0.25, 0.95, 2.2, 10):  # beyond 0.3 mm of 0.1 mm voxels the tree is searched
        share = (both <= tolerance).mean()
        assert surface_dice(truth, predicted, tolerance, spacing, "voxel") == pytest.approx(share)


def test_a_shifted_square_gives_the_numbers_worked_by_hand() -> None:
    # A square of 4 x 4 pixels has 12 border pixels. Moved down by one row, 3 pixels of the left side and 3 of the
    # right lie on the other border; 4 of the top and 2 in the middle of the bottom are one row (1 mm) away.
    square = np.pad(np.ones((4, 4), bool), 2)
    moved = np.roll(square, 1, axis=0)
    assert surface_dice(square, moved, 0, (1, 2), "voxel") == 0.5
    assert average_surface_distances(square, moved, (1, 2), "voxel") == (0.5, 0.5)
    # Its contour runs 2 x 3 rows of 1 mm, 2 x 3 columns of 2 mm and 4 corners of sqrt(5) / 2 mm.
    border = extract_borders(square, moved, np.array([1.0, 2.0]), "area").truth
    assert border.size == pytest.approx(6 + 12 + 2 * np.sqrt(5))


def test_one_voxel_has_the_surface_of_an_octahedron() -> None:
    voxel = np.ones((1, 1, 1), bool)
    border = extract_borders(voxel, voxel, np.ones(3), "area").truth
    assert border.size == pytest.approx(np.sqrt(3))  # 8 triangles with sides of sqrt(1/2)


def test_a_cube_shifted_by_one_voxel_is_right_within_a_millimetre() -> None:
    cube = np.pad(np.ones((5, 5, 5), bool), 3)
    moved = np.roll(cube, 1, axis=1)
    for by in KINDS:
        assert surface_dice(cube, moved, 1, 1, by) == 1.0
        assert surface_dice(cube, moved, 0.5, 1, by) < 1.0
        assert hausdorff_distance(cube, moved, 1, by, 100) == 1.0


def test_a_distance_equal_to_the_tolerance_is_within_it() -> None:
    line = np.zeros((1, 9), bool)
    one, other = line.copy(), line.copy()
    one[0, 0] = other[0, 3] = True
    assert 3 * 0.1 > 0.3  # in floating point
    assert surface_dice(one, other, 0.3, 0.1, "voxel") == 1.0
    assert surface_dice(one, other, 0.29, 0.1, "voxel") == 0.0
    one[0, 0], one[0, 8] = False, True
    assert surface_dice(one, other, 0.5, 0.1, "voxel") == 1.0  # five voxels: searched in a tree
    assert surface_dice(one, other, 0.49, 0.1, "voxel") == 0.0


@pytest.mark.parametrize("by", KINDS)
@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)])
def test_empty_masks_follow_the_convention(by: Elements, shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    for nothing in (empty, empty[:0]):
        assert surface_scores(nothing, nothing, 1, 1, by) == (1.0, 0.0, 0.0, 0.0)
    for pair in ((empty, full), (full, empty)):
        dice, *distances = surface_scores(*pair, 1, 1, by)
        assert dice == 0.0
        assert np.isnan(distances).all()


@pytest.mark.parametrize("by", KINDS)
def test_metrics_are_symmetric_monotone_and_do_not_depend_on_the_frame(by: Elements) -> None:
    truth, predicted = blobs((10, 13, 9), 7)
    spacing = (2.0, 1.0, 0.7)
    steps = np.linspace(0, 8, 17)
    rising = [surface_dice(truth, predicted, step, spacing, by) for step in steps]
    assert rising == pytest.approx([surface_dice(predicted, truth, step, spacing, by) for step in steps])
    assert (np.diff(rising) >= -1e-12).all()
    assert rising[0] < rising[-1] == pytest.approx(1.0)
    there, back = average_surface_distances(truth, predicted, spacing, by)
    assert average_surface_distances(predicted, truth, spacing, by) == pytest.approx((back, there))
    wide = [np.pad(mask, ((4, 1), (0, 3), (7, 2))) for mask in (truth, predicted)]
    assert surface_scores(*wide, 1, spacing, by) == pytest.approx(
        surface_scores(truth, predicted, 1, spacing, by)
    )


@pytest.mark.parametrize("by", KINDS)
def test_scores_together_equal_scores_one_by_one(by: Elements) -> None:
    truth, predicted = blobs((8, 9, 7), 8)
    together = surface_scores(truth, predicted.astype(np.int16), 0.8, 0.5, by, 90)
    assert together.dice == pytest.approx(surface_dice(truth, predicted, 0.8, 0.5, by), rel=1e-12)
    assert together[1:3] == average_surface_distances(truth, predicted, 0.5, by)
    assert together.hausdorff == hausdorff_distance(truth, predicted, 0.5, by, 90)


def test_masks_that_do_not_fit_are_told() -> None:
    with pytest.raises(ShapeError, match=r"truth is \(2, 2\) and the prediction \(2, 3\)"):
        surface_dice(np.zeros((2, 2), bool), np.zeros((2, 3), bool), 1, 1)
    with pytest.raises(ShapeError, match=r"\(D, H, W\)"):
        average_surface_distances(np.zeros(4, bool), np.zeros(4, bool), 1)
    with pytest.raises(ShapeError, match="prediction holds other values"):
        hausdorff_distance(np.zeros((2, 2), int), np.full((2, 2), 2), 1)


def test_settings_out_of_range_are_told() -> None:
    mask = np.ones((3, 3), bool)
    for spacing in (0, -1.0, (1, 1, 1), float("nan"), (1, float("inf"))):
        with pytest.raises(SettingsError, match="spacing"):
            surface_dice(mask, mask, 1, spacing)
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="tolerance"):
            surface_dice(mask, mask, tolerance, 1)
    for percentile in (0, 101, float("nan")):
        with pytest.raises(SettingsError, match="percentile"):
            hausdorff_distance(mask, mask, 1, percentile=percentile)
    with pytest.raises(SettingsError, match="voxels"):
        surface_dice(mask, mask, 1, 1, "voxels")  # type: ignore[arg-type]
