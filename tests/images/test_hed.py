"""HED and HSV changes against scikit-image and published results, and what must hold.

tests/golden/hed_roundtrip.npz: scikit-image. tests/golden/hed_jitter.npz: scikit-image with clamped stains, the same
formulas without clamping in float64, and the published augmenter's legacy scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import hed2rgb, hsv2rgb, rgb2hed, rgb2hsv
from torch import Tensor

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.hed import HEDJitter, Scale, hed_to_rgb, jitter_hed, rgb_to_hed
from medgraft.images.hsv import HSVJitter, rgb_to_hsv, shift_hsv

FOLDER = Path(__file__).parents[1] / "golden"
ROUND_TRIP = dict(np.load(FOLDER / "hed_roundtrip.npz"))
JITTER = dict(np.load(FOLDER / "hed_jitter.npz"))
SCALES: tuple[Scale, ...] = ("modern", "legacy")


def batch(array: np.ndarray) -> Tensor:
    images = torch.from_numpy(array).double()
    images = images / 255 if array.dtype == np.uint8 else images
    return (images if images.ndim == 4 else images[None]).permute(0, 3, 1, 2)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def jittered(scale: Scale = "modern", clamp: bool = False, kind: torch.dtype = torch.float64) -> Tensor:
    images = batch(JITTER["rgb_u8"]).expand(4, -1, -1, -1).to(kind)
    gain, bias = (torch.from_numpy(JITTER[name]) for name in ("alpha", "beta"))
    return jitter_hed(images, gain, bias, scale, clamp)


def test_stains_are_those_of_scikit_image() -> None:
    images = batch(ROUND_TRIP["rgb_u8"])
    clamped, free = rgb_to_hed(images, clamp=True), rgb_to_hed(images)
    for ours, name in ((clamped, "hed_skimage"), (free, "hed_unclamped")):
        torch.testing.assert_close(ours, batch(ROUND_TRIP[name]), rtol=0, atol=1e-9)
        single = rgb_to_hed(images.float(), clamp=ours is clamped)
        torch.testing.assert_close(single.double(), ours, rtol=0, atol=1e-5)
    for ours, name in ((clamped, "rgb_back_skimage"), (free, "rgb_back_unclamped")):
        torch.testing.assert_close(hed_to_rgb(ours), batch(ROUND_TRIP[name]), rtol=0, atol=1e-9)
    colours = hed_to_rgb(batch(ROUND_TRIP["stains_in"]))
    torch.testing.assert_close(colours, batch(ROUND_TRIP["rgb_from_stains"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("scale", "clamp", "name"),
    [("modern", True, "out_skimage_clamped"), ("modern", False, "out_unclamped"), ("legacy", False, "out_log_plus2")],
)  # fmt: skip
def test_jitter_is_the_published_one(scale: Scale, clamp: bool, name: str) -> None:
    expected = batch(JITTER[name])
    torch.testing.assert_close(jittered(scale, clamp), expected, rtol=0, atol=2e-6)
    single = jittered(scale, clamp, torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_a_round_trip_without_clamping_is_exact(scale: Scale) -> None:
    images = rand(2, 3, 9, 7).clamp(min=1e-4)
    torch.testing.assert_close(hed_to_rgb(rgb_to_hed(images, scale), scale), images, rtol=0, atol=1e-12)
    single = hed_to_rgb(rgb_to_hed(images.float(), scale), scale)
    torch.testing.assert_close(single.double(), images, rtol=0, atol=5e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_gain_one_and_bias_zero_change_nothing(scale: Scale) -> None:
    images = rand(3, 3, 9, 7).float()
    images[0, :, 0, 0] = 0.0
    changed = jitter_hed(images, torch.ones(3, 3), torch.zeros(3, 3), scale)
    torch.testing.assert_close(changed, images, rtol=0, atol=2e-6)


def test_white_stays_white_under_any_gain_of_the_modern_scale_only() -> None:
    white = torch.ones(1, 3, 2, 2)
    gain = torch.tensor([[0.3, 1.7, 2.0]])
    assert torch.equal(jitter_hed(white, gain, torch.zeros(1, 3)), white)
    assert jitter_hed(white, gain, torch.zeros(1, 3), "legacy").min() < 0.9


@pytest.mark.parametrize("scale", SCALES)
def test_folding_equals_the_way_through_the_stains(scale: Scale) -> None:
    images, gain, bias = rand(4, 3, 8, 6), 0.5 + rand(4, 3, seed=1), 0.05 * rand(4, 3, seed=2)
    stains = rgb_to_hed(images, scale) * gain[..., None, None] + bias[..., None, None]
    changed = jitter_hed(images, gain, bias, scale)
    torch.testing.assert_close(changed, hed_to_rgb(stains, scale), rtol=0, atol=1e-12)


def test_how_images_lie_in_memory_does_not_matter() -> None:
    images, gain, bias = rand(4, 3, 8, 6), 0.5 + rand(4, 3, seed=1), 0.05 * rand(4, 3, seed=2)
    moved = images.to(memory_format=torch.channels_last)
    assert moved.stride() != images.stride()
    torch.testing.assert_close(jitter_hed(moved, gain, bias), jitter_hed(images, gain, bias))


def test_each_image_has_its_own_change_whatever_stands_beside_it() -> None:
    images, gain, bias = rand(4, 3, 8, 6), 0.5 + rand(4, 3, seed=1), 0.05 * rand(4, 3, seed=2)
    before, together = images.clone(), jitter_hed(images, gain, bias)
    for row in range(4):
        stains = rgb2hed(images[row].permute(1, 2, 0).numpy())
        alone = jitter_hed(images[row : row + 1], gain[row : row + 1], bias[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-15)
        clamped = jitter_hed(images, gain, bias, clamp=True)[row].permute(1, 2, 0)
        np.testing.assert_allclose(
            clamped, hed2rgb(stains * gain[row].numpy() + bias[row].numpy()), atol=1e-12
        )
    assert torch.equal(images, before)
    strided = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(jitter_hed(strided, gain, bias), together, rtol=0, atol=1e-15)


def test_short_floats_and_autocast_lose_no_more_than_they_must() -> None:
    images, gain, bias = rand(2, 3, 8, 6), 0.5 + rand(2, 3, seed=1), 0.05 * rand(2, 3, seed=2)
    half = jitter_hed(images.half(), gain, bias)
    assert half.dtype == torch.float16
    exact = jitter_hed(images.half().double(), gain, bias)
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=1e-3)
    single = images.float()
    expected, stains = jitter_hed(single, gain, bias), rgb_to_hed(single)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(jitter_hed(single, gain, bias), expected)
        assert torch.equal(rgb_to_hed(single), stains)


def test_presets_draw_the_published_ranges() -> None:
    for name, sigma in (("light", 0.05), ("strong", 0.2)):
        jitter = HEDJitter.preset(name)  # type: ignore[arg-type]
        gain, bias = jitter.sample(4000, torch.Generator().manual_seed(0))
        assert gain.shape == bias.shape == (4000, 3) and jitter.scale == "legacy"
        for draws, middle in ((gain, 1.0), (bias, 0.0)):
            assert middle - sigma <= draws.min() < middle - 0.99 * sigma
            assert middle + 0.99 * sigma < draws.max() <= middle + sigma
            assert (draws.mean(0) - middle).abs().max() < 0.05 * sigma
        correlation = torch.corrcoef(torch.cat([gain, bias], 1).T) - torch.eye(6)
        assert correlation.abs().max() < 0.08  # six independent draws


@pytest.mark.parametrize("jitter", [HEDJitter(), HSVJitter(value=0.2)])
def test_the_same_seed_gives_the_same_images(jitter: HEDJitter | HSVJitter) -> None:
    images = rand(3, 3, 8, 8).float()
    first, again, other = (jitter(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def hsv_by_skimage(image: Tensor, hue: float, saturation: float, value: float) -> np.ndarray:
    hsv = rgb2hsv(image.permute(1, 2, 0).numpy())
    hsv[..., 0] = (hsv[..., 0] + hue) % 1
    s, v = hsv[..., 1].copy(), hsv[..., 2].copy()
    hsv[..., 1] = s * (1 + saturation) if saturation < 0 else s * (1 + (1 - s) * saturation)
    hsv[..., 2] = v * (1 + value) if value < 0 else v + (1 - v) * value
    return np.asarray(hsv2rgb(hsv))


def test_hue_saturation_and_value_are_those_of_scikit_image() -> None:
    images = rand(4, 3, 12, 10)
    images[:, :, 0, 0] = 0.0
    images[:, :, 0, 1] = 0.6
    images[:, :2, 0, 2] = 0.9
    images[:, 1:, 0, 3] = 0.95
    changes = torch.tensor(
        [[0.0, 0.1, -0.37, 1.0], [0.0, 0.5, -0.4, -1.0], [0.0, -0.3, 0.6, 0.0]], dtype=torch.float64
    )
    changed = shift_hsv(images, *changes)
    for row in range(4):
        expected = hsv_by_skimage(images[row], *changes[:, row].tolist())
        np.testing.assert_allclose(changed[row].permute(1, 2, 0), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(changed[0], images[0], rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    images = torch.rand(2, 3, 4, 4)
    for wrong in (images[:, :1], images[0], (images * 65535).to(torch.int32)):
        for work in (rgb_to_hed, hed_to_rgb, lambda x: jitter_hed(x, torch.ones(2, 3), torch.zeros(2, 3))):
            with pytest.raises(ShapeError, match=r"float images \(B, 3, H, W\)"):
                work(wrong)
    with pytest.raises(ShapeError, match=r"gain and bias of shape \(2, 3\)"):
        jitter_hed(images, torch.ones(3), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"of shape \(2,\)"):
        shift_hsv(images, torch.zeros(1), torch.zeros(2), torch.zeros(2))
    with pytest.raises(SettingsError, match="'modern' or 'legacy'"):
        rgb_to_hed(images, "od")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="modern scale for clamping"):
        rgb_to_hed(images, "legacy", clamp=True)
    for jitter in (HEDJitter, HSVJitter):
        with pytest.raises(SettingsError, match="light, strong"):
            jitter.preset("medium")  # type: ignore[arg-type]


def test_values_outside_0_to_1_are_refused_not_turned_white() -> None:
    generator = torch.Generator().manual_seed(0)
    hed, hsv = HEDJitter(), HSVJitter()
    works = (rgb_to_hed, rgb_to_hsv, lambda x: hed(x, generator), lambda x: hsv(x, generator))
    images = torch.rand(2, 3, 4, 4, generator=generator)
    for work in works:
        for wrong in (255 * images, images - 0.5, images * torch.nan):
            with pytest.raises(DataError, match=r"needs values in \[0, 1\], but got"):
                work(wrong)
        assert work(1.0005 * images.clamp(max=1)).isfinite().all(), "rounding passes"
        assert work(images[:0]).shape == (0, 3, 4, 4)
