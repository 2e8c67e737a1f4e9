"""Losses that tell two views of an image alike: among other images (MoCo), or without any (SimSiam)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from medgraft.errors import SettingsError, ShapeError


def batch_contrast(queries: Tensor, keys: Tensor, temperature: float, first: int = 0) -> Tensor:
    """Cross-entropy of finding the key of each query's own image among the keys of a batch, times 2 T.

    Args:
        queries: (B, D) float of any length above 0; brought to length 1, as are the keys.
        keys: (N, D), N >= B; row ``first + i`` is of the image of query i. No gradient reaches them.
        temperature: T, above 0: cosines are divided by it.
        first: where the keys of these queries begin; another number than 0 where keys come from several processes.

    Returns: scalar float32 or more, the mean over queries; 2 T ln N where nothing is told apart.

    Raises:
        ShapeError: queries and keys do not fit together.
        SettingsError: the temperature is not above 0.

    Source: Chen et al. 2021 (MoCo v3), section 3, equation 1 and algorithm 1.

    >>> round(batch_contrast(torch.ones(4, 2), torch.ones(4, 2), 0.5).item(), 4)  # ln 4
    1.3863
    """
    _check("batch_contrast", queries, keys, temperature)
    if first < 0 or first + len(queries) > len(keys):
        raise ShapeError(
            "batch_contrast", f"a key for each of the queries {first} to {first + len(queries) - 1}",
            f"there are {len(keys)} keys", "Give the keys of one batch, its queries' among them.",
        )  # fmt: skip
    with torch.autocast(queries.device.type, enabled=False):
        logits = _on_sphere(queries) @ _on_sphere(keys).detach().T / temperature
    own = torch.arange(first, first + len(queries), device=logits.device)
    return 2 * temperature * cross_entropy(logits, own)


def queue_contrast(
    queries: Tensor, keys: Tensor, queue: Tensor, temperature: float, same: Tensor | None = None
) -> Tensor:
    """Cross-entropy of telling the key of a query's own image from keys of other images.

    Args:
        queries: (B, D) float of any length above 0; brought to length 1, as are the keys.
        keys: (B, D), of the same images. No gradient reaches them.
        queue: (K, D) keys of length 1 of earlier batches; they are not changed.
        temperature: T, above 0: cosines are divided by it.
        same: (B, K) bool, True where a key of the queue is of the query's own image and nothing to be told from it;
            None: nowhere.

    Returns: scalar float32 or more, the mean over queries; where nothing is told apart ln (k + 1), k the other images'
        keys.

    Raises:
        ShapeError: queries, keys and queue do not fit together.
        SettingsError: the temperature is not above 0.

    Source: He et al. 2020 (MoCo), equation 1 and algorithm 1. Differs: `same`; published queues are far shorter than
        a pass over their images, so hardly any key is of the query's own.

    >>> one = torch.tensor([[1.0, 0.0]])
    >>> round(queue_contrast(one, one, torch.tensor([[0.0, 1.0]]), 1.0).item(), 4)  # ln(1 + 1 / e)
    0.3133
    """
    _check("queue_contrast", queries, keys, temperature)
    left_out = queue.new_zeros(len(queries), len(queue), dtype=torch.bool) if same is None else same
    if (
        len(keys) != len(queries) or queue.ndim != 2 or queue.shape[1] != keys.shape[1]
        or left_out.shape != (len(queries), len(queue))
    ):  # fmt: skip
        raise ShapeError(
            "queue_contrast",
            f"a key for each of {len(queries)} queries, a queue (K, {keys.shape[1]}) and `same` (B, K)",
            f"got {len(keys)} keys, {tuple(queue.shape)} and {tuple(left_out.shape)}", "Embed both views of one batch.",
        )  # fmt: skip
    with torch.autocast(queries.device.type, enabled=False):
        asked, own = _on_sphere(queries), _on_sphere(keys).detach()
        # a copy: what is written into the queue meanwhile must not reach the gradient
        others = queue.detach().to(asked).clone()
        unlike = (asked @ others.T).masked_fill(left_out, -math.inf)
        logits = torch.cat([(asked * own).sum(1, keepdim=True), unlike], 1) / temperature
    return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def negative_cosine(predictions: Tensor, embeddings: Tensor) -> Tensor:
    """Mean of minus the cosine between predictions and embeddings; no gradient reaches the latter.

    Args:
        predictions: (B, D) float, of one view.
        embeddings: (B, D), of the other view of the same images.

    Returns: scalar float32 or more in [-1, 1]; -1 where the two point the same way.

    Raises:
        ShapeError: the two are not alike.

    Source: Chen & He 2021 (SimSiam), equation 1 with the stopped gradient of equation 3.

    >>> negative_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor(-0.6000)
    """
    if predictions.ndim != 2 or predictions.shape != embeddings.shape or not len(predictions):
        raise ShapeError(
            "negative_cosine", "predictions and embeddings (B, D) of the same images",
            f"got {tuple(predictions.shape)} and {tuple(embeddings.shape)}", "Embed both views of one batch.",
        )  # fmt: skip
    return -cosine_similarity(_wide(predictions), _wide(embeddings).detach()).mean()


def momentum_at(done: float, start: float) -> float:
    """Momentum that rises from `start` to 1 as half a cosine.

    Args:
        done: share of the training that is done, in [0, 1]; counts steps within epochs.
        start: in [0, 1].

    Source: Chen et al. 2021 (MoCo v3), as Grill et al. 2020 (BYOL).

    >>> momentum_at(0, 0.99), round(momentum_at(0.5, 0.99), 6), momentum_at(1, 0.99)
    (0.99, 0.995, 1.0)
    """
    return 1 - (1 - start) * (1 + math.cos(math.pi * done)) / 2


def _check(who: str, queries: Tensor, keys: Tensor, temperature: float) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1] or not len(queries):
        raise ShapeError(
            who, "queries (B, D) and keys (N, D) of at least one image",
            f"got {tuple(queries.shape)} and {tuple(keys.shape)}", "Embed both views of one batch.",
        )  # fmt: skip
    if not temperature > 0:
        raise SettingsError(who, "a temperature above 0", f"got {temperature}", "Take 0.2.")


def _on_sphere(rows: Tensor) -> Tensor:
    return normalize(_wide(rows), dim=1)


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
