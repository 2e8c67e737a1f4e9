"""Networks that follow, the queue of keys, and what stays fixed in a vision transformer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medgraft.errors import SettingsError
from medgraft.models.fixed_patches import find_transformer, fix_positions, fixed_parameters
from medgraft.models.momentum import KeyQueue, MomentumNetwork
from medgraft.models.projector import Projector
from medgraft.models.sources import open_source
from medgraft.testing import make_model


def test_parameters_follow_and_statistics_do_not() -> None:
    encoder = make_model("encode")
    projector = Projector(encoder.features(torch.zeros(2, 1, 32, 32)).shape[1], (8,), "all")
    follower = MomentumNetwork(encoder, projector).train()
    before = [weight.clone() for weight in follower.parameters()]
    statistics = [buffer.clone() for buffer in follower.buffers()]
    with torch.no_grad():
        for weight in [*encoder.parameters(), *projector.parameters()]:
            weight.add_(1.0)
        for buffer in [*encoder.buffers(), *projector.buffers()]:
            buffer.add_(1)
    follower.follow(encoder, projector, 0.75)
    for now, then in zip(follower.parameters(), before):
        torch.testing.assert_close(now, then + 0.25)
    assert all(torch.equal(now, then) for now, then in zip(follower.buffers(), statistics))
    follower.follow(encoder, projector, 1.0)
    for now, then in zip(follower.parameters(), before):
        torch.testing.assert_close(now, then + 0.25)

    features, keys = follower(torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert not features.requires_grad and not keys.requires_grad
    moved = [torch.equal(now, then) for now, then in zip(follower.buffers(), statistics)]
    assert not all(moved)  # in training mode it takes statistics of its own
    torch.testing.assert_close(keys.mean(0), torch.zeros(8), atol=1e-5, rtol=0)


def test_the_queue_is_a_ring_of_unit_keys() -> None:
    torch.manual_seed(0)
    queue = KeyQueue(5, 3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    added = torch.randn(9, 3)
    unit = added / added.norm(dim=1, keepdim=True)
    start = queue.keys.clone()
    queue.add(added[:3], torch.arange(3))
    assert queue.rows.tolist() == [0, 1, 2, -1, -1]
    torch.testing.assert_close(queue.keys, torch.cat([unit[:3], start[3:]]))
    queue.add(added[3:7], torch.arange(3, 7))
    torch.testing.assert_close(queue.keys, unit[[5, 6, 2, 3, 4]])
    assert int(queue.oldest) == 2 and queue.rows.tolist() == [5, 6, 2, 3, 4]
    queue.add(added, torch.arange(9))  # more than it holds: the last five, from the oldest place on
    torch.testing.assert_close(queue.keys, unit[[7, 8, 4, 5, 6]])
    assert int(queue.oldest) == 2 and queue.rows.tolist() == [7, 8, 4, 5, 6]
    assert set(queue.state_dict()) == {"keys", "rows", "oldest"}
    with pytest.raises(SettingsError, match="at least one key"):
        KeyQueue(0, 3)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    model = open_source("random/test_vit", kind="encode", channels=1, size=(48, 32))
    network = find_transformer(model)
    assert network is not None and tuple(network.patch_embed.grid_size) == (3, 2)
    fix_positions(model)
    width = network.pos_embed.shape[2]
    assert bool((network.pos_embed[0, 0] == 0).all())
    for place, position in enumerate(network.pos_embed[0, 1:].tolist()):
        row, column = divmod(place, 2)
        waves = [10000 ** (-k / (width // 4)) for k in range(width // 4)]
        expected = [
            turn(where * wave) for turn in (math.sin, math.cos) for where in (row, column) for wave in waves
        ]
        assert position == pytest.approx(expected, abs=1e-6)


def test_patches_and_positions_of_transformers_alone_are_fixed() -> None:
    assert fixed_parameters(open_source("random/test_vit2", kind="encode")) == {
        "net.patch_embed.proj.weight", "net.patch_embed.proj.bias", "net.pos_embed",
    }  # fmt: skip
    for name in ("test_resnet", "test_convnext", "unet"):
        model = open_source(f"random/{name}", kind="encode")
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        fix_positions(model)
        assert fixed_parameters(model) == frozenset()
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("norms", "kinds"),
    [
        ("none", ["Linear", "ReLU", "Linear"]),
        ("hidden", ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ("all", ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
    ],
)
def test_heads_have_norms_where_they_are_asked_for(norms: str, kinds: list[str]) -> None:
    layers = Projector(6, (8, 4), norms).layers  # type: ignore[arg-type]
    assert [type(layer).__name__ for layer in layers] == kinds
    for layer in layers:
        if isinstance(layer, nn.Linear):
            assert (layer.bias is not None) == (norms == "none")
    norm = layers[-1]
    if isinstance(norm, nn.BatchNorm1d):
        assert norm.weight is None and norm.bias is None
