"""Without a network the hub gives one clear sentence at once; with a cached file it needs none."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from medgraft.errors import ModelError
from medgraft.models import hub
from medgraft.models.sources import open_source


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **options: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.usefixtures("empty_cache")
def test_a_refused_connection_gives_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    with pytest.raises(
        ModelError, match=r"127\.0\.0\.1:\d+ cannot be reached.*packaged/efficientnet_lite0"
    ) as caught:
        open_source("timm/resnet18")
    assert time.monotonic() - started < 5 and "\n" not in str(caught.value)


@pytest.mark.usefixtures("empty_cache")
def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(
            huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        started = time.monotonic()
        with pytest.raises(ModelError, match="cannot be reached"):
            open_source("timm/resnet18")
        assert time.monotonic() - started < 5


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        hub.urllib.request, "urlopen", lambda *args, **options: pytest.fail("asked the network")
    )
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        open_source("timm/resnet18")


def test_cached_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=1000)
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    asked: list[tuple[str, str]] = []

    def cached(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(
        hub.urllib.request, "urlopen", lambda *args, **options: pytest.fail("asked the network")
    )
    model = open_source("timm/test_resnet.r160_in1k")
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert all(torch.equal(t, model.state_dict()[f"net.{n}"]) for n, t in net.state_dict().items())
    assert model.spec.preparation.size == (160, 160)


def test_a_damaged_cached_file_gets_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda *args, **options: str(tmp_path / "model.safetensors"),
    )
    with pytest.raises(ModelError, match="its weights, but they could not be read"):
        open_source("timm/test_resnet.r160_in1k")
