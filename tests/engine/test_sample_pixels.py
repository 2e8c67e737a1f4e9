"""Decoder features of pixels: which pixels, and whether the features are theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.data.cohort import Cohort
from medgraft.engine.features import sample_pixels, spread_evenly
from medgraft.engine.loading import Loader
from medgraft.errors import DataError, ModelError
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import make_cohort, make_model
from medgraft.types import Preparation

ALL = 10**9


def make_unet(seed: int = 0, classes: int = 3, **preparation: object) -> UNet:
    torch.manual_seed(seed)
    settings = Preparation(channels=1, **preparation)
    names = tuple("abcdef"[:classes])
    model = UNet(ModelSpec(kind="segment", classes=names, channels=1, preparation=settings), width=4, depth=2)
    with torch.no_grad():
        model.head.weight.mul_(20)  # so that probabilities differ from pixel to pixel
    return model


def odd_cohort(shape: tuple[int, ...] = (5, 27, 22), seed: int = 0) -> Cohort:
    """Images whose sides are no multiple of what the network halves, with a rare class 2."""
    rng = np.random.default_rng(seed)
    masks = (rng.random(shape) < 0.2).astype(np.uint8)
    masks[:2, ..., 3:6, 4] = 2
    images = (rng.random((*shape, 1)) * 255).astype(np.uint8)
    return Cohort.from_arrays(images, masks, kind="segment", classes=("rest", "spot", "line"))


def test_with_every_pixel_wanted_the_maps_come_out_whole() -> None:
    cohort, model = odd_cohort(), make_unet()
    found = sample_pixels(model, cohort, per_class=ALL, batch_size=2)
    batch = Loader(cohort, model.spec.preparation)(range(len(cohort)))
    model.eval()
    with torch.no_grad():
        outputs, maps = model.activations(batch.images, ["decoder2", "decoder1"])
    assert list(found.features) == ["decoder2", "decoder1"]
    assert np.array_equal(found.labels, batch.truth.flatten().numpy())
    assert np.array_equal(found.images, np.repeat(np.arange(5), 27 * 22))
    whole = outputs.softmax(dim=1).movedim(1, -1).reshape(-1, 3).numpy()
    assert np.allclose(found.probabilities, whole, atol=1e-6)
    # 27 x 22 is padded to 28 x 24: nothing before the rows, one column before the columns
    assert maps["decoder1"].shape[2:] == (28, 24)
    inner = maps["decoder1"][:, :, 0:27, 1:23].movedim(1, -1).reshape(-1, 4).numpy()
    assert np.allclose(found.features["decoder1"], inner, atol=1e-6)
    for place, (image, row, column) in enumerate(np.ndindex(5, 27, 22)):
        deep = maps["decoder2"][image, :, row // 2, (column + 1) // 2].numpy()
        assert np.allclose(found.features["decoder2"][place], deep, atol=1e-6)


def test_the_head_on_the_outermost_features_gives_the_probabilities() -> None:
    model = make_unet()
    found = sample_pixels(model, odd_cohort(), per_class=50)
    weight, bias = model.head.weight.detach().flatten(1), model.head.bias.detach()
    logits = torch.from_numpy(found.features["decoder1"]) @ weight.T + bias
    assert np.allclose(found.probabilities, logits.softmax(dim=1).numpy(), atol=1e-5)
    assert found.probabilities.std(axis=0).min() > 1e-3


def test_every_class_has_as_many_pixels_spread_over_the_images_that_show_it() -> None:
    found = sample_pixels(make_unet(), odd_cohort(), per_class=60)
    assert np.bincount(found.labels).tolist() == [60, 60, 6]  # there are only six of the rare class
    for label in (0, 1):
        assert np.bincount(found.images[found.labels == label]).tolist() == [12] * 5
    assert np.bincount(found.images[found.labels == 2]).tolist() == [3, 3]


def test_the_same_pixels_are_taken_of_every_source_and_batch_size() -> None:
    cohort = odd_cohort()
    one = sample_pixels(make_unet(seed=1), cohort, per_class=40, batch_size=1)
    other = sample_pixels(make_unet(seed=2, classes=5), cohort, per_class=40, batch_size=5)
    same = sample_pixels(make_unet(seed=1), cohort, per_class=40, batch_size=5)
    assert np.array_equal(one.labels, other.labels) and np.array_equal(one.images, other.images)
    assert other.probabilities.shape == (len(one.labels), 5)
    assert np.allclose(one.features["decoder1"], same.features["decoder1"], atol=1e-5)
    again = sample_pixels(make_unet(seed=1), cohort, per_class=40, batch_size=5, seed=7)
    assert not np.allclose(same.features["decoder1"], again.features["decoder1"], atol=1e-3)


def test_each_image_passes_the_network_once_and_the_model_is_left_as_found() -> None:
    cohort, model = odd_cohort(), make_unet()
    seen: list[int] = []
    model.bottleneck.register_forward_hook(lambda _part, inputs, _output: seen.append(len(inputs[0])))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    sample_pixels(model, cohort, per_class=10, batch_size=2)
    assert seen == [2, 2, 1]
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [{"dimensions": 3, "patch": (4, 8, 8)}, {"dimensions": 2}, {"dimensions": 2, "patch": (8, 8)}],
)
def test_of_volumes_one_slice_or_crop_is_taken_that_shows_something(settings: dict) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 9, 14, 13), np.uint8)
    masks[:, 4, 5:9, 6:9] = 1
    images = (masks[..., None] * 200 + rng.integers(0, 20, (*masks.shape, 1))).astype(np.uint8)
    cohort = Cohort.from_arrays(images, masks, kind="segment", classes=("rest", "lesion"))
    found = sample_pixels(make_unet(**settings), cohort, per_class=ALL, batch_size=2)
    pixels = np.prod(settings.get("patch", (14, 13)))
    assert np.array_equal(found.images, np.repeat(np.arange(3), pixels))
    assert all((found.labels[found.images == image] == 1).any() for image in range(3))
    alone = sample_pixels(make_unet(**settings), cohort, per_class=ALL, batch_size=1)
    assert np.array_equal(found.labels, alone.labels)
    assert np.allclose(found.features["decoder1"], alone.features["decoder1"], atol=1e-5)


@pytest.mark.parametrize(
    ("available", "wanted", "taken"),
    [
        ([4, 4, 4], 6, [2, 2, 2]),
        ([1, 9, 9], 11, [1, 5, 5]),
        ([0, 3, 2], 100, [0, 3, 2]),
        ([5, 5, 5], 2, [1, 1, 0]),
        ([0, 0], 5, [0, 0]),
    ],
)
def test_what_is_wanted_is_spread_evenly(available: list[int], wanted: int, taken: list[int]) -> None:
    assert spread_evenly(np.array(available), wanted).tolist() == taken


def test_what_has_no_decoder_or_no_masks_is_refused() -> None:
    with pytest.raises(ModelError, match="U-Net that segments"):
        sample_pixels(make_model("classify"), make_cohort("segment"))
    with pytest.raises(DataError, match="images with masks"):
        sample_pixels(make_unet(), make_cohort("classify"))
    with pytest.raises(DataError, match="offers images"):
        sample_pixels(make_unet(), odd_cohort().only({"images"}))
    with pytest.raises(DataError, match="has 0 rows"):
        sample_pixels(make_unet(), odd_cohort().take([]))
