"""Networks that follow others slowly, and the embeddings they gave: what momentum contrast compares with."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medgraft.errors import SettingsError
from medgraft.models.model import Model


class MomentumNetwork(nn.Module):
    """A copy of an encoder and its projector, that follows them as a moving average.

    Parameters are averaged; buffers are not: in training mode, batch norm of the copy takes its own statistics of what
    the copy sees.

    Args:
        encoder: copied, and
        projector: of its features, copied too.

    Source: He et al. 2020 (MoCo), equation 2.

    >>> from medgraft.models.spec import ModelSpec
    >>> from medgraft.models.backbones import Classifier
    >>> encoder, projector = Classifier(ModelSpec(kind="encode"), architecture="test_resnet"), nn.Linear(64, 4)
    >>> follower = MomentumNetwork(encoder, projector)
    >>> _ = projector.bias.data.fill_(1), follower.projector.bias.data.fill_(0)
    >>> follower.follow(encoder, projector, momentum=0.75)
    >>> follower.projector.bias.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, encoder: Model, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = copy.deepcopy(encoder), copy.deepcopy(projector)

    @torch.no_grad()
    def follow(self, encoder: Model, projector: nn.Module, momentum: float) -> None:
        """Move each parameter p towards that of encoder and projector, q: p becomes m p + (1 - m) q, in place."""
        followers: list[Tensor] = list(self.parameters())
        leaders: list[Tensor] = [*encoder.parameters(), *projector.parameters()]
        torch._foreach_lerp_(followers, leaders, 1 - momentum)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and embeddings (B, E) of images (B, C, *spatial), without gradients."""
        features = self.encoder.features(images)
        return features, self.projector(features)


class KeyQueue(nn.Module):
    """The latest keys and the images they are of, as buffers: a ring in which the oldest are replaced first.

    Begins with random directions, drawn from the global generator, of no image (row -1).

    Args:
        size: keys that it holds.
        dimension: of each.

    Raises:
        SettingsError: a number below 1.

    Source: He et al. 2020 (MoCo), algorithm 1. Differs: its size need not be a multiple of the batch.

    >>> queue = KeyQueue(3, 1)
    >>> for keys in ([[1.0], [2.0]], [[-3.0], [4.0]]):
    ...     queue.add(torch.tensor(keys), torch.tensor([5, 6]))
    >>> queue.keys.flatten(), queue.rows, queue.oldest
    (tensor([ 1.,  1., -1.]), tensor([6, 6, 5]), tensor(1))
    """

    keys: Tensor
    rows: Tensor
    oldest: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        if size < 1 or dimension < 1:
            raise SettingsError(
                "A queue of keys", "at least one key of at least one number",
                f"got size={size} and dimension={dimension}",
                "Give a size such as 4096.",
            )  # fmt: skip
        self.register_buffer("keys", normalize(torch.randn(size, dimension), dim=1))
        self.register_buffer("rows", torch.full((size,), -1))
        self.register_buffer("oldest", torch.tensor(0))

    @torch.no_grad()
    def add(self, keys: Tensor, rows: Tensor) -> None:
        """Put in (B, dimension) keys, brought to length 1, of the images of these rows (B,) int64, from 0.

        Of more than fit, the last ones.
        """
        size = len(self.keys)
        kept = normalize(keys[-size:].to(self.keys), dim=1)
        places = (self.oldest + torch.arange(len(kept), device=kept.device)) % size
        self.keys[places], self.rows[places] = kept, rows[-size:]
        self.oldest.add_(len(kept)).remainder_(size)
