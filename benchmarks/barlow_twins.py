"""The loss of Barlow Twins, forward and backward, against its plain form with the whole cross-correlation, and lightly.

Run: python benchmarks/barlow_twins.py [--rounds 7] [--images 256] [--widths 2048 8192]
All run in turn in one process, one thread, on the same embeddings; medians, the medians of the ratios of one round and
the largest difference of losses and gradients are printed (aims: 3 times as fast as lightly at 2048, 15 times at 8192).
Lightly is raced where it is installed (pip install lightly).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from medgraft.models.twins_loss import barlow_twins_loss

WEIGHT = 0.0051


def plain(first: Tensor, second: Tensor) -> Tensor:
    """The published formula, written out."""
    one, other = (
        (view - view.mean(0)) / (view.var(0, correction=0) + 1e-5).sqrt() for view in (first, second)
    )
    correlation = one.T @ other / len(first)
    identity = torch.eye(len(correlation))
    weights = identity + WEIGHT * (1 - identity)
    return (weights * (correlation - identity).square()).sum()


def ours(first: Tensor, second: Tensor) -> Tensor:
    return barlow_twins_loss(first, second, WEIGHT)


def descend(loss: Callable[[Tensor, Tensor], Tensor], views: list[Tensor]) -> tuple[float, Tensor, float]:
    """Loss, gradient and seconds of one forward and backward pass."""
    leaves = [view.clone().requires_grad_() for view in views]
    started = time.perf_counter()
    value = loss(*leaves)
    gradients = torch.autograd.grad(value, leaves)
    return value.item(), torch.cat(gradients), time.perf_counter() - started


def race(images: int, width: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shared, one, other = torch.randn(3, images, width, generator=generator)
    views = [shared + 0.5 * one, shared + 0.5 * other]
    works = {"ours": ours, "plain": plain}
    if importlib.util.find_spec("lightly"):
        from lightly.loss import BarlowTwinsLoss

        works["lightly"] = BarlowTwinsLoss(lambda_param=WEIGHT)
    found = {name: descend(loss, views) for name, loss in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, loss in works.items():
            times[name].append(descend(loss, views)[2])
    taken = ", ".join(f"{name} {1000 * statistics.median(spent):.1f} ms" for name, spent in times.items())
    print(f"{images} images, {width} dimensions: {taken}")
    for name in list(works)[1:]:
        ratio = statistics.median(slow / fast for slow, fast in zip(times[name], times["ours"]))
        losses = abs(found["ours"][0] / found[name][0] - 1)
        gradients = (found["ours"][1] - found[name][1]).abs().max() / found[name][1].abs().max()
        print(
            f"  {name} / ours {ratio:.1f}; relative differences: loss {losses:.1e}, gradient {float(gradients):.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--widths", type=int, nargs="+", default=[2048, 8192])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for width in given.widths:
        race(given.images, width, given.rounds)


if __name__ == "__main__":
    main()
