"""The identity of a model: a hash of what it learned."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft.models.model import Model


def hash_weights(model: Model) -> str:
    """SHA-256 of a model's parameters and buffers, by name, wherever they lie.

    >>> from medgraft.testing import make_model
    >>> model = make_model("classify")
    >>> hash_weights(model) == hash_weights(model)
    True
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def is_untrained(model: Model) -> bool:
    """True for networks that were initialised and never trained: what their heads say means nothing."""
    provenance = model.spec.provenance
    return str(provenance.get("source", "")).startswith("random/") and not provenance.get("adapted")
