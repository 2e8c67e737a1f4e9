"""What a training learned beside the model it returns: projectors, decoders, heads, to go on from or to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn


class PretrainingHeads(NamedTuple):
    """Weights of the heads that a method trained on an encoder, or on a classifier that does without them.

    method: its name; no other method can use them.
    state: by name of the head and of the tensor, ``"projector/0.weight"``.

    >>> kept = PretrainingHeads.record("simmim", {"decoder": nn.Linear(2, 1)})
    >>> list(kept.state), list(kept.of("decoder"))
    (['decoder/weight', 'decoder/bias'], ['weight', 'bias'])
    """

    method: str
    state: Mapping[str, Tensor]

    @classmethod
    def record(cls, method: str, heads: Mapping[str, nn.Module]) -> PretrainingHeads:
        """Copies of all parameters and buffers, on the CPU."""
        return cls(
            method,
            {
                f"{name}/{key}": tensor.detach().cpu().clone().contiguous()
                for name, head in heads.items()
                for key, tensor in head.state_dict().items()
            },
        )

    def of(self, name: str) -> dict[str, Tensor]:
        """The state dict of one head; empty where there is none of that name."""
        start = f"{name}/"
        return {
            key.removeprefix(start): tensor for key, tensor in self.state.items() if key.startswith(start)
        }
