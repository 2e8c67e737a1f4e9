"""Pre-trained weights from the timm hub, or one clear sentence where it cannot be reached."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import timm
from safetensors import SafetensorError
from torch import Tensor

from medgraft.errors import ModelError

PATIENCE = 5.0
"""Seconds to wait for a sign of life from the hub; its own client would retry for about half a minute."""
FILE = "model.safetensors"
logger = logging.getLogger(__name__)


def fetch_weights(name: str) -> dict[str, Tensor]:
    """State dict of timm's pre-trained network `name`: from the local cache, else downloaded.

    Args:
        name: as timm lists it, with or without weights tag.

    Raises:
        ModelError: not in the cache and the hub cannot be reached, or the download failed.
    """
    settings: Any = timm.get_pretrained_cfg(name)
    repository, _, revision = (settings.hf_hub_id or "").partition("@")
    cached = None
    plain = bool(repository) and not settings.custom_load
    if plain:
        cached = huggingface_hub.try_to_load_from_cache(
            repository, settings.hf_hub_filename or FILE, revision=revision or None
        )
    overlay = {"file": cached} if isinstance(cached, str) else None
    if overlay is None:
        _reach(name, huggingface_hub.constants.ENDPOINT if repository else settings.url or "")
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (OSError, RuntimeError, ValueError, SafetensorError) as problem:
        raise ModelError(
            f"timm/{name}", "its weights", f"they could not be read ({str(problem).splitlines()[0]})",
            "Try again later, or use packaged/efficientnet_lite0.",
        ) from problem  # fmt: skip
    state: dict[str, Tensor] = network.state_dict()
    return state


def _reach(name: str, address: str) -> None:
    """Fail at once where the server does not answer; any answer will do."""
    server = urlsplit(address).netloc or address
    reason = "the hub is switched off by HF_HUB_OFFLINE" if huggingface_hub.constants.HF_HUB_OFFLINE else ""
    if not reason:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE):
                return
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError) as problem:
            reason = f"{server} cannot be reached ({getattr(problem, 'reason', problem)})"
    raise ModelError(
        f"timm/{name}", "weights from the hub (none are in the cache)", reason,
        "Connect to the network once, or use packaged/efficientnet_lite0, a saved folder or a weights file.",
    )  # fmt: skip
