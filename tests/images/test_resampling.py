"""Resampling: parts equal the whole, and the whole equals other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from medgraft.images.resampling import Resampling, nearest, resize


@pytest.mark.parametrize(("stored", "wanted"), [(4, 2), (5, 13), (40, 17), (7, 7), (1, 5), (5, 1), (16, 15)])
def test_any_range_of_outputs_equals_the_same_part_of_the_whole(stored: int, wanted: int) -> None:
    values = torch.randn(2, stored, 3, generator=torch.Generator().manual_seed(0))
    whole = resize(values, (wanted, 3))
    plan = Resampling.between(stored, wanted)
    for start in range(wanted):
        for stop in range(start + 1, wanted + 1):
            low, high = plan.needed(start, stop)
            assert 0 <= low < high <= stored
            part = plan.apply(values[:, low:high], 1, start, stop, offset=low)
            torch.testing.assert_close(part, whole[:, start:stop], atol=1e-6, rtol=1e-5)


def test_a_growing_volume_is_resized_as_trilinear_interpolation_does() -> None:
    volume = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    expected = interpolate(volume[None], size=(11, 9, 13), mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(resize(volume, (11, 9, 13)), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_volume_shrinks_along_each_axis_as_pillow_shrinks_pictures(axis: int) -> None:
    volume = np.random.default_rng(2).random((1, 12, 12, 12), np.float32)
    size = [12, 12, 12]
    size[axis - 1] = 5
    shrunk = resize(torch.from_numpy(volume), size).numpy()[0]
    lines = np.moveaxis(volume[0], axis - 1, 0).reshape(12, -1)
    expected = np.asarray(Image.fromarray(lines).resize((lines.shape[1], 5), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(np.moveaxis(shrunk, axis - 1, 0).reshape(5, -1), expected, atol=1e-5)


@pytest.mark.parametrize(("stored", "wanted"), [(10, 4), (4, 10), (7, 7), (1, 3)])
def test_the_nearest_pixel_holds_the_centre(stored: int, wanted: int) -> None:
    expected = [int((index + 0.5) * stored / wanted) for index in range(wanted)]
    assert nearest(stored, wanted).tolist() == expected
