"""Random twins: parameters are drawn reproducibly, and images and masks move together."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.augmentation import DRAWS, DRAWS_ACROSS_SLICES, PRESETS, Augmentation, Parameters
from medgraft.images.color import gamma
from medgraft.images.hed import jitter_hed

NONE = Augmentation.preset("none")
COLOURS = sorted(name for name in PRESETS if name.startswith("hed_"))
MOVES = ("turns", "horizontal", "vertical", "angle", "shift", "shear", "zoom", "crop")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6, channels: int = 3, height: int = 24, width: int = 24) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(9))


def neutral(count: int) -> Parameters:
    return NONE.sample(count, seeded())


def test_none_returns_the_very_values() -> None:
    images, mask = batch(), torch.ones(6, 24, 24, dtype=torch.int64)
    changed, same = NONE(images, seeded(), mask)
    assert torch.equal(changed, images)
    assert same is not None and torch.equal(same, mask)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_repeat_from_the_seed_and_leave_their_input_alone(preset: str) -> None:
    images = batch()
    before = images.clone()
    augmentation = PRESETS[preset]  # type: ignore[index]
    first, second, other = (augmentation(images, seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert torch.equal(first, other) == (preset == "none")
    assert torch.equal(first, first.clamp(0.0, 1.0))


def test_switching_one_operation_off_leaves_the_others_as_they_were() -> None:
    strong = Augmentation.preset("strong").model_copy(update={"hed": 0.2})
    reference = strong.sample(64, seeded(3))._asdict()
    ones = (1.0, 1.0)
    off: dict[str, tuple[str, object]] = {
        "flip_horizontal": ("horizontal", 0.0),
        "rotation": ("angle", 0.0),
        "shift": ("shift", 0.0),
        "shear": ("shear", 0.0),
        "zoom": ("zoom", ones),
        "crop": ("crop", ones),
        "sharpness": ("sharpness", 0.0),
        "blur_chance": ("blur", 0.0),
        "equalise": ("equalise", 0.0),
        "autocontrast": ("autocontrast", 0.0),
        "contrast": ("contrast", 0.0),
        "brightness": ("brightness", 0.0),
        "gamma": ("gamma", ones),
        "noise_chance": ("noise", 0.0),
    }
    for setting, (parameter, value) in off.items():
        drawn = strong.model_copy(update={setting: value}).sample(64, seeded(3))._asdict()
        for name, values in drawn.items():
            assert torch.equal(values, reference[name]) == (name != parameter), (setting, name)
    plain = strong.model_copy(update={"hed": 0.0}).sample(64, seeded(3))._asdict()
    changed = {name for name, values in plain.items() if not torch.equal(values, reference[name])}
    assert changed == {"hed_gain", "hed_bias"}


def test_sample_takes_the_stated_number_of_draws() -> None:
    generator, other = seeded(), seeded()
    NONE.sample(5, generator)
    torch.rand(DRAWS, 5, generator=other, dtype=torch.float64)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=other))
    drawn = iter(torch.rand(DRAWS, 5, generator=seeded(), dtype=torch.float64))
    assert torch.equal(NONE.sample(5, seeded()).seeds, (2**31 * list(drawn)[-1]).long())


def test_drawn_parameters_fill_their_ranges() -> None:
    settings = Augmentation(
        flip_horizontal=0.3,
        quarter_turns=True,
        rotation=20,
        shift=0.1,
        zoom=(0.5, 2.0),
        crop=(0.25, 1.0),
        blur_chance=0.4,
    )
    drawn = settings.sample(4000, seeded())
    assert float(drawn.horizontal.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.bincount(drawn.turns).tolist() == pytest.approx([1000] * 4, rel=0.15)
    assert float(drawn.angle.min()) == pytest.approx(-20, abs=0.1) and float(drawn.angle.max()) <= 20
    assert float(drawn.shift.abs().max()) <= 0.1
    assert float(drawn.zoom.log().mean()) == pytest.approx(0.0, abs=0.03)  # halving is as likely as doubling
    assert float((drawn.blur > 0).double().mean()) == pytest.approx(0.4, abs=0.03)
    top, left, height, width = drawn.crop.unbind(1)
    assert float(top.min()) >= 0 and float((top + height).max()) <= 1 + 1e-9
    assert float(left.min()) >= 0 and float((left + width).max()) <= 1 + 1e-9
    area = height * width
    assert float(area.min()) == pytest.approx(0.25, abs=0.01) and float(area.mean()) == pytest.approx(
        0.625, abs=0.02
    )
    assert float((width / height).log().abs().max()) <= math.log(4 / 3) + 1e-9


def test_masks_follow_their_images() -> None:
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    mask = (((y - 18) ** 2 + (x - 28) ** 2) < 120).long().repeat(8, 1, 1)
    settings = Augmentation(
        flip_vertical=0.5,
        quarter_turns=True,
        rotation=40,
        shear=10,
        zoom=(0.7, 1.3),
        crop=(0.6, 1.0),
        outside="zero",
    )
    images, moved = settings.model_copy(update={"brightness": 0.0, "contrast": 0.0})(
        mask[:, None].float(), seeded(4), mask
    )
    assert moved is not None and moved.dtype == torch.int64
    assert not torch.equal(moved, mask)
    clear = (images[:, 0] - 0.5).abs() > 0.49
    assert torch.equal(moved[clear], images[:, 0][clear].round().long())
    assert float(clear.double().mean()) > 0.9


def test_dihedral_only_permutes_pixels() -> None:
    images = batch()
    changed, _ = Augmentation.preset("dihedral")(images, seeded())
    for image, before in zip(changed, images):
        candidates = [turned.rot90(k, (1, 2)) for turned in (before, before.flip(2)) for k in range(4)]
        assert sum(torch.equal(image, candidate) for candidate in candidates) == 1


def test_intensities_change_between_black_and_white_of_the_value_range() -> None:
    images = batch()
    low, high = torch.tensor([-2.0, -1.0, 0.0]), torch.tensor([2.0, 1.5, 4.0])
    extent = (high - low)[:, None, None]
    exponents = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    parameters = neutral(6)._replace(gamma=exponents)
    stretched = images * extent + low[:, None, None]
    value_range = (tuple(low.tolist()), tuple(high.tolist()))
    changed, _ = NONE.apply(stretched, parameters, value_range=value_range)  # type: ignore[arg-type]
    torch.testing.assert_close(
        changed, gamma(images, exponents) * extent + low[:, None, None], atol=1e-5, rtol=1e-5
    )


def test_without_a_value_range_each_channel_keeps_its_own() -> None:
    images = 100 * batch() - 30
    images[2, 1] = 7.0
    parameters = neutral(6)._replace(gamma=torch.full((6,), 2.0))
    changed, _ = NONE.apply(images, parameters, value_range=None)
    torch.testing.assert_close(changed.amin((2, 3)), images.amin((2, 3)))
    torch.testing.assert_close(changed.amax((2, 3)), images.amax((2, 3)))
    assert (changed[2, 1] == 7.0).all()
    assert not torch.allclose(changed, images)


def test_zero_outside_is_black_in_normalised_images() -> None:
    images = torch.full((1, 1, 8, 8), 3.0)
    parameters = neutral(1)._replace(shift=torch.tensor([[0.0, 0.5]]))
    settings = NONE.model_copy(update={"outside": "zero"})
    changed, _ = settings.apply(images, parameters, value_range=(-2.0, 3.0))
    assert changed[0, 0, 0].tolist() == pytest.approx([-2.0] * 4 + [3.0] * 4)


def test_stains_change_as_the_jitter_changes_them_between_black_and_white() -> None:
    images, settings = batch(), NONE.model_copy(update={"hed": 0.2})
    parameters = settings.sample(6, seeded(2))
    expected = jitter_hed(images, parameters.hed_gain, parameters.hed_bias, scale="legacy")
    changed, _ = settings.apply(4 * images - 1, parameters, value_range=(-1.0, 3.0))
    torch.testing.assert_close(changed, 4 * expected - 1, atol=1e-5, rtol=1e-5)
    assert float((expected - images).abs().mean()) > 0.02


def test_stains_are_drawn_for_each_image_and_stain_on_the_whole_range() -> None:
    generator, other = seeded(), seeded()
    drawn = Augmentation.preset("hed_strong").sample(2000, generator)
    NONE.sample(2000, other)
    assert torch.equal(generator.get_state(), other.get_state())  # what is drawn next stays as it was
    numbers = torch.cat([drawn.hed_gain - 1, drawn.hed_bias], 1)
    assert 0.199 < float(numbers.max()) <= 0.2 and -0.2 <= float(numbers.min()) < -0.199
    assert float(numbers.std(0).max()) == pytest.approx(0.4 / 12**0.5, rel=0.05)
    assert float((torch.corrcoef(numbers.T) - torch.eye(6)).abs().max()) < 0.1


def test_stains_of_images_without_colour_or_value_range_are_refused() -> None:
    stained = NONE.model_copy(update={"hed": 0.05})
    for images in (batch(channels=1), volume_batch(channels=3)):
        with pytest.raises(ShapeError, match=r"hed needs colour images.*hed=0"):
            stained(images, seeded())
    with pytest.raises(SettingsError, match="standardises each image"):
        stained(batch(), seeded(), value_range=None)


def test_only_chosen_images_are_equalised() -> None:
    images = batch()
    parameters = neutral(6)._replace(equalise=torch.arange(6) == 2)
    changed, _ = NONE.apply(images, parameters)
    assert [torch.equal(a, b) for a, b in zip(changed, images)] == [row != 2 for row in range(6)]


@pytest.mark.parametrize(
    "settings",
    [{"flip_horizontal": 1.5}, {"zoom": (1.1, 0.9)}, {"zoom": (0.0, 1.0)}, {"crop": (0.5, 1.2)}, {"hue": 1}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Augmentation.model_validate(settings)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="none, light, strong, dihedral"):
        Augmentation.preset("medium")  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    strong = Augmentation.preset("strong")
    assert Augmentation.model_validate_json(strong.model_dump_json()) == strong


def volume_batch(count: int = 4, channels: int = 2, depth: int = 5, side: int = 16) -> Tensor:
    return torch.rand(count, channels, depth, side, side, generator=seeded(8))


def test_by_default_a_volume_moves_like_each_of_its_slices_would_alone() -> None:
    volumes = volume_batch()
    mask = (volumes[:, 0] * 4).long()
    settings = Augmentation.preset("strong").model_copy(
        update={"quarter_turns": True, "flip_vertical": 0.5, "outside": "zero"}
    )
    parameters = settings.sample(4, seeded(5), 3)
    drawn = neutral(4)._asdict() | {name: getattr(parameters, name) for name in MOVES}
    moved, labels = settings.apply(volumes, Parameters(**drawn), mask, value_range=(-0.5, 1.0))
    assert labels is not None and not torch.equal(labels, mask)
    for index in range(volumes.shape[2]):
        alone, label = settings.apply(
            volumes[:, :, index], Parameters(**drawn), mask[:, index], value_range=(-0.5, 1.0)
        )
        assert torch.equal(moved[:, :, index], alone)
        assert torch.equal(labels[:, index], label)  # type: ignore[arg-type]


def test_masks_follow_their_volumes_out_of_the_plane() -> None:
    z, y, x = torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij")
    mask = (((z - 9) ** 2 + 2 * (y - 14) ** 2 + (x - 11) ** 2) < 50).long().repeat(4, 1, 1, 1)
    settings = Augmentation(
        flip_depth=0.5, tilt=40, zoom=(0.7, 1.3), zoom_depth=True, outside="zero", brightness=0, contrast=0
    )
    moved, labels = settings(mask[:, None].float(), seeded(4), mask)
    assert labels is not None and labels.dtype == torch.int64 and not torch.equal(labels, mask)
    clear = (moved[:, 0] - 0.5).abs() > 0.49
    assert torch.equal(labels[clear], moved[:, 0][clear].round().long())
    assert float(clear.double().mean()) > 0.9 and int(labels[clear].sum()) > 200


@pytest.mark.parametrize("preset", sorted(PRESETS.keys() - set(COLOURS)))
def test_presets_change_volumes_reproducibly_and_leave_their_input_alone(preset: str) -> None:
    volumes = volume_batch()
    before = volumes.clone()
    augmentation = PRESETS[preset]  # type: ignore[index]
    first, second = (augmentation(volumes, seeded(1))[0] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(volumes, before)
    assert first.shape == volumes.shape and torch.equal(first, first.clamp(0.0, 1.0))
    assert torch.equal(first, volumes) == (preset == "none")


def test_volumes_draw_more_and_images_as_much_as_ever() -> None:
    settings = Augmentation(flip_depth=0.25, tilt=30, zoom_depth=True)
    generator, other = seeded(), seeded()
    drawn = settings.sample(3000, generator, 3)
    torch.rand(DRAWS + DRAWS_ACROSS_SLICES, 3000, generator=other, dtype=torch.float64)
    assert torch.equal(generator.get_state(), other.get_state())
    plain = settings.sample(3000, seeded())
    for name, values in plain._asdict().items():
        same = torch.equal(values, getattr(drawn, name))
        assert same == (name not in ("depth", "tilt", "zoom_depth")), name
    assert float(drawn.depth.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(drawn.tilt.abs().max()) == pytest.approx(30, abs=0.1)
    assert not torch.equal(drawn.tilt[:, 0], drawn.tilt[:, 1])
    assert torch.equal(drawn.zoom_depth, drawn.zoom)


def test_intensities_of_a_volume_change_alike_in_all_slices() -> None:
    volumes = 60 * volume_batch(2) - 20
    parameters = neutral(2)._replace(gamma=torch.tensor([0.5, 2.0], dtype=torch.float64))
    changed, _ = NONE.apply(volumes, parameters, value_range=None)
    low, high = volumes.amin((2, 3, 4), keepdim=True), volumes.amax((2, 3, 4), keepdim=True)
    expected = ((volumes - low) / (high - low)) ** torch.tensor([0.5, 2.0]).view(2, 1, 1, 1, 1)
    torch.testing.assert_close(changed, expected * (high - low) + low, atol=1e-4, rtol=1e-5)
    wide, _ = NONE.apply(volumes, parameters, value_range=((-20.0, -30.0), (40.0, 50.0)))
    for channel, (black, white) in enumerate([(-20, 40), (-30, 50)]):
        share = ((volumes[:, channel] - black) / (white - black)).clamp(0, 1)
        expected = share ** torch.tensor([0.5, 2.0]).view(2, 1, 1, 1) * (white - black) + black
        torch.testing.assert_close(wide[:, channel], expected, atol=1e-4, rtol=1e-5)
