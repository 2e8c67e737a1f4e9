"""Preparation: what the network sees, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.preparation import Preparer
from medgraft.images.resampling import resize
from medgraft.types import Preparation


def grey(values: object, dtype: object = np.float32) -> np.ndarray:
    return np.asarray(values, dtype=dtype)[..., None]


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.uint32, 2**32 - 1), (np.bool_, True)]
)
def test_unit_intensity_divides_unsigned_numbers_by_their_type(dtype: type, white: int) -> None:
    image = Preparer(Preparation(channels=1)).image(grey([[0, white]], dtype))
    assert image.dtype == torch.float32
    assert image.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float32, np.float64, ">i2", ">f4"])
def test_unit_intensity_stretches_signed_and_floating_images_by_their_own_range(dtype: object) -> None:
    image = Preparer(Preparation(channels=1)).image(grey([[-1000, 0, 3000]], dtype))
    assert image.flatten().tolist() == pytest.approx([0.0, 0.25, 1.0])


def test_percentiles_clip_and_agree_with_numpy_on_stored_pixels() -> None:
    stored = np.random.default_rng(0).gamma(2.0, 50.0, (40, 50, 3))
    low, high = np.percentile(stored, [2, 97])
    expected = np.clip((stored - low) / (high - low), 0, 1)
    settings = Preparation(intensity="percentiles", percentiles=(2, 97))
    np.testing.assert_allclose(Preparer(settings).image(stored).permute(1, 2, 0), expected, atol=1e-5)
    # At another size the same two stored values are black and white.
    small = Preparer(settings.model_copy(update={"size": (10, 10)})).image(stored)
    wanted = resize(torch.tensor(expected, dtype=torch.float32).permute(2, 0, 1), (10, 10))
    torch.testing.assert_close(small, wanted, atol=1e-5, rtol=0)


def test_zscore_gives_mean_zero_and_sd_one_over_the_image() -> None:
    stored = np.random.default_rng(1).normal(400, 30, (20, 20, 3))
    image = Preparer(Preparation(intensity="zscore")).image(stored).double()
    np.testing.assert_allclose(image.permute(1, 2, 0), (stored - stored.mean()) / stored.std(), atol=1e-4)


def test_zscore_nonzero_uses_pixels_that_are_not_all_zero_and_keeps_the_rest_at_zero() -> None:
    stored = np.zeros((2, 3, 3))
    stored[0, 0] = [0.0, 3.0, 6.0]
    stored[1, 2] = [1.0, 2.0, 9.0]
    chosen = np.array([0.0, 3.0, 6.0, 1.0, 2.0, 9.0])
    image = Preparer(Preparation(intensity="zscore_nonzero")).image(stored)
    assert image[:, 0, 0].tolist() == pytest.approx(((chosen[:3] - chosen.mean()) / chosen.std()).tolist())
    assert image[:, 0, 1].tolist() == [0.0, 0.0, 0.0]


def test_window_maps_its_edges_to_black_and_white() -> None:
    settings = Preparation(channels=1, intensity="window", window=(40, 400))
    image = Preparer(settings).image(grey([[-1000, -160, 40, 240, 3000]], np.int16))
    assert image.flatten().tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


@pytest.mark.parametrize("intensity", ["unit", "percentiles", "zscore", "zscore_nonzero"])
def test_a_constant_image_becomes_zeros(intensity: str) -> None:
    image = Preparer(Preparation(intensity=intensity, size=(4, 4))).image(np.full((7, 5, 3), 0.1))
    assert image.tolist() == torch.zeros(3, 4, 4).tolist()


def test_none_keeps_values_and_shares_no_memory_with_the_caller() -> None:
    stored = np.ones((2, 2, 1), np.float32)
    image = Preparer(Preparation(channels=1, intensity="none")).image(stored)
    image += 1
    assert stored.tolist() == np.ones((2, 2, 1)).tolist()
    assert image.tolist() == [[[2.0, 2.0], [2.0, 2.0]]]


def test_grey_is_replicated_and_colour_becomes_luminance() -> None:
    stored = np.random.default_rng(2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    replicated = Preparer(Preparation()).image(stored[..., :1])
    assert replicated.shape == (3, 6, 7)
    assert torch.equal(replicated[0], replicated[2])
    luminance = Preparer(Preparation(channels=1)).image(stored)[0] * 255
    by_pillow = np.asarray(Image.fromarray(stored).convert("L"), dtype=np.float32)
    assert np.abs(luminance.numpy() - by_pillow).max() <= 1.0


def test_mean_and_std_come_last_per_channel() -> None:
    settings = Preparation(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    image = Preparer(settings).image(np.full((1, 1, 3), 255, np.uint8))
    assert image.flatten().tolist() == [1.0, 3.0, 0.5]


@pytest.mark.parametrize("size", [(9, 11), (16, 40), (31, 24), (20, 20)])
def test_resizing_agrees_with_pillow(size: tuple[int, int]) -> None:
    stored = np.random.default_rng(3).random((20, 30)).astype(np.float32)
    ours = resize(torch.from_numpy(stored)[None], size)[0]
    theirs = np.asarray(Image.fromarray(stored, "F").resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_spacing_decides_the_size_per_axis() -> None:
    prepare = Preparer(Preparation(channels=1, spacing=(0.5, 0.5)))
    assert prepare.image(np.zeros((10, 12, 1)), spacing=(1.0, 0.25)).shape == (1, 20, 6)
    assert prepare.mask(np.zeros((10, 12), np.uint8), spacing=(1.0, 0.25)).shape == (20, 6)


def test_masks_keep_labels_and_stay_aligned_with_the_image() -> None:
    mask = np.zeros((24, 36), np.int32)
    mask[5:17, 9:30] = 7
    prepare = Preparer(Preparation(channels=1, size=(15, 18), intensity="none"))
    small = prepare.mask(mask)
    assert small.dtype == torch.int64
    assert set(small.unique().tolist()) == {0, 7}
    soft = prepare.image((mask == 7).astype(np.float32)[..., None])[0]
    clear = (soft < 0.3) | (soft > 0.7)
    assert torch.equal((small == 7)[clear], (soft > 0.5)[clear])
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(mask)[None, None].float(), (15, 18), mode="nearest-exact"
    )
    assert torch.equal(small, exact[0, 0].long())


def test_float_masks_of_whole_numbers_and_trailing_axis_are_taken() -> None:
    prepare = Preparer(Preparation())
    assert prepare.mask(np.array([[[0.0], [2.0]]])).tolist() == [[0, 2]]
    with pytest.raises(DataError, match="whole-numbered mask labels"):
        prepare.mask(np.array([[0.5]]))
    with pytest.raises(DataError, match="shape"):
        prepare.mask(np.zeros((2, 2, 3), np.uint8))


def test_restore_returns_native_shape_and_keeps_probabilities_summing_to_one() -> None:
    scores = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).softmax(0)
    prepare = Preparer(Preparation(size=(8, 8)))
    for shape in [(20, 13), (8, 8), (5, 30)]:
        back = prepare.restore(scores, shape)
        assert back.shape == (3, *shape)
        torch.testing.assert_close(back.sum(0), torch.ones(shape))


def test_restore_undoes_preparation_of_a_smooth_image() -> None:
    y, x = np.mgrid[0:40, 0:60]
    stored = (np.sin(y / 15) + np.cos(x / 20)).astype(np.float32)[..., None]
    prepare = Preparer(Preparation(channels=1, size=(32, 32), intensity="none"))
    back = prepare.restore(prepare.image(stored), (40, 60))[0]
    assert float((back - torch.from_numpy(stored[..., 0])).abs()[3:-3, 3:-3].max()) < 0.02


def test_value_range_is_where_black_and_white_land() -> None:
    prepare = Preparer(Preparation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)))
    ends = prepare.image(np.array([[[0] * 3, [255] * 3]], np.uint8))
    assert prepare.value_range is not None
    torch.testing.assert_close(torch.tensor(prepare.value_range).T, ends[:, 0])
    assert Preparer(Preparation(intensity="zscore")).value_range is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)), r"shape \(4, 4\)"),
        (np.zeros((0, 4, 3)), "shape"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (np.zeros((4, 4, 4)), "this one has 4"),
        (np.full((2, 2, 3), np.nan), "12 of 12 values"),
        (np.full((2, 2, 3), 1e300), "infinite"),
    ],
)
def test_unfit_images_are_refused_with_a_remedy(array: np.ndarray, message: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(DataError, match=message):
        Preparer(Preparation()).image(array)


@pytest.mark.parametrize("spacing", [None, (1.0,), (1.0, 0.0), (1.0, float("nan"))])
def test_missing_spacing_is_told_where_it_is_needed(spacing: tuple[float, ...] | None) -> None:
    with pytest.raises(DataError, match=r"spacing in millimetres"):
        Preparer(Preparation(spacing=(1.0, 1.0))).image(np.zeros((4, 4, 3)), spacing)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 1, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        {"intensity": "window", "window": (0.0, 0.0)},
        {"size": (0, 4)},
        {"spacing": (1.0, 1.0, 1.0)},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises((SettingsError, ValueError)):
        Preparer(Preparation.model_validate(settings))


def test_restore_needs_one_image() -> None:
    with pytest.raises(ShapeError):
        Preparer(Preparation()).restore(torch.zeros(1, 2, 4, 4), (8, 8))


def volume_of(shape: tuple[int, ...] = (4, 10, 12), seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(-200, 300, (*shape, 1)).astype(np.int16)


def test_a_two_dimensional_network_sees_a_volume_slice_by_slice_with_the_intensities_of_the_whole() -> None:
    stored = volume_of()
    settings = Preparation(channels=1, intensity="percentiles", size=(5, 6))
    prepared = Preparer(settings).volume(stored, (3.0, 1.0, 1.0))
    assert prepared.shape == (1, 4, 5, 6)
    low, high = np.percentile(stored, (1, 99))
    scaled = np.clip((stored[..., 0] - low) / (high - low), 0, 1).astype(np.float32)
    for index in range(4):
        expected = resize(torch.from_numpy(scaled[index])[None], (5, 6))
        torch.testing.assert_close(prepared[:, index], expected, atol=1e-5, rtol=0)


def test_a_volume_is_resampled_to_a_spacing_and_its_mask_with_it() -> None:
    stored = volume_of((6, 10, 12))
    three = Preparer(Preparation(dimensions=3, channels=1, intensity="none", spacing=(1.5, 2.0, 1.0)))
    assert three.volume(stored, (3.0, 1.0, 1.0)).shape == (1, 12, 5, 12)
    mask = three.volume_mask((stored[..., 0] > 0).astype(np.int64) * 300, (3.0, 1.0, 1.0))
    assert mask.shape == (12, 5, 12) and mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, (np.repeat(stored[:, 1::2, :, 0], 2, axis=0) > 0) * 300)
    two = Preparer(Preparation(channels=1, intensity="none", spacing=(2.0, 1.0)))
    assert two.volume(stored, (3.0, 1.0, 1.0)).shape == (1, 6, 5, 12)
    with pytest.raises(DataError, match="three-dimensional"):
        three.image(stored[0])
    with pytest.raises(DataError, match="3 positive spacings"):
        three.volume(stored)


def test_neighbouring_slices_become_channels_and_mean_and_sd_apply_to_each() -> None:
    settings = Preparation(slices=3, channels=3, intensity="none", mean=(1.0, 2.0, 3.0), std=(2.0, 2.0, 4.0))
    prepare = Preparer(settings)
    block = prepare.volume(volume_of((3, 4, 4)))
    made = prepare.to_input(block)
    for channel, (mean, sd) in enumerate([(1, 2), (2, 2), (3, 4)]):
        torch.testing.assert_close(made[channel], (block[0, channel] - mean) / sd)
    single = volume_of((1, 4, 4))[0]
    repeated = prepare.image(single)
    torch.testing.assert_close(repeated[1], (torch.from_numpy(single[..., 0]).float() - 2) / 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"slices": 2, "channels": 2},
        {"slices": 3, "channels": 3, "dimensions": 3},
        {"slices": 3, "channels": 4},
        {"dimensions": 3, "size": (4, 4)},
        {"patch": (4, 4, 4)},
    ],
)
def test_settings_of_volumes_that_contradict_one_another_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Preparation.model_validate(settings)
