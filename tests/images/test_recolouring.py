"""Colours of training images: changed as torchvision changes them, drawn beside everything that was drawn before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from medgraft.errors import SettingsError, ShapeError
from medgraft.images.augmentation import Augmentation
from medgraft.images.color import greyscale, saturation, solarise
from medgraft.images.hsv import shift_hsv

NONE = Augmentation.preset("none")
COLOURFUL = {"saturation": 0.4, "hue": 0.1, "greyscale": 0.3, "solarise": 0.2}
NEUTRAL = {"saturation": 1.0, "hue": 0.0, "greyscale": 0.0, "solarise": 0.0}


ANGLES, SEEDS = [-12.317273519226976, 3.64329584232933], [1733590001, 762025772]
"""Of the preset `strong`, seed 7, before colours were drawn."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 12, 12, generator=seeded(9))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_saturation_and_greyscale_are_torchvisions(factor: float) -> None:
    images = batch()
    changed = saturation(images, torch.full((6,), factor))
    # torchvision rounds the luminance's weights to four digits
    torch.testing.assert_close(changed, reference.adjust_saturation(images, factor), atol=3e-4, rtol=0)
    torch.testing.assert_close(greyscale(images), saturation(images, torch.zeros(6)))
    torch.testing.assert_close(
        greyscale(images), reference.rgb_to_grayscale(images, num_output_channels=3), atol=3e-4, rtol=0
    )


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.1, 0.5])
def test_the_circle_of_hues_turns_as_torchvisions(turn: float) -> None:
    images, nothing = batch(), torch.zeros(6)
    torch.testing.assert_close(
        shift_hsv(images, torch.full((6,), turn), nothing, nothing),
        reference.adjust_hue(images, turn), atol=1e-5, rtol=0,
    )  # fmt: skip


def test_what_is_half_as_bright_as_white_is_inverted() -> None:
    images = batch(channels=1)
    images[0, 0, 0, :2] = torch.tensor([0.5, 0.499])
    assert torch.equal(solarise(images), reference.solarize(images, 0.5))
    volumes = batch().reshape(6, 1, 3, 12, 12)
    assert torch.equal(solarise(volumes).flatten(1), solarise(batch()).flatten(1))


def test_colours_are_drawn_for_each_image_beside_all_that_was_drawn_before() -> None:
    strong = Augmentation.preset("strong").model_copy(update={"hed": 0.2})
    generator, other = seeded(3), seeded(3)
    before = strong.sample(3000, generator)._asdict()
    drawn = strong.model_copy(update=COLOURFUL).sample(3000, other)
    assert torch.equal(generator.get_state(), other.get_state())
    changed = {name for name, values in drawn._asdict().items() if not torch.equal(values, before[name])}
    assert changed == set(COLOURFUL)
    assert all(bool((before[name] == neutral).all()) for name, neutral in NEUTRAL.items())
    for values, low, high in ((drawn.saturation, 0.6, 1.4), (drawn.hue, -0.1, 0.1)):
        assert low <= float(values.min()) < low + 0.002 and high - 0.002 < float(values.max()) <= high
    assert float(drawn.greyscale.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(drawn.solarise.double().mean()) == pytest.approx(0.2, abs=0.03)
    together = torch.stack([values.double() for values in drawn[-4:]])
    assert float((torch.corrcoef(together) - torch.eye(4)).abs().max()) < 0.06


def test_some_images_keep_brightness_contrast_saturation_and_hue_together() -> None:
    always = Augmentation(brightness=0.4, contrast=0.4, **COLOURFUL)  # type: ignore[arg-type]
    sometimes = always.model_copy(update={"jitter_chance": 0.8})
    all_drawn, drawn = (changes.sample(3000, seeded(3)) for changes in (always, sometimes))
    spared = (drawn.brightness == 1.0) & (drawn.contrast == 1.0)
    assert float(spared.double().mean()) == pytest.approx(0.2, abs=0.03)
    for name, neutral in {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}.items():
        own, of_all = getattr(drawn, name), getattr(all_drawn, name)
        assert bool((own[spared] == neutral).all()) and torch.equal(own[~spared], of_all[~spared])
        assert abs(float(torch.corrcoef(torch.stack([spared.double(), of_all]))[0, 1])) < 0.06
    left = set(drawn._fields) - {"brightness", "contrast", "saturation", "hue"}
    assert all(torch.equal(getattr(drawn, name), getattr(all_drawn, name)) for name in left)


def test_old_seeds_give_the_numbers_they_always_gave() -> None:
    drawn = Augmentation.preset("strong").sample(2, seeded(7))
    assert drawn.angle.tolist() == pytest.approx(ANGLES, rel=1e-12)
    assert drawn.seeds.tolist() == SEEDS


def test_switching_one_colour_off_leaves_the_others_as_they_were() -> None:
    reference_ = NONE.model_copy(update=COLOURFUL).sample(64, seeded(3))._asdict()
    for setting in COLOURFUL:
        drawn = NONE.model_copy(update=COLOURFUL | {setting: 0.0}).sample(64, seeded(3))._asdict()
        changed = {name for name, values in drawn.items() if not torch.equal(values, reference_[name])}
        assert changed == {setting}


def test_colours_change_in_their_order_between_black_and_white() -> None:
    images = batch()
    parameters = NONE.sample(6, seeded())._replace(
        saturation=torch.linspace(0.5, 1.5, 6, dtype=torch.float64),
        hue=torch.linspace(-0.2, 0.2, 6, dtype=torch.float64),
        greyscale=torch.arange(6) == 2,
        solarise=torch.arange(6) > 3,
    )
    expected = []
    for row, image in enumerate(images):
        image = saturation(image[None], parameters.saturation[row : row + 1])
        image = reference.adjust_hue(image, float(parameters.hue[row]))
        image = greyscale(image) if row == 2 else image
        expected.append(reference.solarize(image, 0.5) if row > 3 else image)
    changed, _ = NONE.apply(4 * images - 1, parameters, value_range=(-1.0, 3.0))
    torch.testing.assert_close(changed, 4 * torch.cat(expected) - 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["saturation", "hue", "greyscale"])
def test_images_without_colour_or_value_range_are_refused(name: str) -> None:
    settings = NONE.model_copy(update={name: 0.5})
    for images in (batch(channels=1), torch.zeros(6, 3, 4, 12, 12)):
        with pytest.raises(ShapeError, match=rf"{name} needs colour images.*Set {name}=0"):
            settings(images, seeded(1))
    with pytest.raises(SettingsError, match=f"standardises each image.*{name}=0"):
        settings(batch(), seeded(1), value_range=None)


def test_grey_images_are_solarised() -> None:
    images = batch(channels=1)
    changed, _ = NONE.model_copy(update={"solarise": 1.0})(images, seeded())
    assert torch.equal(changed, solarise(images))
