"""The sliding window: equal to MONAI's and to a whole-volume computation, whatever memory it may use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from medgraft.data.cohort import Cohort
from medgraft.engine.predict import predict_masks
from medgraft.engine.sliding import importance_map, neighbours, segment_volume, window_starts
from medgraft.errors import DataError
from medgraft.images.preparation import Preparer
from medgraft.images.resampling import resize
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.types import Preparation


@pytest.mark.parametrize(("size", "window"), [(10, 4), (9, 4), (7, 7), (20, 5), (3, 1)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_lie_where_monai_puts_them(size: int, window: int, overlap: float) -> None:
    step = window if window == size else max(1, int(window * (1 - overlap)))
    expected = [place[0].start for place in dense_patch_slices((size,), (window,), (step,))]
    assert window_starts(size, window, overlap) == expected


def test_weights_are_monai_s() -> None:
    expected = compute_importance_map((6, 5, 8), mode="gaussian").clamp(min=1e-3)
    torch.testing.assert_close(importance_map((6, 5, 8)), expected)


def network(dimensions: int, channels: int, classes: int) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Conv3d if dimensions == 3 else nn.Conv2d
    return layer(channels, classes, 3, padding=1)


@pytest.mark.parametrize("memory", [2**30, 50_000, 1])
@pytest.mark.parametrize("shape", [(15, 21, 18), (9, 40, 18), (31, 13, 25)])
def test_any_memory_gives_what_monai_gives_and_then_interpolation(
    memory: int, shape: tuple[int, ...]
) -> None:
    net = network(3, 1, 4)

    def predict(images: Tensor) -> Tensor:
        return net(images).softmax(1).detach()

    preparer = Preparer(Preparation(dimensions=3, channels=1, intensity="none", patch=(6, 8, 8)))
    volume = torch.randn(1, 15, 21, 18)
    expected = sliding_window_inference(volume[None], (6, 8, 8), 4, predict, overlap=0.5, mode="gaussian")[0]
    best, labels = resize(expected, shape).max(0)
    found = segment_volume(predict, preparer, volume, shape, 4, memory=memory)
    np.testing.assert_allclose(found.confidence, best.numpy(), atol=1e-6)
    clear = (resize(expected, shape).topk(2, dim=0).values.diff(dim=0).abs() > 1e-5)[0].numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found.labels[clear], labels.numpy()[clear])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_two_dimensional_network_predicts_each_slice_with_its_neighbours(batch_size: int) -> None:
    net = network(2, 3, 3)
    preparer = Preparer(Preparation(channels=3, slices=3, intensity="none"))
    volume = torch.randn(1, 5, 8, 9)
    found = segment_volume(
        lambda images: net(images).softmax(1).detach(), preparer, volume, (5, 8, 9), 3, batch_size=batch_size
    )
    for index in range(5):
        around = [max(index - 1, 0), index, min(index + 1, 4)]
        expected = net(volume[:, around].flatten(0, 1)[None]).softmax(1)[0].max(0)
        np.testing.assert_allclose(found.confidence[index], expected.values.detach(), atol=1e-6)
        np.testing.assert_array_equal(found.labels[index], expected.indices)


def test_the_edge_is_repeated_where_a_slice_has_no_neighbour() -> None:
    assert neighbours(9, 1, 10, 5).tolist() == [7, 8, 9, 9, 9]
    assert neighbours(2, 3, 10, 1).tolist() == [2, 3, 4]


def test_more_classes_than_a_byte_holds_keep_their_numbers() -> None:
    preparer = Preparer(Preparation(channels=1, intensity="none"))
    winner = torch.zeros(300)
    winner[299] = 5.0

    def predict(images: Tensor) -> Tensor:
        return winner.softmax(0)[None, :, None, None].expand(len(images), -1, *images.shape[2:])

    found = segment_volume(predict, preparer, torch.zeros(1, 2, 3, 3), (2, 3, 3), 300)
    assert found.labels.dtype == np.int32 and (found.labels == 299).all()


def cohort_of_volumes(shape: tuple[int, ...] = (6, 16, 20), count: int = 2) -> Cohort:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, *shape, 1)).astype(np.uint8)
    return Cohort.from_arrays(
        images, (images[..., 0] > 128).astype(np.uint8), kind="segment", classes=("dark", "bright")
    )


def unet(preparation: Preparation) -> UNet:
    torch.manual_seed(0)
    spec = ModelSpec(
        kind="segment",
        classes=("dark", "bright"),
        channels=preparation.channels,
        preparation=preparation,
    )
    return UNet(spec, width=4, depth=2).eval()


def test_volumes_of_a_cohort_are_predicted_as_their_slices_would_be() -> None:
    volumes = cohort_of_volumes()
    model = unet(Preparation(channels=1))
    slices = Cohort.from_arrays(volumes.picture(1).array, kind="encode")
    expected = list(predict_masks(model, slices))
    found = list(predict_masks(model, volumes))
    assert [one.row for one in found] == [0, 1]
    assert found[1].labels.shape == (6, 16, 20)
    for index, one in enumerate(expected):
        np.testing.assert_allclose(found[1].confidence[index], one.confidence, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_patches_cover_images_and_volumes_alike(dimensions: int) -> None:
    patch = (4, 8, 8)[-dimensions:]
    model = unet(Preparation(channels=1, dimensions=dimensions, patch=patch))
    for one in predict_masks(model, cohort_of_volumes()):
        assert one.labels.shape == one.confidence.shape == (6, 16, 20)
        assert (one.confidence >= 0.5 - 1e-6).all()
    images = Cohort.from_arrays(cohort_of_volumes().picture(0).array, kind="encode")
    if dimensions == 3:
        with pytest.raises(DataError, match=r"single image \(row 1"):
            next(predict_masks(model, images))
    else:
        assert next(predict_masks(model, images)).labels.shape == (16, 20)
