"""Changes of appearance do what they say, only where they say, and repeat from the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from medgraft.errors import ShapeError
from medgraft.images.appearance import (
    BORDER,
    CURVE_POINTS,
    DRAWS,
    GOES_ON,
    Appearance,
    AppearanceParameters,
    bend_intensities,
    in_paint,
    out_paint,
    shuffle_pixels,
)

NOTHING = Appearance(blocks=0, bend_chance=0, paint_chance=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 4, channels: int = 3, height: int = 24, width: int = 30) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(9))


def boxes(*rows: tuple[int, int, int, int]) -> Tensor:
    return torch.tensor([rows])


def inside(rows: Tensor, height: int, width: int) -> Tensor:
    found = torch.zeros(height, width, dtype=torch.bool)
    for top, left, tall, wide in rows.tolist():
        for y in range(top, top + tall):
            for x in range(left, left + wide):
                found[y, x] = True
    return found


def test_shuffling_keeps_the_pixels_of_a_box_and_all_others_in_place() -> None:
    image = batch(1)
    box = boxes((3, 5, 8, 6))
    shuffled = shuffle_pixels(image, box, torch.tensor([1]))
    outside = ~inside(box[0], 24, 30)
    assert torch.equal(shuffled[..., outside], image[..., outside])
    before, after = (values[0, :, 3:11, 5:11].flatten(1).T for values in (image, shuffled))
    assert not torch.equal(before, after)
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))  # channels stay together


def test_overlapping_boxes_are_each_filled_from_the_image_as_it_was() -> None:
    image, rows, seed = batch(1, 1, 8, 8), boxes((0, 0, 4, 4), (2, 2, 4, 5)), 5
    expected, generator = image.clone(), seeded(seed)
    for top, left, tall, wide in rows[0].tolist():
        order = torch.randperm(tall * wide, generator=generator).tolist()
        for place, source in enumerate(order):
            y, x = divmod(place, wide)
            from_y, from_x = divmod(source, wide)
            expected[0, 0, top + y, left + x] = image[0, 0, top + from_y, left + from_x]
    assert torch.equal(shuffle_pixels(image, rows, torch.tensor([seed])), expected)


@pytest.mark.parametrize("rising", [True, False])
def test_curves_match_interpolation_between_sorted_points(rising: bool) -> None:
    images = batch(6, 1).double()
    controls = torch.rand(6, 2, 2, generator=seeded(2), dtype=torch.float64)
    bent = bend_intensities(images, controls, torch.tensor([rising] * 6))
    for image, after, (first, second) in zip(images.numpy(), bent.numpy(), controls.numpy()):
        points = []
        for t in np.linspace(1, 0, CURVE_POINTS):  # from white to black, as the published code walks
            weights = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3]
            points.append(weights[1] * first + weights[2] * second + weights[3] * np.ones(2))
        inputs, outputs = np.array(points).T
        inputs, outputs = np.sort(inputs), np.sort(outputs) if rising else outputs
        np.testing.assert_allclose(after, np.interp(image, inputs, outputs), atol=1e-12)


def test_curves_are_monotone_with_fixed_ends_and_stay_in_range() -> None:
    ramp = torch.linspace(0, 1, 301).reshape(1, 1, 1, -1).expand(64, 1, 1, -1)
    controls = torch.rand(64, 2, 2, generator=seeded(), dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(16, 2, 2)
    controls[:16] = corners  # among them curves that stand still half-way
    for rising, sign in ((True, 1), (False, -1)):
        bent = bend_intensities(ramp, controls, torch.tensor([rising] * 64))[:, 0, 0]
        assert bool((sign * bent.diff(dim=1) >= 0).all())
        assert bool((bent[:, 0] == float(not rising)).all()) and bool((bent[:, -1] == float(rising)).all())
        assert bool(bent.isfinite().all()) and float(bent.min()) == 0 and float(bent.max()) == 1


def test_a_straight_curve_changes_nothing_or_swaps_black_and_white() -> None:
    images, straight = batch(2), torch.tensor([[[1 / 3, 1 / 3], [2 / 3, 2 / 3]]]).expand(2, 2, 2)
    bent = bend_intensities(images, straight, torch.tensor([True, False]))
    torch.testing.assert_close(bent, torch.stack([images[0], 1 - images[1]]), atol=1e-6, rtol=0)
    beyond = bend_intensities(torch.tensor([[[[-1.0, 2.0]]]]), straight[:1], torch.tensor([True]))
    assert beyond.flatten().tolist() == [0.0, 1.0]


def test_in_painting_changes_its_boxes_only_and_all_channels_alike() -> None:
    images = batch(2)
    rows = torch.tensor([[[4, 3, 5, 6], [20, 20, 4, 10]], [[0, 0, 0, 9], [0, 0, 7, 0]]])
    painted = in_paint(images, rows, torch.tensor([1, 2]))
    hidden = inside(rows[0], 24, 30)
    assert torch.equal((painted[0] != images[0]).any(0), hidden)
    assert torch.equal(painted[1], images[1])  # empty boxes
    noise = painted[0][:, hidden]
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2])
    assert 0 <= float(noise.min()) < 0.1 and 0.9 < float(noise.max()) < 1


def test_out_painting_keeps_its_boxes_only_and_paints_each_channel_anew() -> None:
    images = batch(2)
    rows = torch.tensor([[[4, 3, 5, 6], [8, 5, 10, 10]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    painted = out_paint(images, rows, torch.tensor([1, 2]))
    kept = inside(rows[0], 24, 30)
    assert torch.equal((painted[0] == images[0]).all(0), kept)
    assert torch.equal(painted[1], images[1])  # no boxes, no painting
    noise = painted[0][:, ~kept]
    assert not torch.equal(noise[0], noise[1])
    assert float(noise.double().mean()) == pytest.approx(0.5, abs=0.03)


def test_same_seed_same_result_and_the_input_is_left_alone() -> None:
    images = batch()
    before = images.clone()
    first, second, other = (Appearance()(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert float(first.min()) >= 0 and float(first.max()) <= 1
    assert torch.equal(NOTHING(images, seeded()), images)


def test_an_image_changes_the_same_whatever_stands_beside_it() -> None:
    images, settings = batch(6), Appearance()
    together = settings(images, seeded(7))
    assert torch.equal(settings(images[:2], seeded(7)), together[:2])
    parameters = settings.sample(6, 24, 30, seeded(7))
    alone = AppearanceParameters(*(part[3:4] for part in parameters))
    assert torch.equal(settings.apply(images[3:4], alone), together[3:4])
    beside = images.clone()
    beside[:3] = 0
    assert torch.equal(settings(beside, seeded(7))[3:], together[3:])


def test_operations_follow_each_other_in_the_published_order() -> None:
    images, settings = batch(8), Appearance(bend_chance=0.5)
    drawn = settings.sample(8, 24, 30, seeded(3))
    expected = shuffle_pixels(images, drawn.shuffled, drawn.seeds)
    bent = bend_intensities(expected, drawn.controls, drawn.rising)
    expected = torch.stack([b if on else e for b, e, on in zip(bent, expected, drawn.bent)])
    painted = settings.apply(images, drawn)
    for image, after, hidden, kept in zip(expected, painted, drawn.hidden, drawn.kept):
        clean = inside(kept, 24, 30) if kept.any() else ~inside(hidden, 24, 30)
        assert torch.equal(after[:, clean], image[:, clean])
        assert not (after[:, ~clean] == image[:, ~clean]).any()


def test_drawn_parameters_have_the_published_chances_and_sizes() -> None:
    height, width, count = 70, 42, 4000
    drawn = Appearance(blocks=2).sample(count, height, width, seeded())
    hidden, kept = drawn.hidden[..., 2] > 0, drawn.kept[..., 2] > 0
    assert not (hidden.any(1) & kept.any(1)).any()
    assert float(drawn.bent.double().mean()) == pytest.approx(0.9, abs=0.02)
    assert float(drawn.rising.double().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(kept.any(1).double().mean()) == pytest.approx(0.9 * 0.8, abs=0.02)
    assert float(hidden.any(1).double().mean()) == pytest.approx(0.9 * 0.2 * GOES_ON, abs=0.02)
    for boxes_on, free in ((kept, 1), (hidden, 0)):
        chances = [GOES_ON ** max(0, box + 1 - free) for box in range(5)]
        shares = boxes_on.sum(0) / (0.9 * count * (0.8 if free else 0.2))
        assert shares.tolist() == pytest.approx(chances, abs=0.06)
    for axis, side in ((0, height), (1, width)):
        for values, on, least, most, border in (
            (drawn.shuffled, drawn.shuffled[..., 2] > 0, 1, side // 10, 0),
            (drawn.hidden, hidden, side // 6, side // 3, BORDER),
            (drawn.kept, kept, side - 4 * side // 7, side - 3 * side // 7, BORDER),
        ):
            start, length = values[..., axis][on], values[..., 2 + axis][on]
            assert (int(length.min()), int(length.max())) == (least, most)
            assert int(start.min()) == border and int((start + length).max()) == side - border


def test_chances_do_not_change_what_else_is_drawn() -> None:
    reference = Appearance().sample(16, 32, 32, seeded())._asdict()
    changed = {"bend_chance": {"bent"}, "falling": {"rising"}, "paint_chance": {"hidden", "kept"}}
    for setting, parts in changed.items():
        drawn = Appearance(**{setting: 0.0}).sample(16, 32, 32, seeded())._asdict()
        assert {name for name in drawn if not torch.equal(drawn[name], reference[name])} == parts
    generator, other = seeded(), seeded()
    Appearance(blocks=3).sample(5, 32, 32, generator)
    torch.rand(5, DRAWS + 12, generator=other, dtype=torch.float64)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=other))


def test_the_smallest_images_work_and_smaller_ones_are_told() -> None:
    images = batch(200, 1, 14, 14)
    assert Appearance()(images, seeded()).shape == images.shape
    assert Appearance()(images[:0], seeded()).shape == (0, 1, 14, 14)
    with pytest.raises(ShapeError, match="at least 14 x 14 pixels, but these are 20 x 13"):
        Appearance()(batch(1, 1, 20, 13), seeded())


def test_wrong_shapes_boxes_and_settings_are_told() -> None:
    images, box, seed = batch(1), boxes((0, 0, 2, 2)), torch.tensor([0])
    for change in (shuffle_pixels, in_paint, out_paint):
        for arguments in (
            (images[0], box, seed),
            (images, box[0], seed),
            (images, box.float(), seed),
            (images, box, torch.tensor([0, 1])),
            (images, box.repeat(2, 1, 1), seed),
        ):
            with pytest.raises(ShapeError, match=f"{change.__name__} needs images"):
                change(*arguments)
        for outside in ((-1, 0, 2, 2), (23, 0, 2, 2), (0, 29, 2, 2), (0, 0, 2, -2)):
            with pytest.raises(ShapeError, match="boxes inside 24 x 30 pixels"):
                change(images, boxes(outside), seed)
    with pytest.raises(ShapeError, match="bend_intensities needs images"):
        bend_intensities(images, torch.zeros(1, 2), torch.tensor([True]))
    with pytest.raises(ShapeError, match="Appearance needs images"):
        Appearance()(images[0], seeded())
    for setting in ("bend_chance", "falling", "paint_chance", "out_paint_share"):
        with pytest.raises(ValidationError):
            Appearance(**{setting: 1.5})
    with pytest.raises(ValidationError):
        Appearance(blocks=-1)
