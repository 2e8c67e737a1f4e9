"""The U-Net: named blocks, any size, every norm, and a forward pass recomputed by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.backbones import Classifier
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model, save_model
from medgraft.models.unet import Norm, UNet
from medgraft.types import Kind, Preparation

EARLIER = ("size", "spacing", "channels", "intensity", "percentiles", "window", "mean", "std")
"""What a preparation consisted of before there were volumes."""


def unet(
    kind: Kind = "segment",
    *,
    residual: bool = False,
    norm: Norm = "batch",
    depth: int = 2,
    dimensions: Literal[2, 3] = 2,
    flat_levels: int = 0,
) -> UNet:
    torch.manual_seed(0)
    classes = ("rest", "nucleus", "edge") if kind == "segment" else ()
    preparation = Preparation(channels=1, dimensions=dimensions)
    spec = ModelSpec(kind=kind, classes=classes, channels=1, preparation=preparation)
    return UNet(spec, width=4, depth=depth, residual=residual, norm=norm, flat_levels=flat_levels)


def test_blocks_run_from_input_to_output_and_cover_every_parameter_once() -> None:
    model = unet(depth=3, residual=True)
    blocks = model.blocks()
    assert list(blocks) == [
        "encoder1", "encoder2", "encoder3", "bottleneck", "decoder3", "decoder2", "decoder1", "head",
    ]  # fmt: skip
    listed = [name for names in blocks.values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (13, 7), (1, 1), (4, 33)])
def test_any_size_comes_back_at_its_own_size(norm: Norm, residual: bool, size: tuple[int, int]) -> None:
    outputs = unet(residual=residual, norm=norm).train()(torch.randn(2, 1, *size))
    assert outputs.shape == (2, 3, *size)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("residual", [False, True])
def test_forward_is_what_the_figure_says(residual: bool) -> None:
    model = unet(norm="none", residual=residual, depth=1).double()
    state = model.state_dict()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)

    def convolve(inner: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(inner, weight, bias, padding=weight.shape[-1] // 2)

    def pair(inner: Tensor, name: str) -> Tensor:
        outer = convolve(convolve(inner, f"{name}.first").clamp(min=0), f"{name}.second")
        return (outer + convolve(inner, f"{name}.shortcut") if residual else outer).clamp(min=0)

    top = pair(images, "encoder1")
    low = pair(top.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)), "bottleneck")
    weight, bias = state["decoder1.enlarge.weight"], state["decoder1.enlarge.bias"]
    enlarged = torch.einsum("bchw,cokl->bohkwl", low, weight).reshape(2, 4, 8, 8) + bias.view(1, -1, 1, 1)
    expected = convolve(pair(torch.cat([top, enlarged], 1), "decoder1.convolutions"), "head")
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model.features(images), low.mean((2, 3)))


def test_padding_repeats_the_edge_and_is_cropped_where_it_was_added() -> None:
    model = unet(norm="none").eval()
    images = torch.randn(1, 1, 13, 10)
    padded = functional.pad(images, (1, 1, 1, 2), mode="replicate")
    torch.testing.assert_close(model(images), model(padded)[:, :, 1:14, 1:11])


def test_every_parameter_of_a_segmenter_receives_a_gradient() -> None:
    model = unet(residual=True)
    model(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_norms_are_the_ones_asked_for() -> None:
    names = {"batch": "BatchNorm2d", "instance": "InstanceNorm2d", "group": "GroupNorm", "none": "Identity"}
    for norm in names:
        found = {
            type(part).__name__ for name, part in unet(norm=norm).named_modules() if name.endswith("_norm")
        }  # type: ignore[arg-type]
        assert found == {names[norm]}


def test_activations_are_named_by_block() -> None:
    model = unet().eval()
    outputs, inner = model.activations(torch.randn(1, 1, 16, 16), ["encoder1", "bottleneck", "head"])
    assert inner["encoder1"].shape == (1, 4, 16, 16)
    assert inner["bottleneck"].shape == (1, 16, 4, 4)
    torch.testing.assert_close(inner["head"], outputs)


def test_an_encoder_puts_out_the_mean_of_its_bottleneck() -> None:
    model = unet("encode").eval()
    images = torch.randn(2, 1, 16, 16)
    _, inner = model.activations(images, ["bottleneck"])
    torch.testing.assert_close(model(images), inner["bottleneck"].mean((2, 3)))
    assert "head" not in model.blocks()


def test_wrong_channels_and_settings_get_one_sentence() -> None:
    with pytest.raises(ShapeError, match=r"\(B, 1, H, W\), but got \(1, 3, 8, 8\)"):
        unet()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ModelError, match="norm='layer'"):
        unet(norm="layer")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"\(B, 1, D, H, W\), but got \(1, 1, 8, 8\)"):
        unet(dimensions=3)(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ModelError, match="flat_levels=3 for 3 dimensions"):
        unet(dimensions=3, flat_levels=3)
    with pytest.raises(ModelError, match="flat_levels=1 for 2 dimensions"):
        unet(flat_levels=1)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("flat_levels", [0, 1, 2])
@pytest.mark.parametrize("size", [(8, 8, 8), (1, 1, 1), (5, 9, 13), (3, 4, 33)])
def test_volumes_of_any_size_come_back_at_their_own_size(
    norm: Norm, flat_levels: int, size: tuple[int, ...]
) -> None:
    model = unet(norm=norm, dimensions=3, flat_levels=flat_levels, residual=flat_levels == 1).train()
    outputs = model(torch.randn(2, 1, *size))
    assert outputs.shape == (2, 3, *size)
    assert outputs.isfinite().all()
    assert model.features(torch.randn(2, 1, *size)).shape == (2, 16)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("flat_levels", [0, 1])
def test_forward_on_volumes_is_what_the_figure_says(residual: bool, flat_levels: int) -> None:
    model = unet(norm="none", residual=residual, depth=1, dimensions=3, flat_levels=flat_levels).double()
    state = model.state_dict()
    images = torch.randn(2, 1, 4, 6, 8, dtype=torch.float64)

    def convolve(inner: Tensor, name: str) -> Tensor:
        # a sum over the shifts of a padded volume, one per entry of the kernel
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        sides, shape = weight.shape[2:], inner.shape[2:]
        padded = functional.pad(inner, [side // 2 for side in reversed(sides) for _ in range(2)])
        total = bias.view(1, -1, 1, 1, 1).expand(len(inner), -1, *shape).clone()
        for place in product(*map(range, sides)):
            part = padded[:, :, *(slice(start, start + size) for start, size in zip(place, shape))]
            total += torch.einsum("oc,bcdhw->bodhw", weight[:, :, *place], part)
        return total

    def pair(inner: Tensor, name: str) -> Tensor:
        outer = convolve(convolve(inner, f"{name}.first").clamp(min=0), f"{name}.second")
        return (outer + convolve(inner, f"{name}.shortcut") if residual else outer).clamp(min=0)

    deep = 1 if flat_levels else 2
    assert state["encoder1.first.weight"].shape[2:] == ((1, 3, 3) if flat_levels else (3, 3, 3))
    assert state["bottleneck.first.weight"].shape[2:] == (3, 3, 3)
    top = pair(images, "encoder1")
    low = pair(top.unfold(2, deep, deep).unfold(3, 2, 2).unfold(4, 2, 2).amax((-1, -2, -3)), "bottleneck")
    weight, bias = state["decoder1.enlarge.weight"], state["decoder1.enlarge.bias"]
    enlarged = torch.einsum("bcdhw,coijk->bodihjwk", low, weight).reshape(2, 4, 4, 6, 8)
    joined = torch.cat([top, enlarged + bias.view(1, -1, 1, 1, 1)], 1)
    expected = convolve(pair(joined, "decoder1.convolutions"), "head")
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model.features(images), low.mean((2, 3, 4)))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_volume_network_with_a_plane_in_the_middle_of_its_kernels_sees_slice_by_slice(norm: Norm) -> None:
    flat = unet(norm=norm, residual=True).eval()
    deep = unet(norm=norm, residual=True, dimensions=3, flat_levels=2).eval()
    state = {}
    for name, tensor in deep.state_dict().items():
        plane = flat.state_dict()[name]
        state[name] = torch.zeros_like(tensor) if tensor.ndim == 5 else plane
        if tensor.ndim == 5:
            state[name][:, :, tensor.shape[2] // 2] = plane
    deep.load_state_dict(state)
    volume = torch.randn(2, 1, 5, 13, 10)
    together = deep(volume)
    for index in range(5):
        torch.testing.assert_close(together[:, :, index], flat(volume[:, :, index]), atol=1e-5, rtol=1e-5)


def test_padding_of_volumes_repeats_the_edge_and_is_cropped_where_it_was_added() -> None:
    model = unet(norm="none", dimensions=3, flat_levels=1).eval()
    images = torch.randn(1, 1, 3, 13, 10)
    padded = functional.pad(images, (1, 1, 1, 2, 0, 1), mode="replicate")
    torch.testing.assert_close(model(images), model(padded)[:, :, :3, 1:14, 1:11])


def test_parameters_of_a_volume_network_are_as_many_as_counted_by_hand() -> None:
    def pair(inputs: int, outputs: int, kernel: int) -> int:
        return kernel * outputs * (inputs + outputs) + 4 * outputs  # no bias; two norms of scale and shift

    for flat_levels, kernel, halving in ((0, 27, 8), (1, 9, 4)):
        expected = pair(1, 4, kernel) + pair(4, 8, 27) + pair(8, 16, 27)  # encoders, bottleneck
        expected += (16 * 8 * 8 + 8) + pair(16, 8, 27) + (8 * 4 * halving + 4) + pair(8, 4, kernel)
        expected += 4 * 3 + 3
        model = unet(dimensions=3, flat_levels=flat_levels)
        assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_blocks_and_activations_of_volumes_have_the_same_names() -> None:
    model = unet(dimensions=3, flat_levels=1).eval()
    assert list(model.blocks()) == list(unet().blocks())
    outputs, inner = model.activations(torch.randn(1, 1, 8, 16, 16), ["encoder2", "bottleneck", "head"])
    assert inner["encoder2"].shape == (1, 8, 8, 8, 8)
    assert inner["bottleneck"].shape == (1, 16, 4, 4, 4)
    torch.testing.assert_close(inner["head"], outputs)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_saved_and_loaded_is_the_same(dimensions: Literal[2, 3], tmp_path: Path) -> None:
    model = unet(dimensions=dimensions, flat_levels=dimensions - 2, residual=True).eval()
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model").eval()
    assert loaded.spec == model.spec and loaded.config() == model.config()
    images = torch.randn(1, 1, *(9, 16, 13)[-dimensions:])
    assert torch.equal(loaded(images), model(images))


def test_a_network_saved_before_there_were_volumes_still_loads() -> None:
    spec = unet().spec
    old = {"width": 4, "depth": 2, "residual": False, "norm": "batch"}
    kept = {key: value for key, value in spec.preparation.model_dump(mode="json").items() if key in EARLIER}
    earlier = ModelSpec.model_validate(spec.to_json() | {"preparation": kept})
    assert UNet.from_config(old, earlier)(torch.zeros(1, 1, 8, 8)).shape == (1, 3, 8, 8)


def test_a_classifier_of_images_refuses_volumes() -> None:
    preparation = Preparation(dimensions=3, channels=1)
    spec = ModelSpec(classes=("a", "b"), channels=1, preparation=preparation)
    with pytest.raises(ModelError, match="Classifier needs a preparation of 2 dimensions, but got 3"):
        Classifier(spec, architecture="test_resnet")
