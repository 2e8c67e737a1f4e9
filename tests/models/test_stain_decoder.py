"""Decoder, losses and network of Stain-AgLr against loops, hand-worked numbers and the paper's table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medgraft.errors import ModelError, ShapeError
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.stain_decoder import StainDecoder, consistency_loss, decoder_for, regeneration_loss
from medgraft.models.storage import load_model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(rows: int = 7, classes: int = 4) -> tuple[Tensor, Tensor]:
    first, second = 3 * torch.randn(2, rows, classes, generator=seeded(), dtype=torch.float64)
    return first, second


def network(name: str) -> Model:
    torch.manual_seed(0)
    return open_source(f"random/{name}", classes=("benign", "malignant"))


def test_consistency_is_the_divergence_summed_over_classes_and_averaged_over_images() -> None:
    raw, altered = logits()
    total = 0.0
    for z, z_altered in zip(raw.numpy(), altered.numpy()):
        p, q = np.exp(z) / np.exp(z).sum(), np.exp(z_altered) / np.exp(z_altered).sum()
        total += sum(p[c] * math.log(p[c] / q[c]) for c in range(4))
    assert consistency_loss(raw, altered).item() == pytest.approx(total / 7, rel=1e-12)
    other = functional.kl_div(
        altered.log_softmax(1), raw.log_softmax(1), reduction="batchmean", log_target=True
    )
    assert consistency_loss(raw, altered).item() == pytest.approx(other.item(), rel=1e-12)


def test_of_two_classes_it_is_not_half_as_the_mean_over_elements_would_be() -> None:
    """P = (1/2, 1/2), Q = (1/4, 3/4): KL(P || Q) = ln(4/3) / 2, and the other way round (3 ln 3 / 4) - ln 2."""
    even, tilted = torch.zeros(3, 2), torch.tensor([[0.0, math.log(3)]]).repeat(3, 1)
    assert consistency_loss(even, tilted).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)
    assert consistency_loss(tilted, even).item() == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-5)
    halved = functional.kl_div(tilted.log_softmax(1), even.softmax(1), reduction="none").mean()
    assert consistency_loss(even, tilted).item() == pytest.approx(2 * halved.item(), rel=1e-5)


def test_of_labels_it_is_the_sum_of_their_own_divergences() -> None:
    raw, altered = logits()
    total = 0.0
    for p, q in zip(raw.sigmoid().flatten().tolist(), altered.sigmoid().flatten().tolist()):
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert consistency_loss(raw, altered, "multilabel").item() == pytest.approx(total / 7, rel=1e-10)


def test_gradients_of_consistency_by_hand() -> None:
    """Of altered logits Q - P, of raw ones P (ln P - ln Q - KL), each over the images."""
    raw, altered = (values.requires_grad_() for values in logits())
    consistency_loss(raw, altered).backward()
    p, q = raw.detach().softmax(1), altered.detach().softmax(1)
    gap = p.log() - q.log()
    assert torch.allclose(altered.grad, (q - p) / 7)
    assert torch.allclose(raw.grad, p * (gap - (p * gap).sum(1, keepdim=True)) / 7)


@pytest.mark.parametrize("kind", ["classify", "multilabel"])
def test_alike_it_is_zero_with_zero_gradients_and_certain_logits_are_finite(kind: str) -> None:
    same = logits()[0].float()
    raw, altered = same.clone().requires_grad_(), same.clone().requires_grad_()
    found = consistency_loss(raw, altered, kind)  # type: ignore[arg-type]
    found.backward()
    assert found.item() == 0
    assert raw.grad.abs().max() < 1e-7 and altered.grad.abs().max() < 1e-7
    sure = torch.tensor([[80.0, -80.0]], requires_grad=True)
    consistency_loss(sure, -sure.detach(), kind).backward()  # type: ignore[arg-type]
    assert torch.isfinite(sure.grad).all()
    assert consistency_loss(same.bfloat16(), same.bfloat16(), kind).dtype == torch.float32  # type: ignore[arg-type]


def test_regeneration_is_summed_over_channels_and_averaged_over_pixels_and_images() -> None:
    drawn, raw = torch.rand(2, 2, 3, 4, 5, generator=seeded(), dtype=torch.float64)
    total = 0.0
    for image in range(2):
        for row in range(4):
            for column in range(5):
                total += sum(
                    float(drawn[image, c, row, column] - raw[image, c, row, column]) ** 2 for c in range(3)
                )
    assert regeneration_loss(drawn, raw).item() == pytest.approx(total / (2 * 4 * 5), rel=1e-12)
    assert regeneration_loss(drawn, raw).item() == pytest.approx(3 * functional.mse_loss(drawn, raw).item())
    assert regeneration_loss(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)).item() == 3


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"two \(B, K\) alike"):
        consistency_loss(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="two shapes alike"):
        regeneration_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 1, 1))


def test_the_decoder_mirrors_the_published_encoder() -> None:
    decoder = StainDecoder(512, 5)
    assert decoder.widths == (512, 256, 128, 64, 32)
    norms = [layer for layer in decoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [width for width in decoder.widths for _ in range(2)]
    images = decoder.eval()(torch.randn(1, 512, 2, 2, generator=seeded()), (64, 64))
    assert images.shape == (1, 3, 64, 64) and torch.equal(images, images.clamp(0, 1))


@pytest.mark.parametrize(
    ("name", "block"),
    [("stain_cnn", "stage4"), ("test_resnet", "stage4"), ("test_efficientnet", "stage5"), ("test_convnext", "stage4"),
     ("mobilenetv3_small_050", "stage6")],
)  # fmt: skip
@pytest.mark.parametrize("size", [(64, 64), (70, 50)])
def test_it_takes_the_last_map_of_any_convolutional_network(
    name: str, block: str, size: tuple[int, int]
) -> None:
    model, images = network(name), torch.rand(2, 3, *size, generator=seeded())
    decoder, found = decoder_for(model.train(), images[:1])
    assert found == block and model.training
    outputs, inner = model.eval().activations(images, [found])
    assert torch.equal(outputs, model(images))
    assert torch.equal(inner[block], model.net.forward_features(images)) or name == "test_convnext"  # type: ignore[operator, union-attr]
    assert len(decoder.stages) == 5
    assert decoder.eval()(inner[found], size).shape == (2, 3, *size)


def test_a_single_pixel_draws_nothing_so_the_map_before_it_is_taken() -> None:
    assert decoder_for(network("test_resnet"), torch.rand(1, 3, 32, 32))[1] == "stage3"


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "swin_tiny_patch4_window7_224"])
def test_transformers_have_no_map_to_draw_from(name: str) -> None:
    model = network(name)
    with pytest.raises(ModelError, match=r"feature maps.*regeneration_weight=0"):
        decoder_for(model, torch.zeros(1, 3, *model.spec.preparation.size))  # type: ignore[misc]


def test_the_published_network_halves_five_times_and_ends_in_raw_outputs(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = network("stain_cnn").eval()
    assert list(model.blocks()) == ["stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"]
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    held = sum(9 * layer.in_channels * layer.out_channels + 2 * layer.out_channels for layer in convolutions)
    assert sum(p.numel() for p in model.parameters()) == held + (512 + 1) * 256 + (256 + 1) * 2
    images = torch.rand(3, 3, 128, 128, generator=seeded())
    assert model.activations(images, ["stage4"])[1]["stage4"].shape == (3, 512, 4, 4)
    assert model.features(images).shape == (3, 256)
    assert torch.equal(model(images), model.head_outputs(model.features(images)))
    assert model(images).min() < 0
    model.save(tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").eval()(images), model(images))
