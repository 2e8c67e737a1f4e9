"""Hidden patches and last maps of timm networks, against timm's own passes and a pass written by hand."""

from __future__ import annotations

import pytest
import tests.tiny_swin  # noqa: F401 - registers it
import torch
from torch import Tensor

from medgraft.errors import ModelError, ShapeError
from medgraft.models.masked_images import MaskToken, draw_masks, spread_masks
from medgraft.models.model import Model
from medgraft.models.patch_tokens import hidden_patches, patch_embedding
from medgraft.models.regraft import regraft
from medgraft.models.sources import open_source
from medgraft.testing import make_model

SIZE = (64, 96)
TRANSFORMERS = {"test_vit": 64, "test_vit3": 96, "tiny_swin": 8}
"""Channels of a patch's embedding, by architecture."""


def opened(architecture: str, channels: int = 3, size: tuple[int, int] = SIZE) -> Model:
    return open_source(f"random/{architecture}", kind="encode", channels=channels, size=size).eval()


def images(count: int = 2, channels: int = 3, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(0))


def mask(count: int = 2, unit: int = 16, size: tuple[int, int] = SIZE) -> Tensor:
    return draw_masks(count, *size, torch.Generator().manual_seed(1), unit)


def own_map(model: Model, outputs: Tensor) -> Tensor:
    """timm's own last outputs, laid out here."""
    if outputs.ndim == 4:
        return outputs.permute(0, 3, 1, 2)
    patches = outputs[:, model.net.num_prefix_tokens :]
    return patches.transpose(1, 2).reshape(len(outputs), -1, SIZE[0] // 16, SIZE[1] // 16)


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_an_empty_mask_changes_nothing_and_a_full_one_hides_all(architecture: str) -> None:
    model, seen = opened(architecture), images()
    token = MaskToken(patch_embedding(model).proj.out_channels)
    assert len(token.token) == TRANSFORMERS[architecture]
    with torch.no_grad():
        own = own_map(model, model.net.forward_features(seen))
        torch.testing.assert_close(model.last_map(seen), own, rtol=0, atol=0)
        with hidden_patches(model, token, torch.zeros(2, 4, 6, dtype=torch.bool)):
            torch.testing.assert_close(model.last_map(seen), own, rtol=0, atol=1e-6)
        with hidden_patches(model, token, torch.ones(2, 4, 6, dtype=torch.bool)):
            blind = model.last_map(seen)
        torch.testing.assert_close(blind[0], blind[1], rtol=0, atol=0)
        assert not torch.allclose(blind, own)
        torch.testing.assert_close(model.last_map(seen), own, rtol=0, atol=0)  # nothing stays behind


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_what_hidden_patches_show_does_not_matter(architecture: str) -> None:
    model, seen, hidden = opened(architecture), images(), mask()
    token = MaskToken(TRANSFORMERS[architecture])
    pixels = spread_masks(hidden, *SIZE)[:, None]
    other = torch.where(pixels, 1 - seen, seen)
    visible = torch.where(pixels, seen, 1 - seen)
    with torch.no_grad(), hidden_patches(model, token, hidden):
        found = model.last_map(seen)
        torch.testing.assert_close(model.last_map(other), found, rtol=0, atol=0)
        assert not torch.allclose(model.last_map(visible), found)


@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_the_token_is_put_in_before_positions(architecture: str) -> None:
    """Against a pass written by hand: embed, replace, then whatever follows."""
    model, seen, hidden = opened(architecture), images(), mask()
    token = MaskToken(TRANSFORMERS[architecture])
    net = model.net
    with torch.no_grad():
        embedded = net.patch_embed(seen)
        patch = 16 if architecture == "test_vit" else 4
        fine = spread_masks(hidden, SIZE[0] // patch, SIZE[1] // patch).reshape(embedded.shape[:-1])
        for place in fine.nonzero().tolist():
            embedded[tuple(place)] = token.token
        if architecture == "test_vit":
            embedded = embedded.reshape(2, -1, 64)
            classes = net.cls_token.expand(2, -1, -1)
            registers = net.reg_token
            first = [classes] if registers is None else [classes, registers.expand(2, -1, -1)]
            tokens = torch.cat([*first, embedded], 1) + net.pos_embed
            by_hand = net.norm(net.blocks(net.norm_pre(tokens)))
        else:
            by_hand = net.norm(net.layers(embedded))
        with hidden_patches(model, token, hidden):
            torch.testing.assert_close(model.last_map(seen), own_map(model, by_hand), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "architecture",
    [
        "test_vit",
        "tiny_swin",
        "test_resnet",
        "test_convnext",
        "test_efficientnet",
        "test_mambaout",
        "test_byobnet",
    ],
)
def test_last_maps_lie_as_the_image_does(architecture: str) -> None:
    model = opened(architecture, channels=1)
    with torch.no_grad():
        dark = model.last_map(torch.zeros(1, 1, *SIZE))
        lit = torch.zeros(1, 1, *SIZE)
        lit[..., -16:, :] = 1  # rows at the bottom
        change = (model.last_map(lit) - dark).abs().sum(1)[0]
    assert change.shape[1] * SIZE[0] == change.shape[0] * SIZE[1]
    assert change.sum(1).argmax() == change.shape[0] - 1
    pooled = model.features(lit)
    assert dark.shape[1] <= pooled.shape[1] or architecture == "test_vit"


@pytest.mark.parametrize("channels", [1, 3])
def test_any_order_of_memory_gives_the_same(channels: int) -> None:
    for architecture in ("test_vit", "tiny_swin"):
        model, seen = opened(architecture, channels), images(channels=channels)
        token = MaskToken(TRANSFORMERS[architecture])
        with torch.no_grad(), hidden_patches(model, token, mask()):
            contiguous = model.last_map(seen)
            strided = model.last_map(seen.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(strided, contiguous, rtol=0, atol=1e-5)


def test_gradients_reach_the_token_and_the_network() -> None:
    model, token = opened("tiny_swin"), MaskToken(8)
    with hidden_patches(model, token, mask()):
        model.last_map(images()).square().mean().backward()
    assert token.token.grad is not None and bool(token.token.grad.any())
    weight = patch_embedding(model).proj.weight
    assert weight.grad is not None and bool(weight.grad.any())


@pytest.mark.parametrize("architecture", ["test_vit", "tiny_swin"])
def test_what_was_learned_at_one_size_serves_another(architecture: str) -> None:
    source = opened(architecture, size=(64, 64))
    smaller = regraft(source, ("benign", "malignant"), kind="classify", size=(32, 32))[0].eval()
    found = smaller.last_map(images(size=(32, 32)))
    assert found.shape[2:] == (2, 2)
    assert smaller.predict(images(size=(32, 32))).probabilities.shape == (2, 2)


def test_models_without_patches_or_maps_are_refused() -> None:
    with pytest.raises(ModelError, match=r"ViT or Swin, but 'test_resnet' does not"):
        patch_embedding(make_model("encode"))
    with pytest.raises(ModelError, match="embeds square patches"):
        patch_embedding(make_model("segment"))
    with pytest.raises(ModelError, match="a last map of features"):
        make_model("segment").last_map(torch.zeros(1, 1, 32, 32))
    model = opened("test_vit")
    with (
        pytest.raises(ShapeError, match="multiple of the network's patch"),
        hidden_patches(model, MaskToken(64), torch.zeros(2, 3, 6, dtype=torch.bool)),
    ):
        model(images())
