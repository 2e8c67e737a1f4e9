"""The U-Net: named blocks, any size, every norm, and a forward pass recomputed by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import Norm, UNet
from medgraft.types import Preparation


def unet(kind: str = "segment", *, residual: bool = False, norm: Norm = "batch", depth: int = 2) -> UNet:
    torch.manual_seed(0)
    classes = ("rest", "nucleus", "edge") if kind == "segment" else ()
    spec = ModelSpec.model_validate(
        {"kind": kind, "classes": classes, "channels": 1, "preparation": Preparation(channels=1)}
    )
    return UNet(spec, width=4, depth=depth, residual=residual, norm=norm)


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

    def convolve(inner: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(inner, weight, bias, padding=weight.shape[-1] // 2)

    def pair(inner: torch.Tensor, name: str) -> torch.Tensor:
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
