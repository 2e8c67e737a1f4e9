"""Weights files: wrappers and prefixes are seen through, partial and unsafe files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from medgraft.errors import ModelError
from medgraft.models.state_files import find_prefix, open_state_file, read_state


def weights(classes: int = 5, channels: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(timm.create_model("test_resnet", num_classes=classes, in_chans=channels).state_dict())


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "args": {"lr": 0.1}},
        lambda state: {"state_dict": prefixed("module.", state)},
        lambda state: prefixed("module.backbone.", state) | {"module.queue": torch.zeros(4)},
    ],
)
def test_wrappers_and_prefixes_are_seen_through(tmp_path: Path, wrap: Any) -> None:
    state = weights()
    torch.save(wrap(state), tmp_path / "w.pt")
    model, plan = open_state_file(tmp_path / "w.pt", "test_resnet")
    assert model.spec.classes == tuple(f"class {n}" for n in range(5))
    assert all(torch.equal(model.net.state_dict()[name], tensor) for name, tensor in state.items())
    assert len(plan.names("loaded")) == len(plan.rows) == len(state)
    assert model.spec.provenance["source"] == "w.pt" and len(model.spec.provenance["sha256"]) == 64


def test_the_matching_half_of_a_momentum_pair_is_taken(tmp_path: Path) -> None:
    state = weights()
    momentum = {name: tensor + 1 for name, tensor in state.items()}
    pair = prefixed("encoder_q.", state) | prefixed("encoder_k.", dict(list(momentum.items())[:-2]))
    torch.save(pair, tmp_path / "w.pt")
    model, _ = open_state_file(tmp_path / "w.pt", "test_resnet")
    assert torch.equal(model.net.fc.weight, state["fc.weight"])
    assert f"{len(state) - 2} tensors outside 'encoder_q.' were left" in model.spec.provenance["history"][0]


def test_a_file_without_a_head_gives_an_encoder_with_its_channels(tmp_path: Path) -> None:
    state = weights(channels=2)
    save_file(
        {name: t for name, t in state.items() if not name.startswith("fc.")}, tmp_path / "w.safetensors"
    )
    model, plan = open_state_file(tmp_path / "w.safetensors", "test_resnet")
    assert model.spec.kind == "encode" and model.spec.channels == 2 and not plan.names("new")


def test_the_given_names_are_used_if_their_number_is_right(tmp_path: Path) -> None:
    torch.save(weights(classes=2), tmp_path / "w.pt")
    assert open_state_file(tmp_path / "w.pt", "test_resnet", classes=("a", "b"))[0].spec.classes == ("a", "b")
    labels, _ = open_state_file(tmp_path / "w.pt", "test_resnet", classes=("a", "b"), kind="multilabel")
    assert labels.spec.kind == "multilabel"
    numbered, _ = open_state_file(tmp_path / "w.pt", "test_resnet", classes=("a", "b", "c"))
    assert numbered.spec.classes == ("class 0", "class 1")


def test_a_single_output_is_dropped_as_the_plan_says(tmp_path: Path) -> None:
    torch.save(weights(classes=1), tmp_path / "w.pt")
    model, plan = open_state_file(tmp_path / "w.pt", "test_resnet")
    assert model.spec.kind == "encode" and plan.names("dropped") == ("net.fc.weight", "net.fc.bias")


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = {name: t for name, t in weights().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    _, plan = open_state_file(tmp_path / "w.pt", "test_resnet")
    assert plan.names("new") and all(name.endswith("num_batches_tracked") for name in plan.names("new"))


def test_a_part_of_the_body_is_never_enough(tmp_path: Path) -> None:
    state = weights()
    del state["layer4.0.conv1.weight"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"all of its \d+ tensors.*'net.layer4.0.conv1.weight' and 0 more"):
        open_state_file(tmp_path / "w.pt", "test_resnet")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"fits \d+ of them.*Give the architecture"):
        open_state_file(tmp_path / "w.pt", "test_convnext")
    with pytest.raises(ModelError, match="none was given"):
        open_state_file(tmp_path / "w.pt", None)


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/should-not-exist-medgraft", "w"))


@pytest.mark.parametrize("content", [b"", b"not weights", "trap", "whole", "numbers"])
def test_unsafe_and_damaged_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "trap":
        torch.save({"state_dict": Trap()}, path)
    elif content == "whole":
        torch.save(timm.create_model("test_resnet"), path)
    else:
        torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not Path("/tmp/should-not-exist-medgraft").exists()


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cannot be read so"):
        read_state(path)


def test_no_prefix_is_stripped_where_none_is_needed() -> None:
    assert find_prefix(["layer1.conv.weight", "layer1.layer1.weight"], {"layer1.conv.weight"}) == ""
    assert find_prefix([], {"a"}) == ""
