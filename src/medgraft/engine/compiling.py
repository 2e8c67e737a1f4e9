"""Blocks of a network compiled by torch while something trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medgraft.errors import SettingsError
from medgraft.models.model import Model

PER_BLOCK = 8
"""Ways in which a block may be called (training or not, with gradients or not, a last batch that is smaller)."""


@contextmanager
def compiled(model: Model, device: torch.device) -> Iterator[None]:
    """Compile each block of a model in place; afterwards it is as it was, and its weights keep their names.

    Blocks instead of the whole: networks are called by several ways (features, heads, inner maps), which all run their
    blocks, and what is alike in many blocks is compiled once.

    Raises:
        SettingsError: torch cannot compile on this machine.
    """
    _refuse_without_compiler(device)
    blocks = model.block_modules()
    for block in blocks:
        block.compile()
    limit = PER_BLOCK * len(blocks)  # torch counts all blocks as one
    limits = {"recompile_limit": limit, "accumulated_recompile_limit": 4 * limit}
    try:
        with torch._dynamo.config.patch(limits):
            yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # what `compile` has set; there is no public way back


def _refuse_without_compiler(device: torch.device) -> None:
    try:
        torch.compile(lambda values: values.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # whatever torch, its compiler or the machine's say
        told = " ".join(str(error).split())[:200]
        raise SettingsError(
            "Compiling a network", "a machine on which torch.compile works (on a CPU it wants a C++ compiler)",
            f"it gave {type(error).__name__}: {told}", "Leave out --compile.",
        ) from error  # fmt: skip
