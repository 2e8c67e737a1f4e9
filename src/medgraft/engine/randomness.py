"""All randomness comes from here: stateless generators, and the only place that touches global ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stable_seed(*parts: object) -> int:
    """Turn names and numbers into a seed that is the same on every machine and in every process.

    Args:
        parts: anything whose `repr` is stable: strings, integers, tuples of these.

    Returns: an integer in [0, 2**63).

    >>> stable_seed(1, "batches", 0) == stable_seed(1, "batches", 0)
    True
    >>> stable_seed(1, "batches", 0) == stable_seed(1, "batches", 1)
    False
    """
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by `stable_seed(*parts)`; asking twice gives the same numbers twice.

    >>> torch.randn(1, generator=generator("a")) == torch.randn(1, generator=generator("a"))
    tensor([True])
    """
    return torch.Generator().manual_seed(stable_seed(*parts))


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Fork the global generators (torch, CUDA, numpy, random), seed them, and restore them afterwards.

    Dropout, DropPath and library initialisers draw from the global generators; inside this block what they draw
    depends on `parts` alone, and outside nothing of it is felt.
    """
    seed = stable_seed(*parts)
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one place that may
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
